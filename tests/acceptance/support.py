"""A folder with a config, a database and a sandbox, and the command line run in it as a person does. No fixtures."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import warm
from warm import Told

#: seconds; for conditions that come true at once unless something is broken
PATIENCE = 60

#: what a person would have written for the demo's sample database
CONFIG = """\
version: 1
sources:
  app: {url: "${SOURCE_URL:-sqlite:///app.db}"}
destination:
  write_key: ${WRITE_KEY:-a-write-key}
  endpoint: ${ENDPOINT}
  retry_for: ${RETRY_FOR:-20s}
  max_in_flight: ${MAX_IN_FLIGHT:-16}
state: {url: "${STATE_URL:-sqlite:///syncer.db}"}
mappings:
  hosts: {table: hosts, watermark: updatedAt, tags: [people]}
  rooms:
    query: SELECT id, name, location, nightlyPrice, reviewCount, updatedAt FROM rooms
    primary_key: id
    watermark: updatedAt
    tags: [core]
"""


@dataclass(kw_only=True)
class CommandLine:
    """The `syncer` command in a folder, with nothing of this machine's environment that it could lean on."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """An empty home."""
        place = self.folder / "home"
        place.mkdir(exist_ok=True)
        return place

    def environ(self, more: Mapping[str, str]) -> dict[str, str]:
        """All the variables a command sees."""
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        return {**kept, "HOME": str(self.home), "LANG": "C.UTF-8", **self.environment, **more}

    def __call__(self, *arguments: str, **environment: str) -> Told:
        """Run a command to its end; keywords are environment variables."""
        return warm.run(arguments, self.folder, self.environ(environment), PATIENCE)

    @contextmanager
    def started(self, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command; it is killed at the end unless it is gone by then."""
        with subprocess.Popen(
            command(arguments), cwd=self.folder, env=self.environ(environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    def read(self, name: str) -> str:
        """A file of the folder."""
        return (self.folder / name).read_text(encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        """Write a file in the folder."""
        (self.folder / name).write_text(text, encoding="utf-8")


def command(arguments: Sequence[str]) -> list[str]:
    """The words of a `syncer` command."""
    return [sys.executable, "-m", "syncer", *arguments]


def end_of(process: subprocess.Popen[bytes]) -> Told:
    """Wait until it ends."""
    out, err = process.communicate(timeout=PATIENCE)
    return Told(process.returncode, (out or b"").decode(), (err or b"").decode())


def line_with(words: str, stream: IO[bytes] | None) -> str:
    """The next line of a stream that has these words in it."""
    assert stream is not None
    for line in stream:
        if words in line.decode():
            return line.decode()
    raise AssertionError(f"the command ended without saying {words!r}")


def execute(database: Path, sql: str) -> None:
    """Execute SQL text on a SQLite file, and commit."""
    with closing(sqlite3.connect(database, timeout=PATIENCE)) as connection:
        connection.executescript(sql)


def query(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows of one statement on a SQLite file; none while there is no file."""
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=PATIENCE)) as connection:
        return connection.execute(sql).fetchall()


def progress(state: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What a failed command must leave as it was: all of the state but the history of runs and the leases' epochs."""
    kept = ("checkpoints", "dead_letters", "fingerprints")
    held = "SELECT mapping FROM syncer_leases WHERE owner IS NOT NULL"
    return {name: query(state, f"SELECT * FROM syncer_{name} ORDER BY 1, 2") for name in kept} | {
        "leases": query(state, held)
    }


def until(condition: Callable[[], object], process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until it holds. Fails when it does not within a generous time, or the process that should do it ends."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the command ended: {end_of(process)}")
        if time.monotonic() > deadline:
            raise AssertionError("it did not come about")
        time.sleep(0.02)


#: the keys of a run in `--output json`, in their order
RUN_KEYS = [
    "run_id", "mapping", "collection", "mode", "outcome", "trigger", "read", "sent", "unchanged", "deleted",
    "rejected", "skipped", "retried", "requests", "bytes", "api", "api_reason", "watermark", "started_at",
    "finished_at", "duration_seconds", "error",
]  # fmt: skip


def runs_of(told: Told) -> dict[str, dict[str, Any]]:
    """The runs by mapping in a command's JSON. Standard output must be that document and nothing else."""
    document = json.loads(told.out)
    assert list(document) == ["runs"]
    for run in document["runs"]:
        assert list(run) == RUN_KEYS
        if run["outcome"] != "failed":
            assert run["read"] == run["sent"] + run["unchanged"] + run["rejected"] + run["skipped"], run
    return {run["mapping"]: run for run in document["runs"]}


def lines_beginning(word: str, text: str) -> list[str]:
    """The lines that begin with a word."""
    return re.findall(rf"^{re.escape(word)}.*$", text, re.MULTILINE)


def assert_one_clear_error(told: Told, code: int, *words: str, verbose: bool = False) -> None:
    """One `Error:` with these words in what was said, one `Try:`, no traceback, this exit code."""
    assert told.code == code, told
    assert len(lines_beginning("Error: ", told.err)) == 1, told.err
    assert len(lines_beginning("Try: ", told.err)) == 1, told.err
    assert verbose or "Traceback" not in told.err
    assert [word for word in words if word not in told.err] == [], told.err
