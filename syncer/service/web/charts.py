"""Runs as bars and a run's way as a line: coordinates for SVG, no drawing. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from syncer.core.model import Counts, RunReport
from syncer.service.web import words
from syncer.service.web.watch import Sample

#: of a bar, with and without the gap to the next
STEP: Final = 8
WIDTH: Final = 6
#: of the chart; and the shortest bar, so that each can be seen
HEIGHT: Final = 32
_LEAST: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One run. Its length tells how long it took, its look how it ended."""

    run_id: str
    x: int
    y: float
    height: float
    #: the name of an outcome, or `running`
    look: str
    title: str


def bars(runs: Sequence[RunReport], places: int, now: datetime) -> list[Bar]:
    """The latest runs, the newest at the right; lengths on a root scale, so that short and long ones can be seen.

    Args:
        runs: newest first.
        places: how many there is room for.
    """
    shown = list(reversed(runs[:places]))
    longest = max((_seconds(run, now) for run in shown), default=0.0)
    return [_bar(run, places - len(shown) + place, longest, now) for place, run in enumerate(shown)]


def _bar(run: RunReport, place: int, longest: float, now: datetime) -> Bar:
    share = math.sqrt(_seconds(run, now) / longest) if longest else 0.0
    height = round(_LEAST + share * (HEIGHT - _LEAST - WIDTH), 1)
    return Bar(
        run_id=run.run_id, x=place * STEP, y=round(HEIGHT - height, 1), height=height, look=look(run),
        title=title(run, now),
    )  # fmt: skip


def look(run: RunReport) -> str:
    """What a run is called that may still go on."""
    return str(run.outcome) if run.outcome is not None else "running"


def title(run: RunReport, now: datetime) -> str:
    """A run in a sentence, for who cannot see the bar."""
    took = words.span(timedelta(seconds=_seconds(run, now)))
    ended = "still running after" if run.outcome is None else f"{run.outcome} in"
    told = f"{words.moment(run.started_at)}: {run.mode} run {ended} {took}, {run.counts.read:,} read"
    return f"{told}, {told_fates(run.counts)}"


def told_fates(counts: Counts) -> str:
    """`12 sent, 3 rejected`: what is not zero, and always what was sent."""
    names = ("unchanged", "deleted", "rejected", "skipped")
    more = [f"{getattr(counts, name):,} {name}" for name in names if getattr(counts, name)]
    return ", ".join([f"{counts.sent:,} sent", *more])


def _seconds(run: RunReport, now: datetime) -> float:
    return max(((run.finished_at or now) - run.started_at).total_seconds(), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A part of what a run read."""

    name: str
    count: int
    x: float
    width: float


def slices(counts: Counts, width: float = 600.0) -> list[Slice]:
    """Where the rows of a run went, side by side; what is there can be seen, however little it is."""
    parts = [(name, getattr(counts, name)) for name in ("sent", "unchanged", "rejected", "skipped")]
    parts = [(name, count) for name, count in parts if count]
    rest, least = width - 4.0 * len(parts), 4.0
    whole, x, found = sum(count for _, count in parts), 0.0, []
    for name, count in parts:
        part = least + rest * count / whole
        found.append(Slice(name=name, count=count, x=round(x, 1), width=round(part, 1)))
        x += part
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Rows read over time."""

    points: str
    #: the same, closed to an area
    area: str
    seconds: float
    rows: int


def way(samples: Sequence[Sample], width: int = 600, height: int = 80) -> Way | None:
    """How a run went on. None: too little is known to draw a line."""
    if len(samples) < 3 or samples[-1].read == 0:
        return None
    seconds = (samples[-1].at - samples[0].at).total_seconds()
    if seconds <= 0:
        return None
    most = max(each.read for each in samples)
    places = [
        (width * (each.at - samples[0].at).total_seconds() / seconds, height * (1 - each.read / most))
        for each in samples
    ]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return Way(points=points, area=f"0,{height} {points} {width},{height}", seconds=seconds, rows=most)
