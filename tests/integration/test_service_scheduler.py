"""The scheduler on APScheduler and the real clock: every wait is for something that happens, none for a time."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from syncer.core.calendar import fire_after, schedule_key
from syncer.core.events import Event, Noticed
from syncer.core.model import CollectionMapping, Mode, Outcome, RunReport, Schedule
from syncer.core.plan import RunOptions
from syncer.errors import SourceUnreachable, StateUnwritable
from syncer.service.fires import Ending, Fires
from syncer.service.scheduler import LOOK, Scheduler
from syncer.state.memory import MemoryStore
from syncer.state.open import open_store

SECOND = timedelta(seconds=1)
LONG_AGO = timedelta(days=800)
#: longer than any test may take; reached only by a failing one
PATIENCE = 30.0


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def half_a_year_off() -> Schedule:
    """A yearly cron that does not fire during a test, and has fired in the last two years."""
    day = utc_now() + timedelta(days=180)
    return Schedule(cron=f"0 0 {min(day.day, 28)} {day.month} *", mode=Mode.FULL)


def mapping(name: str, *schedules: Schedule) -> CollectionMapping:
    """A mapping with schedules; what it reads does not matter here."""
    return CollectionMapping(name=name, source="app", table=name, schedules=schedules)


class Remembered(MemoryStore):
    """The store in memory, with fires known from before, and all that were recorded since."""

    def __init__(self, known: Mapping[tuple[str, str], datetime] | None = None) -> None:
        super().__init__()
        for (name, schedule), at in (known or {}).items():
            super().record_fire(name, schedule, at)
        self.written: list[datetime] = []

    def record_fire(self, mapping: str, schedule: str, at: datetime) -> None:
        """Record it."""
        super().record_fire(mapping, schedule, at)
        self.written.append(at)

    def last(self, name: str, schedule: Schedule) -> datetime:
        """The recorded last fire."""
        at = self.last_fire(name, schedule_key(schedule))
        assert at is not None
        return at


class Unreachable:
    """Fires in a state store that cannot be opened."""

    def last_fire(self, mapping: str, schedule: str) -> datetime | None:
        """Refuse."""
        raise StateUnwritable("the state store is read-only")

    def record_fire(self, mapping: str, schedule: str, at: datetime) -> None:
        """Refuse."""
        raise StateUnwritable("the state store is read-only")


@dataclass
class Runs:
    """Stands where runs are carried out: begins, waits if told to, and ends as told."""

    begun: list[tuple[str, RunOptions]] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    overlapped: bool = False
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)
    #: set: runs end
    go: asyncio.Event = field(default_factory=asyncio.Event)
    #: set by `interrupt`
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    #: called in the run, before it waits
    during: Callable[[], None] | None = None

    def interrupt(self) -> None:
        """Tell running runs to stop."""
        self.stop.set()
        self.go.set()

    async def run(
        self, mapping: CollectionMapping, options: RunOptions, wanted: Callable[[], bool] = lambda: True
    ) -> RunReport:
        """One run."""
        self.overlapped |= mapping.name in self.busy
        self.busy.append(mapping.name)
        self.begun.append((mapping.name, options))
        if self.during:
            self.during()
        try:
            await self.go.wait()
        finally:
            self.busy.remove(mapping.name)
        if error := self.errors.get(mapping.name):
            raise error
        outcome = Outcome.INTERRUPTED if self.stop.is_set() else Outcome.SUCCEEDED
        return RunReport(
            run_id="1",
            mapping=mapping.name,
            collection=mapping.name,
            mode=options.mode,
            outcome=self.outcomes.get(mapping.name, outcome),
            trigger=options.trigger,
            started_at=utc_now(),
        )

    def modes(self, name: str) -> list[Mode]:
        """The modes of a mapping's runs so far."""
        return [options.mode for mapping, options in self.begun if mapping == name]


class Stubborn(Runs):
    """Runs that hear the stop and take their time."""

    def interrupt(self) -> None:
        """Hear it."""
        self.stop.set()


class Daemon:
    """A scheduler that serves, with what it said."""

    def __init__(
        self,
        *mappings: CollectionMapping,
        runs: Runs,
        fires: Fires,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        concurrency: int = 4,
        look: float = LOOK,
    ) -> None:
        self.runs = runs
        self.said: list[str] = []
        self.stop = asyncio.Event()
        self.scheduler = Scheduler(
            mappings, runs.run, fires, now=now, notice=self.notice, sleep=sleep, concurrency=concurrency, look=look
        )

    def notice(self, event: Event) -> None:
        """Keep what was noticed."""
        assert isinstance(event, Noticed)
        self.said.append(f"{event.mapping}: {event.message}")

    async def __aenter__(self) -> "Daemon":
        self.serving = asyncio.create_task(self.scheduler.serve(self.stop, self.runs.interrupt))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        await self.serving

    async def until(self, happened: Callable[[], object]) -> None:
        """Return once something is true."""
        while not happened():
            if self.serving.done():
                await self.serving
            await asyncio.sleep(0.005)

    def ended(self, name: str, ending: Ending) -> int:
        """How many of a mapping's fires ended like this."""
        return self.scheduler.endings.get((name, ending), 0)


def play(scene: Coroutine[object, object, None]) -> None:
    """Run a scene; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await scene

    asyncio.run(bounded())


def test_every_runs_at_once_and_then_again_and_again() -> None:
    """A new `every` fires when the daemon starts, and each interval after the fire before."""

    async def scene() -> None:
        runs, fires = Runs(), Remembered()
        runs.go.set()
        async with Daemon(mapping("rooms", Schedule(every=SECOND)), runs=runs, fires=fires) as daemon:
            await daemon.until(lambda: daemon.ended("rooms", Ending.RAN) >= 3)
        first, *later = fires.written
        assert first + SECOND == later[0], "the baseline is an interval before the first fire"
        assert all(after - before >= SECOND for before, after in pairwise(later))
        assert runs.begun[0][1] == RunOptions(mode=Mode.INCREMENTAL, trigger="schedule")

    play(scene())


def test_a_restart_does_not_reset_an_interval() -> None:
    """`every` counts from the recorded fire: three quarters of an hour in, nothing runs at the start."""

    async def scene() -> None:
        hourly, began = Schedule(every=timedelta(hours=1)), utc_now() - timedelta(minutes=45)
        fires = Remembered({("rooms", "every:3600s|incremental"): began, ("cities", "every:1s|incremental"): began})
        rooms, runs = mapping("rooms", hourly), Runs()
        async with Daemon(rooms, mapping("cities", Schedule(every=SECOND)), runs=runs, fires=fires) as daemon:
            await daemon.until(lambda: "cities" in runs.busy)
        assert not [name for name, _ in daemon.scheduler.endings if name == "rooms"]
        assert fires.last("rooms", hourly) == began

    play(scene())


def test_missed_fires_are_made_up_for_by_one_run() -> None:
    """Two schedules missed fires for two years: one run, full, labelled catch-up, and both are up to date."""

    async def scene() -> None:
        six_hours, yearly = Schedule(every=timedelta(hours=6)), half_a_year_off()
        began = utc_now()
        keys = [("rooms", schedule_key(schedule)) for schedule in (six_hours, yearly)]
        fires = Remembered(dict.fromkeys(keys, began - LONG_AGO))
        runs = Runs()
        runs.go.set()
        async with Daemon(mapping("rooms", six_hours, yearly), runs=runs, fires=fires) as daemon:
            await daemon.until(lambda: daemon.ended("rooms", Ending.RAN))
        assert runs.begun == [("rooms", RunOptions(mode=Mode.FULL, trigger="catch-up"))]
        assert fires.last("rooms", six_hours) == fires.last("rooms", yearly) >= began
        assert daemon.scheduler.endings == {("rooms", Ending.RAN): 1, ("rooms", Ending.FOLDED): 1}
        assert sum("one run catches up" in said for said in daemon.said) == 2

    play(scene())


def test_a_caught_up_schedule_is_not_caught_up_again(tmp_path: Path) -> None:
    """With the state in a file, a second start right after a catch-up runs nothing."""

    async def scene() -> None:
        yearly, runs = half_a_year_off(), Runs()
        fires = open_store(f"sqlite:///{tmp_path / 'state.db'}")
        fires.record_fire("rooms", schedule_key(yearly), utc_now() - LONG_AGO)
        runs.go.set()
        for _ in range(2):
            async with Daemon(mapping("rooms", yearly), runs=runs, fires=fires) as daemon:
                await daemon.until(lambda: daemon.ended("rooms", Ending.RAN) or len(runs.begun) == 1)
        fires.close()
        assert len(runs.begun) == 1
        assert daemon.scheduler.endings == {}

    play(scene())


def test_a_new_cron_has_missed_nothing() -> None:
    """A cron seen for the first time is recorded as of now, and does not run at the start."""

    async def scene() -> None:
        yearly, runs, fires, began = half_a_year_off(), Runs(), Remembered(), utc_now()
        async with Daemon(mapping("rooms", yearly), runs=runs, fires=fires) as daemon:
            await daemon.until(lambda: fires.written)
        assert daemon.scheduler.endings == {}
        assert began <= fires.last("rooms", yearly) <= utc_now()

    play(scene())


def test_fires_during_a_run_are_folded_into_one() -> None:
    """While a mapping runs, one fire waits, later ones are folded into it and said so, and it runs next."""

    async def scene() -> None:
        runs = Runs()
        async with Daemon(mapping("rooms", Schedule(every=SECOND)), runs=runs, fires=Remembered()) as daemon:
            await daemon.until(lambda: daemon.ended("rooms", Ending.FOLDED) >= 2)
            assert len(runs.begun) == 1
            runs.go.set()
            await daemon.until(lambda: daemon.ended("rooms", Ending.RAN) >= 2)
        assert not runs.overlapped
        covered = "rooms: the schedule `every:1s|incremental` is covered by the run that already waits"
        assert daemon.said.count(covered) == daemon.ended("rooms", Ending.FOLDED)

    play(scene())


def test_a_fire_in_a_stalled_process_becomes_a_catch_up() -> None:
    """When the process could not look at the clock for two fires, one run makes up for them."""

    async def scene() -> None:
        runs = Runs()
        runs.go.set()
        stalls = iter([2.5])
        runs.during = lambda: time.sleep(next(stalls, 0))
        async with Daemon(mapping("rooms", Schedule(every=SECOND)), runs=runs, fires=Remembered()) as daemon:
            await daemon.until(lambda: "catch-up" in [options.trigger for _, options in runs.begun])
        assert runs.begun[0][1].trigger == "schedule"
        assert any("`every:1s|incremental` missed fires since" in said for said in daemon.said)

    play(scene())


def test_mappings_do_not_wait_for_one_another() -> None:
    """A mapping whose run hangs does not keep another from running, again and again."""

    async def scene() -> None:
        runs = Runs()
        every = Schedule(every=SECOND)
        fires = Remembered()
        async with Daemon(mapping("rooms", every), mapping("cities", every), runs=runs, fires=fires) as daemon:
            await daemon.until(lambda: {"rooms", "cities"} == set(runs.busy))

    play(scene())


def test_no_more_mappings_run_at_once_than_allowed() -> None:
    """With one place, the second mapping begins when the first has ended."""

    async def scene() -> None:
        runs = Runs()
        six_hours = Schedule(every=timedelta(hours=6))
        async with Daemon(
            mapping("rooms", six_hours),
            mapping("cities", six_hours),
            runs=runs,
            fires=Remembered(),
            concurrency=1,
        ) as daemon:
            await daemon.until(lambda: runs.busy)
            assert repr(daemon.scheduler) == (
                "<Scheduler schedules=2 <Turns busy=['cities', 'rooms'] waiting=['cities']>>"
            )
            assert runs.busy == ["rooms"]
            runs.go.set()
            await daemon.until(lambda: daemon.ended("cities", Ending.RAN))
        assert [name for name, _ in runs.begun] == ["rooms", "cities"]

    play(scene())


def test_stopping_waits_for_runs_and_the_next_start_makes_up_for_them() -> None:
    """At a stop the running run is interrupted and awaited, the waiting one deferred; a restart runs both as one."""

    async def scene() -> None:
        runs, nightly = Runs(), half_a_year_off()
        rooms = mapping("rooms", nightly, Schedule(every=SECOND))
        fires = Remembered({("rooms", schedule_key(nightly)): utc_now() - LONG_AGO})
        async with Daemon(rooms, runs=runs, fires=fires) as daemon:
            await daemon.until(lambda: runs.busy)
            assert fires.last("rooms", nightly) > utc_now() - timedelta(days=1)
            await daemon.until(lambda: "waiting=['rooms']" in repr(daemon.scheduler))
        assert runs.busy == []
        assert daemon.ended("rooms", Ending.RAN) == daemon.ended("rooms", Ending.DEFERRED) == 1
        assert any("the next start catches up" in said for said in daemon.said)
        assert fires.last("rooms", nightly) < utc_now() - timedelta(days=1)

        again = Runs()
        async with Daemon(rooms, runs=again, fires=fires) as daemon:
            await daemon.until(lambda: again.busy)
        assert again.begun == [("rooms", RunOptions(mode=Mode.FULL, trigger="catch-up"))]

    play(scene())


def test_nothing_begins_after_the_stop() -> None:
    """A daemon that is told to stop before it starts defers what is due, and ends."""

    async def scene() -> None:
        runs, fires = Runs(), Remembered()
        every = Schedule(every=SECOND)
        daemon = Daemon(mapping("rooms", every), runs=runs, fires=fires, concurrency=1)
        daemon.stop.set()
        await daemon.scheduler.serve(daemon.stop, runs.interrupt)
        assert runs.begun == []
        assert daemon.scheduler.endings == {("rooms", Ending.DEFERRED): 1}
        assert fire_after(every, fires.last("rooms", every)) <= utc_now()

    play(scene())


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.PARTIAL, Outcome.FAILED])
def test_a_run_is_the_ending_of_its_fire(outcome: Outcome) -> None:
    """A fire whose run began has ended, whatever the run came to: the run report tells that."""

    async def scene() -> None:
        runs = Runs(outcomes={"rooms": outcome})
        runs.go.set()
        six_hours = Schedule(every=timedelta(hours=6))
        async with Daemon(mapping("rooms", six_hours), runs=runs, fires=Remembered()) as daemon:
            await daemon.until(lambda: daemon.scheduler.endings)
        assert daemon.scheduler.endings == {("rooms", Ending.RAN): 1}
        assert daemon.said == []

    play(scene())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SourceUnreachable("no connection to app"), "failed: no connection to app"),
        (KeyError("Charming Beach Room"), "broke by an error in syncer itself"),
    ],
)
def test_a_run_that_breaks_breaks_nothing_else(error: Exception, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """An error out of a run is counted and noticed, an unforeseen one logged; other mappings go on."""

    async def scene() -> None:
        runs = Runs(errors={"rooms": error})
        runs.go.set()
        every = Schedule(every=SECOND)
        async with Daemon(mapping("rooms", every), mapping("cities", every), runs=runs, fires=Remembered()) as daemon:
            await daemon.until(lambda: daemon.ended("rooms", Ending.FAILED) >= 2)
            await daemon.until(lambda: daemon.ended("cities", Ending.RAN) >= 2)
        assert any(each.startswith(f"rooms: the schedule `every:1s|incremental` {said}") for each in daemon.said)
        assert "Charming" not in "".join(daemon.said)

    play(scene())
    assert ("the run of mapping rooms broke" in caplog.text) is isinstance(error, KeyError)


def test_a_state_that_cannot_be_read_stops_the_start() -> None:
    """Without its recorded fires the daemon does not serve: it would skip or repeat runs."""

    async def scene() -> None:
        runs = Runs()
        daemon = Daemon(mapping("rooms", half_a_year_off()), runs=runs, fires=Unreachable())
        with pytest.raises(StateUnwritable):
            await daemon.scheduler.serve(daemon.stop, runs.interrupt)

    play(scene())


def test_no_fire_comes_after_the_stop() -> None:
    """While a run takes its time to stop, its schedules fire no more; another daemon's fires tell the time."""

    async def scene() -> None:
        runs, watch = Stubborn(), Runs()
        watch.go.set()
        every = Schedule(every=SECOND)
        async with Daemon(mapping("rooms", every), runs=runs, fires=Remembered()) as daemon:
            await daemon.until(lambda: runs.busy)
            daemon.stop.set()
            await daemon.until(lambda: runs.stop.is_set())
            before = daemon.scheduler.endings
            async with Daemon(mapping("cities", every), runs=watch, fires=Remembered()) as other:
                await other.until(lambda: len(watch.begun) >= 3)
            assert daemon.scheduler.endings == before
            assert repr(daemon.scheduler).endswith("<Turns busy=['rooms'] waiting=[]> draining>")
            runs.go.set()

    play(scene())


def test_a_reload_that_meets_the_stop_plans_nothing() -> None:
    """When the stop comes while a reload reads the state, the reload ends without effect."""

    class Slow(Remembered):
        """Fires in a store that is slow to tell of one mapping."""

        asked = threading.Event()
        told = threading.Event()

        def last_fire(self, mapping: str, schedule: str) -> datetime | None:
            """Wait to be told to answer."""
            if mapping == "cities":
                self.asked.set()
                assert self.told.wait(PATIENCE)
            return super().last_fire(mapping, schedule)

    async def scene() -> None:
        runs, fires = Runs(), Slow()
        runs.go.set()
        six_hours = Schedule(every=timedelta(hours=6))
        async with Daemon(mapping("rooms", six_hours), runs=runs, fires=fires) as daemon:
            await daemon.until(lambda: daemon.ended("rooms", Ending.RAN))
            reload = asyncio.create_task(daemon.scheduler.replace([mapping("cities", six_hours)]))
            await daemon.until(fires.asked.is_set)
        fires.told.set()
        await reload
        assert daemon.scheduler.endings == {("rooms", Ending.RAN): 1}
        assert "schedules=1" in repr(daemon.scheduler)

    play(scene())


def test_a_new_plan_replaces_the_old_one() -> None:
    """After a reload, removed mappings fire no more, new ones fire, and what stays keeps its next fire."""

    async def scene() -> None:
        runs, fires = Runs(), Remembered()
        every, six_hours = Schedule(every=SECOND), Schedule(every=timedelta(hours=6))
        kept = mapping("reviews", six_hours)
        async with Daemon(mapping("rooms", every), kept, runs=runs, fires=fires) as daemon:
            await daemon.until(lambda: "waiting=['rooms']" in repr(daemon.scheduler))
            await daemon.scheduler.replace([mapping("cities", every), kept])
            runs.go.set()
            await daemon.until(lambda: daemon.ended("cities", Ending.RAN) >= 3)
        assert daemon.ended("rooms", Ending.RAN) == 1, "what ran was left alone"
        assert daemon.ended("rooms", Ending.DROPPED) == 1
        assert any("when the mapping was removed from the file" in said for said in daemon.said)
        assert runs.modes("reviews") == [Mode.INCREMENTAL]

    play(scene())


def test_a_reload_that_cannot_read_the_state_keeps_the_old_plan() -> None:
    """When the fires of a new schedule cannot be read, the reload fails and the old schedules go on."""

    class Full(Remembered):
        """Fires in a store that takes no new schedule."""

        def record_fire(self, mapping: str, schedule: str, at: datetime) -> None:
            """Refuse what is not known yet."""
            if mapping == "cities":
                raise StateUnwritable("the state store is full")
            super().record_fire(mapping, schedule, at)

    async def scene() -> None:
        runs = Runs()
        runs.go.set()
        every = Schedule(every=SECOND)
        async with Daemon(mapping("rooms", every), runs=runs, fires=Full()) as daemon:
            await daemon.until(lambda: runs.begun)
            with pytest.raises(StateUnwritable):
                await daemon.scheduler.replace([mapping("cities", every)])
            before = len(runs.begun)
            await daemon.until(lambda: len(runs.begun) > before)
        assert {name for name, _ in runs.begun} == {"rooms"}

    play(scene())


def test_a_clock_set_back_puts_no_fire_off() -> None:
    """When the clock is set back by a week, an interval of two days is not served a week late."""

    async def scene() -> None:
        runs, two_days = Runs(), Schedule(every=timedelta(days=2))
        fires = Remembered({("rooms", schedule_key(two_days)): utc_now()})
        clock = {"ahead": timedelta(0)}
        ticked = asyncio.Event()

        async def tick(_: float) -> None:
            if ticked.is_set():
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            assert not runs.busy, "the interval is not over"
            ticked.set()
            clock["ahead"] = timedelta(days=-7)

        async with Daemon(
            mapping("rooms", two_days),
            runs=runs,
            fires=fires,
            now=lambda: utc_now() + clock["ahead"],
            sleep=tick,
        ) as daemon:
            await daemon.until(lambda: runs.busy)

    play(scene())
