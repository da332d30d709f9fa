"""What the tests of deploy/ share: where the files are, and the programs that check them. No fixtures, no tests."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from syncer import __version__
from syncer.cli.app import cli

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
IMAGE = f"syncer:{__version__}"
#: seconds that stopping may take in all, see `syncer serve`; whoever stops it must wait longer
DRAIN = 25


def program(name: str) -> str:
    """Path of a program of this environment or the machine; without it the test is skipped, where it may be missing."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    return found or str(missing(f"{name} is not installed; see `make deploy-check`"))


def module(name: str) -> ModuleType:
    """A module of the extra `deploy`; without it the test is skipped, where it may be missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(f"the module {name} is not installed: pip install -e '.[deploy]'")
        raise


def missing(told: str) -> None:
    """Skip; or fail, where everything must be there."""
    if os.environ.get("SYNCER_REQUIRE_DATABASES") == "1":
        pytest.fail(told)
    pytest.skip(told)


def run(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; what it said is in `stdout`."""
    return subprocess.run(
        [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        check=False, **options,
    )  # fmt: skip


def documents(path: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return [each for each in yaml.safe_load_all(path.read_text("utf-8")) if each]


def parses(*words: str) -> None:
    """Fail unless `syncer WORDS` is a command with options that it has. Only its help is run."""
    told = CliRunner().invoke(cli, [*words, "--help"])
    assert told.exit_code == 0, told.output


def variables(text: str) -> Iterator[str]:
    """The variables that a configuration has, without those that have a default."""
    yield from re.findall(r"\$\{(\w+)\}", re.sub(r"#.*", "", text))
