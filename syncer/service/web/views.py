"""What the pages show: values made of what the state and the daemon told. Pure; templates only lay them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from syncer.core.model import CollectionMapping, Counts, Mode, RunReport
from syncer.run.standing import Standing, Surveyed
from syncer.service.control import Running
from syncer.service.web import charts, words

#: runs in the chart of the overview
PLACES: Final = 24

#: what a mapping's state is called, by what it is; the order is that in which they are worth attention
STATES: Final[Mapping[str, str]] = {
    "stuck": "stuck",
    "failed": "failed",
    "partial": "partial",
    "interrupted": "interrupted",
    "running": "running",
    "elsewhere": "running elsewhere",
    "waiting": "waiting",
    "unfinished": "unfinished",
    "paused": "paused",
    "ok": "ok",
    "new": "never ran",
}
_BY_OUTCOME: Final = {"succeeded": "ok", "locked": "ok", "unfinished": "unfinished"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A time, told as people and as programs want it."""

    told: str
    exact: str
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a running run is."""

    run_id: str
    mode: Mode
    counts: Counts
    estimate: int | None
    #: of a hundred; None: nobody knows how much there is
    percent: int | None
    took: str
    moved: Moment
    stuck: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A mapping in the overview."""

    name: str
    collection: str
    #: a key of `STATES`
    state: str
    paused: Moment | None
    progress: Progress | None
    bars: Sequence[charts.Bar]
    last: RunReport | None
    last_run: Moment | None
    lag: Moment | None
    bound: Moment | None
    standing: Standing
    next: Moment | None
    scheduled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What there is to know of the daemon at a moment."""

    now: datetime
    running: Mapping[str, Running]
    waiting: Collection[str]
    paused: Mapping[str, datetime]
    #: mappings whose lease another process holds
    elsewhere: Collection[str]
    next_fires: Mapping[str, datetime | None]


def line(mapping: CollectionMapping, surveyed: Surveyed, known: Known, *, places: int = PLACES) -> Line:
    """One mapping."""
    standing, name = surveyed.standing, mapping.name
    running, now = known.running.get(name), known.now
    return Line(
        name=name,
        collection=mapping.collection,
        state=state_of(standing, name, known),
        paused=_passed(known.paused.get(name), now),
        progress=progress(running, now) if running else None,
        bars=charts.bars(surveyed.runs, places, now),
        last=surveyed.runs[0] if surveyed.runs else None,
        last_run=_passed(standing.last_run, now),
        lag=_aged(standing.last_success, now),
        bound=_aged(standing.bound, now),
        standing=standing,
        next=_passed(known.next_fires.get(name), now),
        scheduled=bool(mapping.schedules),
    )


def state_of(standing: Standing, name: str, known: Known) -> str:
    """What is most worth knowing of a mapping: what it does now, else why it does nothing, else how it went."""
    running = known.running.get(name)
    if running is not None:
        return "stuck" if running.stuck else "running"
    if name in known.elsewhere:
        return "elsewhere"
    if name in known.paused:
        return "paused"
    if name in known.waiting:
        return "waiting"
    if standing.outcome is None:
        return "new"
    return _BY_OUTCOME.get(standing.outcome, standing.outcome)


def progress(running: Running, now: datetime) -> Progress:
    """How far it is. An estimate that was passed says nothing any more."""
    estimate = running.estimate if running.estimate and running.estimate >= running.counts.read else None
    return Progress(
        run_id=running.run_id,
        mode=running.mode,
        counts=running.counts,
        estimate=estimate,
        percent=running.counts.read * 100 // estimate if estimate else None,
        took=words.age(running.started_at, now),
        moved=moment(running.moved_at, now),
        stuck=running.stuck,
    )


def summary(lines: Sequence[Line]) -> list[tuple[str, int, str]]:
    """States with how many mappings are in them and the first of those, the most pressing first."""
    counts = Counter(each.state for each in lines)
    first = {each.state: each.name for each in reversed(lines)}
    return [(state, counts[state], first[state]) for state in STATES if state in counts]


def moment(at: datetime, now: datetime) -> Moment:
    """A time, as so long ago or ahead."""
    return Moment(told=words.ago(at, now), exact=words.moment(at), machine=words.machine(at))


def _passed(at: datetime | None, now: datetime) -> Moment | None:
    return moment(at, now) if at is not None else None


def _aged(at: datetime | None, now: datetime) -> Moment | None:
    if at is None:
        return None
    return Moment(told=words.age(at, now), exact=words.moment(at), machine=words.machine(at))
