"""Where uploaded parts wait for their session's end: on disk, compressed as they came. No HTTP and no rules here."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE pieces (number INTEGER PRIMARY KEY, part INTEGER NOT NULL, piece BLOB NOT NULL);
CREATE INDEX pieces_of_part ON pieces (part, number);
"""


class Spool:
    """Parts of bytes, by number. Safe to use from several threads.

    They are in a database without a name: SQLite keeps it in a temporary file that nobody else sees, with a
    cache of a few megabytes, and that is gone when it is closed or the process ends, however it ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts = 0
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Forget everything. Idempotent."""
        with self._lock:
            self._connection.close()

    def new(self) -> int:
        """The number of a part that is still empty."""
        with self._lock:
            self._parts += 1
            return self._parts

    def append(self, part: int, piece: bytes) -> None:
        """Put bytes at the end of a part."""
        with self._lock:
            self._connection.execute("INSERT INTO pieces (part, piece) VALUES (?, ?)", (part, piece))

    def pieces(self, part: int) -> Iterator[bytes]:
        """A part's bytes as they were appended; one piece in memory at a time."""
        after = 0
        while (found := self._next(part, after)) is not None:
            after, piece = found
            yield piece

    def drop(self, *parts: int) -> None:
        """Forget parts; ones that are not there do not matter."""
        with self._lock:
            self._connection.executemany("DELETE FROM pieces WHERE part = ?", [(part,) for part in parts])

    def _next(self, part: int, after: int) -> tuple[int, bytes] | None:
        select = "SELECT number, piece FROM pieces WHERE part = ? AND number > ? ORDER BY number LIMIT 1"
        with self._lock:
            found: tuple[int, bytes] | None = self._connection.execute(select, (part, after)).fetchone()
        return found
