"""The agenda: when each schedule is due next, and being woken for it. Knows no runs and no state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]

from syncer.core.calendar import believed, due_ahead, due_at, fire_after, schedule_key
from syncer.core.model import Schedule
from syncer.service.timer import Ahead, new_timer

#: of a mapping's schedule
JobId: TypeAlias = str
#: a fire that is late by more means that nothing wakes us any more
_OVERDUE = timedelta(minutes=5)


class Fired(Protocol):
    """Who is told of fires. `late`: it makes up for those that passed unnoticed since `due`."""

    def __call__(self, mapping: str, schedule: Schedule, *, at: datetime, due: datetime, late: bool) -> None: ...


@dataclass(slots=True)
class _Entry:
    mapping: str
    schedule: Schedule
    #: the fire it counts from
    last: datetime

    @property
    def fire(self) -> datetime:
        """The time of the next fire, as the schedule says it."""
        return fire_after(self.schedule, self.last)

    @property
    def due(self) -> datetime:
        """When that comes, jitter included."""
        return due_at(self.schedule, self.fire, self.mapping)

    def ahead(self, now: datetime) -> datetime:
        """When the first one comes that is later than now."""
        return due_ahead(self.schedule, self.last, now, self.mapping)


class Agenda:
    """Schedules by mapping. `fired` is called in the event loop."""

    def __init__(self, fired: Fired, *, now: Callable[[], datetime], timer: AsyncIOScheduler | None = None) -> None:
        self._fired = fired
        self._now = now
        self._timer = timer or new_timer()
        self._entries: dict[JobId, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, job: JobId) -> bool:
        return job in self._entries

    def start(self) -> None:
        """Begin to wake."""
        self._timer.start()

    async def stop(self) -> None:
        """Wake no more."""
        if self._timer.running:
            self._timer.shutdown(wait=False)
            await asyncio.sleep(0)  # APScheduler shuts down in the loop's next round

    def keep(self, wanted: Mapping[JobId, Schedule]) -> None:
        """Forget all schedules but these, which keep the fire they count from."""
        for job in list(self._entries):
            if job not in wanted:
                self._timer.remove_job(job)
                del self._entries[job]
            elif self._entries[job].schedule != wanted[job]:
                self._entries[job].schedule = wanted[job]
                self._timer.modify_job(job, next_run_time=self._entries[job].due)

    def plan(self, mapping: str, schedule: Schedule, last: datetime, now: datetime) -> datetime | None:
        """Add a schedule that fired last at that time.

        Returns when it was due, where that has passed: it counts from now on then.
        """
        entry = _Entry(mapping, schedule, last)
        missed = entry.fire if entry.due <= now else None
        if missed is not None:
            entry.last = now
        job = job_id(mapping, schedule)
        self._entries[job] = entry
        self._timer.add_job(
            self._wake, Ahead(entry.ahead), args=(entry,), id=job, name=job, next_run_time=entry.due
        )  # fmt: skip
        return missed

    def recount(self, mapping: str, last: Mapping[str, datetime]) -> None:
        """Another process had a fire of these schedules, by key: count from that one."""
        for job, entry in self._entries.items():
            at = last.get(schedule_key(entry.schedule))
            if entry.mapping == mapping and at is not None and entry.schedule.every is not None:
                entry.last = at
                self._timer.modify_job(job, next_run_time=entry.due)

    def next_due(self, mapping: str) -> datetime | None:
        """When the mapping's next fire comes."""
        return min((each.due for each in self._of(mapping)), default=None)

    def owes(self, mapping: str, until: datetime) -> bool:
        """Whether a fire of a time up to this one is yet to come."""
        return any(each.fire <= until for each in self._of(mapping))

    def overdue(self) -> datetime | None:
        """Since when a fire has been due that did not come, where that is far too long ago."""
        since = min((each.due for each in self._entries.values()), default=None)
        return since if since is not None and self._now() - since > _OVERDUE else None

    def clock_jumped(self) -> None:
        """Work out the fires again, which wakes the timer. A clock set back may only bring a fire forward."""
        now = self._now()
        for job, entry in self._entries.items():
            entry.last = believed(entry.last, now)
            self._timer.modify_job(job, next_run_time=entry.due)

    def _of(self, mapping: str) -> Iterator[_Entry]:
        return (each for each in self._entries.values() if each.mapping == mapping)

    def _wake(self, entry: _Entry) -> None:
        """A schedule is due. When the fire after it has passed as well, we slept: this one makes up for both."""
        now, fire = self._now(), entry.fire
        entry.last = fire
        late = entry.due <= now
        if late:
            entry.last = now
        self._fired(entry.mapping, entry.schedule, at=entry.last, due=fire, late=late)


def job_id(mapping: str, schedule: Schedule) -> JobId:
    """Names a mapping's schedule."""
    return f"{mapping}|{schedule_key(schedule)}"
