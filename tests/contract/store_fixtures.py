"""The fixture that gives each test an empty store of every kind. A plugin of the store tests; no tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncer.state import MemoryStore, Store, open_store


@pytest.fixture(params=["memory", "sqlite", "postgres", "mariadb", "duckdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind."""
    match request.param:
        case "memory":
            opened: Store = MemoryStore()
        case "sqlite":
            opened = open_store(f"sqlite:///{tmp_path / 'syncer.db'}")
        case "duckdb":
            # of which syncer knows nothing special: it stands for every other database
            opened = open_store(f"duckdb:///{tmp_path / 'syncer.duckdb'}")
        case name:
            opened = open_store(request.getfixturevalue(f"{name}_url"))
    yield opened
    opened.close()
