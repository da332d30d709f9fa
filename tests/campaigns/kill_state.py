"""What a killed run left in the state, looked at without opening it as syncer does. No fixtures."""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from kill_source import instant
from sqlalchemy.engine import make_url

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: in the keys of rows, each a list of kind and text of its one column
_KEY = re.compile(r"integer\W+(\d+)")
_Query = Callable[[str], Sequence[Sequence[Any]]]


@dataclass(frozen=True, kw_only=True)
class Left:
    """The state at one moment."""

    #: runs recorded so far, and how the latest ended; None: it did not
    runs: int = 0
    outcome: str | None = None
    watermark: datetime | None = None
    #: of the lease
    epoch: int = 0
    #: by the key of an object: when the version that is known was accepted
    fingerprints: dict[bytes, datetime]
    #: ids of rows noted as on their way or in doubt, and those among them that the latest run noted
    doubted: frozenset[str] = frozenset()
    noted: frozenset[str] = frozenset()
    #: ids with a dead letter
    refused: frozenset[str] = frozenset()

    def unknown(self, ids: set[str], since: datetime) -> set[str]:
        """Those of the ids that were accepted since a moment without the state's knowing it."""
        return {each for each in ids if self.fingerprints.get(_object_key(each), _EPOCH) < since}


def _object_key(identifier: str) -> bytes:
    """How the state keeps the id of a row whose key is a number."""
    number = int(identifier)
    size = max(1, (number.bit_length() + 7) // 8)
    return bytes([size]) + number.to_bytes(size, "big")


def left_in(url: str) -> Left:
    """Look at the state behind a SQLAlchemy URL. Of a SQLite file a copy is opened: the next run finds it as it is."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        dsn = f"host=127.0.0.1 port={parsed.port} user=postgres dbname={parsed.database}"
        with psycopg.connect(dsn) as connection:
            return _left(lambda sql: connection.execute(sql.encode()).fetchall(), "pg_tables", "tablename")
    path = Path(str(parsed.database))
    with tempfile.TemporaryDirectory(prefix="syncer-left-") as folder:
        for each in path.parent.glob(f"{path.name}*"):
            # without the index of the log, which is shared memory that SQLite makes anew
            if not each.name.endswith("-shm"):
                shutil.copy(each, folder)
        with closing(sqlite3.connect(Path(folder) / path.name)) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return _left(lambda sql: copy.execute(sql).fetchall(), "sqlite_master", "name")


def _left(query: _Query, catalog: str, name: str) -> Left:
    if not query(f"SELECT 1 FROM {catalog} WHERE {name} = 'syncer_runs'"):
        return Left(fingerprints={})
    runs = query("SELECT run_id, outcome FROM syncer_runs ORDER BY number")
    marks = query("SELECT watermark_text FROM syncer_checkpoints")
    known = query("SELECT object, sent_at FROM syncer_fingerprints")
    doubts = [(run, bytes(keys).decode()) for run, keys in query("SELECT run_id, row_keys FROM syncer_doubts")]
    latest, outcome = runs[-1] if runs else (None, None)
    return Left(
        runs=len(runs),
        outcome=outcome,
        watermark=instant(marks[0][0]) if marks and marks[0][0] else None,
        epoch=max((each for (each,) in query("SELECT epoch FROM syncer_leases")), default=0),
        fingerprints={bytes(key): _EPOCH + timedelta(microseconds=sent_at) for key, sent_at in known},
        doubted=frozenset(each for _, keys in doubts for each in _KEY.findall(keys)),
        noted=frozenset(each for run, keys in doubts if run == latest for each in _KEY.findall(keys)),
        refused=frozenset(each for (each,) in query("SELECT object_id FROM syncer_dead_letters")),
    )
