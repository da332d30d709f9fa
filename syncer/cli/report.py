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
    """One line per run. `history`: with the time it began."""
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
        headers = ["started", *headers]
        rows = [[moment(report.started_at), *row] for report, row in zip(reports, rows, strict=True)]
    return render(headers, rows)


def advice(reports: Sequence[RunReport]) -> list[str]:
    """What went wrong in each run, and what to try."""
    lines: list[str] = []
    for report in reports:
        if report.error:
            lines += [f"Error: {report.error}", *([f"Try: {report.hint}"] if report.hint else [])]
        elif report.outcome is Outcome.PARTIAL:
            many = f"{report.counts.rejected:,} object{'s were' if report.counts.rejected != 1 else ' was'}"
            lines += [f"Error: mapping {report.mapping}: {many} refused and stored as dead letters"]
            lines += [f"Try: syncer dead-letters list {report.mapping}"]
        if report.counts.non_finite:
            lines.append(f"Note: {report.mapping}: {report.counts.non_finite:,} NaN or infinite numbers went as null")
    return lines
