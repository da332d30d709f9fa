"""A run that is told to stop while the database works, and a daemon whose write key was refused for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from http_server import answer, in_order, serving

from syncer.config import Config, load_config
from syncer.core.events import Event, RunStarted
from syncer.core.model import Outcome, RunReport
from syncer.core.plan import RunOptions
from syncer.run.runner import Runner

#: statements that take far longer than any test may
SLOW = {
    "postgres_url": "SELECT 1 AS id, pg_sleep(3000)::text AS nap",
    "mariadb_url": "SELECT 1 AS id, SLEEP(3000) AS nap",
    "sqlite_url": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e13) "
    "SELECT 1 AS id, count(*) AS nap FROM n",
}


def config_of(folder: Path, url: str, query: str, endpoint: str) -> Config:
    """One mapping of that query."""
    path = folder / "syncer.yaml"
    path.write_text(
        f"""
version: 1
sources: {{app: {{url: "{url}"}}}}
destination: {{write_key: key, endpoint: "{endpoint}"}}
state: {{url: "sqlite:///{folder / "state.db"}"}}
mappings:
  naps: {{query: "{query}", primary_key: id}}
""",
        "utf-8",
    )
    return load_config(path, {})


def no_events(_: Event) -> None:
    """Nobody watches."""


@pytest.mark.parametrize("engine", SLOW)
@pytest.mark.parametrize("moment", ["reading", "counting keys"])
def test_a_stop_ends_what_the_database_is_doing(
    engine: str,
    moment: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    execute_sql: Callable[[str, str], None],
) -> None:
    """The statement is ended, the run is interrupted, and nothing waits for the database's pleasure."""
    url = request.getfixturevalue(engine)
    execute_sql(url, "CREATE TABLE rooms (id INTEGER PRIMARY KEY)")
    config = config_of(tmp_path, url, SLOW[engine], "http://127.0.0.1:9")

    async def stopped() -> RunReport:
        async with Runner(config, no_events) as runner:
            options = RunOptions(start=None, dry_run=False)
            if moment == "reading":
                # rows read by their key skip the counting
                options = RunOptions(keys=('[["integer","1"]]',))
            running = asyncio.create_task(runner.run(config.mappings["naps"], options))
            await asyncio.sleep(1.5)
            runner.stop()
            return await running

    report = asyncio.run(stopped())
    assert report.outcome is Outcome.INTERRUPTED
    assert report.counts.balanced


def test_a_refused_write_key_ends_its_run_but_not_the_daemon(
    sqlite_url: str, tmp_path: Path, execute_sql: Callable[[str, str], None]
) -> None:
    """The next run asks again, and goes on once the key is accepted."""
    execute_sql(sqlite_url, "CREATE TABLE rooms (id INTEGER PRIMARY KEY, city TEXT); INSERT INTO rooms VALUES (1, 'x')")
    with serving(in_order(answer(401), answer(403))) as server:
        config = config_of(tmp_path, sqlite_url, "SELECT id, city FROM rooms", server.endpoint)

        async def three_runs() -> list[RunReport]:
            events: list[Event] = []
            async with Runner(config, events.append) as runner:
                reports = [await runner.run(config.mappings["naps"], RunOptions()) for _ in range(3)]
            assert sum(isinstance(event, RunStarted) for event in events) == 3
            return reports

        outcomes = [report.outcome for report in asyncio.run(three_runs())]
    assert outcomes == [Outcome.FAILED, Outcome.FAILED, Outcome.SUCCEEDED]
