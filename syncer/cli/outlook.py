"""Plans as people and programs read them, and what they come to together. Formatting only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from textwrap import wrap

from syncer.cli.report import advice as report_advice
from syncer.cli.tables import length, render
from syncer.core.estimate import Budget, Rate, duration
from syncer.core.foresight import Foresight, hindrances
from syncer.core.model import CollectionMapping, Outcome
from syncer.errors import SyncerError


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run of one mapping would do."""

    mapping: CollectionMapping
    found: Foresight
    rate: Rate | None

    @property
    def known(self) -> bool:
        """Whether everything was read."""
        return self.found.report.outcome is Outcome.SUCCEEDED

    @property
    def seconds(self) -> float | None:
        """How long it would take."""
        report = self.found.report
        spent = (report.finished_at - report.started_at).total_seconds() if report.finished_at else 0.0
        return duration(self.found.requests, self.rate, reading=spent)

    @property
    def hindrances(self) -> list[SyncerError]:
        """Why it would fail all the same."""
        return hindrances(self.mapping, self.found) if self.known else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """All of them, and what they come to together."""

    plans: Sequence[Plan]
    budget: Budget | None

    @property
    def known(self) -> list[Plan]:
        """Those of which everything was read."""
        return [each for each in self.plans if each.known]


def as_text(told: Plans) -> str:
    """A table for 120 columns, below a line what most plans have none of, and the sum."""
    if not told.plans:
        return "Nothing was read."
    headers = ["mapping", "mode", "read", "added", "changed", "unchanged", "deleted", "requests", "size", "time"]
    first, second, *lines = render(headers, [_row(each) for each in told.plans], most=24).split("\n")
    body = [line for each, row in zip(told.plans, lines, strict=True) for line in (row, *_rarities(each))]
    return "\n".join([first, second, *body, "", *_total(told), *_month(told.budget)])


def _row(plan: Plan) -> list[object]:
    found, mode = plan.found, str(plan.found.report.mode)
    if not plan.known:
        return [plan.mapping.name, mode, *[None] * 8]
    counts = found.report.counts
    return [
        plan.mapping.name, mode, counts.read, found.added, found.changed, counts.unchanged, found.deleted,
        found.requests, _size(found.bytes), _time(plan.seconds),
    ]  # fmt: skip


def _rarities(plan: Plan) -> list[str]:
    """Rows that most plans have none of."""
    if not plan.known:
        return []
    told = []
    if refused := plan.found.refused:
        reasons = ", ".join(f"{number:,} {code}" for code, number in sorted(refused.items()))
        told.append(f"{sum(refused.values()):,} rejected ({reasons})")
    if plan.found.skipped:
        told.append(f"{plan.found.skipped:,} skipped")
    lines = [f"    and {', '.join(told)}"] if told else []
    if plan.found.uploads:
        told_of = f"by the Bulk API, {_counted(plan.found.uploads, 'upload')}: {plan.found.report.api_reason}"
        lines += wrap(f"    {told_of}", 112, subsequent_indent="      ")
    return lines


def _total(told: Plans) -> list[str]:
    plans, unknown = told.known, [each.mapping.name for each in told.plans if not each.known]
    if not plans:
        return []
    objects, requests = sum(each.found.objects for each in plans), sum(each.found.requests for each in plans)
    seconds = [each.seconds for each in plans]
    spent = None if None in seconds else sum(each for each in seconds if each is not None)
    whole = f"In all, but for {', '.join(unknown)}" if unknown else "In all"
    counted = f"{_counted(objects, 'object')} to be sent and billed, {_counted(requests, 'request')}"
    return [f"{whole}: {counted}, {_size(sum(each.found.bytes for each in plans))}; time: {_time(spent)}."]


def _month(budget: Budget | None) -> list[str]:
    if budget is None:
        return []
    used = f"{budget.used:,} of {budget.limit:,} objects were sent in {budget.month:%Y-%m}"
    return [f"Budget: {used}; {budget.after:,} after this."]


def advice(told: Plans) -> list[str]:
    """What is in the way of it, and what to try."""
    lines = report_advice([each.found.report for each in told.plans], dry_run=True)
    for error in (error for each in told.plans for error in each.hindrances):
        lines += [f"Warning: a run would fail: {error.message}", f"Try: {error.hint}"]
    if told.budget is not None and told.budget.over:
        over = f"{told.budget.over:,} more than `destination.budget`, {told.budget.limit:,}"
        lines.append(f"Warning: it would make {told.budget.after:,} objects this month, {over}")
        lines.append("Try: leave mappings out with --exclude, narrow their queries, or raise the budget")
    lines += [
        f"Note: {each.mapping.name}: how fast it sends is not known before its first run; "
        "`destination.requests_per_second` would tell"
        for each in told.known
        if each.seconds is None
    ]
    return lines


def as_json(told: Plans) -> str:
    """The document of `plan --output json`; its keys are part of the contract."""
    budget = told.budget
    month = None if budget is None else {
        "month": f"{budget.month:%Y-%m}", "limit": budget.limit, "used": budget.used, "after": budget.after,
        "over": budget.over,
    }  # fmt: skip
    return json.dumps({"plans": [_fields(each) for each in told.plans], "budget": month}, ensure_ascii=False, indent=2)


def _fields(plan: Plan) -> dict[str, object]:
    """A plan; its numbers are null where not everything could be read."""
    found, report, rate = plan.found, plan.found.report, plan.rate
    numbers: dict[str, object] = {
        "read": report.counts.read,
        "added": found.added,
        "changed": found.changed,
        "unchanged": report.counts.unchanged,
        "deleted": found.deleted,
        "rejected": report.counts.rejected,
        "rejections": dict(sorted(found.refused.items())),
        "skipped": found.skipped,
        "objects": found.objects,
        "requests": found.requests,
        "uploads": found.uploads,
        "bytes": found.bytes,
        "seconds": plan.seconds,
    }
    return {
        "mapping": plan.mapping.name,
        "collection": plan.mapping.collection,
        "mode": str(report.mode),
        **(numbers if plan.known else dict.fromkeys(numbers)),
        "api": report.api,
        "api_reason": report.api_reason,
        "requests_per_second": None if rate is None else rate.per_second,
        "rate": None if rate is None else "measured" if rate.measured else "configured",
        "held_back": [{"error": each.message, "hint": each.hint} for each in plan.hindrances],
        "error": report.error,
        "hint": report.hint,
    }


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def _time(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{length(timedelta(seconds=seconds))}"


def _size(count: int) -> str:
    """`512 B`, `1.2 MB`: a thousand to the next unit."""
    if count < 1_000:
        return f"{count} B"
    size, unit = count / 1_000, "KB"
    for larger in ("MB", "GB", "TB"):
        # what would be shown as 1000.0
        if size < 999.95:
            break
        size, unit = size / 1_000, larger
    return f"{size:.1f} {unit}"
