"""The state store's own SQLite file: is it there, is it ours, is it sound. Nothing is ever reset here."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from syncer.errors import StateCorrupt, StateUnwritable
from syncer.state.database import PATIENCE, Database
from syncer.state.faults import damaged, translated, whoami

#: `PRAGMA application_id` of our files: "SYNC"
APPLICATION_ID: Final = 0x53594E43
#: bytes up to which the whole file is checked at every start
_CHECKED_UP_TO: Final = 50_000_000


def is_empty(path: Path) -> bool:
    """Whether there is no file or one of length zero. Raises `StateUnwritable` when none can be there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise StateUnwritable(
                f"the state file {path} cannot be created: there is no folder {path.parent}",
                f"create it (`mkdir -p {path.parent}`) or correct `state.url`",
            ) from None
        return True
    except OSError as error:
        raise _unusable(path, error.strerror) from None
    if not stat.S_ISREG(found.st_mode):
        raise _unusable(path, "it is not a file")
    return found.st_size == 0


def create(path: Path) -> None:
    """Make an empty file unless it exists; only its user may read it, dead letters hold rows."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise _unusable(path, error.strerror) from None


def inspect_file(database: Database, path: Path) -> None:
    """Raise `StateCorrupt` unless the file is empty or ours, and sound."""
    database.read(lambda connection: _require_ours(connection, path))
    if path.stat().st_size < _CHECKED_UP_TO:
        database.read(lambda connection: _require_sound(connection, path))


def mark_ours(connection: Connection) -> None:
    """Write our number into the file's header, within the transaction."""
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def use_wal(database: Database, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Switch to write-ahead logging, once for the life of the file. Readers then never wait for writers."""
    with database.bare() as connection:
        if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            return
        pause = 0.05
        for _ in range(int(PATIENCE / pause)):
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                # SQLite does not wait by itself here when another process is opening the same new file
                if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise
            sleep(pause)
        connection.execute("PRAGMA journal_mode = WAL")


def back_up(database: Database, path: Path, version: int) -> Path:
    """Copy the file as it is now to `<file>.backup-v<version>`, complete or not at all.

    Raises:
        StateUnwritable: there is no room or no right to write the copy.
    """
    target = path.with_name(f"{path.name}.backup-v{version}")
    draft = path.with_name(f"{target.name}.{os.getpid()}")
    create(draft)
    try:
        with database.bare() as connection, translated(str(target)):
            connection.execute("VACUUM INTO ?", (str(draft),))
        draft.replace(target)
    except OSError as error:
        raise _unusable(target, error.strerror) from None
    finally:
        draft.unlink(missing_ok=True)
    return target


def _require_ours(connection: Connection, path: Path) -> None:
    number = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
    # a file rebuilt from a dump has our tables but lost the number
    if number == APPLICATION_ID or (number == 0 and (not tables or "syncer_meta" in tables)):
        return
    raise StateCorrupt(
        f"{path} is a database of another application; nothing was changed",
        "set `state.url` to a file of its own, such as sqlite:///syncer.db",
    )


def _require_sound(connection: Connection, path: Path) -> None:
    if connection.exec_driver_sql("PRAGMA quick_check(1)").scalars().all() != ["ok"]:
        raise damaged(str(path))


def _unusable(path: Path, reason: str | None) -> StateUnwritable:
    return StateUnwritable(
        f"the state file {path} cannot be used by {whoami()}: {reason}",
        "give this user the right to write it and its folder, or set `state.url` to another place",
    )
