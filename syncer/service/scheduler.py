"""The scheduler: which mapping runs when, in this process. `timer` says when, `turns` who, `owed` what waits.

Promises: no fire is skipped silently (`Ending` lists all that can become of one); fires missed while the
process was down, or the machine asleep, are made up for by one run; a mapping's runs never overlap; a fire
that finds its mapping running in another process waits for that to end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias

from syncer.core.calendar import believed, fire_after, first_seen, schedule_key
from syncer.core.events import Event, Noticed
from syncer.core.model import CollectionMapping, Outcome, RunReport, Schedule
from syncer.core.plan import RunOptions
from syncer.errors import SyncerError
from syncer.service.clock import watch_clock
from syncer.service.fires import Ending, Fire, Fires, Trigger
from syncer.service.owed import Owed
from syncer.service.timer import ScheduleTrigger, new_timer
from syncer.service.turns import Turns

RunMapping: TypeAlias = Callable[[CollectionMapping, RunOptions], Awaitable[RunReport]]
#: of a mapping's schedule
JobId: TypeAlias = str

#: seconds between two looks whether another process has finished with a mapping
LOOK = 15.0

_log = logging.getLogger(__name__)

_SAID = {
    Ending.FOLDED: "is covered by the run that already waits",
    Ending.COVERED: "is covered by a run of another process, begun by its schedules",
    Ending.DEFERRED: "had not begun when the stop came; the next start catches up",
    Ending.DROPPED: "had not begun when the mapping was removed from the file",
}


class Scheduler:
    """Runs mappings by their schedules.

    `every` fires at once when it never fired before, then each interval after its last fire, restarts
    included. `cron` fires at its local times. At start, a mapping whose schedules missed fires runs once, and
    in full where one of them asks for it. A fire is recorded when its run begins, and taken back when that
    run is interrupted, or another process runs the mapping: the fire is owed then, and tried again.
    """

    def __init__(
        self,
        mappings: Sequence[CollectionMapping],
        run: RunMapping,
        fires: Fires,
        *,
        now: Callable[[], datetime],
        notice: Callable[[Event], None],
        concurrency: int = 4,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        look: float = LOOK,
    ) -> None:
        """`concurrency`: mappings running at once. `sleep` and `monotonic` serve the watch on the clock.

        `look`: seconds between two looks whether another process has finished with a mapping.
        """
        self._configured = mappings
        self._run = run
        self._fires = fires
        self._now = now
        self._notice = notice
        self._monotonic = monotonic
        self._sleep = sleep
        self._timer = new_timer()
        self._turns = Turns(self._carry_out, concurrency=concurrency)
        self._owed = Owed(self._is_free, self._queue, pause=look)
        self._mappings: dict[str, CollectionMapping] = {}
        #: of every planned schedule: the fire it counts from
        self._last: dict[JobId, datetime] = {}
        self._endings: Counter[tuple[str, Ending]] = Counter()
        self._replacing = asyncio.Lock()
        self._draining = False

    def __repr__(self) -> str:
        return f"<Scheduler schedules={len(self._last)} {self._turns!r}{' draining' if self._draining else ''}>"

    @property
    def endings(self) -> Mapping[tuple[str, Ending], int]:
        """How many fires of each mapping ended how, since the start."""
        return dict(self._endings)

    async def serve(self, stop: asyncio.Event, interrupt: Callable[[], None]) -> None:
        """Run until `stop` is set; then begin nothing, tell running runs to stop by `interrupt`, await them.

        Raises:
            StateError: the recorded fires cannot be read at the start.
        """
        try:
            self._timer.start()
            await self.replace(self._configured)
            await self._watch_until(stop)
        finally:
            await self._drain(interrupt)

    async def _watch_until(self, stop: asyncio.Event) -> None:
        """Watch the clock until the stop."""
        watch = asyncio.create_task(
            watch_clock(self._clock_jumped, now=self._now, monotonic=self._monotonic, sleep=self._sleep)
        )
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({watch, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                await watch  # it ends by failing only
        finally:
            watch.cancel()
            stopped.cancel()

    async def replace(self, mappings: Sequence[CollectionMapping]) -> None:
        """Plan these mappings instead. Schedules that stay keep their next fire; running runs are left alone.

        Raises:
            StateError: the recorded fires cannot be read; the old plan stays.
        """
        wanted = {_job_id(each.name, plan): (each.name, plan) for each in mappings for plan in each.schedules}
        async with self._replacing:
            now = self._now()
            unknown = [pair for job, pair in wanted.items() if job not in self._last]
            seen = await asyncio.to_thread(self._recall, unknown, now)
            if self._draining:
                return
            # Nothing awaits from here on, so no fire sees half a plan.
            self._mappings = {mapping.name: mapping for mapping in mappings}
            for job in self._last.keys() - wanted.keys():
                self._timer.remove_job(job)
                del self._last[job]
            for name, schedule, last, trigger in seen:
                self._plan(name, schedule, last, trigger, now)

    def _recall(
        self, unknown: Iterable[tuple[str, Schedule]], now: datetime
    ) -> list[tuple[str, Schedule, datetime, Trigger]]:
        """The last fires of schedules, and what a fire that is due by now is called. Blocks."""
        recalled: list[tuple[str, Schedule, datetime, Trigger]] = []
        for name, schedule in unknown:
            last = self._fires.last_fire(name, schedule_key(schedule))
            if last is not None:
                recalled.append((name, schedule, believed(last, now), "catch-up"))
            else:
                baseline = first_seen(schedule, now)
                self._fires.record_fire(name, schedule_key(schedule), baseline)
                recalled.append((name, schedule, baseline, "schedule"))
        return recalled

    def _plan(self, name: str, schedule: Schedule, last: datetime, trigger: Trigger, now: datetime) -> None:
        """Have the timer wake us for a schedule; fire at once where a fire time has passed."""
        job = _job_id(name, schedule)
        due = fire_after(schedule, last) <= now
        self._last[job] = now if due else last
        self._timer.add_job(
            self._fired,
            ScheduleTrigger(schedule),
            args=(name, schedule),
            kwargs={"at": now},  # the timer puts the fire time in its place
            id=job,
            name=job,
            next_run_time=fire_after(schedule, self._last[job]),
        )
        if due:
            self._offer(name, schedule, trigger, at=now, missed_since=last if trigger == "catch-up" else None)

    def _fired(self, name: str, schedule: Schedule, *, at: datetime) -> None:
        """A schedule is due. When the fire after it has passed as well, we slept: this is a catch-up."""
        now = self._now()
        late = fire_after(schedule, at) <= now
        self._last[_job_id(name, schedule)] = now if late else at
        if late:
            self._offer(name, schedule, "catch-up", at=now, missed_since=at)
        else:
            self._offer(name, schedule, "schedule", at=at)

    def _offer(
        self,
        name: str,
        schedule: Schedule,
        trigger: Trigger,
        *,
        at: datetime,
        missed_since: datetime | None = None,
    ) -> None:
        """Queue a fire; say so where it makes up for missed ones or falls together with another."""
        fire = Fire(mapping=name, mode=schedule.mode, trigger=trigger, at={schedule_key(schedule): at})
        if missed_since is not None:
            self._say(name, f"{fire} missed fires since {missed_since:%Y-%m-%dT%H:%M:%SZ}; one run catches up")
        if self._owed.merge(fire):
            self._end(fire, Ending.FOLDED)
        else:
            self._queue(fire)

    def _queue(self, fire: Fire) -> None:
        """Have a fire carried out when it is its turn."""
        if not self._turns.offer(fire):
            self._end(fire, Ending.FOLDED)

    def _owe(self, fire: Fire) -> None:
        """Another process runs the mapping: the fire waits for that to end. Said once."""
        if self._draining:
            self._end(fire, Ending.DEFERRED)
            return
        if self._owed.merge(fire):
            self._end(fire, Ending.FOLDED)
            return
        self._owed.owe(replace(fire, waited=True))
        if not fire.waited:
            self._say(fire.mapping, f"{fire} found the mapping running in another process and waits for that to end")

    async def _is_free(self, mapping: str) -> bool:
        """Whether nobody holds the mapping's lease. A state that cannot tell lets the fire find out."""
        try:
            leases = await asyncio.to_thread(self._fires.leases)
        except SyncerError:
            return True
        now = self._now()
        return not any(lease.mapping == mapping and lease.expires_at > now for lease in leases)

    async def _carry_out(self, fire: Fire) -> None:
        """One fire, from taking it up to its ending. A job boundary: one mapping's trouble stays its own."""
        mapping = self._mappings.get(fire.mapping)
        if mapping is None:
            self._end(fire, Ending.DROPPED)
            return
        try:
            ending = await self._run_for(mapping, fire)
        except SyncerError as error:
            self._end(fire, Ending.FAILED, f"failed: {error}")
        except Exception:  # noqa: BLE001  (logged, and counted as failed)
            _log.exception("the run of mapping %s broke", fire.mapping)
            self._end(fire, Ending.FAILED, "broke by an error in syncer itself; the log has it")
        else:
            if ending is None:
                self._owe(fire)
            else:
                self._end(fire, ending)

    async def _run_for(self, mapping: CollectionMapping, fire: Fire) -> Ending | None:
        """Record the fire and run. The record is taken back if a stop comes first or in the middle.

        Returns None, and takes the record back, when another process runs the mapping.
        """
        before = await asyncio.to_thread(self._record, mapping.name, fire.at)
        if self._draining:
            await asyncio.to_thread(self._record, mapping.name, before)
            return Ending.DEFERRED
        if fire.waited and any(map(fire.covered_by, await asyncio.to_thread(self._fires.runs, mapping.name, 1))):
            return Ending.COVERED
        report = await self._run(mapping, RunOptions(mode=fire.mode, trigger=fire.trigger))
        if report.outcome in (Outcome.INTERRUPTED, Outcome.LOCKED):
            await asyncio.to_thread(self._record, mapping.name, before)
        return None if report.outcome is Outcome.LOCKED else Ending.RAN

    def _record(self, mapping: str, fires: Mapping[str, datetime]) -> dict[str, datetime]:
        """Remember fires; returns what was remembered before. Blocks."""
        before = {schedule: self._fires.last_fire(mapping, schedule) for schedule in fires}
        for schedule, at in fires.items():
            self._fires.record_fire(mapping, schedule, at)
        return {schedule: at for schedule, at in before.items() if at is not None}

    def _end(self, fire: Fire, ending: Ending, said: str | None = None) -> None:
        """Count how a fire ended, and say so unless a run report does."""
        self._endings[fire.mapping, ending] += 1
        if ending is not Ending.RAN:
            self._say(fire.mapping, f"{fire} {said or _SAID[ending]}")

    def _say(self, mapping: str, what: str) -> None:
        self._notice(Noticed(mapping=mapping, message=f"the schedule {what}"))

    def _clock_jumped(self, difference: timedelta) -> None:
        """Work out the fires again, which wakes the timer. A clock set back may only bring a fire forward."""
        _log.warning("the clock moved by %+.0f s; working out the next fires again", difference.total_seconds())
        now = self._now()
        for job in self._timer.get_jobs():
            _, schedule = job.args
            self._last[job.id] = believed(self._last[job.id], now)
            self._timer.modify_job(job.id, next_run_time=fire_after(schedule, self._last[job.id]))

    async def _drain(self, interrupt: Callable[[], None]) -> None:
        """Begin nothing more, defer what waits, stop what runs and wait for it."""
        self._draining = True
        if self._timer.running:
            self._timer.shutdown(wait=False)
            await asyncio.sleep(0)  # APScheduler shuts down in the loop's next round
        for fire in (*self._turns.dismiss(), *self._owed.dismiss()):
            self._end(fire, Ending.DEFERRED)
        interrupt()
        await self._turns.idle()


def _job_id(mapping: str, schedule: Schedule) -> JobId:
    return f"{mapping}|{schedule_key(schedule)}"
