"""The daemon as the page sees it: real runs on SQLite, a real API on loopback, everything that can be asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from http_server import ACCEPTED, Reply, Request, answer, serving

from syncer.config import Config, load_config
from syncer.core.events import Event, RunFinished, RunMoved, RunStuck
from syncer.core.model import Mode, Outcome, RunReport
from syncer.errors import UsageError
from syncer.service.daemon import Daemon

PATIENCE = 30.0
TEXT = """
version: 1
sources: {app: {url: "sqlite:///source.db"}}
destination: {write_key: key, endpoint: ENDPOINT, max_in_flight: 1}
state: {url: "sqlite:///state.db"}
serve: {stuck_after: 1s}
mappings:
  rooms: {table: rooms, watermark: version, schedules: [{cron: "0 0 1 1 *"}]}
  cities: {table: rooms, collection: cities, after: rooms}
"""


class House:
    """A folder with a source of 30 rooms and a file, a daemon on it, and what it told."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.file = folder / "syncer.yaml"
        self.file.write_text(TEXT.replace("ENDPOINT", endpoint), "utf-8")
        self.events: list[Event] = []
        self.stop = asyncio.Event()
        self.daemon = Daemon(self.load(), load=self.load, look=0.05)
        self.daemon.observe(self.events.append)

    def load(self) -> Config:
        """Read the file."""
        return load_config(self.file, {})

    async def __aenter__(self) -> House:
        self._serving = asyncio.create_task(self._serve())
        await self.daemon.planned.wait()
        return self

    async def _serve(self) -> None:
        async with self.daemon:
            await self.daemon.serve(self.stop)

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        await self._serving

    async def until(self, happened: Callable[[], object]) -> None:
        """Return once something is true."""
        while not happened():
            await asyncio.sleep(0.005)

    def ended(self, mapping: str) -> list[RunReport]:
        """Reports of a mapping's runs."""
        return [each.report for each in self.events if isinstance(each, RunFinished) and each.report.mapping == mapping]


def play(scene: Coroutine[object, object, None]) -> None:
    """Run a scene; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await scene

    asyncio.run(bounded())


@pytest.fixture
def folder(tmp_path: Path, sqlite_url: str, execute_sql: Callable[[str, str], None]) -> Path:
    """A folder with a source."""
    values = ", ".join(f"({number}, 'city {number}', {number})" for number in range(1, 31))
    table = "CREATE TABLE rooms (id INTEGER PRIMARY KEY, city TEXT, version INTEGER)"
    execute_sql(sqlite_url, f"{table}; INSERT INTO rooms VALUES {values}")
    return tmp_path


def test_run_now(folder: Path) -> None:
    """It runs, in the mode that was asked for; what follows it runs too; endings and next fires are told."""

    async def scene(endpoint: str) -> None:
        async with House(folder, endpoint) as house:
            daemon = house.daemon
            assert (daemon.ready(), daemon.alive(), daemon.running(), daemon.waiting()) == (None, None, [], [])
            assert await daemon.run_now("rooms", Mode.FULL)
            await house.until(lambda: house.ended("cities"))
            assert [(each.mode, each.trigger, each.outcome) for each in house.ended("rooms")] == [
                (Mode.FULL, "page", Outcome.SUCCEEDED)
            ]
            assert [each.trigger for each in house.ended("cities")] == ["after"]
            await house.until(lambda: len(daemon.endings()) == 2)
            assert daemon.endings() == {("rooms", "ran"): 1, ("cities", "ran"): 1}
            fire = daemon.next_fire("rooms")
            assert fire is not None
            assert (fire.month, fire.day) == (1, 1)
            assert daemon.next_fire("cities") is None
        assert daemon.ready() == "stopping: runs finish what is in flight"

    with serving(lambda _: ACCEPTED) as server:
        play(scene(server.endpoint))


def test_a_run_that_stands_still_is_told_of(folder: Path) -> None:
    """While no answer comes it is shown as stuck, once told; when one comes, so is that."""

    async def scene(endpoint: str) -> None:
        async with House(folder, endpoint) as house:
            await house.daemon.run_now("rooms", Mode.INCREMENTAL)
            await house.until(lambda: any(isinstance(each, RunStuck) for each in house.events))
            (running,) = house.daemon.running()
            assert (running.mapping, running.mode, running.stuck) == ("rooms", Mode.FULL, True)
            assert await house.daemon.run_now("rooms", Mode.FULL)
            assert house.daemon.waiting() == ["rooms"]
            assert not await house.daemon.run_now("rooms", Mode.FULL), "one waits already"
            await house.until(lambda: any(isinstance(each, RunMoved) for each in house.events))
            await house.until(lambda: len(house.ended("rooms")) == 2)
            await house.until(lambda: not house.daemon.running() and not house.daemon.waiting())
        told = [each for each in house.events if isinstance(each, RunStuck | RunMoved)]
        assert [type(each) for each in told if each.run_id == running.run_id] == [RunStuck, RunMoved]

    def slowly(request: Request) -> Reply:
        """The second request is answered after two seconds."""
        delay = 2.0 * (request.number == 2)
        return answer(200, b'{"success":true}', ("Content-Type", "application/json"), delay=delay)

    with serving(slowly) as server:
        play(scene(server.endpoint))


def test_a_retry_waits_for_the_run_that_goes_on(folder: Path) -> None:
    """And a run for the retry: one process does not lock itself out."""

    async def scene(endpoint: str) -> None:
        async with House(folder, endpoint) as house:
            await house.daemon.run_now("rooms", Mode.FULL)
            await house.until(lambda: house.ended("rooms"))
            await house.daemon.run_now("rooms", Mode.FULL)
            await house.until(house.daemon.running)
            report = await house.daemon.retry_dead_letters("rooms", None)
            assert (report.outcome, report.counts.read) == (Outcome.PARTIAL, 1)
            retrying = asyncio.create_task(house.daemon.retry_dead_letters("rooms", None))
            await house.until(house.daemon.running)
            await house.daemon.run_now("rooms", Mode.FULL)
            assert (await retrying).outcome is Outcome.PARTIAL
            await house.until(lambda: len(house.ended("rooms")) == 5)
            assert {each.outcome for each in house.ended("rooms")} == {Outcome.PARTIAL}

    def refusing(request: Request) -> Reply:
        """Room 7 is refused, and every answer takes a moment."""
        status = 400 if "7" in request.ids else 200
        return answer(status, b'{"success":true}', ("Content-Type", "application/json"), delay=0.05)

    with serving(refusing) as server:
        play(scene(server.endpoint))


def test_pause_and_resume(folder: Path) -> None:
    """Both are in the state at once, and what cannot be is refused in words."""

    async def scene(endpoint: str) -> None:
        async with House(folder, endpoint) as house:
            daemon = house.daemon
            await daemon.pause("rooms")
            assert list(daemon.paused()) == list(daemon.store.pauses()) == ["rooms"]
            assert daemon.next_fire("rooms") is None
            daemon.store.pause("cities", daemon.paused()["rooms"])
            await house.until(lambda: sorted(daemon.paused()) == ["cities", "rooms"])
            await daemon.resume("rooms")
            assert list(daemon.paused()) == ["cities"]
            for ask in (daemon.pause, daemon.resume):
                with pytest.raises(UsageError, match="there is no mapping `hots`"):
                    await ask("hots")
            with pytest.raises(UsageError, match="there is no mapping `hots`"):
                await daemon.run_now("hots", Mode.FULL)
            # a person's wish passes by a pause
            await daemon.run_now("cities", Mode.FULL)
            await house.until(lambda: house.ended("cities"))
        with pytest.raises(UsageError, match="nothing can be begun now: stopping"):
            await daemon.run_now("rooms", Mode.FULL)

    with serving(lambda _: ACCEPTED) as server:
        play(scene(server.endpoint))


def test_dead_letters_are_retried_with_the_rows_as_they_are(
    folder: Path, sqlite_url: str, execute_sql: Callable[[str, str], None]
) -> None:
    """One by its number, or all; the row is read again. Where there is none, that is said."""

    async def scene(endpoint: str) -> None:
        async with House(folder, endpoint) as house:
            daemon = house.daemon
            with pytest.raises(UsageError, match="no such dead letter"):
                await daemon.retry_dead_letters("rooms", None)
            await daemon.run_now("rooms", Mode.FULL)
            await house.until(lambda: house.ended("rooms"))
            letters = daemon.store.dead_letters("rooms")
            assert [each.rejection.id for each in letters] == ["7", "9"]
            execute_sql(sqlite_url, "UPDATE rooms SET city = 'fine' WHERE id IN (7, 9)")
            report = await daemon.retry_dead_letters("rooms", [letters[0].number])
            assert (report.outcome, report.trigger, report.counts.sent) == (
                Outcome.SUCCEEDED, "dead-letters retry", 1
            )  # fmt: skip
            assert [each.rejection.id for each in daemon.store.dead_letters("rooms")] == ["9"]
            await daemon.retry_dead_letters("rooms", None)
            assert not daemon.store.dead_letters("rooms")

    def picky(request: Request) -> Reply:
        bad = b'"city 7"' in request.body or b'"city 9"' in request.body
        return answer(400, b'{"error":"no"}', ("Content-Type", "application/json")) if bad else ACCEPTED

    with serving(picky) as server:
        play(scene(server.endpoint))


def test_reloading(folder: Path) -> None:
    """A bad file is told by `reloaded`, and the old one stays; a good one is in force at once, but for `serve`."""

    async def scene(endpoint: str) -> None:
        used: list[Config] = []
        async with House(folder, endpoint) as house:
            daemon, good = house.daemon, house.file.read_text("utf-8")
            daemon.observe(lambda _: None, use=used.append)
            before = daemon.config
            house.file.write_text(good.replace("table: rooms", "tabel: rooms"), "utf-8")
            await daemon.reload()
            problem = daemon.reloaded().problem
            assert problem is not None
            assert "did you mean `table`?" in problem
            assert daemon.config is before
            house.file.write_text(good.replace("cities:", "towns:").replace("stuck_after: 1s", "port: 1"), "utf-8")
            await daemon.reload()
            assert daemon.reloaded().problem is None
            assert list(daemon.config.mappings) == ["rooms", "towns"]
            assert daemon.config.serve == before.serve
            assert used == [daemon.config]
            with pytest.raises(UsageError, match="there is no mapping `cities`"):
                await daemon.run_now("cities", Mode.FULL)
            await daemon.run_now("rooms", Mode.FULL)
            await house.until(lambda: house.ended("towns"))

    with serving(lambda _: ACCEPTED) as server:
        play(scene(server.endpoint))
