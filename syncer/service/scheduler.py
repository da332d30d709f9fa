"""The scheduler: which mapping runs when, in this process. `agenda` says when, `turns` who, `owed` what waits.

Promises: no fire is skipped silently (`Ending` lists all that can become of one); fires missed while the
process was down, or the machine asleep, are made up for by one run; a mapping's runs never overlap; a fire
that may not begin yet (see `hindrance`), or finds its mapping running in another process, waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]

from syncer.core.blackouts import blackout_end
from syncer.core.calendar import schedule_key
from syncer.core.events import Event, Noticed
from syncer.core.model import CollectionMapping, Mode, Outcome, RunReport, Schedule
from syncer.core.plan import RunOptions
from syncer.errors import SyncerError
from syncer.service.agenda import Agenda, job_id
from syncer.service.clock import watch_clock
from syncer.service.fires import SAID, Ending, Fire, Fires, Trigger, well
from syncer.service.hindrance import Hindrance, hindrance
from syncer.service.owed import Owed
from syncer.service.recalling import (
    Recalled,
    covering,
    following,
    follows,
    recall,
    recall_followed,
    remember,
    taken_since,
)
from syncer.service.turns import Turns
from syncer.state.owner import is_gone

#: carries out a run; asks, once it has the lease, whether it is wanted still, and is `locked` if not
RunMapping: TypeAlias = Callable[[CollectionMapping, RunOptions, Callable[[], bool]], Awaitable[RunReport]]

#: seconds between two looks whether another process has finished with a mapping, or a pause was taken back
LOOK = 5.0

_log = logging.getLogger(__name__)


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
        timer: AsyncIOScheduler | None = None,
    ) -> None:
        """`concurrency`: mappings running at once. `sleep` and `monotonic` serve the watch on the clock.

        `look`: seconds between two looks whether another process has finished with a mapping, or has resumed it.
        """
        self._configured = mappings
        self._run = run
        self._fires = fires
        self._now = now
        self._notice = notice
        self._monotonic = monotonic
        self._sleep = sleep
        self._look = look
        self._agenda = Agenda(self._fired, now=now, timer=timer)
        self._turns = Turns(self._carry_out, concurrency=concurrency)
        #: fires whose mapping runs in another process, and those that may not begin yet
        self._owed = Owed(self._until_free, self._queue, pause=look)
        self._held = Owed(self._until_allowed, self._queue, pause=look)
        self._going: dict[str, Fire] = {}
        self._mappings: dict[str, CollectionMapping] = {}
        self._endings: Counter[tuple[str, Ending]] = Counter()
        self._replacing = asyncio.Lock()
        #: set once schedules are planned
        self.planned = asyncio.Event()
        self._draining = False

    def __repr__(self) -> str:
        return f"<Scheduler schedules={len(self._agenda)} {self._turns!r}{' draining' if self._draining else ''}>"

    @property
    def endings(self) -> Mapping[tuple[str, Ending], int]:
        """How many fires of each mapping ended how, since the start."""
        return dict(self._endings)

    @property
    def waiting(self) -> Sequence[str]:
        """Mappings whose fire waits for anything."""
        return sorted({fire.mapping for fire in self._waiting()})

    @property
    def ready(self) -> bool:
        """Whether schedules are planned and fires taken up."""
        return self.planned.is_set() and not self._draining

    @property
    def overdue(self) -> datetime | None:
        """Since when a fire has been due that did not come, where that is far too long ago: nothing wakes us."""
        return self._agenda.overdue()

    def next_fire(self, mapping: str) -> datetime | None:
        """When its schedules want it next; at the end of a blackout, if that is when it would begin."""
        due, known = self._agenda.next_due(mapping), self._mappings.get(mapping)
        return (blackout_end(known.blackouts, due) or due) if due is not None and known is not None else due

    def ask(self, mapping: str, mode: Mode) -> bool:
        """Run a mapping because a person wants it. False: merged into a fire that waits, which then waits no longer."""
        now = self._now()
        fire = Fire(mapping=mapping, mode=mode, trigger="page", at={}, wished=True, due=now, until=now)
        held = self._held.take(mapping)
        if held is not None:
            self._fold(fire)
            self._queue(held.with_(fire))
            return False
        if self._owed.merge(fire):
            self._fold(fire)
            return False
        return self._queue(fire)

    def look(self) -> None:
        """Something changed: ask at once whether what waits may begin."""
        self._held.look()
        self._owed.look()

    async def serve(self, stop: asyncio.Event, interrupt: Callable[[], None]) -> None:
        """Run until `stop` is set; then begin nothing, tell running runs to stop by `interrupt`, await them.

        Raises:
            StateError: the recorded fires cannot be read at the start.
        """
        try:
            self._agenda.start()
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

    async def replace(self, mappings: Sequence[CollectionMapping], also: Callable[[], None] = lambda: None) -> None:
        """Plan these mappings instead, and do what else the same moment takes.

        Schedules that stay keep their next fire; running runs are left alone.

        Raises:
            StateError: the recorded fires cannot be read; the old plan stays.
        """
        wanted = {job_id(each.name, plan): (each.name, plan) for each in mappings for plan in each.schedules}
        async with self._replacing:
            now = self._now()
            unknown = [pair for job, pair in wanted.items() if job not in self._agenda]
            following = [each for each in mappings if follows(each) and each.name not in self._followers]
            seen = await asyncio.to_thread(recall, self._fires, unknown, now)
            missed = await asyncio.to_thread(recall_followed, self._fires, following, now)
            if self._draining:
                return
            # Nothing awaits from here on, so no fire sees half a plan.
            also()
            self._mappings = {mapping.name: mapping for mapping in mappings}
            self._agenda.keep({job: schedule for job, (_, schedule) in wanted.items()})
            for each in seen:
                self._plan(each, now)
            for fire in missed:
                self._offer(fire, missed_since=fire.first)
            self.planned.set()
            self.look()

    @property
    def _followers(self) -> Sequence[str]:
        return [each.name for each in self._mappings.values() if follows(each)]

    def _plan(self, recalled: Recalled, now: datetime) -> None:
        """Plan a schedule, and fire at once where a fire time has passed."""
        name, schedule, last = recalled.mapping, recalled.schedule, recalled.last
        missed = self._agenda.plan(name, schedule, last, now)
        if missed is not None:
            fire = _fire(name, schedule, recalled.trigger, at=now, due=missed)
            self._offer(fire, missed_since=last if recalled.trigger == "catch-up" else None)

    def _fired(self, mapping: str, schedule: Schedule, *, at: datetime, due: datetime, late: bool) -> None:
        """A schedule is due."""
        fire = _fire(mapping, schedule, "catch-up" if late else "schedule", at=at, due=due)
        self._offer(fire, missed_since=due if late else None)

    def _offer(self, fire: Fire, missed_since: datetime | None = None) -> None:
        """Queue a fire; say so where it makes up for missed ones or falls together with another."""
        if missed_since is not None:
            told = f"{fire} missed fires since {missed_since:%Y-%m-%dT%H:%M:%SZ}; one run catches up"
            self._say(fire.mapping, told)
        if self._owed.merge(fire) or self._held.merge(fire):
            self._fold(fire)
        else:
            self._queue(fire)

    def _queue(self, fire: Fire) -> bool:
        """Have a fire carried out when it is its turn. False: merged into one that waits for its turn."""
        queued = self._turns.offer(fire)
        if not queued:
            self._end(fire, Ending.FOLDED)
        return queued

    def _owe(self, fire: Fire) -> None:
        """Another process runs the mapping: the fire waits for that to end. Said once."""
        if self._draining:
            self._end(fire, Ending.DEFERRED)
        elif self._owed.merge(fire):
            self._end(fire, Ending.FOLDED)
        else:
            self._owed.owe(replace(fire, waited=True))
            if not fire.waited:
                told = f"{fire} found the mapping running in another process and waits for that to end"
                self._say(fire.mapping, told)

    def _hold(self, fire: Fire, why: Hindrance) -> None:
        """It may not begin yet: the fire waits. Said once for each reason."""
        if self._draining:
            self._end(fire, Ending.DEFERRED)
        elif self._held.merge(fire):
            self._end(fire, Ending.FOLDED)
        else:
            self._held.owe(replace(fire, held=why.told), why.seconds)
            if fire.held != why.told:
                self._say(fire.mapping, f"{fire} waits: {why.told}")

    async def _until_free(self, fire: Fire) -> float:
        """Nothing, once nobody holds the mapping's lease. A state that cannot tell lets the fire find out."""
        try:
            leases = await asyncio.to_thread(self._fires.leases)
        except SyncerError:
            return 0.0
        now = self._now()
        held = (each for each in leases if each.mapping == fire.mapping and each.expires_at > now)
        return self._look if any(not is_gone(each.owner) for each in held) else 0.0

    async def _until_allowed(self, fire: Fire) -> float:
        """Nothing, once nothing speaks against its beginning."""
        try:
            why = await self._hindrance(fire)
        except SyncerError:
            return self._look
        return why.seconds if why is not None else 0.0

    async def _hindrance(self, fire: Fire) -> Hindrance | None:
        """Why a fire may not begin yet."""
        if fire.wished or fire.mapping not in self._mappings:
            return None
        paused = await asyncio.to_thread(self._fires.pauses)
        mapping = self._mappings.get(fire.mapping)
        if mapping is None:
            return None
        others = [name for name in mapping.after if self._unfinished(name, fire.last, paused)]
        return hindrance(mapping, paused, others, self._now(), self._look)

    def _unfinished(self, mapping: str, until: datetime, paused: Collection[str]) -> bool:
        """Whether a run of the mapping is going on, or is to come, that was due by then. Not where it is paused."""
        going, known = self._going.get(mapping), self._mappings.get(mapping)
        if going is not None and going.first <= until:
            return True
        if known is None or mapping in paused:
            return False
        waits = any(fire.mapping == mapping and fire.first <= until for fire in self._waiting())
        before = known.after if follows(known) else ()
        return (
            waits or self._agenda.owes(mapping, until) or any(self._unfinished(each, until, paused) for each in before)
        )

    def _waiting(self) -> Sequence[Fire]:
        return (*self._turns.waiting, *self._owed.fires, *self._held.fires)

    async def _carry_out(self, fire: Fire) -> None:
        """One fire, from taking it up to its ending. A job boundary: one mapping's trouble stays its own."""
        mapping = self._mappings.get(fire.mapping)
        if mapping is None:
            self._end(fire, Ending.DROPPED)
            return
        try:
            why = await self._hindrance(fire)
            if why is not None:
                self._hold(fire, why)
                return
            self._going[fire.mapping] = fire
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
        finally:
            if self._going.pop(fire.mapping, None) is not None:
                self._held.look()

    async def _run_for(self, mapping: CollectionMapping, fire: Fire) -> Ending | None:
        """Record the fire and run. The record is taken back if a stop comes first or in the middle.

        Returns None, and takes the record back, when another process runs the mapping.
        """
        before = await asyncio.to_thread(remember, self._fires, mapping.name, fire.at)
        if self._draining:
            await asyncio.to_thread(remember, self._fires, mapping.name, before)
            return Ending.DEFERRED
        known = self._mappings.get(mapping.name, mapping)  # a reload may have come in between
        since = taken_since(known, fire, before)

        covered = await asyncio.to_thread(covering, self._fires, fire, since)
        if covered is not None:
            later = {key: before[key] for key, at in since.items() if key in before and before[key] >= at}
            await asyncio.to_thread(remember, self._fires, known.name, later)
            self._agenda.recount(known.name, later)
            self._follow(covered, fire.first)
            return Ending.COVERED
        options = RunOptions(mode=fire.mode, trigger=fire.trigger)
        report = await self._run(known, options, lambda: covering(self._fires, fire, since) is None)
        if report.outcome in (Outcome.INTERRUPTED, Outcome.LOCKED):
            await asyncio.to_thread(remember, self._fires, mapping.name, before)
        self._follow(report, fire.first)
        return None if report.outcome is Outcome.LOCKED else Ending.RAN

    def _follow(self, run: RunReport, due: datetime) -> None:
        """Have the mappings run that have no time of their own and go after this one. They were due when it was."""
        for each in self._mappings.values():
            if self._draining or run.mapping not in each.after or not follows(each):
                continue
            if well(run):
                self._offer(following(each, run, "after", due))
            elif run.outcome is Outcome.FAILED:
                self._say(each.name, f"it does not run now: it goes after {run.mapping}, whose run failed")

    def _end(self, fire: Fire, ending: Ending, said: str | None = None) -> None:
        """Count how a fire ended, and say so unless a run report does."""
        self._endings[fire.mapping, ending] += 1
        if ending is not Ending.RAN:
            self._say(fire.mapping, f"{fire} {said or SAID[ending]}")

    def _fold(self, fire: Fire) -> None:
        """It is one with a fire that waits. That one was told of, with what it waits for, so this is only counted."""
        self._endings[fire.mapping, Ending.FOLDED] += 1

    def _say(self, mapping: str, what: str) -> None:
        self._notice(Noticed(mapping=mapping, message=what))

    def _clock_jumped(self, difference: timedelta) -> None:
        _log.warning("the clock moved by %+.0f s; working out the next fires again", difference.total_seconds())
        self._agenda.clock_jumped()
        self.look()

    async def _drain(self, interrupt: Callable[[], None]) -> None:
        """Begin nothing more, defer what waits, stop what runs and wait for it."""
        self._draining = True
        await self._agenda.stop()
        for fire in (*self._turns.dismiss(), *self._owed.dismiss(), *self._held.dismiss()):
            self._end(fire, Ending.DEFERRED)
        interrupt()
        await self._turns.idle()


def _fire(mapping: str, schedule: Schedule, trigger: Trigger, *, at: datetime, due: datetime) -> Fire:
    """A fire of one schedule."""
    return Fire(mapping=mapping, mode=schedule.mode, trigger=trigger, at={schedule_key(schedule): at}, due=due)
