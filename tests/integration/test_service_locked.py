"""Fires that find their mapping running in another process: none is left out, none is made twice, each said once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from test_service_scheduler import LONG_AGO, Daemon, Remembered, Runs, half_a_year_off, mapping, play, utc_now

from syncer.core.calendar import schedule_key
from syncer.core.model import CollectionMapping, Lease, Mode, Outcome, RunReport, Schedule
from syncer.core.plan import RunOptions
from syncer.errors import LeaseHeld
from syncer.service.fires import Ending
from syncer.state import Commit

NIGHTLY = half_a_year_off()
EVERY = Schedule(every=timedelta(seconds=1))
HOUR = timedelta(hours=1)
WAITS = "found the mapping running in another process and waits for that to end"


@dataclass
class Contested(Runs):
    """Runs that need the lease, as real ones do."""

    fires: Remembered = field(default_factory=Remembered)
    refused: int = 0

    async def run(
        self, mapping: CollectionMapping, options: RunOptions, wanted: Callable[[], bool] = lambda: True
    ) -> RunReport:
        """One run, if nobody holds the mapping."""
        try:
            lease = self.fires.acquire(mapping.name, "this daemon", utc_now(), HOUR)
        except LeaseHeld:
            self.refused += 1
            return report(mapping.name, Outcome.LOCKED, mode=options.mode)
        done = await super().run(mapping, options)
        self.fires.release(lease)
        return done


def report(
    name: str,
    outcome: Outcome,
    *,
    mode: Mode = Mode.FULL,
    trigger: str = "schedule",
    started_at: datetime | None = None,
) -> RunReport:
    """A run as the history tells it."""
    return RunReport(
        run_id=f"{name} {trigger}", mapping=name, collection=name, mode=mode, outcome=outcome,
        trigger=trigger,  # type: ignore[arg-type]
        started_at=started_at or utc_now(),
    )  # fmt: skip


def contested(**schedules: Schedule) -> tuple[Contested, Lease]:
    """Runs of mappings whose schedules are overdue, and another process's lease of rooms."""
    known = {(name, schedule_key(schedule)): utc_now() - LONG_AGO for name, schedule in schedules.items()}
    runs = Contested(fires=Remembered(known))
    runs.go.set()
    return runs, runs.fires.acquire("rooms", "a shell", utc_now(), HOUR)


def daemon_of(runs: Contested, *mappings: CollectionMapping) -> Daemon:
    """A daemon that looks often."""
    return Daemon(*mappings, runs=runs, fires=runs.fires, look=0.01)


def test_a_locked_fire_runs_once_the_mapping_is_free() -> None:
    """A nightly full run that meets a run from a shell comes right after it, and is recorded then and not before."""

    async def scene() -> None:
        runs, lease = contested(rooms=NIGHTLY)
        async with daemon_of(runs, mapping("rooms", NIGHTLY)) as daemon:
            await daemon.until(lambda: runs.refused)
            await daemon.until(lambda: any(WAITS in said for said in daemon.said))
            assert runs.fires.last("rooms", NIGHTLY) < utc_now() - timedelta(days=1)
            assert daemon.scheduler.endings == {}
            runs.fires.release(lease)
            await daemon.until(lambda: daemon.scheduler.endings)
        assert runs.begun == [("rooms", RunOptions(mode=Mode.FULL, trigger="catch-up"))]
        assert daemon.scheduler.endings == {("rooms", Ending.RAN): 1}
        assert runs.fires.last("rooms", NIGHTLY) > utc_now() - timedelta(days=1)
        assert sum(WAITS in said for said in daemon.said) == 1
        assert runs.refused == 1, "it looked before it tried again"

    play(scene())


def test_a_lease_that_ran_out_is_free() -> None:
    """Where the other process died without giving the lease back, the fire waits for its end and no longer."""

    async def scene() -> None:
        runs, lease = contested(rooms=NIGHTLY)
        async with daemon_of(runs, mapping("rooms", NIGHTLY)) as daemon:
            await daemon.until(lambda: runs.refused)
            runs.fires.renew(lease, utc_now(), timedelta(0))
            await daemon.until(lambda: daemon.ended("rooms", Ending.RAN))

    play(scene())


def test_fires_of_a_locked_mapping_become_one() -> None:
    """While one waits for the mapping, further ones are folded into it: one full run for all, and others go on."""

    async def scene() -> None:
        runs, lease = contested(rooms=NIGHTLY)
        both = (mapping("rooms", NIGHTLY, EVERY), mapping("cities", EVERY))
        async with daemon_of(runs, *both) as daemon:
            await daemon.until(lambda: daemon.ended("rooms", Ending.FOLDED) >= 3)
            await daemon.until(lambda: daemon.ended("cities", Ending.RAN) >= 2)
            assert "rooms" not in [name for name, _ in runs.begun]
            runs.fires.release(lease)
            await daemon.until(lambda: daemon.ended("rooms", Ending.RAN))
        assert runs.modes("rooms")[0] is Mode.FULL
        assert sum(WAITS in said for said in daemon.said) == 1

    play(scene())


class Contended(Remembered):
    """A store in which a lease is free when looked at, and taken by somebody else at once."""

    def leases(self) -> Sequence[Lease]:
        """None."""
        return ()


def test_a_lost_race_is_waited_out() -> None:
    """A fire that loses the race for the freed mapping, again and again, goes on waiting without saying so again."""

    async def scene() -> None:
        runs = Contested(fires=Contended({("rooms", schedule_key(NIGHTLY)): utc_now() - LONG_AGO}))
        runs.go.set()
        lease = runs.fires.acquire("rooms", "a shell", utc_now(), HOUR)
        async with daemon_of(runs, mapping("rooms", NIGHTLY)) as daemon:
            await daemon.until(lambda: runs.refused >= 3)
            runs.fires.release(lease)
            await daemon.until(lambda: daemon.ended("rooms", Ending.RAN))
        assert sum(WAITS in said for said in daemon.said) == 1

    play(scene())


def test_a_stop_defers_what_waits_for_a_lease() -> None:
    """What waits at the stop is not lost: the next start catches up."""

    async def scene() -> None:
        runs, lease = contested(rooms=NIGHTLY)
        async with daemon_of(runs, mapping("rooms", NIGHTLY)) as daemon:
            await daemon.until(lambda: any(WAITS in said for said in daemon.said))
        assert daemon.scheduler.endings == {("rooms", Ending.DEFERRED): 1}
        runs.fires.release(lease)
        async with daemon_of(runs, mapping("rooms", NIGHTLY)) as daemon:
            await daemon.until(lambda: daemon.ended("rooms", Ending.RAN))
        assert runs.begun == [("rooms", RunOptions(mode=Mode.FULL, trigger="catch-up"))]

    play(scene())


def test_a_removed_mapping_waits_no_longer() -> None:
    """What waits for a mapping that a reload removed is dropped, and said so."""

    async def scene() -> None:
        runs, lease = contested(rooms=NIGHTLY)
        async with daemon_of(runs, mapping("rooms", NIGHTLY)) as daemon:
            await daemon.until(lambda: any(WAITS in said for said in daemon.said))
            await daemon.scheduler.replace([])
            runs.fires.release(lease)
            await daemon.until(lambda: daemon.ended("rooms", Ending.DROPPED))
        assert runs.begun == []

    play(scene())


@pytest.mark.parametrize(
    ("trigger", "mode", "outcome", "later", "ending"),
    [
        ("schedule", Mode.FULL, Outcome.SUCCEEDED, True, Ending.COVERED),
        ("catch-up", Mode.FULL, Outcome.PARTIAL, True, Ending.COVERED),
        ("cli", Mode.FULL, Outcome.SUCCEEDED, True, Ending.RAN),
        ("schedule", Mode.INCREMENTAL, Outcome.SUCCEEDED, True, Ending.RAN),
        ("schedule", Mode.FULL, Outcome.FAILED, True, Ending.RAN),
        ("schedule", Mode.FULL, Outcome.SUCCEEDED, False, Ending.RAN),
    ],
)
def test_two_daemons_of_one_file(trigger: str, mode: Mode, outcome: Outcome, later: bool, ending: Ending) -> None:
    """The second does not repeat the first's run; anything less than its own run makes it run."""

    async def scene() -> None:
        runs, lease = contested(rooms=NIGHTLY)
        async with daemon_of(runs, mapping("rooms", NIGHTLY)) as daemon:
            await daemon.until(lambda: any(WAITS in said for said in daemon.said))
            began = utc_now() if later else utc_now() - HOUR
            told = report("rooms", outcome, mode=mode, trigger=trigger, started_at=began)
            runs.fires.commit(lease, Commit(run=told))
            runs.fires.release(lease)
            await daemon.until(lambda: daemon.scheduler.endings)
        assert daemon.scheduler.endings == {("rooms", ending): 1}
        assert len(runs.begun) == (ending is Ending.RAN)
        assert runs.fires.last("rooms", NIGHTLY) > utc_now() - timedelta(days=1)

    play(scene())
