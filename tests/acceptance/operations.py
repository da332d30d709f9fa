"""The commands of docs/operations.md, run as they stand there. No fixtures, no tests."""

from __future__ import annotations

import os
import re
import shlex
import string
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import servers
from support import PATIENCE, CommandLine, Told

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
_SHELL = re.compile(r"[|><;&(]|\$\(")


def sections() -> dict[str, list[str]]:
    """The commands of each section, by its heading; of sections that have some."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^#{2,3} ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```console\n(.*?)^```", part, re.DOTALL | re.MULTILINE)
        commands = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
        if commands:
            found[part.partition("\n")[0]] = commands
    return found


@dataclass(kw_only=True)
class Operator:
    """Somebody with the page before them, who does what it says in a folder."""

    syncer: CommandLine
    section: str
    done: list[str] = field(default_factory=list)

    def does(self, *beginning: str, code: int = 0) -> list[Told]:
        """Run the section's commands that begin with these words, in the page's order; each must end with the code."""
        commands = [each for each in sections()[self.section] if each.startswith(beginning)]
        assert commands, f"{self.section} has no command that begins with {beginning}"
        told = []
        for command in commands:
            told.append(self._run(command))
            assert told[-1].code == code, (command, told[-1])
            self.done.append(command)
        return told

    def has_done_everything(self) -> None:
        """Fail unless each command of the section was run."""
        assert sorted(set(sections()[self.section]) - set(self.done)) == []

    def _run(self, command: str) -> Told:
        environment = self.syncer.environ({})
        # quick where no shell is needed
        if command.startswith("syncer ") and not _SHELL.search(command):
            words = shlex.split(string.Template(command).substitute(environment))
            return self.syncer(*words[1:])
        finished = subprocess.run(
            ["bash", "-euc", command], cwd=self.syncer.folder, env=environment | _paths(environment),
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        return Told(finished.returncode, finished.stdout, finished.stderr)


def _paths(environment: Mapping[str, str]) -> dict[str, str]:
    """Where this Python's programs are, and PostgreSQL's."""
    places = [str(Path(sys.executable).parent), str(servers.postgres_programs()), environment.get("PATH", os.defpath)]
    return {"PATH": os.pathsep.join(places)}
