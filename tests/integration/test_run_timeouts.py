"""A mapping's `timeout`, and a configuration that is replaced while a run goes on: each run is its own affair."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from http_server import ACCEPTED, Reply, Request, answer, serving

from syncer.config import Config, load_config
from syncer.core.events import Event
from syncer.core.model import Mode, Outcome, RunReport
from syncer.core.plan import RunOptions
from syncer.run.runner import Runner

PATIENCE = 30.0


def config_of(folder: Path, endpoint: str, timeout: str = "1s", source: str = "source.db") -> Config:
    """Two mappings of one table; the first may take so long."""
    path = folder / "syncer.yaml"
    path.write_text(
        f"""
version: 1
sources: {{app: {{url: "sqlite:///{source}"}}}}
destination: {{write_key: key, endpoint: "{endpoint}", max_in_flight: 1}}
state: {{url: "sqlite:///state.db"}}
mappings:
  rooms: {{table: rooms, watermark: version, timeout: {timeout}}}
  cities: {{table: rooms, collection: cities}}
""",
        "utf-8",
    )
    return load_config(path, {})


@pytest.fixture
def rooms(sqlite_url: str, execute_sql: Callable[[str, str], None]) -> str:
    """A source with 200 rooms, twenty requests."""
    values = ", ".join(f"({number}, 'city {number}', {number})" for number in range(1, 201))
    table = "CREATE TABLE rooms (id INTEGER PRIMARY KEY, city TEXT, version INTEGER)"
    execute_sql(sqlite_url, f"{table}; INSERT INTO rooms VALUES {values}")
    return sqlite_url


def ignore(_: Event) -> None:
    """Nobody watches."""


def play(scene: Coroutine[object, object, None]) -> None:
    """Run a scene; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await scene

    asyncio.run(bounded())


def ids(requests: list[Request]) -> set[str]:
    """The ids of all objects in requests."""
    return {each for request in requests for each in request.ids}


def test_a_run_that_takes_too_long_is_stopped_in_order_and_loses_nothing(rooms: str, tmp_path: Path) -> None:
    """It fails and says why and what to do; what was answered is saved, and the next run sends the rest."""
    sluggish = threading.Event()

    def slowly(_: Request) -> Reply:
        sluggish.wait(0.2)
        return ACCEPTED

    with serving(slowly) as server:
        config = config_of(tmp_path, server.endpoint)

        async def scene() -> None:
            async with Runner(config, ignore) as runner:
                report = await runner.run(config.mappings["rooms"], RunOptions())
                assert (report.outcome, report.exit_code) == (Outcome.FAILED, 1)
                assert report.error == (
                    "mapping rooms: the run took longer than its timeout of 1s and was stopped; its progress is saved"
                )
                assert report.hint is not None
                assert "mappings.rooms" in report.hint
                assert report.counts.balanced
                assert 0 < report.counts.sent < 200
                saved = runner.store.fingerprints("rooms", [str(number) for number in range(1, 201)])
                assert set(saved) == ids(server.requests), "what was answered is saved, to the last object"
                assert runner.store.leases() == ()
                before = len(server.requests)
                sluggish.set()
                again = await runner.run(config.mappings["rooms"], RunOptions())
                assert again.outcome is Outcome.SUCCEEDED
                assert again.counts.sent == 200 - report.counts.sent
                assert len(server.requests) == 20
                assert ids(server.requests[before:]).isdisjoint(saved)

        play(scene())


def test_retries_end_with_it(rooms: str, tmp_path: Path) -> None:
    """Where the API refuses for now, no attempt begins after the timeout, and other mappings go on."""
    with serving(lambda request: answer(503) if b'"rooms"' in request.body else ACCEPTED) as server:
        config = config_of(tmp_path, server.endpoint)

        async def scene() -> None:
            async with Runner(config, ignore) as runner:
                began = asyncio.get_running_loop().time()
                report = await runner.run(config.mappings["rooms"], RunOptions())
                assert asyncio.get_running_loop().time() - began >= 1.0
                assert report.error is not None
                assert "its timeout of 1s" in report.error
                attempts = len(server.requests)
                other = await runner.run(config.mappings["cities"], RunOptions())
                assert (other.outcome, other.counts.sent) == (Outcome.SUCCEEDED, 200)
                assert sum(b'"rooms"' in each.body for each in server.requests) == attempts

        play(scene())


def test_a_stop_is_a_stop_also_where_a_timeout_follows(rooms: str, tmp_path: Path) -> None:
    """A run that is told to stop before its time is over was interrupted, and did not fail."""
    answered = threading.Event()

    def held_back(_: Request) -> Reply:
        answered.wait(PATIENCE)
        return ACCEPTED

    with serving(held_back) as server:
        config = config_of(tmp_path, server.endpoint)

        async def scene() -> None:
            async with Runner(config, ignore) as runner:
                running = asyncio.create_task(runner.run(config.mappings["rooms"], RunOptions()))
                while not server.requests:
                    await asyncio.sleep(0.01)
                runner.stop()
                await asyncio.sleep(1.2)
                answered.set()
                assert (await running).outcome is Outcome.INTERRUPTED

        play(scene())


def test_a_statement_that_takes_too_long_is_ended(rooms: str, tmp_path: Path) -> None:
    """The timeout also ends what the database is doing."""
    with serving(lambda _: ACCEPTED) as server:
        config = config_of(tmp_path, server.endpoint)
        path = tmp_path / "syncer.yaml"
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e13)"
        path.write_text(
            path.read_text().replace(
                "{table: rooms, watermark: version, ",
                f'{{query: "{endless} SELECT 1 AS id, count(*) AS nap FROM n", primary_key: id, ',
            )
        )
        config = load_config(path, {})

        async def scene() -> None:
            async with Runner(config, ignore) as runner:
                report = await runner.run(config.mappings["rooms"], RunOptions())
                assert report.outcome is Outcome.FAILED
                assert report.error is not None
                assert "its timeout of 1s" in report.error

        play(scene())


def test_a_run_ends_where_it_began_and_the_next_begins_elsewhere(
    rooms: str, tmp_path: Path, execute_sql: Callable[[str, str], None]
) -> None:
    """A configuration with another source and destination is for later runs; then the old ones are let go."""
    execute_sql(
        f"sqlite:///{tmp_path / 'other.db'}",
        "CREATE TABLE rooms (id INTEGER PRIMARY KEY, city TEXT, version INTEGER); INSERT INTO rooms VALUES (7, 'x', 7)",
    )
    answering = threading.Event()

    def held_back(_: Request) -> Reply:
        answering.wait(PATIENCE)
        return ACCEPTED

    with serving(held_back) as old, serving(lambda _: ACCEPTED) as new:
        config = config_of(tmp_path, old.endpoint, timeout="1h")
        later = config_of(tmp_path, new.endpoint, timeout="1h", source="other.db")

        async def scene() -> None:
            async with Runner(config, ignore) as runner:
                running = asyncio.create_task(runner.run(config.mappings["rooms"], RunOptions()))
                while not old.requests:
                    await asyncio.sleep(0.01)
                runner.replace(later)
                await runner.let_go()
                cities = await runner.run(later.mappings["cities"], RunOptions(mode=Mode.FULL))
                answering.set()
                rooms = await running
                assert (rooms.outcome, rooms.counts.sent) == (Outcome.SUCCEEDED, 200)
                assert (cities.outcome, cities.counts.sent) == (Outcome.SUCCEEDED, 1)
                assert len(old.requests) == 20
                assert ids(new.requests) == {"7"}
                await unchanged(runner, config, later)

        async def unchanged(runner: Runner, config: Config, later: Config) -> None:
            """The same again replaces nothing."""
            delivery, source = runner.delivery(), runner.source("app")
            runner.replace(later)
            assert runner.delivery() is delivery
            assert runner.source("app") is source
            runner.replace(config)
            assert runner.delivery() is not delivery

        play(scene())


def test_reports_are_of_the_run_alone(rooms: str, tmp_path: Path) -> None:
    """Within its time, a run with a timeout is like any other."""
    with serving(lambda _: ACCEPTED) as server:
        config = config_of(tmp_path, server.endpoint, timeout="1h")

        async def scene() -> None:
            async with Runner(config, ignore) as runner:
                report: RunReport = await runner.run(config.mappings["rooms"], RunOptions())
                assert (report.outcome, report.counts.sent, report.error) == (Outcome.SUCCEEDED, 200, None)

        play(scene())
