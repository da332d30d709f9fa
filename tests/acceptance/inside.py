"""The command line called in this process: quick, for tests that ask many things. No fixtures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import Told

from syncer.cli.app import invoke


@dataclass(frozen=True, kw_only=True)
class Inside:
    """`syncer -c FOLDER/syncer.yaml ...`, and what it said."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Told:
        """Run a command to its end."""
        self.capsys.readouterr()
        with _own_logging():
            code = invoke(["-c", str(self.folder / "syncer.yaml"), *arguments])
        return Told(code, *self.capsys.readouterr())


@contextmanager
def _own_logging() -> Iterator[None]:
    """Logging as it was, once the command has ended."""
    log = logging.getLogger("syncer")
    before = (log.handlers[:], log.propagate, log.level)
    try:
        yield
    finally:
        log.handlers[:], log.propagate, log.level = before
