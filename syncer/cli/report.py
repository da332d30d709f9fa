"""Run reports as people and programs read them. Formatting only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from textwrap import wrap

from syncer.cli.tables import length, moment, printable, render
from syncer.core.model import Outcome, RunReport
from syncer.core.run_fields import fields_of


def as_json(reports: Sequence[RunReport]) -> str:
    """The document of `run --output json` and `runs --output json`; its keys are part of the contract."""
    return json.dumps({"runs": [fields_of(report) for report in reports]}, ensure_ascii=False, indent=2)


def table(reports: Sequence[RunReport]) -> str:
    """One line per run that has just ended."""
    if not reports:
        return "No runs."
    shown = ["skipped", "deleted", "retried"]
    optional = [name for name in shown if any(getattr(report.counts, name) for report in reports)]
    headers = ["mapping", "mode", "outcome", "read", "sent", "unchanged", "rejected", *optional]
    # told where it is not the one API that small runs use
    apis = any(report.api == "bulk" for report in reports)
    headers += ["requests", *(["api"] if apis else []), "took", "watermark"]
    rows = [
        [
            report.mapping, report.mode, report.outcome or "unfinished", report.counts.read, report.counts.sent,
            report.counts.unchanged, report.counts.rejected, *(getattr(report.counts, name) for name in optional),
            report.counts.requests, *([report.api] if apis else []),
            length(report.finished_at - report.started_at) if report.finished_at else None,
            report.watermark.text if report.watermark else None,
        ]
        for report in reports
    ]  # fmt: skip
    return render(headers, rows)


def history(reports: Sequence[RunReport]) -> str:
    """A line per run of the past, for 120 columns; below it, indented, what most runs have none of."""
    if not reports:
        return "No runs."
    headers = ["started", "by", "mapping", "mode", "outcome", "read", "sent", "unchanged", "requests", "took"]
    rows = [
        [
            moment(report.started_at), report.trigger, report.mapping, report.mode, report.outcome or "unfinished",
            report.counts.read, report.counts.sent, report.counts.unchanged, report.counts.requests,
            length(report.finished_at - report.started_at) if report.finished_at else None,
        ]
        for report in reports
    ]  # fmt: skip
    first, second, *lines = render(headers, rows, most=24).split("\n")
    told = [line for report, line in zip(reports, lines, strict=True) for line in (line, *_rarities(report))]
    return "\n".join([first, second, *told])


def _rarities(report: RunReport) -> list[str]:
    """What a run read beside what the table shows, what it did without reading, and why it failed."""
    counts = report.counts
    of_read = {"rejected": counts.rejected, "skipped": counts.skipped}
    others = {"deleted": counts.deleted, "retried": counts.retried}
    told = ["and " + _counted(of_read)] if any(of_read.values()) else []
    told += ["besides " + _counted(others)] if any(others.values()) else []
    lines = ["; ".join(told)] if told else []
    lines += wrap(f"Error: {printable(report.error)}", 112, subsequent_indent="  ") if report.error else []
    return [f"    {line}" for line in lines]


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items() if number)


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
