"""What the command line's tests work in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from support import CommandLine, execute, progress

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


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What an earlier run over the sample left: the state file, and where it sent to. Nobody listens there now."""

    state: Path
    endpoint: str
