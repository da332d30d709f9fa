"""Fixtures of the command line's tests: a folder of a project that can be run, with a sandbox that records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import CONFIG, CommandLine, execute, progress

from syncer.sandbox.app import create_app
from syncer.sandbox.sample import create_sample
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with `app.db`, `syncer.yaml` and, once something ran, `syncer.db`; and what the sandbox received."""

    syncer: CommandLine
    warehouse: Warehouse

    @property
    def state(self) -> Path:
        """The state file."""
        return self.syncer.folder / "syncer.db"

    def change(self, sql: str) -> None:
        """Change the source."""
        execute(self.syncer.folder / "app.db", sql)

    def progress(self) -> dict[str, list[tuple[object, ...]]]:
        """Checkpoints, dead letters, fingerprints, held leases."""
        return progress(self.state)

    def received(self) -> int:
        """How many requests came so far."""
        return len(self.warehouse.requests())


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample database. Copy it before changing anything."""
    place = tmp_path_factory.mktemp("sample") / "app.db"
    create_sample(place)
    return place


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    """The command in an empty folder."""
    return CommandLine(folder=tmp_path)


@pytest.fixture
def project(command_line: CommandLine, sample: Path) -> Iterator[Project]:
    """The sample database, a config for it, and a sandbox to send to."""
    (command_line.folder / "app.db").write_bytes(sample.read_bytes())
    command_line.write("syncer.yaml", CONFIG)
    with Warehouse(":memory:") as warehouse, running(create_app(warehouse)) as url:
        command_line.environment["ENDPOINT"] = url
        yield Project(syncer=command_line, warehouse=warehouse)
