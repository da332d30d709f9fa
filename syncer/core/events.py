"""What happened, in the past tense, as frozen values. Observers get these and nothing else. No row contents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from syncer.core.model import Counts, Mode, RunReport


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A mapping's run has its lease and begins to read."""

    mapping: str
    run_id: str
    mode: Mode
    #: rows expected, where the source could tell cheaply
    estimate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkChosen:
    """A run is large enough for the Bulk API."""

    mapping: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgressed:
    """Something was committed; counts so far."""

    mapping: str
    run_id: str
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """Something a person should know that stops nothing."""

    mapping: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRetried:
    """A request will be sent again."""

    collection: str
    #: 1 for the first retry
    attempt: int
    reason: str
    #: seconds
    wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPaused:
    """The API asked for a pause; every mapping of the write key waits."""

    reason: str
    #: seconds
    wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStuck:
    """A run has not read, sent or saved anything for longer than is usual."""

    mapping: str
    run_id: str
    #: when it last did
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMoved:
    """A run that was stuck moves again."""

    mapping: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """A run is over; the report is what was stored."""

    report: RunReport


Event: TypeAlias = (
    RunStarted
    | BulkChosen
    | RunProgressed
    | Noticed
    | RequestRetried
    | DeliveryPaused
    | RunStuck
    | RunMoved
    | RunFinished
)
