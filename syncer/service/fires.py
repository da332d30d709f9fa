"""Fires: the moments at which schedules ask for a run, and how each of them ends. Values and one seam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from syncer.core.model import Mode

Trigger = Literal["schedule", "catch-up"]


class Fires(Protocol):
    """What the scheduler needs of the state store. Methods block; they are called in threads.

    Errors: `StateUnwritable`, `StateCorrupt`.
    """

    def last_fire(self, mapping: str, schedule: str) -> datetime | None:
        """When this schedule last fired, or was first seen."""

    def record_fire(self, mapping: str, schedule: str, at: datetime) -> None:
        """Remember a fire."""


class Ending(StrEnum):
    """What became of a fire. Every fire has exactly one ending; none is skipped silently."""

    #: a run began for it; the run report tells the rest
    RAN = "ran"
    #: a run that covers it was already waiting
    FOLDED = "folded"
    #: another process held the mapping's lease
    LOCKED = "locked"
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

    def with_(self, later: Fire) -> Fire:
        """Both in one: full subsumes incremental, and who waits for a catch-up gets one."""
        either = (self, later)
        return Fire(
            mapping=self.mapping,
            mode=Mode.FULL if any(fire.mode is Mode.FULL for fire in either) else Mode.INCREMENTAL,
            trigger="catch-up" if any(fire.trigger == "catch-up" for fire in either) else "schedule",
            at={**self.at, **later.at},
        )

    def __str__(self) -> str:
        return ", ".join(f"`{schedule}`" for schedule in self.at)
