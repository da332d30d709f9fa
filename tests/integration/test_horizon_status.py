"""What `syncer status` says while a transaction of the source keeps the watermark where it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hazards.hazard_world import World
from integration.horizon_reading import Execute
from integration.test_horizon_sqlite import Writer

from syncer.cli.app import cli

Status = Callable[..., str]


@pytest.fixture
def engine() -> str:
    return "sqlite"


@pytest.fixture
def world(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """One room, and a configuration file for it."""
    url = request.getfixturevalue("postgres_url" if engine == "postgresql" else "sqlite_url")
    world = World(engine=engine, url=url, folder=tmp_path)
    world.rooms(rows=[(1, "attic", world.now)])
    world.map()
    return world


@pytest.fixture
def status(world: World, monkeypatch: pytest.MonkeyPatch) -> Status:
    """The command, run in the folder of the configuration."""
    monkeypatch.chdir(world.folder)

    def told(output: str = "text") -> str:
        done = CliRunner().invoke(cli, ["-c", "syncer.yaml", "status", "--output", output])
        assert done.exit_code == 0, done.output
        return done.stdout

    return told


@contextmanager
def held(world: World) -> Iterator[str]:
    """Something keeps every watermark of the database where it is; in whose words."""
    if world.engine == "sqlite":
        with Writer(Path(world.url.removeprefix("sqlite:///"))) as writer:
            writer.run("BEGIN IMMEDIATE")
            yield "a writer whose transaction is open"
        return
    with world.transaction() as other:
        other.exec_driver_sql("INSERT INTO rooms VALUES (9, 'late', now())")
        other.exec_driver_sql("PREPARE TRANSACTION 'inventory'")
        other.invalidate()
    try:
        yield "the prepared transaction 'inventory'"
    finally:
        world.sql("ROLLBACK PREPARED 'inventory'")


def metric(text: str, name: str) -> list[float]:
    """The values of a metric."""
    return [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"syncer_{name}{{")]


@pytest.mark.parametrize("engine", ["postgresql", "sqlite"])
def test_a_bound_that_is_held_has_no_age(world: World, status: Status) -> None:
    """Text and JSON say that it is held and by what, the metrics export no instant of 1970; later all is as before."""
    with held(world) as what:
        world.run()
        (line,) = (line for line in status().splitlines() if line.startswith("rooms "))
        assert "  held  " in line
        assert what in status()
        assert standing(status) == {"bound": None, "held_by": what}
        assert metric(status("prometheus"), "bound_held") == [1]
        assert metric(status("prometheus"), "bound_timestamp_seconds") == []
    world.run()
    assert "held" not in status()
    assert standing(status)["held_by"] is None
    assert metric(status("prometheus"), "bound_held") == [0]
    assert metric(status("prometheus"), "bound_timestamp_seconds")[0] > 1.7e9


def test_of_a_run_that_never_was_nothing_is_said(world: World, status: Status) -> None:
    """Before the first run it is unknown whether anything holds the watermark."""
    assert metric(status("prometheus"), "bound_held") == []
    assert "# HELP syncer_bound_held " in status("prometheus")


def test_a_first_run_that_is_held_keeps_to_where_it_was_to_begin(world: World, execute_sql: Execute) -> None:
    """No watermark is saved below `initial`: the next run would read what was not asked for."""
    world.put((2, "old", world.at("2020-01-01 00:00:00")))
    world.map(watermark={"column": "updated_at", "initial": "2024-01-01"})
    with held(world):
        world.run()
        world.run()
        assert (world.held, world.watermark) == ({"1": "attic"}, None)
    world.run()
    assert world.held == {"1": "attic"}
    assert str(world.watermark) > "2026"


def test_a_full_run_that_is_held_lowers_no_watermark(world: World) -> None:
    """Everything up to the saved one is certain; reading it all again would be for nothing."""
    world.run()
    saved = world.watermark
    with held(world):
        world.run(full=True)
        assert world.watermark == saved


def test_a_full_run_of_another_query_that_is_held_is_the_last_one_needed(world: World) -> None:
    """What it read counts, although no watermark can be saved: the next run is not refused again."""
    world.run()
    world.map(query="SELECT id, name, updated_at FROM rooms WHERE id > 0", primary_key="id")
    with held(world):
        assert world.run().error is not None
        assert world.run(full=True).error is None
        assert (world.run().error, world.watermark) == (None, None)


def standing(status: Status) -> dict[str, Any]:
    (found,) = json.loads(status("json"))["mappings"]
    return {name: found[name] for name in ("bound", "held_by")}
