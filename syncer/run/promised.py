"""What a dry run would have had accepted, kept on disk, so that its memory does not grow with the table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import datetime

from syncer.state.base import Fingerprint
from syncer.state.ids import packed

#: values in one IN list
_AT_ONCE = 500


class Promised:
    """By id the digest of the last object that a run would have sent. Its methods block; not for two threads at once.

    A run knows what it sent when it meets an id again: when it reads everything after all, because the source went
    back, or in a circle, from where another was cut short. A dry run, which writes nothing, looks here.
    """

    def __init__(self) -> None:
        # SQLite keeps a database without a name in a file of its own, which is gone when it is closed
        self._scratch = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA cache_size = -8000",
            "CREATE TABLE promised (object BLOB PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID",
        ):
            self._scratch.execute(statement)

    def add(self, digests: Iterable[tuple[str, bytes]]) -> None:
        """They would have been accepted."""
        self._scratch.execute("BEGIN")
        rows = ((packed(each), digest) for each, digest in digests)
        self._scratch.executemany("INSERT OR REPLACE INTO promised VALUES (?, ?)", rows)
        self._scratch.execute("COMMIT")

    def find(self, ids: Sequence[str], now: datetime) -> Mapping[str, Fingerprint]:
        """Those of these ids that would have been accepted, by now."""
        found: dict[bytes, bytes] = {}
        keys = {packed(each): each for each in ids}
        asked = list(keys)
        for start in range(0, len(asked), _AT_ONCE):
            some = asked[start : start + _AT_ONCE]
            query = f"SELECT object, digest FROM promised WHERE object IN ({', '.join('?' * len(some))})"  # noqa: S608
            with closing(self._scratch.execute(query, some)) as rows:
                found.update(rows)
        return {keys[key]: Fingerprint(digest=digest, sent_at=now) for key, digest in found.items()}

    def close(self) -> None:
        """Forget everything."""
        self._scratch.close()
