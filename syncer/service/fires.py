"""Fires: the moments at which schedules ask for a run, and how each of them ends. Values and one seam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, Protocol

from syncer.core.model import Lease, Mode, Outcome, RunReport

Trigger = Literal["schedule", "catch-up", "after", "page"]

#: runs that schedules had begun, or would have: they are of all that the mapping reads
WHOLE: Final[tuple[Trigger, ...]] = ("schedule", "catch-up", "after", "page")


#: what several in one are called: the first of these
_TRIGGERS: Final[tuple[Trigger, ...]] = ("catch-up", "schedule", "after", "page")


class Fires(Protocol):
    """What the scheduler needs of the state store. Methods block; they are called in threads.

    Errors: `StateUnwritable`, `StateCorrupt`.
    """

    def last_fire(self, mapping: str, schedule: str) -> datetime | None:
        """When this schedule last fired, or was first seen."""

    def record_fire(self, mapping: str, schedule: str, at: datetime) -> None:
        """Remember a fire."""

    def leases(self) -> Sequence[Lease]:
        """Leases that are held, expired ones included."""

    def runs(self, mapping: str | None = None, limit: int = 20) -> Sequence[RunReport]:
        """The latest runs, newest start first."""

    def pauses(self) -> Mapping[str, datetime]:
        """Mappings whose schedules begin no run, and since when."""


class Ending(StrEnum):
    """What became of a fire. Every fire has exactly one ending; none is skipped silently."""

    #: a run began for it; the run report tells the rest
    RAN = "ran"
    #: a fire of the mapping was already waiting, for its turn or for the lease, and was merged with it
    FOLDED = "folded"
    #: schedules, here or in another process, had the mapping run as it asked since it was due
    COVERED = "covered"
    #: no run came about: the state could not be reached, or the run broke
    FAILED = "failed"
    #: the daemon stopped first; the next start catches up
    DEFERRED = "deferred"
    #: a reload removed the mapping first
    DROPPED = "dropped"


#: what is said of a fire that has no run of its own to tell of it
SAID: Final = {
    Ending.FOLDED: "is covered by the run that already waits",
    Ending.COVERED: "is covered by a run that schedules began since then, here or in another process",
    Ending.DEFERRED: "had not begun when the stop came; the next start catches up",
    Ending.DROPPED: "had not begun when the mapping was removed from the file",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """One wish to run a mapping, standing for one or several schedules that are due."""

    mapping: str
    mode: Mode
    trigger: Trigger
    #: by `core.calendar.schedule_key`: the time to record as the schedule's last fire; empty: a person asked
    at: Mapping[str, datetime]
    #: it found the mapping running in another process and was left waiting
    waited: bool = False
    #: why it has waited so far, where it may not begin
    held: str | None = field(default=None, compare=False)
    #: a person wants it: whatever pauses, blackouts and `after` say
    wished: bool = False
    #: when the earliest of what it stands for was due; None: the earliest of `at`
    due: datetime | None = field(default=None, compare=False)
    #: it goes after others that were due by then; None: the latest of `at`
    until: datetime | None = field(default=None, compare=False)

    @property
    def first(self) -> datetime:
        """When the earliest of what it stands for was due."""
        return self.due or min(self.at.values())

    @property
    def last(self) -> datetime:
        """It goes after others that were due by then. Fires merged into it later change nothing about that."""
        return self.until or max(self.at.values())

    def with_(self, later: Fire) -> Fire:
        """Both in one: full subsumes incremental, and who waits for a catch-up gets one."""
        either = (self, later)
        return Fire(
            mapping=self.mapping,
            mode=Mode.FULL if any(fire.mode is Mode.FULL for fire in either) else Mode.INCREMENTAL,
            trigger=next(each for each in _TRIGGERS if each in {fire.trigger for fire in either}),
            at={**self.at, **later.at},
            waited=any(fire.waited for fire in either),
            wished=any(fire.wished for fire in either),
            held=self.held,
            due=min(fire.first for fire in either),
            until=min(fire.last for fire in either),
        )

    def in_mode(self, mode: Mode) -> Fire:
        """The same in another mode."""
        return replace(self, mode=mode)

    def covered_by(self, run: RunReport, since: datetime) -> bool:
        """Whether a run of the daemon's that began since then did all that this fire asks for.

        A run from a shell is not trusted to: it may have been for a part only, as with `--limit`.
        """
        enough = run.mode is Mode.FULL or self.mode is Mode.INCREMENTAL
        return run.mapping == self.mapping and run.started_at >= since and enough and well(run)

    def __str__(self) -> str:
        return f"the schedule {', '.join(f'`{each}`' for each in self.at)}" if self.at else "the run that was asked for"


def well(run: RunReport) -> bool:
    """Whether it was a run of the daemon's that did all it was to do."""
    return run.trigger in WHOLE and run.outcome in (Outcome.SUCCEEDED, Outcome.PARTIAL)
