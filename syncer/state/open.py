"""From a URL to a store. SQLAlchemy is imported when a store is opened, not before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from syncer.errors import StateError
from syncer.state.base import Store
from syncer.state.memory import MemoryStore

if TYPE_CHECKING:
    from sqlalchemy import URL

    from syncer.state.database import Database

#: the driver where a URL names none, by the scheme it begins with; other dialects choose one themselves
_DRIVERS: Final = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
#: extras by the driver they bring
_EXTRAS: Final = {
    "psycopg": "postgres", "pymysql": "mysql", "pyodbc": "mssql", "oracledb": "oracle", "duckdb": "duckdb",
}  # fmt: skip
#: others like them are found out by trying
_WITHOUT_KEYS: Final = ("snowflake", "bigquery")


def open_store(url: str, *, read_only: bool = False) -> Store:
    """Open the state store, creating or upgrading its tables where that is needed.

    Args:
        url: any SQLAlchemy URL of a driver that is not asynchronous; `sqlite://` is a store in memory.
        read_only: never create, change or upgrade anything; a store that does not exist yet is an empty one.
            (Some drivers, DuckDB's for one, by themselves create the file they are to open.)

    Raises:
        StateError: unreachable, driver not installed, URL not understood, or a database without transactions
            that can be rolled back or without primary keys that are enforced.
        StateUnwritable: no folder, no right to write, disk full, locked.
        StateCorrupt: damaged, or another application's file. Nothing was changed.
        StateTooNew: written by a later syncer.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return _open_server(parsed, read_only=read_only)
    if parsed.database in (None, "", ":memory:"):
        return MemoryStore()
    return _open_file(Path(str(parsed.database)), read_only=read_only)


def _open_file(path: Path, *, read_only: bool) -> Store:
    from syncer.state import sqlite_file
    from syncer.state.database import sqlite_database
    from syncer.state.migrations import migrate

    if sqlite_file.is_empty(path):
        if read_only:
            return MemoryStore()
        sqlite_file.create(path)
    database = sqlite_database(path, read_only=read_only)
    try:
        sqlite_file.inspect_file(database, path)
        if read_only:
            return _as_it_is(database)
        migrate(database, back_up=lambda version: sqlite_file.back_up(database, path, version))
        sqlite_file.use_wal(database)
    except BaseException:
        database.close()
        raise
    return _store(database)


def _open_server(url: URL, *, read_only: bool) -> Store:
    from syncer.state.database import foreign_database, server_database
    from syncer.state.migrations import migrate

    place = url.set(query={}).render_as_string(hide_password=True)
    _require_driver(url, place)
    connect = server_database if url.get_backend_name() in _DRIVERS else foreign_database
    database = connect(url, place, read_only=read_only)
    try:
        if read_only:
            return _as_it_is(database)
        migrate(database)
    except BaseException:
        database.close()
        raise
    return _store(database)


def _as_it_is(database: Database) -> Store:
    """The store for reading. Raises `StateError` when it must be upgraded first."""
    from syncer.state.migrations import STEPS, version_of

    version = version_of(database)
    if version == 0:
        database.close()
        return MemoryStore()
    if version < len(STEPS):
        raise StateError(
            f"the state store {database.place} has version {version} and must first be upgraded to {len(STEPS)}",
            "start a run: it upgrades the store",
        )
    return _store(database)


def _store(database: Database) -> Store:
    from syncer.state.sql import SqlStore

    return SqlStore(database)


def _parsed(url: str) -> URL:
    """The URL, with our driver where it names none. Errors repeat no part of it: it may hold a password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StateError("`state.url` is not a database URL", _EXAMPLES) from None
    backend, _, driver = parsed.drivername.partition("+")
    if backend in _DRIVERS and not driver:
        parsed = parsed.set(drivername=_DRIVERS[backend])
    if backend in _WITHOUT_KEYS:
        raise StateError(f"state cannot be kept in {backend}: it does not enforce primary keys", _EXAMPLES)
    if "@" in (parsed.host or ""):
        raise StateError(
            "`state.url` has more than one @",
            "write the special characters of the password percent-encoded: @ is %40",
        )
    if backend == "sqlite" and (parsed.query or str(parsed.database).startswith("file:")):
        raise StateError("`state.url` may hold only a path for SQLite", _EXAMPLES)
    if backend not in ("sqlite", *_DRIVERS) and _is_in_memory(parsed):
        raise StateError(f"`state.url` names no {backend} database that outlives the process", _EXAMPLES)
    return parsed


def _is_in_memory(url: URL) -> bool:
    database = url.database or ""
    return database.startswith(":memory:") or not (database or url.host or url.query)


def _require_driver(url: URL, place: str) -> None:
    from sqlalchemy.exc import NoSuchModuleError

    try:
        dialect = url.get_dialect()
        dialect.import_dbapi()
    except (ImportError, NoSuchModuleError):
        raise _no_driver(url, place) from None
    if dialect.is_async:
        raise StateError(f"the state store {place} needs a driver that is not asynchronous", _EXAMPLES)


def _no_driver(url: URL, place: str) -> StateError:
    from sqlalchemy.exc import NoSuchModuleError

    try:
        missing, hint = url.get_driver_name(), "install it beside syncer, or choose another driver in `state.url`"
    except NoSuchModuleError:
        missing, hint = url.drivername, f"install SQLAlchemy's dialect for {url.get_backend_name()}"
    if missing in _EXTRAS:
        hint = f"pip install 'syncer[{_EXTRAS[missing]}]'"
    return StateError(f"the state store {place} needs the driver {missing}, which is not installed", hint)


_EXAMPLES: Final = "use sqlite:///syncer.db, or postgresql://user:password@host/database for several hosts"
