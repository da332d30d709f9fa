"""An engine with two kinds of transactions, set up so that a killed or stopped process harms nobody.

Connections, timeouts and transactions live here; tables and values do not.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Dialect, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError

from syncer.errors import StateError, StateUnwritable, SyncerError
from syncer.state.faults import failed, is_deadlock, translated, unopened

T = TypeVar("T")

#: seconds to wait for another process's transaction
PATIENCE: Final = 10
_WRITES: Final = "syncer_writes"
_PATIENT_DRIVERS: Final = ("psycopg", "pymysql")
#: where each statement of our transactions sees what was committed before it began
_BY_STATEMENT: Final = ("postgresql", "mysql", "mariadb")
# a stopped holder of a row lock must not stop the others: the server ends its transaction
_POSTGRES_LIMITS: Final = (
    f"SELECT set_config('lock_timeout', '{PATIENCE}s', true), "
    "set_config('idle_in_transaction_session_timeout', '60s', true)"
)


class Database:
    """Runs pieces of work in transactions; whatever the driver raises comes out as a `StateError`."""

    _tries = 5
    #: seconds to wait at most before the second try; doubles with every try, up to a quarter of a second
    _pause = 0.0

    def __init__(self, engine: Engine, place: str) -> None:
        self.place = place
        self._engine = engine
        self._writer = engine.execution_options(**{_WRITES: True})

    def __repr__(self) -> str:
        return f"Database({self.place})"

    @property
    def dialect(self) -> Dialect:
        """Which SQL is spoken."""
        return self._engine.dialect

    def read(self, work: Callable[[Connection], T]) -> T:
        """Do the work in a transaction that takes no write lock."""
        return self._attempt(lambda: self._transact(self._engine, work))

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do the work in a transaction: afterwards all is durable, or none. Deadlocks are tried again."""
        return self._attempt(lambda: self._transact(self._writer, work))

    def snapshot(self, work: Callable[[Connection], T]) -> T:
        """Do the work in a transaction for reading in which every statement sees the same moment."""

        def attempt() -> T:
            with self._engine.connect() as connection:
                if self.dialect.name in _BY_STATEMENT:
                    connection = connection.execution_options(isolation_level="REPEATABLE READ")
                with connection.begin():
                    return work(connection)

        return self._attempt(attempt)

    def session(self, work: Callable[[Connection], T]) -> T:
        """Do the work with a connection for writing. It commits by itself; the rest is rolled back."""

        def attempt() -> T:
            with self._writer.connect() as connection:
                return work(connection)

        return self._attempt(attempt)

    @contextmanager
    def bare(self) -> Iterator[sqlite3.Connection]:
        """SQLite's own connection outside any transaction, for statements that want to be alone."""
        with translated(self.place):
            pooled = self._engine.raw_connection()
            try:
                own: Any = pooled.driver_connection
                yield own
            finally:
                pooled.close()

    def close(self) -> None:
        """Close the idle connections. Idempotent."""
        self._engine.dispose()

    @staticmethod
    def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
        with engine.begin() as connection:
            return work(connection)

    def _attempt(self, attempt: Callable[[], T]) -> T:
        with translated(self.place):
            for number in range(self._tries - 1):
                try:
                    return attempt()
                except DBAPIError as error:
                    if not self._may_succeed_again(error):
                        raise
                longest = min(self._pause * 2**number, 0.25)
                time.sleep(random.uniform(0, longest))  # noqa: S311  not a secret
            return attempt()

    def _may_succeed_again(self, error: DBAPIError) -> bool:
        return is_deadlock(error.orig)


class ForeignDatabase(Database):
    """A database whose driver's errors nobody here can read: each may mean that another transaction came first.

    So each is tried again, for about five seconds. The threads of a process take turns, and only other processes
    are left to come first.
    """

    _tries = 40
    _pause = 0.02

    def __init__(self, engine: Engine, place: str, *, read_only: bool) -> None:
        super().__init__(engine, place)
        self._read_only = read_only
        self._turn = threading.Lock()

    def write(self, work: Callable[[Connection], T]) -> T:
        """See `Database.write`. Raises `StateUnwritable` when opened for reading: not every database would."""
        if self._read_only:
            raise StateUnwritable(f"the state store {self.place} was opened for reading")
        with self._turn:
            return super().write(work)

    def _may_succeed_again(self, error: DBAPIError) -> bool:
        # whether a commit took place before its connection broke is unknown
        return not error.connection_invalidated


def sqlite_database(path: Path, *, read_only: bool) -> Database:
    """A database in a file. Nothing is opened yet."""

    def connect() -> sqlite3.Connection:
        return _connect_to_read(path) if read_only else _connect_to_write(path)

    engine = create_engine(URL.create("sqlite", database=str(path)), creator=connect, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE waits for other writers here; a lock taken in mid-transaction would fail instead
        writes = connection.get_execution_options().get(_WRITES) and not read_only
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return Database(engine, str(path))


def server_database(url: URL, place: str, *, read_only: bool) -> Database:
    """A database on a PostgreSQL, MySQL or MariaDB server. Nothing is opened yet.

    Raises:
        StateError: the URL has an option that the driver cannot take; also later, when it is first used.
    """
    postgres = url.get_backend_name() == "postgresql"
    patient = url.get_driver_name() in _PATIENT_DRIVERS and "connect_timeout" not in url.query
    try:
        engine = create_engine(
            url,
            connect_args={"connect_timeout": PATIENCE} if patient else {},
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
        )
    except (TypeError, ValueError):
        raise _odd_option(place) from None

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, _: object, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*arguments, **options)
        except (TypeError, ValueError):
            raise _odd_option(place) from None

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            if not postgres:
                cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {PATIENCE}")
            if read_only:
                characteristics = "SESSION CHARACTERISTICS AS TRANSACTION" if postgres else "SESSION TRANSACTION"
                cursor.execute(f"SET {characteristics} READ ONLY")
        connection.commit()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if postgres and connection.get_execution_options().get(_WRITES):
            connection.exec_driver_sql(_POSTGRES_LIMITS)

    return Database(engine, place)


def foreign_database(url: URL, place: str, *, read_only: bool) -> Database:
    """A database that SQLAlchemy speaks to and nothing more is known of. Nothing is opened yet.

    Raises:
        StateError: the URL has an option that the driver cannot take; also later, when it is first used.
    """
    try:
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True)
    except (TypeError, ValueError):
        raise _odd_option(place) from None

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, _: object, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*arguments, **options)
        except Exception as error:  # noqa: BLE001  drivers raise anything, and their words may hold a password
            raise unopened(error, place) from None

    @event.listens_for(engine, "handle_error")
    def hide(context: ExceptionContext) -> None:
        original = context.original_exception
        if context.sqlalchemy_exception is None and not isinstance(original, SyncerError):
            # not one of the driver's declared errors: its words may hold a value
            raise failed(original, place) from None

    return ForeignDatabase(engine, place, read_only=read_only)


def _odd_option(place: str) -> StateError:
    return StateError(
        f"the state store {place} cannot be reached: its URL has an option that the driver does not take",
        "check the part of `state.url` behind the question mark",
    )


def _connect(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?{how}",
        uri=True,
        timeout=PATIENCE,
        # transactions are begun by hand
        isolation_level=None,
        # the pool gives a connection to one thread at a time
        check_same_thread=False,
    )


def _connect_to_write(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "mode=rw")
    try:
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "mode=ro")
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except BaseException as error:
        connection.close()
        # WAL needs files beside the database. Where they are absent and cannot be made, nobody is writing
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
        pending = path.with_name(path.name + "-wal").exists()
        if pending or code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        return _connect(path, "immutable=1")
    return connection
