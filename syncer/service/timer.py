"""APScheduler's part: waking up when a schedule is due. What follows from it is decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo

from apscheduler.executors.base import BaseExecutor  # type: ignore[import-untyped]
from apscheduler.job import Job  # type: ignore[import-untyped]
from apscheduler.jobstores.memory import MemoryJobStore  # type: ignore[import-untyped]
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
from apscheduler.triggers.base import BaseTrigger  # type: ignore[import-untyped]


class Ahead(BaseTrigger):  # type: ignore[misc]
    """Asks, given the time, when the next fire comes. The answer lies ahead of that time."""

    def __init__(self, ahead: Callable[[datetime], datetime]) -> None:
        self._ahead = ahead

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The next one; what fired before is known to whoever is asked."""
        return self._ahead(now)


class InLoop(BaseExecutor):  # type: ignore[misc]
    """Calls the job in the event loop, and is done with it."""

    def _do_submit_job(self, job: Job, run_times: Sequence[datetime]) -> None:
        job.func(*job.args)
        self._run_job_success(job.id, [])


def new_timer(zone: tzinfo = UTC, *, kind: type[AsyncIOScheduler] = AsyncIOScheduler) -> AsyncIOScheduler:
    """An APScheduler that forgets nothing: by default it skips any job that starts a second late.

    Jobs are kept in memory: the last fires live in our own state, and the jobs come from the file. A job only
    queues a fire, so its one instance is never busy. `zone` is what tells APScheduler the time.
    """
    return kind(
        timezone=zone,
        jobstores={"default": MemoryJobStore()},
        executors={"default": InLoop()},
        job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
    )
