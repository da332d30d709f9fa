"""Run reports as people and programs read them. Formatting only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from syncer.cli.tables import length, moment, render
from syncer.core.model import Outcome, RunReport


def as_json(reports: Sequence[RunReport]) -> str:
    """The document of `run --output json`; its keys are part of the contract."""
    return json.dumps({"runs": [_fields(report) for report in reports]}, ensure_ascii=False, indent=2)


def _fields(report: RunReport) -> dict[str, object]:
    counts = report.counts
    return {
        "mapping": report.mapping,
        "collection": report.collection,
        "mode": str(report.mode),
        "outcome": None if report.outcome is None else str(report.outcome),
        "read": counts.read,
        "sent": counts.sent,
        "unchanged": counts.unchanged,
        "deleted": counts.deleted,
        "rejected": counts.rejected,
        "retried": counts.retried,
        "requests": counts.requests,
        "bytes": counts.bytes,
        "watermark": report.watermark.text if report.watermark else None,
        "started_at": _iso(report.started_at),
        "finished_at": _iso(report.finished_at),
        "error": report.error,
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def table(reports: Sequence[RunReport], *, history: bool = False) -> str:
    """One line per run. `history`: with the time it began and what started it."""
    if not reports:
        return "No runs."
    shown = ["skipped", "deleted", "retried"]
    optional = [name for name in shown if any(getattr(report.counts, name) for report in reports)]
    headers = ["mapping", "mode", "outcome", "read", "sent", "unchanged", "rejected", *optional]
    headers += ["requests", "took", "watermark"]
    rows = [
        [
            report.mapping, report.mode, report.outcome or "unfinished", report.counts.read, report.counts.sent,
            report.counts.unchanged, report.counts.rejected, *(getattr(report.counts, name) for name in optional),
            report.counts.requests,
            length(report.finished_at - report.started_at) if report.finished_at else None,
            report.watermark.text if report.watermark else None,
        ]
        for report in reports
    ]  # fmt: skip
    if history:
        headers = ["started", "by", *headers]
        rows = [[moment(report.started_at), report.trigger, *row] for report, row in zip(reports, rows, strict=True)]
    return render(headers, rows)


def advice(reports: Sequence[RunReport], *, dry_run: bool = False) -> list[str]:
    """What went wrong and what to try; a cause that several mappings share is told once."""
    concerned: dict[tuple[str, str], list[str]] = {}
    notes: list[str] = []
    for report in reports:
        if report.error:
            cause = (report.error, report.hint or f"syncer check --select {report.mapping}")
            concerned.setdefault(cause, []).append(report.mapping)
        elif report.outcome is Outcome.PARTIAL:
            concerned[_refused(report)] = [report.mapping]
        elif report.counts.rejected and dry_run:
            seen = f"`syncer preview {report.mapping}` shows them"
            notes.append(f"Note: {report.mapping}: {_objects(report.counts.rejected)} would be refused; {seen}")
        if report.counts.non_finite:
            notes.append(f"Note: {report.mapping}: {report.counts.non_finite:,} NaN or infinite numbers went as null")
    told = [line for (error, hint), names in concerned.items() for line in (_located(error, names), f"Try: {hint}")]
    return [*told, *notes]


def _refused(report: RunReport) -> tuple[str, str]:
    count = report.counts.rejected
    letters = "were refused and stored as dead letters" if count != 1 else "was refused and stored as a dead letter"
    return f"{_objects(count)} {letters}", f"syncer dead-letters list {report.mapping}"


def _objects(count: int) -> str:
    return f"{count:,} objects" if count != 1 else "1 object"


def _located(error: str, names: Sequence[str]) -> str:
    if error.startswith("mapping "):
        return f"Error: {error}"
    return f"Error: mapping{'s' if len(names) > 1 else ''} {', '.join(names)}: {error}"
