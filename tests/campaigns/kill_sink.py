"""A sandbox as a process of its own, whose warehouse also keeps every object it accepted, in order. No fixtures."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from acceptance.support import CommandLine, line_with
from kill_source import Room, instant

_KEEP = """
CREATE TABLE _accepted (number INTEGER PRIMARY KEY, id TEXT NOT NULL, properties TEXT NOT NULL);
CREATE TRIGGER _first AFTER INSERT ON _objects BEGIN
    INSERT INTO _accepted (id, properties) VALUES (new.id, new.properties);
END;
CREATE TRIGGER _again AFTER UPDATE ON _objects BEGIN
    INSERT INTO _accepted (id, properties) VALUES (new.id, new.properties);
END;
CREATE INDEX _accepted_by_id ON _accepted (id);
"""
_DUPLICATES = """
SELECT coalesce(sum(times - 1), 0) FROM (SELECT count(*) AS times FROM _accepted GROUP BY id, properties)
"""


class Sink:
    """What a sandbox accepted, read from its file while it goes on."""

    def __init__(self, warehouse: Path, url: str) -> None:
        self.url = url
        self._connection = sqlite3.connect(warehouse, timeout=60, isolation_level=None)
        self._connection.executescript(_KEEP)

    def accepted(self) -> int:
        """How many objects were accepted so far, each time they were."""
        (count,) = self._connection.execute("SELECT coalesce(max(number), 0) FROM _accepted").fetchone()
        return int(count)

    def settled(self, quiet: float) -> int:
        """The same, once nothing came for so many seconds: what a killed sender had sent has landed."""
        count, since = self.accepted(), time.monotonic()
        while time.monotonic() - since < quiet:
            time.sleep(quiet / 5)
            if (now := self.accepted()) != count:
                count, since = now, time.monotonic()
        return count

    def ids_after(self, number: int) -> set[str]:
        """Ids accepted after the first so many."""
        found = self._connection.execute("SELECT DISTINCT id FROM _accepted WHERE number > ?", (number,))
        return {each for (each,) in found}

    def duplicates(self) -> int:
        """How many objects came that had been accepted before with the same content."""
        (count,) = self._connection.execute(_DUPLICATES).fetchone()
        return int(count)

    def all(self) -> dict[str, Room]:
        """What the collection holds now, by id."""
        found = self._connection.execute("SELECT id, properties FROM _objects WHERE collection = 'rooms'")
        return {each: _room(json.loads(told)) for each, told in found}

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _room(told: dict[str, object]) -> Room:
    updated_at = instant(told.pop("updated_at"))
    return Room(**told, updated_at=updated_at)  # type: ignore[arg-type]  a stray or missing property is an error


@contextmanager
def sandbox(syncer: CommandLine, latency_ms: int) -> Iterator[Sink]:
    """The `syncer sandbox` command while the context is open."""
    words = ("sandbox", "--port", "0", "--db", "warehouse.db", "--latency", str(latency_ms))
    with syncer.started(*words) as process:
        url = line_with("Sandbox on", process.stdout).split()[2].rstrip(",")
        with closing(Sink(syncer.folder / "warehouse.db", url)) as sink:
            yield sink
