"""PostgreSQL: no transaction commits behind the saved watermark, whichever way it stays open."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import psycopg
import pytest
import servers
from campaign import rounds
from integration.horizon_reading import AGED, Execute, Follower, before, has_advanced
from sqlalchemy.engine import make_url

from syncer.source.dialect_generic import LONG_AGO

Connection = psycopg.Connection[tuple[object, ...]]

TABLE = "CREATE TABLE rooms (id int PRIMARY KEY, at timestamptz DEFAULT now())"


def connect(url: str, **more: object) -> Connection:
    parsed = make_url(url)
    given = {"user": "postgres", "dbname": parsed.database, **more}
    return psycopg.connect(host=parsed.host, port=parsed.port, connect_timeout=5, **given)


def as_guest(url: str) -> str:
    return make_url(url).set(username="guest").render_as_string(hide_password=False)


# --- transactions that are old when a run comes by --------------------------------------------------------------


@dataclass(kw_only=True)
class Late:
    """A database where a transaction is open since `began`, the writer's `now()`, and inserts room 2 in the end."""

    url: str
    began: datetime
    pid: int
    finish: Callable[[], object]
    follower: Follower


def unwritten(url: str, connection: Connection) -> Callable[[], object]:
    def finish() -> None:
        connection.execute("INSERT INTO rooms VALUES (2)")
        connection.commit()

    return finish


def written(url: str, connection: Connection) -> Callable[[], object]:
    connection.execute("INSERT INTO rooms VALUES (2)")
    return connection.commit


def failed_once(url: str, connection: Connection) -> Callable[[], object]:
    connection.execute("INSERT INTO rooms VALUES (2); SAVEPOINT here")
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1/0")

    def finish() -> None:
        connection.execute("ROLLBACK TO here")
        connection.commit()

    return finish


def of_an_application_called_syncer(url: str, connection: Connection) -> Callable[[], object]:
    connection.execute("SET LOCAL application_name = 'syncer'; INSERT INTO rooms VALUES (2)")
    return connection.commit


def running(url: str, connection: Connection) -> Callable[[], object]:
    """A statement that writes first and goes on for as long as another session holds a lock."""
    keeper = connect(url)
    keeper.execute("SELECT pg_advisory_lock(7)")
    waits = "WITH added AS (INSERT INTO rooms VALUES (2)) SELECT pg_advisory_xact_lock(7)"
    thread = threading.Thread(target=lambda: (connection.execute(waits), connection.commit()))
    thread.start()

    def finish() -> None:
        keeper.close()
        thread.join()

    return finish


def prepared(url: str, connection: Connection) -> Callable[[], object]:
    """Begun before the watermark was saved that is to stay."""
    servers.execute_sql(url, "INSERT INTO rooms VALUES (1)")
    connection.execute("INSERT INTO rooms VALUES (2)")
    return lambda: servers.execute_sql(url, "COMMIT PREPARED 'slow'")


def once(call: Callable[[], object]) -> Callable[[], None]:
    """The call, and nothing when it is made again."""
    left = [call]

    def made() -> None:
        if left:
            left.pop()()

    return made


KINDS = (unwritten, written, failed_once, of_an_application_called_syncer, running)


@pytest.fixture(scope="module")
def aged(postgres_server: servers.Server) -> Iterator[dict[str, Late]]:
    """One database for each kind; all of them have waited for longer than the margin together."""
    with ExitStack() as ended:
        found: dict[str, Late] = {}
        for kind in (*KINDS, prepared):
            url = servers.new_postgres_database(postgres_server)
            ended.callback(servers.drop_postgres_database, postgres_server, url)
            servers.execute_sql(url, TABLE)
            connection = ended.enter_context(closing(connect(url)))
            (began,) = connection.execute("SELECT now()").fetchone() or (None,)
            assert isinstance(began, datetime)
            finish = once(kind(url, connection))
            found[kind.__name__] = Late(
                url=url, began=began, pid=connection.info.backend_pid, finish=finish, follower=Follower(url)
            )
            # its test may have run in another process
            ended.callback(finish)
            if kind is prepared:
                found["prepared"].follower.run()
                connection.execute("PREPARE TRANSACTION 'slow'")
        time.sleep(AGED)
        yield found


@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
def test_w05_a_late_commit_lies_behind_no_saved_watermark(
    aged: dict[str, Late], execute_sql: Execute, kind: str
) -> None:
    """Rows of others are read at once, the watermark waits, and the late row is found without a lookback.

    What it waits for is told with the process to look for.
    """
    late = aged[kind]
    follower = late.follower
    execute_sql(late.url, "INSERT INTO rooms VALUES (1)")
    horizon = follower.horizon()
    assert (horizon.at, horizon.uncertain) == (before(late.began), None)
    assert horizon.held_by == f"a transaction of postgres (pid {late.pid})"
    assert follower.run() == [1]
    execute_sql(late.url, "INSERT INTO rooms VALUES (3)")
    assert follower.run() == [1, 3]
    late.finish()
    assert follower.run() == [2, 1, 3]
    assert has_advanced(follower.horizon())


# --- who does not hold the bound --------------------------------------------------------------------------------


@pytest.fixture
def opened(postgres_url: str) -> Iterator[Callable[..., Connection]]:
    """Connections to the test's database, closed at its end."""
    with ExitStack() as ended:
        yield lambda **more: ended.enter_context(closing(connect(postgres_url, **more)))


def test_our_own_reads_do_not_hold_it(postgres_url: str, execute_sql: Execute) -> None:
    """A read of another mapping that goes on for long is no writer."""
    execute_sql(postgres_url, f"{TABLE}; INSERT INTO rooms SELECT generate_series(1, 10000)")
    follower, other = Follower(postgres_url), Follower(postgres_url)
    with other.source.snapshot() as reading:
        reading.exec_driver_sql("SELECT 1").close()
        time.sleep(1.1)
        assert has_advanced(follower.horizon())


def test_transactions_elsewhere_do_not_hold_it(
    postgres_url: str, postgres_server: servers.Server, execute_sql: Execute
) -> None:
    """Another database's transactions, prepared ones too, cannot write here."""
    execute_sql(postgres_url, TABLE)
    other = servers.new_postgres_database(postgres_server)
    servers.execute_sql(other, TABLE)
    with closing(connect(other)) as elsewhere, closing(connect(other)) as preparing:
        preparing.execute("INSERT INTO rooms VALUES (1)")
        preparing.execute("PREPARE TRANSACTION 'elsewhere'")
        elsewhere.execute("INSERT INTO rooms VALUES (2)")
        time.sleep(1.1)
        assert has_advanced(Follower(postgres_url).horizon())
        preparing.rollback()
        servers.execute_sql(other, "ROLLBACK PREPARED 'elsewhere'")
    servers.drop_postgres_database(postgres_server, other)


def test_an_application_cannot_pass_for_us_by_its_name(opened: Callable[..., Connection], postgres_url: str) -> None:
    """Only transactions that say so with more than the name `syncer` are left out."""
    opened(application_name="syncer").execute("SELECT now()")
    time.sleep(1.1)
    assert not has_advanced(Follower(postgres_url).horizon())


# --- prepared transactions --------------------------------------------------------------------------------------


def test_w08_a_prepared_transaction_stops_the_watermark(aged: dict[str, Late], execute_sql: Execute) -> None:
    """Nobody knows when it began, so nothing moves until it ends, after however many runs."""
    late = aged["prepared"]
    follower = late.follower
    kept = follower.saved
    for number in range(3, 4 + rounds(0, 50)):
        execute_sql(late.url, f"INSERT INTO rooms VALUES ({number})")
        assert number in follower.run()
        assert follower.saved == kept
    horizon = follower.horizon()
    assert (horizon.at, horizon.held_by) == (LONG_AGO, "the prepared transaction 'slow'")
    late.finish()
    assert 2 in follower.run()
    assert has_advanced(follower.horizon())


def test_w08_on_a_first_run_everything_is_read_again(
    opened: Callable[..., Connection], postgres_url: str, execute_sql: Execute
) -> None:
    """With nothing saved yet there is no watermark that is known to lie before it."""
    execute_sql(postgres_url, f"{TABLE}; INSERT INTO rooms VALUES (1, '2026-01-01Z')")
    slow = opened()
    slow.execute("INSERT INTO rooms VALUES (2)")
    slow.execute("PREPARE TRANSACTION 'first'")
    follower = Follower(postgres_url)
    assert follower.run() == [1]
    execute_sql(postgres_url, "COMMIT PREPARED 'first'")
    assert follower.run() == [1, 2]
    assert follower.saved is not None
    assert follower.saved.text > "2026-01-01"


def test_a_prepared_transaction_that_ends_soon_is_waited_for(
    opened: Callable[..., Connection], postgres_url: str, execute_sql: Execute
) -> None:
    """Applications that always have one open, each for a moment, do not stop the watermark."""
    execute_sql(postgres_url, TABLE)
    stop = threading.Event()
    preparing, ending = opened(), opened(autocommit=True)

    def commit_in_two_phases() -> None:
        number, left = 0, ""
        while not stop.is_set():
            number += 1
            preparing.execute(f"INSERT INTO rooms VALUES ({number})".encode())
            preparing.execute(f"PREPARE TRANSACTION 'soon{number}'".encode())
            if left:
                ending.execute(f"COMMIT PREPARED '{left}'".encode())
            left = f"soon{number}"
        ending.execute(f"COMMIT PREPARED '{left}'".encode())

    thread = threading.Thread(target=commit_in_two_phases)
    thread.start()
    try:
        assert all(has_advanced(Follower(postgres_url).horizon()) for _ in range(5))
    finally:
        stop.set()
        thread.join()


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
        with closing(connect(self._url)) as connection, closing(connect(self._url, autocommit=True)) as second:
            while time.monotonic() < until:
                number = next(self._numbers)
                pause = random.choice([0.0, 0.1, 0.5, 2.0, AGED, AGED + rounds(0, 2)])
                connection.execute("SELECT now()")
                time.sleep(pause * random.random())
                connection.execute(f"INSERT INTO rooms VALUES ({number})".encode())
                time.sleep(pause * random.random())
                if random.random() < 0.1:
                    connection.rollback()
                    continue
                if random.random() < 0.1:
                    connection.execute(f"PREPARE TRANSACTION 'at{number}'".encode())
                    time.sleep(pause * random.random())
                    second.execute(f"COMMIT PREPARED 'at{number}'".encode())
                else:
                    connection.commit()
                self.committed.add(number)


def test_w05_w08_nothing_is_lost_while_many_write(postgres_url: str, execute_sql: Execute) -> None:
    """Following without a lookback finds every committed row."""
    execute_sql(postgres_url, TABLE)
    follower = Follower(postgres_url)
    with Writers(postgres_url, rounds(2, 600)) as writers:
        while writers.active:
            follower.run()
            time.sleep(0.2)
    follower.run()
    assert writers.committed - follower.seen == set()
    assert len(writers.committed) > 6  # one for each writer at least


# --- what the role may not see ----------------------------------------------------------------------------------


@pytest.fixture
def guest(postgres_url: str, execute_sql: Execute) -> Iterator[str]:
    """URL of a role that may read `rooms` and sees nothing of others' transactions."""
    execute_sql(postgres_url, f"{TABLE}; CREATE ROLE guest LOGIN; GRANT SELECT ON rooms TO guest")
    yield as_guest(postgres_url)
    execute_sql(postgres_url, "REVOKE ALL ON rooms FROM guest; DROP ROLE guest")


def test_hidden_sessions_without_a_transaction_do_not_matter(
    guest: str, opened: Callable[..., Connection], execute_sql: Execute
) -> None:
    """Their locks show that nothing is open."""
    opened().commit()
    horizon = Follower(guest).horizon()
    assert horizon.uncertain is None
    assert has_advanced(horizon)


def test_a_hidden_transaction_that_stays_open_is_told(
    guest: str, opened: Callable[..., Connection], postgres_url: str, execute_sql: Execute
) -> None:
    """Only the lookback protects then; the sentence names the GRANT, and the GRANT lets the bound wait."""
    slow = opened()
    (began,) = slow.execute("SELECT now()").fetchone() or (None,)
    assert isinstance(began, datetime)
    follower = Follower(guest)
    blind = follower.horizon()
    assert "GRANT pg_read_all_stats TO guest" in str(blind.uncertain)
    assert has_advanced(blind)
    execute_sql(postgres_url, "GRANT pg_read_all_stats TO guest")
    seeing = follower.horizon()
    assert (seeing.at, seeing.uncertain) == (before(began), None)


def test_a_hidden_transaction_that_ends_soon_is_waited_for(
    guest: str, opened: Callable[..., Connection], postgres_url: str
) -> None:
    """When it has ended, it no longer matters when it began: the bound is that of the first look."""
    slow = opened()
    slow.execute("INSERT INTO rooms VALUES (2)")
    ending = threading.Timer(0.4, slow.commit)
    ending.start()
    horizon = Follower(guest).horizon()
    ending.join()
    assert horizon.uncertain is None
    assert has_advanced(horizon)


def test_a_hidden_transaction_that_is_prepared_meanwhile_counts(
    guest: str, opened: Callable[..., Connection], postgres_url: str, execute_sql: Execute
) -> None:
    """To leave its session by PREPARE is not to end."""
    slow = opened()
    slow.execute("INSERT INTO rooms VALUES (2)")
    preparing = threading.Timer(0.4, slow.execute, ["PREPARE TRANSACTION 'hidden'"])
    preparing.start()
    horizon = Follower(guest).horizon()
    preparing.join()
    execute_sql(postgres_url, "ROLLBACK PREPARED 'hidden'")
    assert horizon.at == LONG_AGO


def test_a_session_that_does_not_track_its_activity_is_told(
    opened: Callable[..., Connection], postgres_url: str
) -> None:
    """`track_activities = off` hides a transaction from everyone."""
    slow = opened()
    slow.execute("SET track_activities = off")
    slow.commit()
    slow.execute("SELECT now()")
    assert "hide when they began" in str(Follower(postgres_url).horizon().uncertain)


# --- stamps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sql_type", ["timestamptz", "timestamptz(0)", "timestamp", "timestamp(3)", "date"])
def test_w13_a_stamp_of_the_future_does_not_lead_the_watermark_away(
    postgres_url: str, execute_sql: Execute, sql_type: str
) -> None:
    """Rows that come after it are found, in columns of every resolution, within the same second or day too."""
    execute_sql(postgres_url, f"ALTER DATABASE {make_url(postgres_url).database} SET timezone = 'UTC'")
    execute_sql(postgres_url, f"CREATE TABLE rooms (id int PRIMARY KEY, at {sql_type})")
    execute_sql(postgres_url, "INSERT INTO rooms VALUES (1, now() + interval '70 years')")
    follower = Follower(postgres_url)
    assert follower.run() == [1]
    for number in range(2, 5):
        execute_sql(postgres_url, f"INSERT INTO rooms VALUES ({number}, now())")
        assert number in follower.run()


def test_w11_the_clock_is_the_databases(postgres_url: str) -> None:
    """Two clocks of the same host agree; the one in the bound lies between two answers of the database."""
    follower = Follower(postgres_url)
    with closing(connect(postgres_url, autocommit=True)) as asked:
        (earlier,) = asked.execute("SELECT clock_timestamp()").fetchone() or (None,)
        now = follower.horizon().now
        (later,) = asked.execute("SELECT clock_timestamp()").fetchone() or (None,)
    assert isinstance(earlier, datetime)
    assert isinstance(later, datetime)
    assert earlier <= now <= later


# --- servers fed by others --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def primary() -> Iterator[servers.Server]:
    with TemporaryDirectory(prefix="syncer-server-", ignore_cleanup_errors=True) as folder:
        server = _started(lambda: servers.start_postgres(Path(folder), "wal_level=logical"))
        server.stop_signal = signal.SIGQUIT  # nobody waits for its standby to hear everything
        yield server
        server.stop()


def _started(start: Callable[[], servers.Server]) -> servers.Server:
    try:
        return start()
    except servers.NoServer as missing:
        pytest.skip(str(missing))


@pytest.fixture
def standby(primary: servers.Server) -> Iterator[servers.Server]:
    with TemporaryDirectory(prefix="syncer-server-", ignore_cleanup_errors=True) as folder:
        server = _started(lambda: servers.start_postgres_standby(Path(folder), primary))
        yield server
        server.stop()


def until(true: Callable[[], bool]) -> None:
    """Wait for another server."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_w35_a_standby_that_is_behind(primary: servers.Server, standby: servers.Server, execute_sql: Execute) -> None:
    """While replay rests, the bound rests at the last commit replayed, so that what comes later is found."""
    url = servers.new_postgres_database(primary)
    copy = make_url(url).set(port=standby.port).render_as_string(hide_password=False)
    execute_sql(url, f"{TABLE}; INSERT INTO rooms VALUES (1, now()), (2, now() + interval '70 years')")
    follower = Follower(copy)
    until(lambda: _holds(copy, 2))
    execute_sql(copy, "SELECT pg_wal_replay_pause()")
    execute_sql(url, "INSERT INTO rooms VALUES (3)")
    time.sleep(AGED)
    assert sorted(map(str, follower.run())) == ["1", "2"]
    horizon = follower.horizon()
    assert "standby" in str(horizon.uncertain)
    assert not has_advanced(horizon)
    execute_sql(copy, "SELECT pg_wal_replay_resume()")
    until(lambda: _holds(copy, 3))
    assert 3 in follower.run()
    follower.source.close()


def _holds(url: str, rows: int) -> bool:
    try:
        with closing(connect(url, autocommit=True)) as asked:
            return asked.execute("SELECT count(*) FROM rooms").fetchone() == (rows,)
    except (psycopg.OperationalError, psycopg.errors.UndefinedTable):  # the database has not arrived yet
        return False


def test_w42_a_subscription_is_told(primary: servers.Server, execute_sql: Execute) -> None:
    """Its rows carry the publisher's stamps, however late they come."""
    publisher, subscriber = servers.new_postgres_database(primary), servers.new_postgres_database(primary)
    execute_sql(publisher, f"{TABLE}; CREATE PUBLICATION every FOR ALL TABLES")
    execute_sql(publisher, "SELECT pg_create_logical_replication_slot('every', 'pgoutput')")
    execute_sql(subscriber, TABLE)
    assert Follower(subscriber).horizon().uncertain is None
    where = f"host=127.0.0.1 port={primary.port} user=postgres dbname={make_url(publisher).database}"
    execute_sql(
        subscriber, f"CREATE SUBSCRIPTION every CONNECTION '{where}' PUBLICATION every "
        "WITH (create_slot = false, slot_name = 'every')",
    )  # fmt: skip
    execute_sql(publisher, "INSERT INTO rooms VALUES (1)")
    until(lambda: _holds(subscriber, 1))
    assert "subscription" in str(Follower(subscriber).horizon().uncertain)
    execute_sql(subscriber, "DROP SUBSCRIPTION every")
    for url in (publisher, subscriber):
        servers.drop_postgres_database(primary, url)
