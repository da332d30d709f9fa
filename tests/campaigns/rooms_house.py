"""A folder with rooms to sync, its state, and a destination that saw everything. No fixtures."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import servers
from acceptance.support import CommandLine
from state_tables import ask, holders, outdate
from witness import Witness

ROOMS = 400
#: of a run that sends everything
REQUESTS = ROOMS // 10

CONFIG = """\
version: 1
sources: {app: {url: "sqlite:///app.db"}}
destination: {write_key: a-write-key, endpoint: "${ENDPOINT}", max_in_flight: 2}
state: {url: "${STATE_URL}"}
mappings:
  rooms: {table: rooms, watermark: version, schedules: [{every: 1m}]}
"""


@dataclass
class House:
    """Rooms with versions. Every change gives them another name and a higher version."""

    syncer: CommandLine
    state: str
    witness: Witness
    version: int = 0

    def change(self, where: str = "true") -> None:
        """Give rooms another name."""
        self.version += 1
        servers.execute_sql(
            f"sqlite:///{self.syncer.folder / 'app.db'}",
            f"UPDATE rooms SET name = 'room ' || id || ' v{self.version}', version = {self.version} WHERE {where};",
        )

    def accepted(self) -> int:
        """How many rooms the destination has in their latest version."""
        return sum(each["version"] == self.version for each in self.witness.objects.values())

    def delivered(self) -> bool:
        """Whether the destination's objects are the source's rows."""
        wanted = ask(f"sqlite:///{self.syncer.folder / 'app.db'}", "SELECT id, name, version FROM rooms")
        return {str(row[0]): {"name": row[1], "version": row[2]} for row in wanted} == self.witness.objects

    def arrived(self, process: subprocess.Popen[bytes]) -> int:
        """How many requests of a process came so far, answered or not."""
        return sum(pid == process.pid for pid, _ in self.witness.arrivals)

    def converge(self) -> None:
        """Once nothing of a dead run can be under way any more, a run makes the destination equal to the source."""
        outdate(self.state, "since", "syncer_doubts")
        told = self.syncer("run")
        assert told.code == 0, told
        assert self.delivered()
        assert holders(self.state) == []


def furnished(folder: Path, state: str, witness: Witness) -> House:
    """A house with rooms in it."""
    folder.mkdir(exist_ok=True)
    syncer = CommandLine(folder=folder, environment={"ENDPOINT": witness.endpoint, "STATE_URL": state})
    syncer.write("syncer.yaml", CONFIG)
    values = ", ".join(f"({number}, '', 0)" for number in range(1, ROOMS + 1))
    servers.execute_sql(
        f"sqlite:///{folder / 'app.db'}",
        # a process stopped while it reads must not keep anyone from changing rooms
        "PRAGMA journal_mode = WAL;"
        f"CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT, version INT); INSERT INTO rooms VALUES {values};",
    )
    return House(syncer=syncer, state=state, witness=witness)
