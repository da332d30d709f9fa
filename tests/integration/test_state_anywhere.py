"""State in databases syncer knows nothing special about: DuckDB, and servers under names it does not know.

What they promise as stores is in the contract suite, what they do to several processes in `test_state_processes`.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from contract.store_examples import FULL, MINUTE, NOON, checkpoint, dead_letter, fingerprint, leased, run
from sqlalchemy import Connection, inspect, text
from sqlalchemy.dialects import mssql, oracle
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateTable
from strange_dialects import strange

from syncer.core.model import Counts
from syncer.errors import StateError, StateTooNew, StateUnwritable
from syncer.state import Commit, MemoryStore, open_store, portable
from syncer.state.database import Database, foreign_database
from syncer.state.migrations import STEPS, migrate, version_of

PROJECT = Path(__file__).parents[2]

Execute = Callable[[str, str], None]


@pytest.fixture
def duckdb_url(tmp_path: Path) -> str:
    """URL of a file that is not there yet."""
    return f"duckdb:///{tmp_path / 'syncer.duckdb'}"


@pytest.fixture(params=["duckdb", "postgres", "mariadb"])
def foreign_url(request: pytest.FixtureRequest) -> str:
    """URL of a place without a store, in each kind of database that syncer does not know."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url if request.param == "duckdb" else strange(url)


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in another process."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)


def test_opened_again(foreign_url: str) -> None:
    """What was committed is there after the store was closed and opened again, and numbers go on."""
    with closing(open_store(foreign_url)) as store:
        store.commit(leased(store), FULL)
        first = max(letter.number for letter in store.dead_letters())
        store.discard([first])
    with closing(open_store(foreign_url)) as store:
        assert store.checkpoint("rooms") == FULL.checkpoint
        assert store.runs() == (FULL.run,)
        lease = leased(store, owner="b", now=NOON + MINUTE)
        assert lease.epoch == 2
        store.commit(lease, Commit(run=run(run_id="run-2"), dead_letters=[dead_letter(id="7")]))
        assert max(letter.number for letter in store.dead_letters()) == first + 1


def test_names_differ_by_case(mariadb_url: str, execute_sql: Execute) -> None:
    """Mappings whose names differ only by case are different ones also where the server's collation ignores it."""
    execute_sql(mariadb_url, "ALTER DATABASE COLLATE utf8mb4_general_ci")
    with closing(open_store(strange(mariadb_url))) as store:
        names = ("rooms", "Rooms", "ROOMS", "^rooms", "rôoms")
        for name in names:
            store.commit(leased(store, name), Commit(run=run(name, name), checkpoint=checkpoint(name, name)))
        assert {each.mapping for each in store.checkpoints()} == set(names)
        assert {each.run_id for each in store.runs()} == set(names)
        assert [store.checkpoint(name) for name in names] == [checkpoint(name, name) for name in names]


class TestOneProcessAtATime:
    def test_held_by_another(self, duckdb_url: str) -> None:
        """While a process has DuckDB's file open, another one is told so; afterwards it may have it."""
        code = """
import sys
from syncer.errors import StateError
from syncer.state import open_store
try:
    print(len(open_store(sys.argv[1]).checkpoints()))
except StateError as error:
    print(error, "|", error.hint)
"""
        with closing(open_store(duckdb_url)) as store:
            store.commit(leased(store), FULL)
            told = python(code, duckdb_url).stdout
        assert "cannot be opened" in told
        assert "no other process has it open" in told
        assert python(code, duckdb_url).stdout.strip() == "1"

    def test_killed_while_committing(self, duckdb_url: str) -> None:
        """A process killed at any instant leaves whole commits, and none it had told of is lost."""
        code = """
import itertools, sys
sys.path.insert(0, "tests")
from datetime import UTC, datetime, timedelta
from contract.store_examples import checkpoint, dead_letter, fingerprint, run
from syncer.state import Commit, current_owner, open_store
store = open_store(sys.argv[1])
lease = store.acquire("rooms", current_owner(), datetime.now(UTC), timedelta(hours=1))
for number in itertools.count(len(store.dead_letters()) + 1):
    store.commit(lease, Commit(
        run=run(run_id=str(number)), checkpoint=checkpoint(text=str(number)),
        fingerprints={f"{number}-{item}": fingerprint() for item in range(20)},
        dead_letters=[dead_letter(id=str(number))],
    ))
    print(number, flush=True)
"""
        choose = random.Random(5)
        for kill in range(3):
            command = [sys.executable, "-c", code, duckdb_url]
            with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as victim:
                assert victim.stdout is not None
                told = int(victim.stdout.readline())
                time.sleep(choose.random() * 0.2)
                victim.kill()
                told = max(told, *map(int, victim.stdout.read().split()), 0)
            with closing(open_store(duckdb_url)) as store:
                last = len(store.dead_letters())
                assert told <= last <= told + 1
                assert checkpoint(text=str(last)) == store.checkpoint("rooms")
                assert len(store.runs(limit=100_000)) == last
                assert len(store.fingerprints("rooms", [f"{last}-{item}" for item in range(20)])) == 20
                assert store.leases()[0].epoch == kill + 1


class TestReading:
    def test_nothing_there(self, foreign_url: str) -> None:
        """Opened for reading, an empty database is an empty store, and gets no tables."""
        assert isinstance(open_store(foreign_url, read_only=True), MemoryStore)
        with closing(foreign_database(make_url(foreign_url), "here", read_only=True)) as database:
            assert database.read(lambda connection: inspect(connection).get_table_names()) == []

    def test_refuses_to_write(self, foreign_url: str) -> None:
        """Opened for reading, a store answers and refuses to write."""
        with closing(open_store(foreign_url)) as store:
            store.commit(leased(store), FULL)
        with closing(open_store(foreign_url, read_only=True)) as store:
            assert store.checkpoint("rooms") == FULL.checkpoint
            with pytest.raises(StateUnwritable, match="opened for reading"):
                store.record_fire("rooms", "0 * * * *", NOON)
            assert store.last_fire("rooms", "0 * * * *") is None


def add_a_column(connection: Connection) -> None:
    """A step of a later syncer, which cannot be done twice."""
    connection.execute(text("ALTER TABLE syncer_meta ADD COLUMN note VARCHAR(10)"))


class TestMigrations:
    def test_two_upgrade_at_once(self, foreign_url: str) -> None:
        """Of several that create and upgrade a store at once, each finds every step taken, and none twice."""
        barrier = threading.Barrier(4)

        def upgrade(_: int) -> int:
            with closing(foreign_database(make_url(foreign_url), "here", read_only=False)) as mine:
                barrier.wait()
                migrate(mine)
                migrate(mine, (*STEPS, add_a_column))
                return version_of(mine, (*STEPS, add_a_column))

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(upgrade, range(4))) == [len(STEPS) + 1] * 4
        with pytest.raises(StateTooNew):
            open_store(foreign_url)

    def test_interrupted(self, foreign_url: str) -> None:
        """A creation that was interrupted anywhere is finished by the next one."""

        def database() -> Database:
            return foreign_database(make_url(foreign_url), "here", read_only=False)

        open_store(foreign_url).close()
        with closing(database()) as mine:
            for table in ("syncer_numbers", "syncer_leases", "syncer_runs"):
                mine.write(lambda connection, table=table: connection.execute(text(f"DROP TABLE {table}")))
            mine.write(lambda connection: connection.execute(text("DELETE FROM syncer_meta")))
        with closing(open_store(foreign_url)) as store:
            store.commit(leased(store), FULL)
            assert len(store.dead_letters()) == len(FULL.dead_letters)


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "reason"),
        [("autocommitpg", "does not roll transactions back"), ("keylesspg", "does not enforce primary keys")],
    )
    def test_databases_that_lose_or_double(
        self, postgres_url: str, execute_sql: Execute, name: str, reason: str
    ) -> None:
        """A database without transactions or without keys is found out before anything is kept in it."""
        with pytest.raises(StateError, match=f"state cannot be kept in {name}: it {reason}") as refused:
            open_store(strange(postgres_url, name))
        assert "postgresql://" in str(refused.value.hint)
        # nothing is left of the attempt
        execute_sql(postgres_url, "CREATE TABLE syncer_meta (name TEXT)")

    @pytest.mark.parametrize("url", ["duckdb://", "duckdb:///:memory:", "duckdb:///:memory:state", "mssql://"])
    def test_in_memory(self, url: str) -> None:
        """A database that is gone with the process is refused: nothing would be remembered."""
        with pytest.raises(StateError, match="outlives the process"):
            open_store(url)

    @pytest.mark.parametrize(
        ("url", "driver", "hint"),
        [
            ("mssql://syncer:s3cret@127.0.0.1/state", "pyodbc", "pip install 'syncer[mssql]'"),
            ("oracle://syncer:s3cret@127.0.0.1/state", "oracledb", "pip install 'syncer[oracle]'"),
            ("mssql+pymssql://syncer:s3cret@127.0.0.1/state", "pymssql", "install it"),
            ("redis://syncer:s3cret@127.0.0.1", "redis", "install SQLAlchemy's dialect for redis"),
        ],
    )
    def test_missing_driver(self, url: str, driver: str, hint: str) -> None:
        """A driver that is not installed is named, with the extra that brings it where there is one."""
        code = f"""
import sys
sys.modules[{driver!r}] = None
from syncer.errors import StateError
from syncer.state import open_store
try:
    open_store({url!r})
except StateError as error:
    print(error, "|", error.hint)
"""
        told = python(code).stdout
        assert f"needs the driver {driver}, which is not installed" in told
        assert hint in told
        assert "s3cret" not in told


class TestSecrets:
    @pytest.mark.parametrize("read_only", [False, True])
    @pytest.mark.parametrize("change", [{"query": {"no_such_option": "s3cret"}}, {"database": "/no/such/folder/x"}])
    def test_unopened(self, duckdb_url: str, change: dict[str, object], read_only: bool) -> None:
        """What a driver we do not know says when it cannot open a database is not repeated."""
        url = make_url(duckdb_url).set(**change).render_as_string(hide_password=False)  # type: ignore[arg-type]
        with pytest.raises(StateError, match="cannot be opened") as refused:
            open_store(url, read_only=read_only)
        assert "s3cret" not in f"{refused.value!r} {refused.value.hint} {refused.value.__cause__!r}"
        assert "state.url" in str(refused.value.hint)

    def test_values(self, duckdb_url: str) -> None:
        """A value that DuckDB refuses, and quotes in its own error, is not in ours."""
        with closing(open_store(duckdb_url)) as store:
            lease = leased(store)
            with pytest.raises(StateError) as refused:
                store.commit(lease, Commit(run=replace(run(), counts=Counts(read=123456789 * 10**30))))
            assert "123456789" not in f"{refused.value!r} {refused.value.hint} {refused.value.__cause__!r}"
            assert store.runs() == ()
            store.commit(lease, Commit(run=run(), fingerprints={"1": fingerprint()}))
            assert len(store.runs()) == 1


@pytest.mark.parametrize("dialect", [mssql.dialect(), oracle.dialect()], ids=["mssql", "oracle"])
def test_keys_have_lengths(dialect: object) -> None:
    """No key is of a type without a limit, which SQL Server and Oracle refuse, and no number is the database's."""
    for table in portable.TABLES:
        told = str(CreateTable(table).compile(dialect=dialect))  # type: ignore[arg-type]
        assert "IDENTITY" not in told
        for column in table.primary_key.columns:
            spelled = column.type.compile(dialect)  # type: ignore[arg-type]
            assert "max" not in spelled
            assert "LOB" not in spelled
