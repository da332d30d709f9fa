"""APScheduler's part: waking up when a schedule is due. What follows from it is decided elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from apscheduler.executors.base import BaseExecutor  # type: ignore[import-untyped]
from apscheduler.job import Job  # type: ignore[import-untyped]
from apscheduler.jobstores.memory import MemoryJobStore  # type: ignore[import-untyped]
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
from apscheduler.triggers.base import BaseTrigger  # type: ignore[import-untyped]

from syncer.core.calendar import fire_after
from syncer.core.model import Schedule


class ScheduleTrigger(BaseTrigger):  # type: ignore[misc]
    """A schedule's fire times. Those that passed unnoticed count as one: the next is later than `now`."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def __str__(self) -> str:
        return str(self._schedule.cron or self._schedule.every)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The fire after `previous_fire_time`; where that has passed too, the first one from now on."""
        following = fire_after(self._schedule, previous_fire_time or now)
        return following if following > now else fire_after(self._schedule, now)


class InLoop(BaseExecutor):  # type: ignore[misc]
    """Calls the job in the event loop with the time it was due as `at`, and is done with it."""

    def _do_submit_job(self, job: Job, run_times: Sequence[datetime]) -> None:
        job.func(*job.args, **{**job.kwargs, "at": run_times[-1]})
        self._run_job_success(job.id, [])


def new_timer() -> AsyncIOScheduler:
    """An APScheduler that forgets nothing: by default it skips any job that starts a second late.

    Jobs are kept in memory: the last fires live in our own state, and the jobs come from the file. A job only
    queues a fire, so its one instance is never busy.
    """
    return AsyncIOScheduler(
        timezone=UTC,
        jobstores={"default": MemoryJobStore()},
        executors={"default": InLoop()},
        job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
    )
