"""Several instances on one state, in virtual time: what one runs no other runs again; what one leaves, others take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
import virtual_time
from virtual_service import BEGIN, Played, Serving, at, now

from syncer.core.model import CollectionMapping, Mode, Outcome, RunReport, Schedule
from syncer.core.plan import RunOptions
from syncer.errors import LeaseHeld
from syncer.service.fires import Ending
from syncer.state import Commit, MemoryStore

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@dataclass
class Leased(Played):
    """Runs that need the lease, as real ones do, and are in the history when they are over."""

    store: MemoryStore = field(default_factory=MemoryStore)
    owner: str = "one"

    async def run(
        self, mapping: CollectionMapping, options: RunOptions, wanted: Callable[[], bool] = lambda: True
    ) -> RunReport:
        """One run, if nobody else holds the mapping or has just run it."""
        locked = RunReport(
            run_id="0", mapping=mapping.name, collection=mapping.name, mode=options.mode, outcome=Outcome.LOCKED,
            trigger=options.trigger, started_at=now(),
        )  # fmt: skip
        try:
            lease = self.store.acquire(mapping.name, self.owner, now(), MINUTE)
        except LeaseHeld:
            return locked
        try:
            if not wanted():
                return locked
            report = await super().run(mapping, options)
            self.store.commit(lease, Commit(run=report))
            return report
        finally:
            self.store.release(lease)


def play(scene: Coroutine[object, object, None]) -> None:
    """Run a scene in virtual time."""
    virtual_time.run(scene)


def mapping(name: str, *schedules: Schedule, after: tuple[str, ...] = ()) -> CollectionMapping:
    """A mapping; what it reads does not matter here."""
    return CollectionMapping(name=name, source="app", table=name, schedules=schedules, after=after)


def one_after_another(*all_runs: Leased) -> list[datetime]:
    """When runs of all instances began, in order; none began before the one before it had ended."""
    runs = sorted((run for each in all_runs for run in each.runs), key=lambda run: run.started_at)
    for earlier, later in pairwise(runs):
        assert earlier.finished_at is not None
        assert earlier.finished_at <= later.started_at
    return [run.started_at for run in runs]


@pytest.mark.parametrize("lasts", [0.0, 0.5, 40.0], ids=["no time", "a moment", "a while"])
@pytest.mark.parametrize("slow", [0.0, 0.3, 7.0], ids=["together", "a little later", "later"])
def test_each_time_of_a_crontab_runs_once(lasts: float, slow: float) -> None:
    """Both instances fire at each hour; one runs, however long that takes and however late the other is."""

    async def scene() -> None:
        store = MemoryStore()
        one, two = (Leased(lasts={"rooms": lasts}, store=store, owner=owner) for owner in ("one", "two"))
        late = Schedule(cron="0 * * * *")
        other = Late(two, slow)
        async with (
            Serving([mapping("rooms", late)], one, store) as first,
            Serving([mapping("rooms", late)], other, store),
        ):
            await at("02 00:30")
            assert first.ended("rooms", Ending.RAN) + first.ended("rooms", Ending.COVERED) == 24
        began = one_after_another(one, two)
        assert [f"{each:%d %H}" for each in began] == [f"{BEGIN + n * HOUR:%d %H}" for n in range(1, 25)]

    play(scene())


class Late(Leased):
    """An instance whose runs begin late."""

    def __init__(self, runs: Leased, seconds: float) -> None:
        self._runs = runs
        self._seconds = seconds
        self.stop = runs.stop

    async def run(
        self, mapping: CollectionMapping, options: RunOptions, wanted: Callable[[], bool] = lambda: True
    ) -> RunReport:
        """Late."""
        await asyncio.sleep(self._seconds)
        return await self._runs.run(mapping, options, wanted)


@pytest.mark.parametrize("apart", [0, 1, 25, 59], ids=lambda minutes: f"{minutes} minutes apart")
def test_an_interval_is_one_for_all_instances(apart: int) -> None:
    """Two instances that were started at different times run `every: 1h` once an hour, not twice."""

    async def scene() -> None:
        store, hourly = MemoryStore(), mapping("rooms", Schedule(every=HOUR))
        one, two = (Leased(lasts={"rooms": 40.0}, store=store, owner=owner) for owner in ("one", "two"))
        async with Serving([hourly], one, store):
            await asyncio.sleep(apart * 60 + 5)
            async with Serving([hourly], two, store):
                await at("02 00:30")
        began = one_after_another(one, two)
        assert len(began) == 25
        assert {later - earlier for earlier, later in pairwise(began)} == {HOUR}

    play(scene())


def test_when_one_ends_the_other_goes_on() -> None:
    """An interval is kept from the last run of the instance that is gone: no hour is left out."""

    async def scene() -> None:
        store, hourly = MemoryStore(), mapping("rooms", Schedule(every=HOUR))
        one, two = (Leased(store=store, owner=owner) for owner in ("one", "two"))
        async with Serving([hourly], one, store):
            await asyncio.sleep(25 * 60)
            other = Serving([hourly], two, store)
            await other.__aenter__()
            await at("01 05:30")
        await at("01 12:30")
        await other.__aexit__()
        began = one_after_another(one, two)
        assert [f"{each:%H:%M}" for each in began] == [f"{hour:02}:00" for hour in range(13)]
        assert [f"{run.started_at:%H}" for run in two.runs][-7:] == ["06", "07", "08", "09", "10", "11", "12"]

    play(scene())


def test_an_instance_that_slept_falls_into_step_again() -> None:
    """While one machine slept the other ran each hour: nothing is to be caught up, and later runs are hourly still."""

    async def scene() -> None:
        store, hourly = MemoryStore(), mapping("rooms", Schedule(every=HOUR))
        one, two = (Leased(lasts={"rooms": 40.0}, store=store, owner=owner) for owner in ("one", "two"))
        async with Serving([hourly], two, store) as sleepy:
            async with Serving([hourly], one, store):
                await at("01 02:30")
                sleepy.timer.pause()
                await at("01 04:25")
                sleepy.timer.resume()
                await at("01 06:30")
            await at("01 12:30")
            assert any("one run catches up" in said for said in sleepy.said)
        began = one_after_another(one, two)
        assert [f"{each:%H:%M}" for each in began] == [f"{hour:02}:00" for hour in range(13)]

    play(scene())


def test_a_full_run_is_not_covered_by_an_incremental_one() -> None:
    """Nightly in full and hourly in between: at 02:00 there is a full run, whoever makes which."""

    async def scene() -> None:
        store = MemoryStore()
        both = mapping("rooms", Schedule(cron="0 * * * *"), Schedule(cron="0 2 * * *", mode=Mode.FULL))
        one, two = (Leased(lasts={"rooms": 40.0}, store=store, owner=owner) for owner in ("one", "two"))
        async with Serving([both], one, store), Serving([both], two, store):
            await at("01 03:30")
        one_after_another(one, two)
        modes = [(f"{run.started_at:%H}", run.mode) for each in (one, two) for run in each.runs]
        assert ("02", Mode.FULL) in modes
        assert len([mode for hour, mode in modes if mode is Mode.FULL]) == 1

    play(scene())


def test_what_follows_follows_once() -> None:
    """Rooms run after hosts: once, although both instances saw the hosts' run."""

    async def scene() -> None:
        store = MemoryStore()
        pair = [mapping("hosts", Schedule(cron="0 * * * *")), mapping("rooms", after=("hosts",))]
        one, two = (Leased(lasts={"hosts": 40.0, "rooms": 40.0}, store=store, owner=owner) for owner in ("one", "two"))
        async with Serving(pair, one, store), Serving(pair, two, store):
            await at("01 06:30")
        runs = [*one.runs, *two.runs]
        assert sorted(f"{run.mapping} {run.started_at:%H}" for run in runs) == sorted(
            f"{name} {hour:02}" for hour in range(1, 7) for name in ("hosts", "rooms")
        )

    play(scene())
