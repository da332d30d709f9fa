"""How far SQLite's one writer has come: whether a transaction is open that may still commit rows with earlier stamps.

There is one writer at a time, and whatever it stamps in SQL it stamps while it holds the writer's lock. So at an
instant at which nobody holds that lock, every earlier stamp is visible or gone for ever. To see the lock we ask the
operating system and take none: a writer is never kept waiting. The lock is a byte of the database file, or of the
`-shm` file in WAL mode (sqlite.org/fileformat2.html#wal_locks). The question is put through descriptors that SQLite has
open anyway: to open and close the file ourselves would drop every lock that this process has on it.

While a writer works, there are two ways to know that it has ended: the lock was free at one of our looks, or
`PRAGMA data_version` tells of a commit, which was the writer's. Otherwise nothing moves: it began after every watermark
saved so far, because when that was saved nobody wrote.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from syncer.source.dialect_generic import LONG_AGO, Horizon, bounded, outlasting, row_of

#: the bytes that a writer locks: RESERVED in the database file, the WAL index's write lock in the -shm file
_RESERVED_BYTE = 0x40000001
_WAL_WRITE_BYTE = 120
#: struct flock: type, whence, start, length, pid
_FLOCK = "@hhqqi0q"
_DESCRIPTORS = "/proc/self/fd"

#: how often, and seconds in between, a reader looks whether a journal that seems left behind is still there
_TRIES = 20
_TRY_EVERY = 0.05

_BLIND = "whether a writer has a transaction open cannot be seen on this system"
_WRITER = "a writer whose transaction is open"


def horizon(connection: Connection, file: Path) -> Horizon:
    """The bound. Takes seconds while one transaction goes on writing."""
    lock = _writers_lock(connection, file)
    first = clock(connection)
    version = patient_row(connection, "PRAGMA data_version")
    if sys.platform != "linux" or not lock.descriptors:
        return bounded(first, uncertain=_BLIND)
    moments = [first]

    def writing() -> frozenset[str]:
        moments.append(clock(connection))
        return frozenset({_WRITER} if lock.held else ())

    if not outlasting(writing(), writing):
        return bounded(moments[-1])
    if patient_row(connection, "PRAGMA data_version") != version:
        return bounded(moments[-1], [(first, _WRITER)])
    return Horizon(at=LONG_AGO, now=moments[-1], held_by=_WRITER)


def patient_row(connection: Connection, sql: str) -> Sequence[Any]:
    """The one row of a statement, also when a writer takes its journal away at just that moment.

    SQLite cannot tell that from a writer that died, and a reader that may not write is then refused. Once a read has
    succeeded, its snapshot keeps writers from it.
    """
    for _ in range(_TRIES):
        try:
            return row_of(connection, sql)
        except DBAPIError as error:
            if getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
        time.sleep(_TRY_EVERY)
    return row_of(connection, sql)


def clock(connection: Connection) -> datetime:
    """The database's clock, which is the host's."""
    (told,) = row_of(connection, "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')")
    return datetime.fromisoformat(told).replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lock:
    """A byte of a file that SQLite has open."""

    file: Path
    byte: int

    @property
    def held(self) -> bool:
        """Whether another process has locked it to write. Locks of this process, which never writes, do not show."""
        return any(_write_locked(each, self.byte) for each in self.descriptors)

    @property
    def descriptors(self) -> list[int]:
        """Descriptors of this process that are the file; none where the system does not list them."""
        try:
            wanted = self.file.stat()
            numbers = [int(name) for name in os.listdir(_DESCRIPTORS)]
        except OSError:
            return []
        return [number for number in numbers if _is(number, wanted)]


def _writers_lock(connection: Connection, file: Path) -> _Lock:
    patient_row(connection, "SELECT count(*) FROM sqlite_master")  # in WAL mode this opens the -shm file
    (mode,) = patient_row(connection, "PRAGMA journal_mode")
    if mode == "wal":
        return _Lock(file=file.with_name(f"{file.name}-shm"), byte=_WAL_WRITE_BYTE)
    return _Lock(file=file, byte=_RESERVED_BYTE)


def _write_locked(descriptor: int, byte: int) -> bool:
    import fcntl  # not on Windows

    question = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, question)
    except OSError:  # another connection's descriptor, closed meanwhile
        return False
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _is(number: int, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(number), wanted)
    except OSError:  # closed since it was listed
        return False
