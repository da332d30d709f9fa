"""A table of rooms on each database, and writers that never stop changing it. Imports nothing of syncer, no fixtures.

Every version of a room has a name of its own, and `updated_at` is the database's own clock, so that two rows can only
be equal when they are the same version.
"""

from __future__ import annotations

import itertools
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pymysql
from sqlalchemy.engine import make_url

#: seconds to wait for another writer
PATIENCE = 60
#: a value that no API takes: such a room becomes a dead letter
TOO_LARGE = 33_000
#: rooms of one INSERT
_AT_ONCE = 500

_CREATE = {
    "postgresql": """CREATE TABLE rooms (id integer PRIMARY KEY, name text NOT NULL, city text, note text,
        review_count integer NOT NULL, updated_at timestamptz NOT NULL)""",
    "mysql": """CREATE TABLE rooms (id integer PRIMARY KEY, name varchar(100) NOT NULL, city varchar(100), note text,
        review_count integer NOT NULL, updated_at timestamp(6) NOT NULL) ENGINE=InnoDB""",
    "sqlite": """CREATE TABLE rooms (id integer PRIMARY KEY, name text NOT NULL, city text, note text,
        review_count integer NOT NULL, updated_at timestamp NOT NULL)""",
}
#: PostgreSQL: when the transaction began; the others: when the statement did
_NOW = {"postgresql": "now()", "mysql": "NOW(6)", "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')"}
_BEGIN = {"postgresql": "BEGIN", "mysql": "BEGIN", "sqlite": "BEGIN IMMEDIATE"}
#: MariaDB: a lock was waited for too long, a deadlock
_LOCKED = (1205, 1213)
_CITIES = ("Lisbon", "Oslo", "Łódź", "Kyōto", "Quito")


class Room(NamedTuple):
    """One row, in types that all databases and the warehouse can be brought to."""

    name: str
    city: str | None
    note: str | None
    review_count: int
    updated_at: datetime

    @property
    def refused(self) -> bool:
        """Whether no API takes it."""
        return len(self.note or "") >= TOO_LARGE


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """The table, on the database behind a SQLAlchemy URL."""

    url: str
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _highest: list[int] = field(default_factory=lambda: [0])

    @property
    def kind(self) -> str:
        """postgresql, mysql or sqlite."""
        return make_url(self.url).get_backend_name()

    def connect(self) -> Any:
        """A DB-API connection that commits each statement outside BEGIN and COMMIT, in UTC."""
        url = make_url(self.url)
        if self.kind == "sqlite":
            return sqlite3.connect(str(url.database), timeout=PATIENCE, isolation_level=None)
        if self.kind == "postgresql":
            dsn = f"host=127.0.0.1 port={url.port} user=postgres dbname={url.database}"
            return psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC")
        connection = pymysql.connect(
            host="127.0.0.1", port=url.port or 3306, user="root", database=url.database, charset="utf8mb4",
            autocommit=True, init_command="SET SESSION time_zone='+00:00'",
        )  # fmt: skip
        with connection.cursor() as cursor:  # so that writers lock the rows they name and no others
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        return connection

    def create(self, count: int) -> None:
        """The table with so many rooms, changed in the hour before, seven at a time."""
        with closing(self.connect()) as connection, closing(connection.cursor()) as cursor:
            if self.kind == "sqlite":
                cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute(_CREATE[self.kind])
            cursor.execute("CREATE INDEX rooms_by_time ON rooms (updated_at, id)")
            began = datetime.now(UTC) - timedelta(hours=1)
            stamps = [began + timedelta(milliseconds=500 * (each // 7)) for each in range(count)]
            for start in range(0, count, _AT_ONCE):
                told = [f"'{each:%Y-%m-%d %H:%M:%S}.{each.microsecond // 1000:03}'" for each in stamps[start:]]
                cursor.execute(self.inserting(told[:_AT_ONCE]))
        self.known(count)

    def known(self, highest: int) -> None:
        """Rooms up to this id may be changed."""
        self._highest[0] = max(self._highest[0], highest)

    def some(self, choose: random.Random, count: int) -> list[int]:
        """Ids of rooms that are there, in their order, so that writers seldom wait for each other in a circle."""
        return sorted({choose.randint(1, self._highest[0]) for _ in range(count)})

    def inserting(self, stamps: Sequence[str] | int) -> str:
        """An INSERT of new rooms, with these SQL expressions as their time, or so many of now."""
        moments = [_NOW[self.kind]] * stamps if isinstance(stamps, int) else stamps
        rows = [
            f"({each}, 'Room v{next(self._versions)}', '{_CITIES[each % 5]}', NULL, 0, {moment})"
            for each, moment in zip(self._ids, moments, strict=False)
        ]
        return f"INSERT INTO rooms (id, name, city, note, review_count, updated_at) VALUES {', '.join(rows)}"

    def updating(self, ids: Sequence[int], *, too_large: bool = False) -> str:
        """An UPDATE of these rooms; their versions differ, since the name holds the id."""
        note = f"'{'x' * TOO_LARGE}'" if too_large else "NULL"
        name = f"'Room v{next(self._versions)} of '"
        told = f"CONCAT({name}, id)" if self.kind == "mysql" else f"{name} || id"
        return (
            f"UPDATE rooms SET name = {told}, review_count = review_count + 1, note = {note}, "
            f"updated_at = {_NOW[self.kind]} WHERE id IN ({', '.join(map(str, ids))})"
        )

    def execute(self, sql: str) -> None:
        """One statement."""
        with closing(self.connect()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(sql)

    @property
    def begin(self) -> str:
        """How a transaction that writes begins."""
        return _BEGIN[self.kind]

    def change(self, choose: random.Random, count: int) -> None:
        """Change about so many rooms at once, all at the same time by the database's clock."""
        with closing(self.connect()) as connection, closing(connection.cursor()) as cursor:
            while not committed(cursor, self.begin, lambda: cursor.execute(self.updating(self.some(choose, count)))):
                pass

    def all(self) -> dict[str, Room]:
        """Every room by its id as text."""
        with closing(self.connect()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute("SELECT id, name, city, note, review_count, updated_at FROM rooms")
            return {str(row[0]): Room(*row[1:5], instant(row[5])) for row in cursor.fetchall()}


def instant(told: Any) -> datetime:
    """A time as a driver or a warehouse tells it; without a zone it is in UTC."""
    moment = told if isinstance(told, datetime) else datetime.fromisoformat(told)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def committed(cursor: Any, begin: str, work: Callable[[], object], *, back: bool = False) -> bool:
    """Do the work in a transaction. False: it was taken back, as asked or as the victim of a deadlock."""
    try:
        cursor.execute(begin)
        work()
        cursor.execute("ROLLBACK" if back else "COMMIT")
    except psycopg.errors.DeadlockDetected:
        cursor.execute("ROLLBACK")
        return False
    except pymysql.err.OperationalError as error:
        if error.args[0] not in _LOCKED:
            raise
        cursor.execute("ROLLBACK")
        return False
    return not back


class Writers:
    """Threads that write until told to stop: each has its own connection and its own habits."""

    def __init__(self, rooms: Rooms, seed: int) -> None:
        self._rooms = rooms
        self._stop = threading.Event()
        self._seed = seed
        #: committed and rolled back transactions
        self.committed = 0
        self.rolled_back = 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """They write while the context is open. A writer's error comes out at its end."""
        habits: list[Callable[[_Hand], None]] = [_Hand.insert, _Hand.update, _Hand.update_late, _Hand.insert_late]
        with ThreadPoolExecutor(len(habits), thread_name_prefix="writer") as threads:
            work: list[Future[None]] = []
            try:
                work += [threads.submit(self._write, habit, place) for place, habit in enumerate(habits)]
                yield
            finally:
                self._stop.set()
        for each in work:
            each.result()

    def _write(self, habit: Callable[[_Hand], None], place: int) -> None:
        with closing(self._rooms.connect()) as connection:
            hand = _Hand(self._rooms, connection, random.Random(self._seed * 100 + place), self._stop)
            while not self._stop.is_set():
                habit(hand)
            self.committed += hand.committed
            self.rolled_back += hand.rolled_back


class _Hand:
    """One writer: its connection, its dice."""

    def __init__(self, rooms: Rooms, connection: Any, choose: random.Random, stop: threading.Event) -> None:
        self._rooms = rooms
        self._cursor = connection.cursor()
        self._choose = choose
        self._stop = stop
        #: SQLite lets nobody else write meanwhile
        self._short = rooms.kind == "sqlite"
        self.committed = 0
        self.rolled_back = 0

    def insert(self) -> None:
        """A few new rooms at once."""
        self._transaction(lambda: self._insert(self._choose.randint(1, 3)))
        self._rest(0.1)

    def update(self) -> None:
        """A few rooms change; now and then one becomes too large, or the change is taken back."""
        dice = self._choose.random()
        if dice < 0.05:
            self._transaction(lambda: self._update(1, too_large=True))
        else:
            self._transaction(lambda: self._update(self._choose.randint(1, 10)), back=dice > 0.9)
        self._rest(0.1)

    def update_late(self) -> None:
        """Changes that are committed long after their time; one in five is taken back."""

        def work() -> None:
            self._update(5)
            self._rest(0.1 if self._short else 0.8)
            self._update(5)

        self._transaction(work, back=self._choose.random() < 0.2)
        self._rest(0.3)

    def insert_late(self) -> None:
        """A transaction that stays open for longer than clocks may differ: its rows are old when they are seen."""

        def work() -> None:
            self._insert(5)
            self._stop.wait(0.1 if self._short else self._choose.uniform(7, 12))
            self._insert(5)

        self._transaction(work, back=self._choose.random() < 0.1)
        self._rest(0.3)

    def _transaction(self, work: Callable[[], object], *, back: bool = False) -> None:
        done = committed(self._cursor, self._rooms.begin, work, back=back)
        self.committed += done
        self.rolled_back += not done

    def _insert(self, count: int) -> None:
        self._cursor.execute(self._rooms.inserting(count))

    def _update(self, count: int, *, too_large: bool = False) -> None:
        ids = self._rooms.some(self._choose, count)
        self._cursor.execute(self._rooms.updating(ids, too_large=too_large))

    def _rest(self, longest: float) -> None:
        self._stop.wait(self._choose.uniform(0, longest))
