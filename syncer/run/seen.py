"""Which ids a full run has read, kept on disk beside the state, so that memory does not grow with the table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice

from syncer.core.tombstone import UNSURE
from syncer.state.base import Store

#: known ids looked at, and tombstones made, at once
_PAGE = 5_000
#: values in one IN list
_AT_ONCE = 500


class Seen:
    """The ids of one pass over a query. Its methods block; not for two threads at once.

    SQLite keeps a database without a name in a file of its own, which is gone when it is closed, however that happens.
    """

    def __init__(self) -> None:
        self._scratch = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA cache_size = -8000",
            "CREATE TABLE seen (object TEXT PRIMARY KEY) WITHOUT ROWID",
            "CREATE TABLE vanished (number INTEGER PRIMARY KEY, object TEXT NOT NULL)",
        ):
            self._scratch.execute(statement)
        #: ids that were known, and those among them that were not read; after `compare`
        self.known = self.vanished = 0
        #: of both: tombstones of them went out before, so the guard has let them pass once
        self.marked = 0

    def add(self, ids: Sequence[str]) -> None:
        """They were read."""
        self._scratch.execute("BEGIN")
        self._scratch.executemany("INSERT OR IGNORE INTO seen VALUES (?)", ((each,) for each in ids))
        self._scratch.execute("COMMIT")

    def compare(self, store: Store, mapping: str) -> None:
        """Find the known objects that were not read."""
        after: str | None = None
        while page := store.living(mapping, after, _PAGE):
            self.known += len(page)
            missing = [each for some in _portions(page) for each in self._missing(some)]
            self.vanished += len(missing)
            found = store.fingerprints(mapping, missing) if missing else {}
            self.marked += sum(each.digest == UNSURE for each in found.values())
            self._scratch.executemany("INSERT INTO vanished (object) VALUES (?)", ((each,) for each in missing))
            after = page[-1]

    def pages(self) -> Iterator[Sequence[str]]:
        """The vanished ids, some at a time."""
        last = 0
        while True:
            query = "SELECT number, object FROM vanished WHERE number > ? ORDER BY number LIMIT ?"
            found = self._scratch.execute(query, (last, _PAGE)).fetchall()
            if not found:
                return
            last = found[-1][0]
            yield [each for _, each in found]

    def close(self) -> None:
        """Forget everything."""
        self._scratch.close()

    def _missing(self, ids: Sequence[str]) -> list[str]:
        marks = ", ".join("?" * len(ids))
        query = f"SELECT object FROM seen WHERE object IN ({marks})"  # noqa: S608  question marks only
        with closing(self._scratch.execute(query, ids)) as found:
            read = {each for (each,) in found}
        return [each for each in ids if each not in read] if len(read) < len(ids) else []


def _portions(values: Sequence[str]) -> Iterator[Sequence[str]]:
    rest = iter(values)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
