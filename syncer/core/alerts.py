"""What is worth telling a person who does not look: from a run and those before it. Pure.

Each cause is told once, and once that it is over. What has been told is not remembered anywhere: the runs before are
looked at again in their order, and what they made known is known. So it is the same after a restart, for a cron job
and for a daemon.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from re import sub
from statistics import median
from typing import Protocol

from syncer.core.model import Mode, Outcome, RunReport

#: the same cause is told again after this long at the earliest: a mapping that fails every other time is no alarm bell
QUIET = timedelta(hours=1)
#: full runs whose number of rows is what is usual, and how many there must be
USUAL, FEWEST = 10, 3
#: runs that look at single rows or at none: whatever becomes of them, the mapping stands as it stood
ASIDE = ("dead-letters retry", "state set")

ENDED = (Outcome.SUCCEEDED, Outcome.PARTIAL, Outcome.FAILED)
GOOD = (Outcome.SUCCEEDED, Outcome.PARTIAL)


class AlertKind(StrEnum):
    """How bad it is."""

    FAILURE = "failure"
    RECOVERY = "recovery"
    DEGRADATION = "degradation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something to tell."""

    kind: AlertKind
    #: what it is about: `run`, `dead_letters`, `row_count`, `lag`, `stuck`, `test`
    cause: str
    mapping: str
    #: one sentence for people; no row contents, no secrets
    message: str
    hint: str | None = None
    #: the run that made it known; None: no run did
    report: RunReport | None = None
    run_id: str | None = None


def telling(report: RunReport) -> bool:
    """Whether a run says how its mapping stands: it came to an end, and was not of single rows."""
    return report.outcome in ENDED and report.trigger not in ASIDE


def alerts_after(report: RunReport, earlier: Sequence[RunReport], *, max_deviation: float | None = None) -> list[Alert]:
    """What to tell after a run.

    Args:
        report: of the run.
        earlier: runs of the mapping before it, in any order; more of them make it surer that nothing is told twice.
        max_deviation: how far the rows of a full run may be from the usual number, as a part of that; None: any.
    """
    if not telling(report):
        return []
    watched: list[_Watched] = [_Failures(), _Refusals()]
    if max_deviation is not None:
        watched.append(_RowCounts(max_deviation))
    before = sorted((run for run in earlier if telling(run)), key=lambda run: run.started_at)
    for run in before:
        for each in watched:
            each.take(run)
    return [alert for each in watched if (alert := each.take(report)) is not None]


def behind(
    mapping: str, last_good: datetime | None, since: datetime, max_lag: timedelta, now: datetime
) -> Alert | None:
    """Tell that a mapping is behind: its last good run, or else `since`, began longer than `max_lag` ago."""
    if now <= due_of(last_good or since, max_lag):
        return None
    told = f"{mapping}: no run has succeeded since {_moment(last_good or since)}; {in_words(max_lag)} are allowed"
    return Alert(
        kind=AlertKind.DEGRADATION, cause="lag", mapping=mapping, message=told, hint=f"syncer runs {mapping}",
    )  # fmt: skip


def due_of(last_good: datetime, max_lag: timedelta) -> datetime:
    """When a mapping is behind, unless a run succeeds until then."""
    return last_good + max_lag


def caught_up(report: RunReport) -> Alert:
    """Tell that a mapping is not behind any more."""
    return _recovery("lag", report, f"{report.mapping}: caught up, the {report.mode} run has succeeded")


def stuck(mapping: str, run_id: str, since: datetime) -> Alert:
    """Tell that a run does not move."""
    told = f"{mapping}: the run {run_id} has not moved since {_moment(since)}"
    return Alert(
        kind=AlertKind.DEGRADATION, cause="stuck", mapping=mapping, message=told, run_id=run_id,
        hint="look at the source's locks and at the API; the run goes on as soon as they let it",
    )  # fmt: skip


def moving(mapping: str, run_id: str) -> Alert:
    """Tell that a run that was stuck is not any more."""
    told = f"{mapping}: the run {run_id} moves again"
    return Alert(kind=AlertKind.RECOVERY, cause="stuck", mapping=mapping, message=told, run_id=run_id)


def in_words(length: timedelta) -> str:
    """A length of time as the config writes it: `1h30m`."""
    seconds = int(length.total_seconds())
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


class _Watched(Protocol):
    """One thing to watch from run to run."""

    def take(self, run: RunReport) -> Alert | None:
        """Look at the next run; returns what to tell after it."""


class _Failures:
    """Runs that fail. Another cause is told even while one is known."""

    def __init__(self) -> None:
        #: the cause that is known and not over
        self._known: str | None = None
        self._told: dict[str, datetime] = {}

    def take(self, run: RunReport) -> Alert | None:
        """Tell a failure with a new cause, or the first success after it."""
        if run.outcome is not Outcome.FAILED:
            known, self._known = self._known, None
            return None if known is None else _recovery("run", run, f"{run.mapping}: works again, {_succeeded(run)}")
        cause = _cause(run)
        if cause == self._known or _soon(self._told.get(cause), _ended(run)):
            return None
        self._known, self._told[cause] = cause, _ended(run)
        error = (run.error or "no reason is known").removeprefix(f"mapping {run.mapping}: ")
        return Alert(
            kind=AlertKind.FAILURE, cause="run", mapping=run.mapping, report=run, run_id=run.run_id,
            message=f"{run.mapping}: the {run.mode} run failed: {error}",
            hint=run.hint or f"syncer check --select {run.mapping}",
        )  # fmt: skip


class _Refusals:
    """Objects that become dead letters.

    A full run meets every refused row, and tells those that were not known. An incremental run meets new ones, and
    those near the watermark again and again, so more than the incremental run before it are new.
    """

    def __init__(self) -> None:
        #: refused objects that are known, and those not yet told
        self._known = 0
        self._untold = 0
        self._told_at: datetime | None = None
        self._told = False
        self._last = 0

    def take(self, run: RunReport) -> Alert | None:
        """Tell new dead letters, or that a full run met none any more."""
        self._untold += self._new(run)
        if self._untold and not _soon(self._told_at, _ended(run)):
            return self._tell(run)
        clean = run.mode is Mode.FULL and run.outcome is Outcome.SUCCEEDED and not run.counts.rejected
        if not (clean and self._told):
            return None
        self._told, self._untold = False, 0
        return _recovery("dead_letters", run, f"{run.mapping}: nothing is refused any more")

    def _new(self, run: RunReport) -> int:
        rejected = run.counts.rejected
        if run.mode is Mode.INCREMENTAL:
            before, self._last = self._last, rejected
            self._known += max(0, rejected - before)
            return max(0, rejected - before)
        before = self._known
        # a run that failed has not met all of them
        self._known = max(before, rejected) if run.outcome is Outcome.FAILED else rejected
        return max(0, rejected - before)

    def _tell(self, run: RunReport) -> Alert:
        count, self._untold = self._untold, 0
        self._told, self._told_at = True, _ended(run)
        objects = "1 object was refused and is a dead letter"
        if count != 1:
            objects = f"{count:,} objects were refused and are dead letters"
        return Alert(
            kind=AlertKind.DEGRADATION, cause="dead_letters", mapping=run.mapping, report=run, run_id=run.run_id,
            message=f"{run.mapping}: {objects}", hint=f"syncer dead-letters list {run.mapping}",
        )  # fmt: skip


class _RowCounts:
    """How many rows a full run reads, against the median of those before it."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._reads: deque[int] = deque(maxlen=USUAL)
        self._told = False

    def take(self, run: RunReport) -> Alert | None:
        """Tell the first unusual number, and the first usual one after it."""
        if run.mode is not Mode.FULL or run.outcome not in GOOD:
            return None
        read, usual = run.counts.read, round(median(self._reads)) if len(self._reads) >= FEWEST else 0
        self._reads.append(read)
        unusual = usual > 0 and abs(read - usual) > self._share * usual
        if unusual == self._told:
            return None
        self._told = unusual
        if not unusual:
            return _recovery("row_count", run, f"{run.mapping}: {read:,} rows were read, as many as usual")
        return Alert(
            kind=AlertKind.DEGRADATION, cause="row_count", mapping=run.mapping, report=run, run_id=run.run_id,
            message=f"{run.mapping}: a full run read {read:,} rows, where {usual:,} are usual",
            hint=f"look whether the query still returns what it should: syncer check --select {run.mapping}",
        )  # fmt: skip


def _recovery(cause: str, run: RunReport, message: str) -> Alert:
    return Alert(
        kind=AlertKind.RECOVERY, cause=cause, mapping=run.mapping, message=message, report=run, run_id=run.run_id
    )


def _succeeded(run: RunReport) -> str:
    return f"the {run.mode} run read {run.counts.read:,} rows and sent {run.counts.sent:,} objects"


def _cause(run: RunReport) -> str:
    """The error without its numbers, such as ports, durations and counts, which differ each time."""
    return sub(r"\d+", "0", run.error or "")


def _soon(told: datetime | None, at: datetime) -> bool:
    return told is not None and at - told < QUIET


def _ended(run: RunReport) -> datetime:
    return run.finished_at or run.started_at


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
