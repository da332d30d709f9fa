"""Driver errors become state errors here and nowhere else.

Kept from the words of a driver we know: at most the first line, and only of kinds of error that never quote a value.
Of any other driver: the error's class, and its number where it begins with one. Passwords and row values therefore
cannot get into a message; nor is the driver's own error chained.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from syncer.errors import StateCorrupt, StateError, StateUnwritable

_DEADLOCK: Final = {"40001", "40P01", 1213}
_DAMAGED: Final = {
    sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT,
    # PostgreSQL: table or column missing, data or index corrupted; ODBC, MySQL: the same
    "42P01", "42703", "XX001", "XX002", "42S02", "42S22", 1146, 1054, 1194, 1712,
}  # fmt: skip
_FULL: Final = {sqlite3.SQLITE_FULL, "53100", 1021, 1114}
_LOCKED: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, "55P03", 1205} | _DEADLOCK
_READ_ONLY: Final = {
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_IOERR,
    # PostgreSQL: no privilege, read-only transaction; MySQL: the same, and a read-only server
    "42501", "25006", 1044, 1142, 1143, 1290, 1792,
}  # fmt: skip
_UNREACHABLE: Final = {1040, 1045, 1049, 2002, 2003, 2005, 2006, 2013, 2055}
# connection, authorisation, no such database, too many connections, server going down
_UNREACHABLE_CLASSES: Final = ("08", "28", "3D", "53", "57P")
_SQLITE_DAMAGE: Final = (
    "no such table", "no such column", "unsupported file format", "malformed", "Could not decode",
)  # fmt: skip

#: whose words are known to tell no password, and values only where `_told` says so
_OUR_DRIVERS: Final = ("sqlite3", "psycopg", "pymysql")
#: whose numbers are MySQL's
_MYSQL_DRIVERS: Final = ("pymysql", "MySQLdb", "mysql", "mariadb")
_SQLSTATE: Final = re.compile(r"(?=.*\d)[0-9A-Z]{5}")
#: such as ORA-12541 and DPY-6005
_NUMBERED: Final = re.compile(r"[A-Z]{2,4}-\d{4,5}(?=:)")

RESTORE_OR_MOVE: Final = (
    "restore it from a backup, or move it away to begin anew (the next run then reads everything again)"
)


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise `StateError` and its kinds for what the driver or SQLAlchemy raises inside. `place` is shown."""
    try:
        yield
    except DBAPIError as error:
        raise fault(error.orig, place) from None
    except sqlite3.Error as error:
        raise fault(error, place) from None
    except UnicodeDecodeError:
        # from a damaged schema, which SQLite quotes in its message
        raise damaged(place) from None
    except SQLAlchemyError as error:
        raise StateError(f"the state store {place} failed ({type(error).__name__})") from None


def is_deadlock(error: BaseException | None) -> bool:
    """Whether the database gave this transaction up only because of another, so that trying again helps."""
    return _code(error) in _DEADLOCK


def fault(error: BaseException | None, place: str) -> StateError:
    """The state error for a driver's error.

    Cases, first match wins: damaged, full, locked, read-only, unreachable, anything else.
    """
    code, words = _code(error), _words(error)
    if code in _DAMAGED or (code == sqlite3.SQLITE_ERROR and words.startswith(_SQLITE_DAMAGE)):
        return damaged(place)
    if code in _FULL:
        return StateUnwritable(
            f"the state store {place} cannot be written: the disk is full",
            "free some space, then run again; nothing is lost",
        )
    if code in _LOCKED:
        return StateUnwritable(
            f"the state store {place} is locked by another process",
            "wait for the other process, then run again",
        )
    if code in _READ_ONLY:
        return StateUnwritable(
            f"the state store {place} cannot be used by {whoami()}: {words}",
            "give this user the right to write it and its folder, or set `state.url` to another place",
        )
    if code is None and not _is_ours(error):
        return failed(error, place)
    if code is None or code in _UNREACHABLE or str(code).startswith(_UNREACHABLE_CLASSES):
        return StateError(
            f"the state store {place} cannot be reached: {words}",
            "check that the server runs and that host, user, password and database in `state.url` are right",
        )
    return StateError(f"the state store {place} failed: {_told(error, words)} (code {code})")


def failed(error: BaseException | None, place: str) -> StateError:
    """The error for one of a driver we do not know that tells nothing else."""
    return StateError(
        f"the state store {place} failed: {_words(error)}",
        "look for the reason in the database's own log; the driver's words may hold values and are not repeated",
    )


def unopened(error: BaseException, place: str) -> StateError:
    """The error for whatever a driver we do not know raises instead of a connection."""
    return StateError(
        f"the state store {place} cannot be opened: {_words(error)}",
        "check `state.url`, that the database is there, and that no other process has it open where it takes one only",
    )


def damaged(place: str = "") -> StateCorrupt:
    """The error for a store that holds what syncer cannot have written there."""
    return StateCorrupt(
        f"the state store{place and ' '}{place} is damaged or is not one; nothing was changed",
        RESTORE_OR_MOVE,
    )


def whoami() -> str:
    """This user as a person needs to know it to fix permissions."""
    return f"uid {os.getuid()}" if hasattr(os, "getuid") else "this user"


def _code(error: BaseException | None) -> int | str | None:
    """SQLite's primary result code, MySQL's error number, or the SQLSTATE."""
    if isinstance(error, sqlite3.Error):
        # absent on errors of the module itself, such as text that is not UTF-8
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    first = error.args[0] if error is not None and error.args else None
    if isinstance(first, int) and _driver(error) in _MYSQL_DRIVERS:
        return first
    # psycopg2 has a name of its own for it, ODBC puts it first
    states = (getattr(error, "sqlstate", None), getattr(error, "pgcode", None), first)
    return next((state for state in states if isinstance(state, str) and _SQLSTATE.fullmatch(state)), None)


def _words(error: BaseException | None) -> str:
    """The first line of what our driver says; `args` ends with the text for them all. Of others, the kind of error."""
    if _is_ours(error):
        text = str(error.args[-1]) if error is not None and error.args else ""
        return text.strip().partition("\n")[0]
    return f"{type(error).__name__}{_number(error)}"


def _number(error: BaseException | None) -> str:
    first = error.args[0] if error is not None and error.args else None
    if isinstance(first, int):
        return f" {first}"
    numbered = _NUMBERED.match(str(first))
    return f" {numbered.group()}" if numbered else ""


def _driver(error: BaseException | None) -> str:
    return type(error).__module__.partition(".")[0]


def _is_ours(error: BaseException | None) -> bool:
    return error is None or _driver(error) in _OUR_DRIVERS


def _told(error: BaseException | None, words: str) -> str:
    """The driver's words unless they may quote a value: data and integrity errors do."""
    kind = type(error).__name__
    quotes = _is_ours(error) and kind not in ("OperationalError", "ProgrammingError", "InternalError")
    return kind if quotes else words
