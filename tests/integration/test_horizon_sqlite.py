"""SQLite: no transaction of another process commits behind the saved watermark, in both kinds of journal."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
import servers
from campaign import rounds
from integration.horizon_reading import AGED, Execute, Follower, before, has_advanced

from syncer.source.dialect_generic import LONG_AGO

JOURNALS = ("delete", "wal")
TABLE = (
    "CREATE TABLE rooms (id INTEGER PRIMARY KEY, at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')));"
    "INSERT INTO rooms (id) VALUES (1)"
)
#: a row beyond every bound: the watermark that is saved is the bound itself
FUTURE = "INSERT INTO rooms VALUES (0, strftime('%Y-%m-%d %H:%M:%f', 'now', '+10 years'))"
#: executes the statement of each line and answers with a line
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
for line in sys.stdin:
    try:
        connection.execute(line)
        print("ok", flush=True)
    except sqlite3.Error as error:
        print(error, flush=True)
"""


class Writer:
    """Another process with the database file open."""

    def __init__(self, file: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, *statements: str) -> None:
        """Execute statements one after the other."""
        for statement in statements:
            assert self.tries(statement)

    def tries(self, statement: str) -> bool:
        """Execute a statement, which may fail."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{statement}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline() == "ok\n"


@pytest.fixture(params=JOURNALS)
def journal(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(sqlite_url: str, execute_sql: Execute, journal: str) -> str:
    """A database with this kind of journal."""
    execute_sql(sqlite_url, f"PRAGMA journal_mode = {journal}; {TABLE}")
    return sqlite_url


@pytest.fixture
def writer(url: str, journal: str) -> Iterator[Writer]:
    with Writer(Path(url.removeprefix("sqlite:///"))) as writer:
        writer.run(f"PRAGMA journal_mode = {journal}")  # all but WAL are the connection's own choice
        yield writer


@pytest.fixture(scope="module")
def aged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Follower, Writer]]]:
    """For each journal a database that was followed, and where a writer inserted room 2 longer ago than the margin."""
    with ExitStack() as ended:
        found: dict[str, tuple[Follower, Writer]] = {}
        for journal in JOURNALS:
            file = tmp_path_factory.mktemp(journal) / "source.db"
            servers.execute_sql(f"sqlite:///{file}", f"PRAGMA journal_mode = {journal}; {TABLE}; {FUTURE}")
            writer, follower = ended.enter_context(Writer(file)), Follower(f"sqlite:///{file}")
            assert follower.run() == [1, 0]
            writer.run(f"PRAGMA journal_mode = {journal}", "BEGIN IMMEDIATE", "INSERT INTO rooms (id) VALUES (2)")
            found[journal] = follower, writer
        time.sleep(AGED)
        yield found


def test_w05_a_late_commit_lies_behind_no_saved_watermark(
    aged: dict[str, tuple[Follower, Writer]], journal: str
) -> None:
    """While a transaction that wrote is open nothing moves, and its rows are found without a lookback."""
    follower, writer = aged[journal]
    kept = follower.saved
    horizon = follower.horizon()
    assert (horizon.at, horizon.uncertain) == (LONG_AGO, None)
    assert horizon.held_by == "a writer whose transaction is open"
    assert 2 not in follower.run()
    assert follower.saved == kept
    writer.run("COMMIT")
    assert 2 in follower.run()
    assert has_advanced(follower.horizon())


def test_on_a_first_run_everything_is_read_again(url: str, writer: Writer) -> None:
    """With nothing saved yet there is no watermark that is known to lie before the open transaction."""
    writer.run("BEGIN IMMEDIATE", "INSERT INTO rooms (id) VALUES (2)")
    time.sleep(1.1)
    follower = Follower(url)
    assert follower.run() == [1]
    assert follower.saved is None
    writer.run("COMMIT")
    assert follower.run() == [1, 2]
    assert follower.saved is not None
    assert follower.saved.text > "2026"


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "memory", "wal"], indirect=True)
def test_a_transaction_that_is_about_to_write_counts(url: str, writer: Writer) -> None:
    """BEGIN IMMEDIATE takes the lock; what is stamped under it is seen as its transaction's."""
    writer.run("BEGIN IMMEDIATE")
    assert Follower(url).horizon().at == LONG_AGO
    writer.run("ROLLBACK")
    assert has_advanced(Follower(url).horizon())


def test_a_transaction_that_only_reads_does_not_hold_it(url: str, writer: Writer) -> None:
    """It cannot stamp anything before it takes the writer's lock."""
    writer.run("BEGIN", "SELECT count(*) FROM rooms")
    assert has_advanced(Follower(url).horizon())


def test_a_writer_that_ends_soon_is_waited_for(url: str, writer: Writer) -> None:
    """The bound is that of the look at which nobody wrote."""
    writer.run("BEGIN IMMEDIATE", "INSERT INTO rooms (id) VALUES (2)")
    ending = threading.Timer(0.4, writer.run, ["COMMIT"])
    ending.start()
    horizon = Follower(url).horizon()
    ending.join()
    assert has_advanced(horizon)


def test_writers_that_take_turns_do_not_stop_it(url: str, writer: Writer) -> None:
    """The lock is never found free, but a commit tells that the writer of the first look has ended."""
    with Writer(Path(url.removeprefix("sqlite:///"))) as other:
        other.run("PRAGMA busy_timeout = 0")

        def take_over() -> None:
            writer.run("COMMIT")
            while not other.tries("BEGIN IMMEDIATE"):
                pass

        writer.run("BEGIN IMMEDIATE", "INSERT INTO rooms (id) VALUES (2)")
        taking = threading.Timer(0.3, take_over)
        taking.start()
        horizon = Follower(url).horizon()
        taking.join()
    assert LONG_AGO < horizon.at <= before(horizon.now)


def test_looking_keeps_no_writer_waiting(url: str, writer: Writer) -> None:
    """A writer without any patience gets its lock while we look, every time."""
    writer.run("PRAGMA busy_timeout = 0")
    follower, stop = Follower(url), threading.Event()

    def look() -> None:
        while not stop.is_set():
            follower.horizon()

    thread = threading.Thread(target=look)
    with follower.source.snapshot():
        thread.start()
        try:
            for number in range(2, 200):
                writer.run("BEGIN IMMEDIATE", f"UPDATE rooms SET id = {number}", "ROLLBACK")
        finally:
            stop.set()
            thread.join()


def test_looking_drops_no_lock_of_our_own(url: str, writer: Writer, journal: str) -> None:
    """A snapshot that this process has open still keeps a writer from committing under it, after a look."""
    follower = Follower(url)
    with follower.source.snapshot() as reading:
        follower.horizon()
        writer.run("PRAGMA busy_timeout = 0", "BEGIN IMMEDIATE", "INSERT INTO rooms (id) VALUES (2)")
        if journal == "wal":
            writer.run("COMMIT")  # readers and the writer do not meet
        else:
            assert not writer.tries("COMMIT")
        assert reading.exec_driver_sql("SELECT count(*) FROM rooms").scalar() == 1


@pytest.mark.parametrize("journal", ["delete"], indirect=True)
def test_a_journal_that_is_just_taken_away_is_no_error(url: str) -> None:
    """While a journal stands there without its writer's lock a reader waits, and reads when the journal is gone."""
    journal = Path(f"{url.removeprefix('sqlite:///')}-journal")
    journal.write_bytes(bytes.fromhex("d9d505f920a163d7").ljust(512, b"\0"))  # sqlite.org/fileformat2.html
    gone = threading.Timer(0.3, journal.unlink)
    gone.start()
    assert Follower(url).run() == [1]
    gone.join()


@pytest.mark.parametrize("journal", ["delete"], indirect=True)
@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%f", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"])
def test_w13_a_stamp_of_the_future_does_not_lead_the_watermark_away(url: str, execute_sql: Execute, form: str) -> None:
    """Rows that come after it are found, in texts of every form, within the same second or day too."""
    execute_sql(url, f"UPDATE rooms SET at = strftime('{form}', 'now', '+10 years')")
    follower = Follower(url)
    assert follower.run() == [1]
    for number in range(2, 5):
        execute_sql(url, f"INSERT INTO rooms VALUES ({number}, strftime('{form}', 'now'))")
        assert number in follower.run()


def test_w05_nothing_is_lost_while_many_write(tmp_path: Path, execute_sql: Execute) -> None:
    """Following without a lookback finds every committed row of three processes, some longer than the margin."""
    with ThreadPoolExecutor() as threads:  # each journal has its own database
        for each in [threads.submit(lose_nothing, tmp_path / journal, journal, execute_sql) for journal in JOURNALS]:
            each.result()


def lose_nothing(file: Path, journal: str, execute_sql: Execute) -> None:
    """Write for some seconds, and follow."""
    url, stop, committed = f"sqlite:///{file}", threading.Event(), set[int]()
    numbers = itertools.count(2)
    execute_sql(url, f"PRAGMA journal_mode = {journal}; {TABLE}; {FUTURE}")

    def write(writer: Writer, random: Random) -> None:
        writer.run(f"PRAGMA journal_mode = {journal}")
        while not stop.is_set():
            number, pause = next(numbers), random.choice([0.0, 0.0, 0.0, 0.1, 0.5, AGED])
            writer.run("BEGIN IMMEDIATE", f"INSERT INTO rooms (id) VALUES ({number})")
            time.sleep(pause)
            writer.run("COMMIT")
            committed.add(number)

    follower = Follower(url)
    with ExitStack() as ended:
        threads = [
            threading.Thread(target=write, args=[ended.enter_context(Writer(file)), Random(seed)]) for seed in range(3)
        ]
        follow(follower, threads, stop, rounds(3, 300))
    follower.run()
    assert committed - follower.seen == set()
    assert len(committed) >= 3


def follow(follower: Follower, threads: list[threading.Thread], stop: threading.Event, seconds: int) -> None:
    """Run again and again while the threads write."""
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            follower.run()
            time.sleep(0.2)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
