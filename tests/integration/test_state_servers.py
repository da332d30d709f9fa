"""State on a server: how URLs are read, what is refused, and that no error repeats a password or a value."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from contract.store_examples import MINUTE, NOON, checkpoint, doubt, fingerprint, run
from sqlalchemy import text
from sqlalchemy.engine import make_url

from syncer.errors import StateCorrupt, StateError, StateUnwritable
from syncer.state import Commit, MemoryStore, open_store
from syncer.state.database import server_database

PROJECT = Path(__file__).parents[2]

Execute = Callable[[str, str], None]


@pytest.fixture(params=["postgres", "mariadb"])
def server_url(request: pytest.FixtureRequest) -> str:
    """An empty database on each kind of server."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def changed(url: str, **parts: object) -> str:
    """The URL with some parts changed."""
    return make_url(url).set(**parts).render_as_string(hide_password=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgres_schemes(postgres_url: str, scheme: str) -> None:
    """PostgreSQL URLs work as hosting services write them, without a driver."""
    with closing(open_store(changed(postgres_url, drivername=scheme))) as store:
        assert store.checkpoints() == ()


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql"])
def test_mariadb_schemes(mariadb_url: str, scheme: str) -> None:
    """MySQL and MariaDB URLs work without a driver, and see the same store."""
    open_store(mariadb_url).close()
    with closing(open_store(changed(mariadb_url, drivername=scheme))) as store:
        lease = store.acquire("rooms", "a", NOON, MINUTE)
        for _ in range(2):
            store.commit(lease, Commit(run=run(), checkpoint=checkpoint(), fingerprints={"1": fingerprint()}))
        assert store.checkpoint("rooms") == checkpoint()


def test_neighbours(server_url: str, execute_sql: Execute) -> None:
    """State can live in a database that holds other tables."""
    execute_sql(server_url, "CREATE TABLE rooms (id INT)")
    with closing(open_store(server_url)) as store:
        assert store.checkpoints() == ()


def test_reading_creates_nothing(server_url: str) -> None:
    """Opened for reading, an empty database is an empty store and stays empty."""
    assert isinstance(open_store(server_url, read_only=True), MemoryStore)
    assert isinstance(open_store(server_url, read_only=True), MemoryStore)


def test_reading_refuses_to_write(server_url: str) -> None:
    """Opened for reading, a store answers and refuses to write."""
    with closing(open_store(server_url)) as store:
        store.commit(store.acquire("rooms", "a", NOON, MINUTE), Commit(run=run(), checkpoint=checkpoint()))
    with closing(open_store(server_url, read_only=True)) as store:
        assert store.checkpoint("rooms") == checkpoint()
        with pytest.raises(StateUnwritable):
            store.record_fire("rooms", "0 * * * *", NOON)
        assert store.last_fire("rooms", "0 * * * *") is None


def test_dropped_table(server_url: str, execute_sql: Execute) -> None:
    """A table that vanished is reported as damage."""
    with closing(open_store(server_url)) as store:
        execute_sql(server_url, "DROP TABLE syncer_fires")
        with pytest.raises(StateCorrupt):
            store.last_fire("rooms", "0 * * * *")


def test_only_some_tables(server_url: str, execute_sql: Execute) -> None:
    """State tables without their version are refused and left as they are."""
    execute_sql(server_url, "CREATE TABLE syncer_runs (id INT)")
    with pytest.raises(StateCorrupt, match="nothing was changed"):
        open_store(server_url)


@pytest.mark.parametrize(
    "parts",
    [
        {"port": 1},
        {"database": "no_such_database"},
        {"username": "stranger", "password": "s3cret-pass"},
        {"host": "no-such-host.invalid"},
        {"query": {"no_such_option": "s3cret-pass"}},
        {"query": {"connect_timeout": "soon"}},
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_unreachable(server_url: str, parts: dict[str, object], read_only: bool) -> None:
    """A server that cannot be reached is named without the password, with a way out."""
    with pytest.raises(StateError) as refused:
        open_store(changed(server_url, **{"password": "s3cret-pass", **parts}), read_only=read_only)
    told = f"{refused.value!r} {refused.value.hint}"
    assert str(parts.get("host", "127.0.0.1")) in told
    assert "s3cret" not in told
    assert "state.url" in str(refused.value.hint)
    assert refused.value.__cause__ is None


def test_values_are_not_repeated(server_url: str) -> None:
    """A value the database refuses is not in the error."""
    with closing(open_store(server_url)) as store:
        lease = store.acquire("rooms", "a", NOON, MINUTE)
        with pytest.raises(StateError) as refused:
            store.commit(lease, Commit(run=replace(run(), run_id="s3cret" * 100)))
    assert "s3cret" not in f"{refused.value!r} {refused.value.hint} {refused.value.__cause__!r}"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://syncer:s3cret@word@127.0.0.1/state", "more than one @"),
        ("postgresql://syncer:s3cret@127.0.0.1:s3cret/state", "not a database URL"),
        ("s3cret", "not a database URL"),
        ("", "not a database URL"),
        ("snowflake://syncer:s3cret@account/state", "cannot be kept in snowflake"),
        ("sqlite:///syncer.db?mode=s3cret", "only a path"),
        ("sqlite:///file:syncer.db", "only a path"),
        ("postgresql+s3cret://127.0.0.1/state", "driver"),
    ],
)
def test_urls_refused(url: str, told: str) -> None:
    """A URL that cannot be meant is refused without repeating it, with an example of one that can."""
    with pytest.raises(StateError, match=told) as refused:
        open_store(url)
    assert "s3cret" not in str(refused.value).replace("+s3cret", "").replace("driver s3cret", "")
    assert refused.value.hint


@pytest.mark.parametrize(
    ("driver", "url", "extra"),
    [
        ("psycopg", "postgresql://syncer@127.0.0.1:1/state", "syncer[postgres]"),
        ("pymysql", "mysql://syncer@127.0.0.1:1/state", "syncer[mysql]"),
    ],
)
def test_missing_driver(driver: str, url: str, extra: str) -> None:
    """Where the driver is not installed the error says which extra to install."""
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
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert f"needs the driver {driver}" in done.stdout
    assert f"pip install '{extra}'" in done.stdout


def test_sqlalchemy_is_imported_late() -> None:
    """Importing the package does not import SQLAlchemy."""
    code = "import sys, syncer.state; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_right_to_create(postgres_url: str, execute_sql: Execute) -> None:
    """A role that may not create tables is told that the store cannot be written."""
    name = make_url(postgres_url).database
    execute_sql(postgres_url, "CREATE ROLE state_reader LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    try:
        with pytest.raises(StateUnwritable, match="permission denied") as refused:
            open_store(changed(postgres_url, username="state_reader"))
        assert str(name) in str(refused.value)
    finally:
        execute_sql(postgres_url, "DROP ROLE state_reader")


def test_connections_are_renewed(postgres_url: str, execute_sql: Execute) -> None:
    """After the server ended the connections the next call works."""
    with closing(open_store(postgres_url)) as store:
        assert store.checkpoints() == ()
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        execute_sql(postgres_url, f"{others} AND pid <> pg_backend_pid()")
        assert store.checkpoints() == ()


def test_stopped_holders_end(postgres_url: str) -> None:
    """A transaction waits ten seconds for a lock, and the server ends one whose process stands still."""
    with closing(server_database(make_url(postgres_url), "here", read_only=False)) as database:
        limits = database.write(
            lambda connection: [
                connection.execute(text(f"SHOW {name}")).scalar()
                for name in ("lock_timeout", "idle_in_transaction_session_timeout", "transaction_isolation")
            ]
        )
    assert limits == ["10s", "1min", "read committed"]


def test_mariadb_waits_ten_seconds(mariadb_url: str) -> None:
    """A transaction waits ten seconds for a row lock."""
    with closing(server_database(make_url(mariadb_url), "here", read_only=False)) as database:
        patience = database.write(
            lambda connection: connection.execute(text("SELECT @@innodb_lock_wait_timeout")).scalar()
        )
    assert patience == 10


def test_doubts_come_in_one_order(mariadb_url: str, execute_sql: Execute) -> None:
    """By run and part as Python compares them, wherever the database's collation puts capitals and signs."""
    open_store(mariadb_url).close()
    execute_sql(mariadb_url, "ALTER TABLE syncer_doubts MODIFY run_id VARCHAR(255) COLLATE utf8mb4_unicode_ci")
    doubts = [doubt(run_id, part, NOON, "a") for run_id in ("B-1", "a-2", "a1", "b") for part in (2, 10)]
    with closing(open_store(mariadb_url)) as store:
        store.commit(store.acquire("rooms", "me", NOON, MINUTE), Commit(run=run(), doubts=doubts[::-1]))
        assert doubts == list(store.doubts("rooms"))
