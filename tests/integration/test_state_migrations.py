"""Migrations: each step whole or not at all, a backup before, and no way back by accident."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from contract.store_examples import MINUTE, NOON, checkpoint, run
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import make_url

from syncer.errors import StateCorrupt, StateError, StateTooNew
from syncer.state import Commit, open_store
from syncer.state.database import Database, server_database, sqlite_database
from syncer.state.migrations import STEPS, migrate, version_of
from syncer.state.sqlite_file import back_up

PROJECT = Path(__file__).parents[2]


def add_a_column(connection: Connection) -> None:
    """A step of a later syncer, which cannot be done twice."""
    connection.execute(text("ALTER TABLE syncer_checkpoints ADD COLUMN note VARCHAR(10)"))


def fail_half_way(connection: Connection) -> None:
    """A step that fails after it changed something."""
    add_a_column(connection)
    connection.execute(text("SELECT * FROM no_such_table"))


LATER = (*STEPS, add_a_column)
BACKUP = f"syncer.db.backup-v{len(STEPS)}"


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a store of this version with a checkpoint, on each kind of database."""
    url: str = f"sqlite:///{tmp_path / 'syncer.db'}"
    if request.param != "sqlite":
        url = request.getfixturevalue(f"{request.param}_url")
    with closing(open_store(url)) as store:
        lease = store.acquire("rooms", "a", NOON, MINUTE)
        store.commit(lease, Commit(run=run(), checkpoint=checkpoint()))
    return url


def database_of(url: str) -> Database:
    """The database without any check or migration."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return sqlite_database(Path(str(parsed.database)), read_only=False)
    return server_database(parsed, "the server", read_only=False)


@pytest.fixture
def database(state_url: str) -> Iterator[Database]:
    """That store's database."""
    opened = database_of(state_url)
    yield opened
    opened.close()


def columns(database: Database) -> set[str]:
    """Columns of the checkpoints."""
    return database.read(
        lambda connection: {column["name"] for column in inspect(connection).get_columns("syncer_checkpoints")}
    )


def test_upgrade(database: Database, state_url: str) -> None:
    """A later syncer takes the steps that are missing; an older one then refuses the store, naming both versions."""
    migrate(database, LATER)
    assert "note" in columns(database)
    assert version_of(database, LATER) == len(LATER)
    for read_only in (False, True):
        with pytest.raises(StateTooNew, match=rf"version {len(LATER)}\b.* up to {len(STEPS)}\b") as refused:
            open_store(state_url, read_only=read_only)
        assert "upgrade syncer" in str(refused.value.hint)
    migrate(database, LATER)


def test_failing_step(database: Database, state_url: str) -> None:
    """A step that fails leaves the version as it was, and where DDL can be rolled back the tables too."""
    with pytest.raises(StateCorrupt):
        migrate(database, (*STEPS, fail_half_way))
    assert version_of(database, LATER) == len(STEPS)
    assert ("note" in columns(database)) == state_url.startswith("mysql")
    with closing(open_store(state_url)) as store:
        assert store.checkpoint("rooms") == checkpoint()


def test_two_upgrade_at_once(state_url: str) -> None:
    """Of several processes that upgrade at once one takes the step; the others find it done."""
    barrier = threading.Barrier(4)

    def upgrade(_: int) -> None:
        with closing(database_of(state_url)) as mine:
            barrier.wait()
            migrate(mine, LATER)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, range(4)))
    with closing(database_of(state_url)) as database:
        assert version_of(database, LATER) == len(LATER)


def test_reading_an_old_store(state_url: str, database: Database) -> None:
    """Opened only for reading, a store is never upgraded."""
    database.write(lambda connection: connection.execute(text("DELETE FROM syncer_meta")))
    if state_url.startswith("mysql"):
        # where DDL cannot be rolled back this is a creation that was interrupted
        assert open_store(state_url, read_only=True).checkpoints() == ()
        open_store(state_url).close()
        assert version_of(database) == len(STEPS)
    else:
        with pytest.raises(StateCorrupt):
            open_store(state_url, read_only=True)


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import text
from syncer.state.database import sqlite_database
from syncer.state.migrations import STEPS, migrate
def die_half_way(connection):
    connection.execute(text("ALTER TABLE syncer_checkpoints ADD COLUMN note VARCHAR(10)"))
    os.kill(os.getpid(), signal.SIGKILL)
migrate(sqlite_database(Path(sys.argv[1]), read_only=False), (*STEPS, die_half_way))
"""


class TestFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """A state file of this version with a checkpoint."""
        path = tmp_path / "syncer.db"
        with closing(open_store(f"sqlite:///{path}")) as store:
            lease = store.acquire("rooms", "a", NOON, MINUTE)
            store.commit(lease, Commit(run=run(), checkpoint=checkpoint()))
        return path

    def test_backup(self, path: Path) -> None:
        """Before an upgrade the file is copied; the copy is a state store of the old version, for its user alone."""
        with closing(sqlite_database(path, read_only=False)) as database:
            migrate(database, LATER, back_up=lambda version: back_up(database, path, version))
        copy = path.with_name(BACKUP)
        assert sorted(each.name for each in path.parent.iterdir()) == ["syncer.db", BACKUP]
        assert copy.stat().st_mode & 0o777 == 0o600
        with closing(open_store(f"sqlite:///{copy}")) as store:
            assert store.checkpoint("rooms") == checkpoint()

    def test_an_old_backup_is_replaced(self, path: Path) -> None:
        """The copy is of the file as it is now, also where an earlier attempt left one."""
        copy = path.with_name(BACKUP)
        copy.write_text("left by an earlier attempt")
        with closing(sqlite_database(path, read_only=False)) as database:
            back_up(database, path, len(STEPS))
        with closing(open_store(f"sqlite:///{copy}")) as store:
            assert store.checkpoint("rooms") == checkpoint()

    def test_no_backup_no_upgrade(self, path: Path) -> None:
        """When the copy cannot be written the file stays at its version."""
        path.with_name(BACKUP).mkdir()
        with closing(sqlite_database(path, read_only=False)) as database:
            with pytest.raises(StateError):
                migrate(database, LATER, back_up=lambda version: back_up(database, path, version))
            assert version_of(database, LATER) == len(STEPS)
            assert "note" not in columns(database)

    def test_no_backup_of_a_new_store(self, tmp_path: Path) -> None:
        """A new store has nothing to copy."""
        open_store(f"sqlite:///{tmp_path / 'syncer.db'}").close()
        assert [each.name for each in tmp_path.iterdir()] == ["syncer.db"]

    def test_killed_in_a_step(self, path: Path) -> None:
        """A process killed in the middle of a step leaves the old version, which upgrades later."""
        done = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=PROJECT, check=False)
        assert done.returncode == -9
        with closing(open_store(f"sqlite:///{path}")) as store:
            assert store.checkpoint("rooms") == checkpoint()
        with closing(sqlite_database(path, read_only=False)) as database:
            migrate(database, LATER)
            assert version_of(database, LATER) == len(LATER)
