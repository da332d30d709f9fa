"""Fires: the moments at which schedules ask for a run, and how each of them ends. Values and one seam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from syncer.core.model import Lease, Mode, Outcome, RunReport

Trigger = Literal["schedule", "catch-up"]


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


class Ending(StrEnum):
    """What became of a fire. Every fire has exactly one ending; none is skipped silently."""

    #: a run began for it; the run report tells the rest
    RAN = "ran"
    #: a fire of the mapping was already waiting, for its turn or for the lease, and was merged with it
    FOLDED = "folded"
    #: while it waited for the mapping's lease, another process's schedules had the mapping run as it asked
    COVERED = "covered"
    #: no run came about: the state could not be reached, or the run broke
    FAILED = "failed"
    #: the daemon stopped first; the next start catches up
    DEFERRED = "deferred"
    #: a reload removed the mapping first
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """One wish to run a mapping, standing for one or several schedules that are due."""

    mapping: str
    mode: Mode
    trigger: Trigger
    #: by `core.calendar.schedule_key`: the time to record as the schedule's last fire
    at: Mapping[str, datetime]
    #: it found the mapping running in another process and was left waiting
    waited: bool = False

    def with_(self, later: Fire) -> Fire:
        """Both in one: full subsumes incremental, and who waits for a catch-up gets one."""
        either = (self, later)
        return Fire(
            mapping=self.mapping,
            mode=Mode.FULL if any(fire.mode is Mode.FULL for fire in either) else Mode.INCREMENTAL,
            trigger="catch-up" if any(fire.trigger == "catch-up" for fire in either) else "schedule",
            at={**self.at, **later.at},
            waited=any(fire.waited for fire in either),
        )

    def covered_by(self, run: RunReport) -> bool:
        """Whether a run that schedules had begun did all that this fire asks for.

        A run from a shell is not trusted to: it may have been for a part only, as with `--limit`.
        """
        began_later = all(at <= run.started_at for at in self.at.values())
        enough = run.mode is Mode.FULL or self.mode is Mode.INCREMENTAL
        whole = run.trigger in ("schedule", "catch-up") and run.outcome in (Outcome.SUCCEEDED, Outcome.PARTIAL)
        return run.mapping == self.mapping and began_later and enough and whole

    def __str__(self) -> str:
        return ", ".join(f"`{schedule}`" for schedule in self.at)
