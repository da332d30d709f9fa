"""MariaDB: no transaction or statement commits behind the saved watermark, whichever way it stays open."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pymysql
import pytest
import servers
from campaign import rounds
from integration.horizon_reading import AGED, ROOMS, Execute, Follower, before, has_advanced
from sqlalchemy.engine import make_url

from syncer.core.model import Mode
from syncer.core.plan import RunPlan
from syncer.source.dialect_generic import LONG_AGO

Connection = Any

TABLE = "CREATE TABLE rooms (id INT PRIMARY KEY, at TIMESTAMP(6) DEFAULT NOW(6))"


def connect(url: str, **more: object) -> Connection:
    parsed = make_url(url)
    given = {"user": "root", "database": parsed.database, "autocommit": True, **more}
    return pymysql.connect(host=parsed.host, port=parsed.port or 0, init_command="SET time_zone = '+00:00'", **given)


def run(connection: Connection, *statements: str) -> Any:
    """Execute statements; the first value of the last one's result."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        row = cursor.fetchone()
        return row[0] if row else None


# --- transactions that are old when a run comes by --------------------------------------------------------------


@dataclass(kw_only=True)
class Late:
    """A database where a writer began soon after `began`, and room 2 gets committed in the end."""

    url: str
    began: datetime
    told: str
    thread: int
    finish: Callable[[], object]


#: the connection that began first, and how the late one is finished
Begun = tuple[int, Callable[[], object]]


def idle(url: str, connection: Connection, ended: ExitStack) -> Begun:
    run(connection, "BEGIN", "INSERT INTO rooms (id) VALUES (2)")
    return connection.thread_id(), connection.commit


def running(url: str, connection: Connection, ended: ExitStack) -> Begun:
    """An autocommitted statement that waits for a row's lock."""
    other = ended.enter_context(closing(connect(url)))
    run(other, "BEGIN", "INSERT INTO rooms (id) VALUES (2)")
    time.sleep(1.1)  # InnoDB keeps whole seconds: the other is the older one
    thread = threading.Thread(target=run, args=[connection, "INSERT INTO rooms (id) VALUES (2)"])
    thread.start()

    def finish() -> None:
        other.rollback()
        thread.join()

    return other.thread_id(), finish


def waiting_for_the_table(url: str, connection: Connection, ended: ExitStack) -> Begun:
    """A statement without a transaction yet: it is not among InnoDB's, but its stamp is taken."""
    other = ended.enter_context(closing(connect(url)))
    run(other, "LOCK TABLES rooms READ")
    thread = threading.Thread(target=run, args=[connection, "INSERT INTO rooms (id) VALUES (2)"])
    thread.start()

    def finish() -> None:
        run(other, "UNLOCK TABLES")
        thread.join()

    return connection.thread_id(), finish


def prepared_in_its_session(url: str, connection: Connection, ended: ExitStack) -> Begun:
    name = f"'{make_url(url).database}'"
    run(connection, f"XA START {name}", "INSERT INTO rooms (id) VALUES (2)", f"XA END {name}", f"XA PREPARE {name}")
    return connection.thread_id(), lambda: run(connection, f"XA COMMIT {name}")


def stamped_before_it_began(url: str, connection: Connection, ended: ExitStack) -> Begun:
    """A statement that waited for its table has a stamp older than its transaction; the margin is for that too."""
    run(connection, "BEGIN")
    thread, unlock = waiting_for_the_table(url, connection, ended)
    time.sleep(2)
    unlock()
    return thread, connection.commit


KINDS = (idle, running, waiting_for_the_table, prepared_in_its_session, stamped_before_it_began)


@dataclass(kw_only=True)
class Stopped:
    """A database where room 2 belongs to a prepared transaction whose session is gone, and what followed it before."""

    url: str
    follower: Follower

    def check(self) -> None:
        """When its session is gone nobody knows when it began, so nothing moves until it ends."""
        follower, kept = self.follower, self.follower.saved
        for number in range(3, 4 + rounds(0, 50)):
            servers.execute_sql(self.url, f"INSERT INTO rooms (id) VALUES ({number})")
            assert number in follower.run()
            assert follower.saved == kept
        horizon = follower.horizon()
        assert horizon.at == LONG_AGO
        assert "XA RECOVER" in str(horizon.held_by)

    def end(self) -> None:
        """Commit it. As long as it stays it holds back everything that is read of the server."""
        with suppress(pymysql.Error):
            servers.execute_sql(self.url, "XA COMMIT 'slow'")


def new_database(server: servers.Server, ended: ExitStack) -> str:
    """A database with room 1."""
    url = servers.new_mariadb_database(server)
    ended.callback(servers.drop_mariadb_database, server, url)
    servers.execute_sql(url, f"{TABLE}; INSERT INTO rooms (id) VALUES (1)")
    return url


def prepared_for_good(url: str, ended: ExitStack) -> Stopped:
    """Its stamp is older than the watermark that the follower saved."""
    stopped = Stopped(url=url, follower=Follower(url))
    ended.callback(stopped.end)
    with closing(connect(url)) as slow:
        run(slow, "XA START 'slow'", "INSERT INTO rooms (id) VALUES (2)", "XA END 'slow'", "XA PREPARE 'slow'")
        stopped.follower.run()
    return stopped


def begun(url: str, kind: Callable[[str, Connection, ExitStack], Begun], ended: ExitStack) -> Late:
    connection = ended.enter_context(closing(connect(url)))
    before_it = run(connection, "SELECT UTC_TIMESTAMP(6)")
    thread, finish = kind(url, connection, ended)
    began = run(connection, "SELECT UTC_TIMESTAMP(6)") if kind is stamped_before_it_began else before_it
    told = "statement" if kind is waiting_for_the_table else "transaction"
    return Late(url=url, began=began.replace(tzinfo=UTC), told=told, thread=thread, finish=finish)


def test_w06_w08_a_late_commit_lies_behind_no_saved_watermark(mariadb_server: servers.Server) -> None:
    """Rows of others are read at once, the watermark waits for each kind, and its row is found without a lookback."""
    with ExitStack() as ended:
        stopped = prepared_for_good(new_database(mariadb_server, ended), ended)
        lates: list[Late] = []
        for kind in KINDS:
            lates.append(begun(new_database(mariadb_server, ended), kind, ended))
            time.sleep(2.1)  # InnoDB keeps whole seconds, and so does the list of statements, on another clock
        time.sleep(AGED)
        stopped.check()
        stopped.end()
        assert 2 in stopped.follower.run()
        for late in lates:  # the oldest holds the bound of all
            check(late)
        assert has_advanced(stopped.follower.horizon())


def check(late: Late) -> None:
    follower = Follower(late.url)
    horizon = follower.horizon()
    assert abs(horizon.at - before(late.began)) <= timedelta(seconds=1)
    assert horizon.uncertain is None
    assert horizon.held_by == f"a {late.told} (connection {late.thread})"
    assert follower.run() == [1]
    late.finish()
    assert 2 in follower.run()


# --- who does not hold the bound --------------------------------------------------------------------------------


def test_our_own_reads_do_not_hold_it(mariadb_url: str, execute_sql: Execute) -> None:
    """A read of another mapping that goes on for long is no writer: InnoDB knows that it only reads."""
    execute_sql(mariadb_url, f"{TABLE}; INSERT INTO rooms (id) SELECT seq FROM seq_1_to_200000")
    follower, other = Follower(mariadb_url), Follower(mariadb_url)
    described = other.source.describe(ROOMS)
    with other.source.read(RunPlan(mapping=ROOMS, primary_key=("id",), mode=Mode.FULL), described) as chunks:
        next(chunks)
        time.sleep(2.1)
        assert has_advanced(follower.horizon())


def test_a_transaction_that_did_nothing_yet_does_not_hold_it(mariadb_url: str, execute_sql: Execute) -> None:
    """`NOW()` is when a statement begins: what comes will be stamped later."""
    execute_sql(mariadb_url, TABLE)
    with closing(connect(mariadb_url)) as slow:
        run(slow, "BEGIN", "SELECT NOW()")
        time.sleep(2.1)
        assert has_advanced(Follower(mariadb_url).horizon())


# --- what the user may not see ----------------------------------------------------------------------------------


def test_without_the_privilege_only_the_lookback_protects(mariadb_url: str, execute_sql: Execute) -> None:
    """The sentence names the GRANT, and the GRANT lets the bound wait."""
    execute_sql(mariadb_url, TABLE)
    execute_sql(mariadb_url, "CREATE USER guest@'127.0.0.1'; GRANT SELECT ON rooms TO guest@'127.0.0.1'")
    url = make_url(mariadb_url).set(username="guest").render_as_string(hide_password=False)
    with closing(connect(mariadb_url)) as slow:
        run(slow, "BEGIN", "INSERT INTO rooms (id) VALUES (2)")
        time.sleep(2.1)
        blind = Follower(url).horizon()
        assert "`GRANT PROCESS ON *.* TO 'guest'@'127.0.0.1'`" in str(blind.uncertain)
        assert has_advanced(blind)
        execute_sql(mariadb_url, "GRANT PROCESS ON *.* TO guest@'127.0.0.1'")
        seeing = Follower(url).horizon()
        assert not has_advanced(seeing)
        assert seeing.uncertain is None
    execute_sql(mariadb_url, "DROP USER guest@'127.0.0.1'")


# --- all at once ------------------------------------------------------------------------------------------------


class Writers:
    """Transactions of all kinds at the same time, some longer than the margin, a few rolled back."""

    def __init__(self, url: str, seconds: int) -> None:
        self.committed: set[int] = set()
        self._url, self._seconds = url, seconds
        self._numbers = itertools.count(1)
        self._threads = [threading.Thread(target=self._write, args=[Random(seed)]) for seed in range(6)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()

    @property
    def active(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _write(self, random: Random) -> None:
        until = time.monotonic() + self._seconds
        with closing(connect(self._url)) as connection:
            while time.monotonic() < until:
                number = next(self._numbers)
                pause = random.choice([0.0, 0.1, 0.5, 2.0, AGED, AGED + rounds(0, 2)])
                insert = f"INSERT INTO rooms (id) VALUES ({number})"
                prepares = random.random() < 0.2
                run(connection, f"XA START 'at{number}'" if prepares else "BEGIN", insert)
                time.sleep(pause * random.random())
                if prepares:
                    run(connection, f"XA END 'at{number}'", f"XA PREPARE 'at{number}'")
                    time.sleep(pause * random.random())
                    run(connection, f"XA COMMIT 'at{number}'")
                elif random.random() < 0.1:
                    connection.rollback()
                    continue
                else:
                    connection.commit()
                self.committed.add(number)


def test_w06_w08_nothing_is_lost_while_many_write(mariadb_url: str, execute_sql: Execute) -> None:
    """Following without a lookback finds every committed row."""
    execute_sql(mariadb_url, TABLE)
    follower = Follower(mariadb_url)
    with Writers(mariadb_url, rounds(2, 600)) as writers:
        while writers.active:
            follower.run()
            time.sleep(0.2)
    follower.run()
    assert writers.committed - follower.seen == set()
    assert len(writers.committed) > 6  # one for each writer at least


# --- stamps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sql_type", ["TIMESTAMP(6) NULL", "TIMESTAMP NULL", "DATETIME(6)", "DATETIME", "DATE"])
def test_w13_a_stamp_of_the_future_does_not_lead_the_watermark_away(
    mariadb_url: str, execute_sql: Execute, sql_type: str
) -> None:
    """Rows that come after it are found, in columns of every resolution, within the same second or day too."""
    execute_sql(mariadb_url, f"CREATE TABLE rooms (id INT PRIMARY KEY, at {sql_type})")
    execute_sql(mariadb_url, "INSERT INTO rooms VALUES (1, NOW() + INTERVAL 10 YEAR)")
    follower = Follower(mariadb_url)
    assert follower.run() == [1]
    for number in range(2, 5):
        execute_sql(mariadb_url, f"SET time_zone = '+00:00'; INSERT INTO rooms VALUES ({number}, NOW(6))")
        assert number in follower.run()


# --- servers fed by others --------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[servers.Server, servers.Server]]:
    """A server with a binary log, and one that replicates from it."""
    with ExitStack() as ended:
        started = []
        for number, option in enumerate(["--log-bin=log", "--relay-log=relay"], 1):
            folder = ended.enter_context(TemporaryDirectory(prefix="syncer-server-", ignore_cleanup_errors=True))
            try:
                server = servers.start_mariadb(Path(folder), f"--server-id={number}", option)
            except servers.NoServer as missing:
                pytest.skip(str(missing))
            ended.callback(server.stop)
            started.append(server)
        yield started[0], started[1]


def until(true: Callable[[], bool]) -> None:
    """Wait for another server."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_w35_a_replica_that_is_behind(pair: tuple[servers.Server, servers.Server], execute_sql: Execute) -> None:
    """The bound stays as far back as the replica is, so that what comes later is found."""
    source, replica = pair
    url = f"mysql+pymysql://root@127.0.0.1:{source.port}/app?charset=utf8mb4"
    copy = f"mysql+pymysql://root@127.0.0.1:{replica.port}/app?charset=utf8mb4"
    with closing(connect(url, database=None)) as written, closing(connect(copy, database=None)) as replicating:
        run(written, "CREATE USER replicating", "GRANT REPLICATION SLAVE ON *.* TO replicating")
        run(
            replicating, "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_USER='replicating', "
            f"MASTER_PORT={source.port}, MASTER_LOG_FILE='log.000001', MASTER_LOG_POS=4", "START SLAVE",
        )  # fmt: skip
        run(written, "CREATE DATABASE app", "USE app", TABLE)
        run(written, "INSERT INTO rooms VALUES (1, NOW(6)), (2, NOW(6) + INTERVAL 10 YEAR)")
        until(lambda: holds(copy, 2))
        follower = Follower(copy)
        assert follower.run() == [1, 2]
        assert "replication" in str(follower.horizon().uncertain)
        with closing(connect(copy)) as blocking:
            run(blocking, "LOCK TABLES rooms READ")
            run(written, "INSERT INTO rooms VALUES (3, NOW(6))")
            time.sleep(AGED)
            assert follower.run() == [1, 2]
            assert not has_advanced(follower.horizon())
            run(blocking, "UNLOCK TABLES")
        until(lambda: holds(copy, 3))
        assert 3 in follower.run()
        run(replicating, "STOP SLAVE")
        assert follower.horizon().uncertain is None  # what is stopped for good was promoted


def holds(url: str, rows: int) -> bool:
    with suppress(pymysql.Error), closing(connect(url)) as asked:  # the table may not have arrived yet
        return run(asked, "SELECT COUNT(*) FROM rooms") == rows
    return False
