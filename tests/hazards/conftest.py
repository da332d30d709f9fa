"""The fixture `world`: a database, and everything a run over it needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hazard_world import World

_URLS = {"postgresql": "postgres_url", "mariadb": "mariadb_url", "sqlite": "sqlite_url"}


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A world on the database that the test is parametrised with."""
    world = World(engine=request.param, url=request.getfixturevalue(_URLS[request.param]), folder=tmp_path)
    if world.engine == "sqlite":
        world.sql("PRAGMA journal_mode = WAL")  # else a reader keeps every writer waiting
    return world
