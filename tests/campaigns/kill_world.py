"""A source that is written to, a sandbox, and the command line between them; and what must hold. No fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from acceptance.support import CommandLine, Told
from kill_sink import Sink, sandbox
from kill_source import Room, Rooms
from kill_state import Left, left_in

#: no lookback: nothing but the watermark protects
CONFIG = """\
version: 1
sources: {{app: {{url: "{source}"}}}}
destination: {{write_key: a-write-key, endpoint: "{endpoint}", max_in_flight: {in_flight}, retry_for: 20s}}
state: {{url: "{state}"}}
mappings:
  rooms: {{table: rooms, watermark: {{column: updated_at, lookback: 0}}}}
"""
#: 3 says that some rooms are too large
GOOD = (0, 3)


@dataclass(frozen=True, kw_only=True)
class World:
    """All that takes part."""

    syncer: CommandLine
    rooms: Rooms
    sink: Sink
    #: URL of the state
    state: str

    def run(self) -> Told:
        """Run to the end, which must be a good one."""
        told = self.syncer("run")
        assert told.code in GOOD, told
        return told

    def left(self) -> Left:
        """The state now."""
        return left_in(self.state)

    def different(self) -> dict[str, tuple[Room, Room | None]]:
        """Rooms of which the collection does not hold the current version, without those that no API takes."""
        here, there = self.rooms.all(), self.sink.all()
        return {
            each: (room, there.get(each)) for each, room in here.items() if room != there.get(each) and not room.refused
        }

    def missed(self, left: Left) -> dict[str, tuple[Room, Room | None]]:
        """What lies behind the saved watermark and was neither accepted nor refused: must be nothing."""
        if left.watermark is None:
            return {}
        here, there = self.rooms.all(), self.sink.all()
        return {
            each: (room, there.get(each))
            for each, room in here.items()
            if room.updated_at <= left.watermark and not _settled(each, room, there, left)
        }

    def assert_equal(self) -> None:
        """Every room is in the warehouse as it is in the source; the too large ones are dead letters, no others are."""
        assert self.different() == {}
        here = self.rooms.all()
        assert self.sink.all().keys() <= here.keys()
        assert self.left().refused == {each for each, room in here.items() if room.refused}

    def assert_usable(self) -> None:
        """The commands that look at the state work."""
        for words in (["status"], ["runs"], ["dead-letters", "list"]):
            told = self.syncer(*words)
            assert told.code == 0, told
            assert "Traceback" not in told.err


def _settled(each: str, room: Room, there: dict[str, Room], left: Left) -> bool:
    """A room's reviews are counted up with every change."""
    if room.refused:
        return each in left.refused
    return each in there and there[each].review_count >= room.review_count


@contextmanager
def world(
    folder: Path, source: str, state: str, *, rooms: int, latency_ms: int, in_flight: int
) -> Iterator[World]:  # fmt: skip
    """A folder with a config, a table of so many rooms, and a sandbox, while the context is open."""
    syncer = CommandLine(folder=folder)
    table = Rooms(url=source)
    table.create(rooms)
    with sandbox(syncer, latency_ms) as sink:
        config = CONFIG.format(source=source, state=state, endpoint=sink.url, in_flight=in_flight)
        syncer.write("syncer.yaml", config)
        yield World(syncer=syncer, rooms=table, sink=sink, state=state)
