"""Fixtures of the command line's tests: a folder of a project that can be run, with a sandbox that records."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from project import Earlier, Project
from rows import UNREACHABLE, Answer, Row, ask
from support import CONFIG, CommandLine, execute

from syncer.sandbox.app import create_app
from syncer.sandbox.sample import create_sample
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse

#: tables and rows that make trouble, beside the sample's own
TROUBLE = """
CREATE TABLE null_keys (id INTEGER, name TEXT, updatedAt TIMESTAMP);
INSERT INTO null_keys VALUES (1, 'Attic', '2026-01-01 00:00:00'), (NULL, 'Boat', '2026-01-02 00:00:00');
CREATE TABLE twice (id INTEGER, name TEXT);
INSERT INTO twice VALUES (1, 'Attic'), (1, 'Boat'), (2, 'Cabin');
CREATE TABLE keyless (name TEXT);
CREATE TABLE colliding (id INTEGER PRIMARY KEY, hostID INTEGER, host_id INTEGER);
CREATE TABLE letters (id INTEGER PRIMARY KEY, body TEXT, updatedAt TIMESTAMP);
INSERT INTO letters VALUES (1, hex(zeroblob(20000)), '2026-01-01 00:00:00'), (2, 'short', '2026-01-02 00:00:00');
"""


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample database with some troublesome tables. Copy it before changing anything."""
    place = tmp_path_factory.mktemp("sample") / "app.db"
    create_sample(place)
    execute(place, TROUBLE)
    return place


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    """The command in an empty folder."""
    return CommandLine(folder=tmp_path)


@pytest.fixture
def project(command_line: CommandLine, sample: Path) -> Iterator[Project]:
    """The sample database, a config for it, and a sandbox to send to."""
    shutil.copy(sample, command_line.folder / "app.db")
    command_line.write("syncer.yaml", CONFIG)
    with Warehouse(":memory:") as warehouse, running(create_app(warehouse)) as url:
        command_line.environment["ENDPOINT"] = url
        yield Project(syncer=command_line, warehouse=warehouse)


@pytest.fixture(scope="session")
def earlier(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Iterator[Earlier]:
    """A state with checkpoints, fingerprints and a dead letter."""
    folder = tmp_path_factory.mktemp("earlier")
    syncer = CommandLine(folder=folder, environment={"SOURCE_URL": f"sqlite:///{sample}"})
    syncer.write("syncer.yaml", CONFIG + "  letters: {table: letters, watermark: updatedAt}\n")
    with Warehouse(":memory:") as warehouse, running(create_app(warehouse)) as url:
        told = syncer("run", ENDPOINT=url)
    assert told.code == 3, told
    with socket.socket() as taken:  # so that no other sandbox comes to listen there
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(url.rpartition(":")[2])))
        yield Earlier(state=folder / "syncer.db", endpoint=url)


def used_folder(folder: Path, sample: Path, earlier: Earlier) -> CommandLine:
    """A folder where all went well before: config and state, over the sample. Nobody listens at its endpoint."""
    shutil.copy(sample, folder / "app.db")
    shutil.copy(earlier.state, folder / "syncer.db")
    environment = {"SOURCE_URL": f"sqlite:///{sample}", "ENDPOINT": earlier.endpoint}
    syncer = CommandLine(folder=folder, environment=environment)
    syncer.write("syncer.yaml", CONFIG)
    return syncer


@pytest.fixture
def used(tmp_path: Path, sample: Path, earlier: Earlier) -> CommandLine:
    """A folder where all went well before."""
    return used_folder(tmp_path, sample, earlier)


@pytest.fixture(scope="session", autouse=True)
def answers(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Future[Answer]]]:
    """Answers to the rows that will be asked for, by name; sought beside the other tests, for there are many."""
    asked = [item.callspec.params.get("row") for item in request.session.items if hasattr(item, "callspec")]
    rows = [row for row in asked if isinstance(row, Row)]
    rows.sort(key=lambda row: row is not UNREACHABLE)  # which waits longest, so it begins first
    with ThreadPoolExecutor(2, thread_name_prefix="rows") as threads:
        yield {row.name: threads.submit(ask, _folder_for_a_row(request), row) for row in rows}


def _folder_for_a_row(request: pytest.FixtureRequest) -> CommandLine:
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("row")
    return used_folder(folder, request.getfixturevalue("sample"), request.getfixturevalue("earlier"))
