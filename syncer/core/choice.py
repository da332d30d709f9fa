"""Which API a run uses, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from syncer.core.model import Mode, Outcome, RunReport

Api: TypeAlias = Literal["objects", "bulk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The API of a run."""

    api: Api
    #: for people
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """How many objects a run will send, as far as that can be told before it."""

    objects: int
    #: the same in words, with `{}` for the number
    told: str


def choose(expected: Expected, threshold: int) -> Choice:
    """The Bulk API from so many objects on: it takes them in a few uploads, but a session takes three requests."""
    told = expected.told.format(f"{expected.objects:,}")
    return Choice(
        api="bulk" if expected.objects >= threshold else "objects", reason=f"{told}; bulk from {threshold:,} on"
    )


def last_like(mode: Mode, runs: Sequence[RunReport]) -> Expected | None:
    """What the last run of this mode sent that came to its end; None: there is none.

    Args:
        runs: of this mapping, newest first.
    """
    for run in runs:
        if run.mode is mode and run.outcome in (Outcome.SUCCEEDED, Outcome.PARTIAL):
            return Expected(objects=run.counts.sent + run.counts.deleted, told=f"the last {mode} run sent {{}} objects")
    return None
