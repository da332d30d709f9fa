"""A config file that loads, for tests to change, and the ways to load one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from syncer.config import Config, load_config
from syncer.errors import ConfigError, Problem

SECRET = "wk_8Jq2S3cr3t"

VALID = f"""\
version: 1
sources:
  app: {{url: "postgresql+psycopg://syncer:{SECRET}@db.test/hotels"}}
destination:
  write_key: {SECRET}
mappings:
  rooms:
    query: SELECT id, name, updated_at FROM rooms
    primary_key: id
"""

Load = Callable[..., Config]
Problems = Callable[..., tuple[Problem, ...]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write the config file."""

    def write(text: str) -> Path:
        path = tmp_path / "syncer.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def load(write: Callable[[str], Path]) -> Load:
    """Load a config file of this text."""
    return lambda text, environ={}: load_config(write(text), environ)


@pytest.fixture
def problems(write: Callable[[str], Path]) -> Problems:
    """Problems of a config file of this text; it must have some."""

    def problems(text: str, environ: Mapping[str, str] = {}) -> tuple[Problem, ...]:
        with pytest.raises(ConfigError) as raised:
            load_config(write(text), environ)
        assert raised.value.problems
        return raised.value.problems

    return problems


@pytest.fixture
def valid() -> str:
    """Text of a config file that loads."""
    return VALID


@pytest.fixture
def mapping() -> Callable[[str], str]:
    """Text of a config file whose one mapping `rooms` has these keys as well."""
    return lambda keys: VALID + "".join(f"    {line}\n" for line in keys.splitlines())
