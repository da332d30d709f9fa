"""kill -9 at every write to the state file of a small run, and writes that fail: the state opens, nothing is lost.

Short: a few of the writes, and the last two. Long: every one. It takes strace, and so Linux.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from acceptance.support import Told, assert_one_clear_error, command
from campaign import rounds
from kill_strace import Traced, whats_missing
from kill_world import GOOD, World, world

ROOMS = 200
#: all, or so many
SOME = rounds(3, 1_000_000)
#: seconds of silence after which nothing of a killed run is under way any more
QUIET = 0.05


@dataclass(frozen=True, kw_only=True)
class Place:
    """A world whose run can be repeated: from no state at all, or from what a first run left."""

    world: World
    folder: Path
    new: bool

    @property
    def state(self) -> Path:
        """The state file."""
        return self.folder / "syncer.db"

    def traced(self) -> Traced:
        """A run, watched as it writes its state. The log's index is left out: it is memory shared in a file."""
        files = [self.state.with_name(self.state.name + suffix) for suffix in ("", "-wal", "-journal")]
        environ = self.world.syncer.environ({})
        return Traced(words=command(["run"]), folder=self.folder, environ=environ, files=files)

    def begin(self) -> None:
        """The state as it was at first; and every room changed since, one of them to what no API takes."""
        for each in self.folder.glob("syncer.db*"):
            each.unlink()
        if not self.new:
            shutil.copy(self.folder / "kept.db", self.state)
        rooms = self.world.rooms
        rooms.execute(rooms.updating(range(1, ROOMS + 1)))
        rooms.execute(rooms.updating([7], too_large=True))

    def recover(self) -> None:
        """Whatever was left, it can be opened and is true; the next run sends what is missing."""
        self.world.sink.settled(QUIET)
        assert self.world.missed(self.world.left()) == {}
        self.world.run()
        self.world.assert_equal()


@pytest.fixture(params=[True, False][: rounds(1, 2)], ids=["new state", "old state"][: rounds(1, 2)])
def place(request: pytest.FixtureRequest, tmp_path: Path, sqlite_url: str) -> Iterator[Place]:
    """Two hundred rooms in SQLite, and a sandbox that answers at once."""
    if missing := whats_missing():
        if os.environ.get("SYNCER_REQUIRE_DATABASES") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    state = f"sqlite:///{tmp_path / 'syncer.db'}"
    with world(tmp_path, sqlite_url, state, rooms=ROOMS, latency_ms=0, in_flight=4) as there:
        made = Place(world=there, folder=tmp_path, new=request.param)
        if not made.new:
            there.run()
            shutil.copy(made.state, tmp_path / "kept.db")
        yield made


def gave_up(told: Told) -> bool:
    """Whether strace itself failed: a thread ended while it was being stopped. The run ended with it."""
    return told.err.rpartition("strace: ")[2].startswith("ptrace(")


def spread(count: int, some: int) -> list[int]:
    """About so many numbers from 1 to the count, evenly spread."""
    return list(range(1, count + 1, max(1, -(-count // some))))


def test_killed_after_each_write(place: Place) -> None:
    """Killed after any write to its state, a run leaves a state that opens, and the next run loses nothing."""
    place.begin()
    told, count = place.traced().killed_after(None)
    assert told.code in GOOD, told
    place.recover()
    numbers, killed = sorted({*spread(count - 1, SOME), count - 2, count - 1}), 0
    for number in numbers:
        place.begin()
        told, _ = place.traced().killed_after(number)
        # threads take turns as they like, so that one run writes a little less than another
        assert told.code in (-9, *GOOD) or gave_up(told), told
        killed += told.code == -9
        place.recover()
    place.world.assert_usable()
    print(f"\n{count} writes, killed after {killed} of {len(numbers)} of them")
    assert killed >= 0.8 * len(numbers)


REFUSALS = (("pwrite64", "ENOSPC", "disk is full"), ("pwrite64", "EIO", "I/O error"), ("fdatasync", "EIO", "I/O error"))


def test_refused_writes(place: Place) -> None:
    """When the disk refuses a write and all that follow, the run says so and fails; the next one loses nothing."""
    place.begin()
    counts = place.traced().calls()
    place.recover()
    for call, error, words in REFUSALS:
        numbers = spread(counts[call], max(2, SOME - 1))
        failed = sum(refused(place, call, error, number, words) for number in numbers)
        print(
            f"\n{call}, up to {counts[call]} in a thread, {error} from {len(numbers)} of them on: {failed} runs failed"
        )
        assert failed
    place.world.assert_usable()


def refused(place: Place, call: str, error: str, number: int, words: str) -> bool:
    """Refuse from the so manyth on. False: it made no difference, because closing only tidies up."""
    place.begin()
    told = place.traced().refused(call, error, number)
    if told.code in GOOD:
        place.world.assert_equal()
    else:
        assert_one_clear_error(told, 1, "syncer.db", words)
    place.recover()
    return told.code not in GOOD
