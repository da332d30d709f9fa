"""What a run would take and cost: requests a second, seconds, and objects of a month's budget. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from syncer.core.model import Outcome, RunReport

#: runs of a mapping that are looked at for how fast it sends
RUNS_BACK = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast requests are answered, or may be begun."""

    #: requests
    per_second: float
    #: seen in a recent run, rather than configured
    measured: bool


def rate_of(configured: float | None, runs: Sequence[RunReport], api: str | None = None) -> Rate | None:
    """Requests a second: as configured, else as in that recent run which made the most requests, else unknown.

    Of the runs the largest, because a small one spends its time on other things than requests. Runs that were not
    brought to their end say nothing: most of them waited for an API that did not answer.

    Args:
        configured: `requests_per_second`.
        runs: of this mapping.
        api: only runs by this API are looked at; None: all.
    """
    if configured is not None:
        return Rate(per_second=configured, measured=False)
    ended = [run for run in runs if run.outcome in _ENDED and api in (None, run.api)]
    told = [(run.counts.requests, _seconds_of(run)) for run in ended]
    requests, seconds = max((each for each in told if min(each) > 0), default=(0, 0.0))
    return Rate(per_second=requests / seconds, measured=True) if requests else None


_ENDED = (Outcome.SUCCEEDED, Outcome.PARTIAL)


def _seconds_of(run: RunReport) -> float:
    return (run.finished_at - run.started_at).total_seconds() if run.finished_at is not None else 0.0


def duration(requests: int, rate: Rate | None, *, reading: float) -> float | None:
    """Seconds that a run would take: it reads and sends at the same time, so the longer of the two. None: unknown.

    Args:
        requests: that it would make.
        rate: of them; None: unknown.
        reading: seconds that it took to read and to compare.
    """
    if not requests:
        return reading
    return None if rate is None else max(reading, requests / rate.per_second)


def month_of(now: datetime) -> datetime:
    """When the calendar month began, in UTC."""
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Objects that may be sent in a calendar month, and how many are."""

    limit: int
    #: when the month began, in UTC
    month: datetime
    #: sent since then, tombstones included
    used: int
    #: objects that would be sent now
    planned: int

    @property
    def after(self) -> int:
        """How many it would be then."""
        return self.used + self.planned

    @property
    def over(self) -> int:
        """How many that is too many."""
        return max(0, self.after - self.limit)
