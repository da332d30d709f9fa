"""Numbers that the database gives out: whoever commits a lower one late holds the saved watermark, nobody else does."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from random import Random

import pytest
import servers
from campaign import rounds
from integration.horizon_reading import NUMBERED, Execute, Follower
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

NUMBER = {"postgresql": "bigserial", "mysql": "BIGINT AUTO_INCREMENT"}
#: begins a transaction that draws a number and is prepared, and ends it; `{}` is its name
PREPARED = {
    "postgresql": (("INSERT INTO rooms DEFAULT VALUES", "PREPARE TRANSACTION '{}'"), "{how} PREPARED '{}'"),
    "mysql": (("XA START '{}'", "INSERT INTO rooms VALUES ()", "XA END '{}'", "XA PREPARE '{}'"), "XA {how} '{}'"),
}
INSERT = {"postgresql": "INSERT INTO rooms DEFAULT VALUES", "mysql": "INSERT INTO rooms VALUES ()"}


@pytest.fixture(params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest, execute_sql: Execute) -> str:
    """A database whose table numbers its rooms."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    execute_sql(found, f"CREATE TABLE rooms (id {NUMBER[kind(found)]} PRIMARY KEY)")
    return found


@pytest.fixture
def follower(url: str) -> Follower:
    return Follower(url, mapping=NUMBERED)


def kind(url: str) -> str:
    return make_url(url).get_backend_name()


def opened(url: str) -> Connection:
    """Another client."""
    return create_engine(url, poolclass=NullPool).connect()


def insert(url: str) -> None:
    servers.execute_sql(url, INSERT[kind(url)])


def saved(follower: Follower) -> int:
    return int(follower.saved.text) if follower.saved else 0


def test_who_ends_soon_is_waited_for(url: str, follower: Follower) -> None:
    """The run sees both then, and saves the higher one."""
    with closing(opened(url)) as slow:
        slow.exec_driver_sql(INSERT[kind(url)])
        insert(url)
        ending = threading.Timer(0.4, slow.commit)
        ending.start()
        assert follower.run() == [1, 2]
        ending.join()
    assert saved(follower) == 2


def test_what_a_prepared_transaction_drew_is_waited_for(url: str, follower: Follower) -> None:
    """Its session is gone; nothing moves until somebody ends it."""
    name = str(make_url(url).database)
    begins, ends = PREPARED[kind(url)]
    insert(url)
    assert (follower.run(), saved(follower)) == ([1], 1)
    with closing(opened(url)) as gone:
        for statement in begins:
            gone.exec_driver_sql(statement.format(name))
        gone.invalidate()
    try:
        insert(url)
        assert (follower.run(), saved(follower)) == ([1, 3], 1)
        assert "prepared transaction" in str(follower.horizon().held_by)
    finally:
        servers.execute_sql(url, ends.format(name, how="COMMIT"))
    assert (follower.run(), saved(follower)) == ([1, 2, 3], 3)


def test_who_only_reads_does_not_hold_it(url: str, follower: Follower) -> None:
    """A read of ours that stays open, and (MariaDB) a statement that reads for long."""
    insert(url)
    reads = {"postgresql": "SELECT 1", "mysql": "SELECT SLEEP(2) FROM rooms"}[kind(url)]
    with Follower(url).source.snapshot(), closing(opened(url)) as other, ThreadPoolExecutor(1) as thread:
        other.execution_options(isolation_level="AUTOCOMMIT")
        reading = thread.submit(other.exec_driver_sql, reads)
        time.sleep(0.2)
        horizon = follower.horizon()
        reading.result()
    assert (horizon.pinned, horizon.held_by, horizon.uncertain) == (False, None, None)


@pytest.mark.parametrize("url", ["mariadb"], indirect=True)
def test_a_statement_that_is_about_to_draw_holds_it(url: str, follower: Follower) -> None:
    """InnoDB does not show it yet: it draws its number before its transaction is called begun."""
    with closing(opened(url)) as slow, ThreadPoolExecutor(1) as thread:
        inserting = thread.submit(slow.exec_driver_sql, "INSERT INTO rooms SELECT SLEEP(2)")
        time.sleep(0.2)
        assert str(follower.horizon().held_by).startswith("a statement (connection ")
        inserting.result()
        assert str(follower.horizon().held_by).startswith("a transaction (connection ")


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_role_without_privileges_waits_too(url: str, execute_sql: Execute) -> None:
    """The locks of others are no secret in PostgreSQL."""
    execute_sql(url, "CREATE ROLE visitor LOGIN; GRANT SELECT ON rooms TO visitor")
    try:
        theirs = make_url(url).set(username="visitor").render_as_string(hide_password=False)
        with closing(opened(url)) as slow:
            slow.exec_driver_sql(INSERT["postgresql"])
            horizon = Follower(theirs, mapping=NUMBERED).horizon()
        assert str(horizon.held_by).startswith("a transaction that stays open (pid ")
        assert horizon.uncertain is None
        assert Follower(theirs, mapping=NUMBERED).horizon().held_by is None
    finally:
        execute_sql(url, "REVOKE ALL ON rooms FROM visitor; DROP ROLE visitor")


@pytest.mark.parametrize("url", ["mariadb"], indirect=True)
def test_without_the_privilege_it_is_told(url: str, execute_sql: Execute) -> None:
    """Only the lookback protects then; the sentence names the GRANT."""
    parsed = make_url(url)
    execute_sql(url, f"CREATE USER visitor; GRANT SELECT ON {parsed.database}.* TO visitor")
    try:
        theirs = Follower(parsed.set(username="visitor").render_as_string(hide_password=False), mapping=NUMBERED)
        insert(url)
        assert (theirs.run(), saved(theirs)) == ([1], 1)
        assert "GRANT PROCESS ON *.* TO 'visitor'@'%'" in str(theirs.horizon().uncertain)
    finally:
        execute_sql(url, "DROP USER visitor")


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_number_that_is_none_moves_nothing(url: str, execute_sql: Execute) -> None:
    """NaN is the greatest of PostgreSQL's numbers: there is no highest one that could be waited for."""
    execute_sql(url, "DROP TABLE rooms; CREATE TABLE rooms (id numeric PRIMARY KEY); INSERT INTO rooms VALUES (1)")
    follower = Follower(url, mapping=NUMBERED)
    follower.run()
    execute_sql(url, "INSERT INTO rooms VALUES (2), ('NaN')")
    assert (len(follower.run()), saved(follower)) == (3, 1)


def test_w07_nothing_is_lost_while_many_write(url: str, follower: Follower) -> None:
    """Following without a lookback finds every committed row, and the watermark does move meanwhile."""
    marks = set[int]()
    with Writers(url, rounds(3, 300)) as writers:
        while writers.active:
            follower.run()
            marks.add(saved(follower))
    follower.run()
    assert writers.committed - follower.seen == set()
    assert len(marks) > 2


class Writers:
    """Eight clients that draw numbers for some seconds, and commit or roll back at once or after a while."""

    def __init__(self, url: str, seconds: int) -> None:
        self.committed: set[int] = set()
        self._url = url
        self._until = time.monotonic() + seconds
        self._names = itertools.count()
        self._threads = [threading.Thread(target=self._write, args=[Random(seed)]) for seed in range(8)]

    def __enter__(self) -> Writers:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._until = 0
        for each in self._threads:
            each.join()

    @property
    def active(self) -> bool:
        """Whether they go on."""
        return time.monotonic() < self._until

    def _write(self, chance: Random) -> None:
        with closing(opened(self._url)) as connection:
            while self.active:
                ways: list[Callable[[Connection, Random], Iterator[int]]] = [_at_once] * 8 + [_in_a_while]
                self.committed.update(chance.choice(ways)(connection, chance))


def _at_once(connection: Connection, chance: Random) -> Iterator[int]:
    for _ in range(20):
        number = _drawn(connection)
        connection.commit()
        yield number


def _in_a_while(connection: Connection, chance: Random) -> Iterator[int]:
    number = _drawn(connection)
    time.sleep(chance.choice([0.0, 0.1, 0.2, 0.4]))
    if chance.random() < 0.2:
        connection.rollback()
        return
    connection.commit()
    yield number


def _drawn(connection: Connection) -> int:
    told = connection.exec_driver_sql(f"{INSERT[connection.dialect.name.replace('mariadb', 'mysql')]} RETURNING id")
    return int(told.scalar_one())
