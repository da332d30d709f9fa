"""A folder with canaries, and the command line in it, in every style of its log. No fixtures."""

from __future__ import annotations

import logging
import os
import sqlite3
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from acceptance.support import CommandLine, Told
from campaign import rounds
from canaries import PASSWORD_IN_URL, VALUE, WRITE_KEY, assert_tells_nothing

from syncer.cli.app import invoke

STYLES = (
    ["-v", "--log-format", "json"], ["--log-format", "text"], ["-v", "--log-format", "text"], ["--log-format", "json"]
)  # fmt: skip

CONFIG = """\
version: 1
sources:
  app: {url: "${SOURCE_URL:-sqlite:///app.db}"}
  spare: {url: "${SPARE_URL}"}
destination: {write_key: "${WRITE_KEY}", endpoint: "${ENDPOINT}", retry_for: 1s}
state: {url: "${STATE_URL:-sqlite:///syncer.db}"}
defaults: {source: app}
mappings:
"""
ROOMS = "  rooms: {table: rooms, watermark: updated_at}\n"
TABLE = """
CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT, updated_at TIMESTAMP);
INSERT INTO rooms VALUES (1, {name}, '2026-01-01 00:00:00'), (2, 'Attic', '2026-01-02 00:00:00');
"""


@dataclass(kw_only=True)
class Within(CommandLine):
    """The command line inside this process, which saves its start; the long form starts it as a person does."""

    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, **environment: str) -> Told:
        """Run a command to its end; keywords are environment variables."""
        if rounds(0, 1):
            return super().__call__(*arguments, **environment)
        with self._as_a_process(environment):
            self.capture.readouterr()
            code = self._invoked(arguments)
            return Told(code, *self.capture.readouterr())

    def _invoked(self, arguments: Sequence[str]) -> int:
        try:
            return invoke(arguments)
        except Exception:  # noqa: BLE001  as the interpreter would
            traceback.print_exc()
            return 1

    @contextmanager
    def _as_a_process(self, environment: Mapping[str, str]) -> Iterator[None]:
        log, variables, folder = logging.getLogger("syncer"), dict(os.environ), Path.cwd()
        before = log.handlers[:], log.propagate, log.level
        os.environ.clear()
        os.environ.update(self.environ(environment))
        os.chdir(self.folder)
        try:
            yield
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(variables)
            log.handlers[:], log.propagate = before[:2]
            log.setLevel(before[2])


def prepared(folder: Path, capture: pytest.CaptureFixture[str]) -> CommandLine:
    """The command in a folder with a database that holds the value; the key and a password are in its environment."""
    environment = {"WRITE_KEY": WRITE_KEY, "SPARE_URL": f"postgresql://reader:{PASSWORD_IN_URL}@127.0.0.1:9/app"}
    made = Within(folder=folder, environment=environment, capture=capture)
    made.write("syncer.yaml", CONFIG + ROOMS)
    with closing(sqlite3.connect(folder / "app.db")) as connection:
        connection.executescript(TABLE.format(name=quoted(VALUE)))
    return made


def quoted(text: str) -> str:
    """As SQL."""
    return "'" + text.replace("'", "''") + "'"


def fails(syncer: CommandLine, *words: str, codes: Sequence[int] = (1,), command: str = "run", **more: str) -> None:
    """A command that fails with these words, in every style, and tells nothing."""
    for style in STYLES:
        told = syncer(*style, *command.split(), **more)
        assert told.code in codes, told
        assert [word for word in words if word not in told.err] == [], told
        assert ("Traceback" in told.err) <= ("-v" in style), told
        assert_tells_nothing(told, syncer.folder)
