"""Events as lines of a log: the sentence for people, the fields for machines. `docs/logs.md` lists the fields.

Row contents and secrets never come here, nor watermarks, which are values of rows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from syncer.core.events import (
    BulkChosen,
    DeliveryPaused,
    Event,
    Noticed,
    RequestRetried,
    RunFinished,
    RunMoved,
    RunProgressed,
    RunStarted,
    RunStuck,
)
from syncer.core.model import Counts, Outcome, RunReport
from syncer.core.run_fields import fields_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is logged of an event."""

    sentence: str
    #: `event` is the first of them; those of an event are always the same
    fields: Mapping[str, object]
    level: int = logging.INFO


def line_of(event: Event) -> Line:
    """The line of an event."""
    if isinstance(event, RunFinished):
        return _finished(event.report)
    if isinstance(event, RequestRetried | DeliveryPaused):
        return _of_delivery(event)
    return _of_run(event)


def _of_run(event: RunStarted | BulkChosen | RunProgressed | Noticed | RunStuck | RunMoved) -> Line:
    name = event.mapping
    match event:
        case RunStarted():
            fields = {"run_id": event.run_id, "mode": str(event.mode), "estimate": event.estimate}
            return Line(sentence=f"{name}: {event.mode} run started", fields=_named("run_started", name, fields))
        case RunProgressed():
            fields = {"run_id": event.run_id, **_numbers(event.counts)}
            return Line(sentence=f"{name}: {tell_counts(event.counts)}", fields=_named("run_progressed", name, fields))
        case BulkChosen():
            fields = {"reason": event.reason}
            told = f"{name}: by the Bulk API ({event.reason})"
            return Line(sentence=told, fields=_named("bulk_chosen", name, fields))
        case Noticed():
            told = f"{name}: {event.message}"
            return Line(level=logging.WARNING, sentence=told, fields=_named("noticed", name, {}))
        case RunStuck():
            fields = {"run_id": event.run_id, "since": event.since.isoformat()}
            told = f"{name}: the run has not moved since {event.since.isoformat(timespec='seconds')}"
            return Line(level=logging.WARNING, sentence=told, fields=_named("run_stuck", name, fields))
        case RunMoved():
            fields = {"run_id": event.run_id}
            return Line(sentence=f"{name}: the run moves again", fields=_named("run_moved", name, fields))


def _of_delivery(event: RequestRetried | DeliveryPaused) -> Line:
    if isinstance(event, DeliveryPaused):
        told = f"the API asks for a pause of {event.wait:.1f} s ({event.reason})"
        fields: dict[str, object] = {"event": "delivery_paused", "reason": event.reason, "wait": event.wait}
        return Line(level=logging.WARNING, sentence=told, fields=fields)
    told = f"{event.collection}: request failed ({event.reason}), attempt {event.attempt} again in {event.wait:.1f} s"
    fields = {
        "event": "request_retried", "collection": event.collection, "attempt": event.attempt, "reason": event.reason,
        "wait": event.wait,
    }  # fmt: skip
    return Line(level=logging.WARNING, sentence=told, fields=fields)


def _finished(report: RunReport) -> Line:
    fine = report.outcome in (Outcome.SUCCEEDED, Outcome.PARTIAL)
    known = {name: value for name, value in fields_of(report).items() if name != "watermark"}
    fields = {"event": "run_finished", **known, "non_finite": report.counts.non_finite, "hint": report.hint}
    # to one of several daemons it happens every time
    usual = report.outcome is Outcome.LOCKED and report.trigger != "cli"
    return Line(level=logging.INFO if fine or usual else logging.ERROR, sentence=tell_report(report), fields=fields)


def tell_counts(counts: Counts) -> str:
    """`1,000 read, 12 sent, 988 unchanged`: what is not zero, and always what was read and sent."""
    always = f"{counts.read:,} read, {counts.sent:,} sent"
    names = ("unchanged", "deleted", "rejected", "skipped", "retried")
    more = [f"{getattr(counts, name):,} {name}" for name in names if getattr(counts, name)]
    return ", ".join([always, *more])


def tell_report(report: RunReport) -> str:
    """One sentence about a finished run."""
    outcome = report.outcome or Outcome.FAILED
    seconds = (report.finished_at - report.started_at).total_seconds() if report.finished_at else 0.0
    told = f"{report.mapping}: {report.mode} run {outcome} in {seconds:.1f} s: {tell_counts(report.counts)}"
    return f"{told}; {report.error}" if report.error else told


def _named(event: str, mapping: str, fields: Mapping[str, object]) -> dict[str, object]:
    return {"event": event, "mapping": mapping, **fields}


def _numbers(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in Counts.__slots__}
