"""Fixtures every kind of test shares: real databases, and where the datasets are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import servers
from hypothesis import settings

HERE = Path(__file__).parent

# how long an example takes says something of the machine only
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def _running(start: Callable[[Path], servers.Server]) -> Iterator[servers.Server]:
    # Not pytest's own folder: that one is closed to the account that PostgreSQL runs as when the tests run as root.
    with tempfile.TemporaryDirectory(prefix="syncer-server-", ignore_cleanup_errors=True) as folder:
        server = _started(start, Path(folder))
        yield server
        server.stop()


def _started(start: Callable[[Path], servers.Server], folder: Path) -> servers.Server:
    try:
        return start(folder)
    except servers.NoServer as missing:
        if os.environ.get("SYNCER_REQUIRE_DATABASES") == "1":
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.Server]:
    """One PostgreSQL server for the whole test run."""
    yield from _running(servers.start_postgres)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[servers.Server]:
    """One MariaDB server for the whole test run."""
    yield from _running(servers.start_mariadb)


@pytest.fixture
def postgres_url(postgres_server: servers.Server) -> Iterator[str]:
    """SQLAlchemy URL of an empty PostgreSQL database of this test's own."""
    url = servers.new_postgres_database(postgres_server)
    yield url
    servers.drop_postgres_database(postgres_server, url)


@pytest.fixture
def mariadb_url(mariadb_server: servers.Server) -> Iterator[str]:
    """SQLAlchemy URL of an empty MariaDB database of this test's own."""
    url = servers.new_mariadb_database(mariadb_server)
    yield url
    servers.drop_mariadb_database(mariadb_server, url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """SQLAlchemy URL of a SQLite file of this test's own, empty until something is executed on it."""
    return f"sqlite:///{tmp_path / 'source.db'}"


@pytest.fixture
def execute_sql() -> Callable[[str, str], None]:
    """Executes SQL text of any number of statements on a URL: `execute_sql(url, sql)`."""
    return servers.execute_sql


@pytest.fixture
def zoo() -> Path:
    """Folder of the types zoo: every type of every engine at its extremes."""
    return HERE / "datasets" / "types-zoo"


@pytest.fixture
def datasets() -> Path:
    """Folder of others' datasets (chinook, pagila, sakila), which are not part of the project."""
    told = os.environ.get("SYNCER_DATASETS")
    place = Path(told) if told else HERE.parent.parent / "shared" / "datasets"
    if not place.is_dir():
        pytest.skip("no datasets here: set SYNCER_DATASETS to the folder that holds chinook, pagila and sakila")
    return place
