"""Runs as values for people and programs. Pure."""

from __future__ import annotations

from datetime import datetime

from syncer.core.model import RunReport


def fields_of(report: RunReport) -> dict[str, object]:
    """A run as JSON has it. These keys are part of the contract: of `--output json`, and of the run records."""
    counts = report.counts
    return {
        "run_id": report.run_id,
        "mapping": report.mapping,
        "collection": report.collection,
        "mode": str(report.mode),
        "outcome": None if report.outcome is None else str(report.outcome),
        "trigger": report.trigger,
        "read": counts.read,
        "sent": counts.sent,
        "unchanged": counts.unchanged,
        "deleted": counts.deleted,
        "rejected": counts.rejected,
        "skipped": counts.skipped,
        "retried": counts.retried,
        "requests": counts.requests,
        "bytes": counts.bytes,
        "api": report.api,
        "api_reason": report.api_reason,
        "watermark": report.watermark.text if report.watermark else None,
        "started_at": _iso(report.started_at),
        "finished_at": _iso(report.finished_at),
        "duration_seconds": _seconds(report),
        "error": report.error,
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _seconds(report: RunReport) -> float | None:
    return None if report.finished_at is None else (report.finished_at - report.started_at).total_seconds()
