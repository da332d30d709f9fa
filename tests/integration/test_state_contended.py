"""A lease that many want, in a state file where someone else is always writing: refused means locked, no error."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from contract.store_examples import MINUTE, NOON

from syncer.core.model import Lease
from syncer.errors import LeaseHeld, StateUnwritable
from syncer.state import open_store
from syncer.state.database import sqlite_database
from syncer.state.sql import SqlStore

#: milliseconds that the contender waits for the writer: the product's patience would take the test's time
PATIENCE = 1_500


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A new state file."""
    place = tmp_path / "syncer.db"
    open_store(f"sqlite:///{place}").close()
    return place


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    """The contender's store: one connection, with less patience."""
    database = sqlite_database(path, read_only=False)
    with database.bare() as connection:
        connection.execute(f"PRAGMA busy_timeout = {PATIENCE}")
    yield SqlStore(database)
    database.close()


@pytest.fixture
def writer(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process's connection, in effect."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        yield connection


def acquire(store: SqlStore, owner: str) -> Lease:
    return store.acquire("rooms", owner, NOON, MINUTE)


def test_a_lease_that_is_held_is_refused_while_others_write(store: SqlStore, writer: sqlite3.Connection) -> None:
    """Whoever cannot have it need not wait for the writer to learn that."""
    acquire(store, "a")
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(LeaseHeld, match="is being run by a"):
        acquire(store, "b")


def test_a_lease_that_is_taken_meanwhile_is_refused(store: SqlStore, writer: sqlite3.Connection) -> None:
    """Whoever waited in vain while another took it says so, and not that the file is locked."""
    store.release(acquire(store, "a"))
    writer.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as thread:
        refused = thread.submit(acquire, store, "b")
        time.sleep(PATIENCE / 3_000)
        writer.execute("UPDATE syncer_leases SET owner = 'a', since = 0, expires_at = 9000000000000000")
        writer.execute("COMMIT")
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(LeaseHeld, match="is being run by a"):
            refused.result()


def test_a_free_lease_that_cannot_be_written_is_an_error(store: SqlStore, writer: sqlite3.Connection) -> None:
    """It is the file that is locked then, not the mapping."""
    store.release(acquire(store, "a"))
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateUnwritable, match="is locked by another process"):
        acquire(store, "b")


def test_the_refused_keep_no_holder_waiting(path: Path, store: SqlStore, writer: sqlite3.Connection) -> None:
    """Contenders that come again and again take no write lock: a writer without patience gets it every time."""
    acquire(store, "a")
    writer.execute("PRAGMA busy_timeout = 0")

    def contend() -> None:
        with closing(SqlStore(sqlite_database(path, read_only=False))) as theirs:
            for _ in range(50):
                with pytest.raises(LeaseHeld):
                    acquire(theirs, "b")

    with ThreadPoolExecutor(2) as threads:
        contending = [threads.submit(contend) for _ in range(2)]
        while not all(each.done() for each in contending):
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("ROLLBACK")
            time.sleep(0.001)
        for each in contending:
            each.result()
