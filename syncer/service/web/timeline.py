"""A run's timeline: what it did, when, with counts, from its report and from what was watched while it ran. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from syncer.core.model import Counts, Outcome, RunReport
from syncer.service.web import words
from syncer.service.web.charts import Slice, slices
from syncer.service.web.watch import Noted, Tone

_TONES: dict[Outcome | None, Tone] = {
    Outcome.SUCCEEDED: "good",
    Outcome.PARTIAL: "warn",
    Outcome.INTERRUPTED: "warn",
    Outcome.FAILED: "bad",
    Outcome.LOCKED: "warn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that a run did."""

    title: str
    detail: str = ""
    #: None: in the course of the run
    at: datetime | None = None
    #: since the run began
    after: str | None = None
    tone: Tone = "plain"
    slices: Sequence[Slice] = field(default=())


def timeline(run: RunReport, noted: Sequence[Noted]) -> list[Step]:
    """The steps of a run, in their order."""
    steps = [
        Step(title="Started", detail=f"{run.mode} run, by {run.trigger}", at=run.started_at),
        *_chosen(run),
        *(_noted(run, each) for each in noted),
        *_counted(run.counts, run),
        *_kept(run),
    ]
    return [*steps, _end(run)]


def _chosen(run: RunReport) -> list[Step]:
    if run.api is None:
        return []
    return [Step(title="Bulk API" if run.api == "bulk" else "Objects API", detail=run.api_reason or "")]


def _noted(run: RunReport, noted: Noted) -> Step:
    times = f", {noted.times} times" if noted.times > 1 else ""
    after = f"+{words.age(run.started_at, noted.at)}"
    return Step(title="Noticed", detail=f"{noted.text}{times}", at=noted.at, after=after, tone=noted.tone)


def _counted(counts: Counts, run: RunReport) -> list[Step]:
    steps = [Step(title=f"Read {words.count(counts.read, 'row', 'rows')}", slices=slices(counts))]
    if counts.requests:
        told = f"{words.size(counts.bytes)} in {words.count(counts.requests, 'request', 'requests')}"
        if counts.retried:
            told += f", {counts.retried:,} of them again"
        steps.append(Step(title=f"Sent {words.count(counts.sent, 'object', 'objects')}", detail=told + _speed(run)))
    if counts.deleted:
        steps.append(Step(title=f"Marked {words.count(counts.deleted, 'object', 'objects')} as deleted"))
    if counts.rejected:
        told = f"{words.count(counts.rejected, 'object', 'objects')} became dead letters"
        steps.append(Step(title="Refused", detail=told, tone="warn"))
    if counts.non_finite:
        steps.append(Step(title="Sent as null", detail=f"{counts.non_finite:,} values that are no numbers"))
    return steps


def _speed(run: RunReport) -> str:
    took = (run.finished_at - run.started_at).total_seconds() if run.finished_at else 0.0
    return f", {run.counts.sent / took:,.0f} objects a second" if took > 0 and run.counts.sent else ""


def _kept(run: RunReport) -> list[Step]:
    steps = []
    if run.held_by is not None:
        steps.append(Step(title="Watermark held", detail=f"by {run.held_by}", tone="warn"))
    elif run.bound is not None:
        told = f"everything committed before {words.moment(run.bound)} was seen"
        steps.append(Step(title="Bound", detail=told))
    if run.watermark is not None:
        steps.append(Step(title="Watermark", detail=run.watermark.text))
    return steps


def _end(run: RunReport) -> Step:
    if run.finished_at is None:
        return Step(title="Not finished yet")
    took: timedelta = run.finished_at - run.started_at
    told = f"after {words.span(took)}"
    outcome = run.outcome or Outcome.FAILED
    return Step(
        title=str(outcome).capitalize(), detail=told, at=run.finished_at, after=f"+{words.span(took)}",
        tone=_TONES[outcome],
    )  # fmt: skip
