"""How long a run would take, what of the month's budget it would use, and how that is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from unit.run_world import ROOMS

from syncer.cli.outlook import Plan, Plans, advice, as_text
from syncer.core.estimate import Budget, Rate, duration, month_of, rate_of
from syncer.core.foresight import Foresight, hindrances
from syncer.core.model import Counts, Mode, Outcome, RunReport
from syncer.errors import NearlyAllRejected

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)


def ran(requests: int, seconds: float | None, outcome: Outcome | None = Outcome.SUCCEEDED) -> RunReport:
    """A run of the past that made so many requests in so many seconds; None: it goes on."""
    return RunReport(
        run_id="1", mapping="rooms", collection="rooms", mode=Mode.FULL, outcome=outcome, trigger="cli",
        started_at=NOON, finished_at=None if seconds is None else NOON + timedelta(seconds=seconds),
        counts=Counts(requests=requests),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("configured", "runs", "expected"),
    [
        (500.0, [ran(100, 10)], Rate(per_second=500.0, measured=False)),
        (None, [], None),
        (None, [ran(1, 10), ran(100, 4), ran(20, 1)], Rate(per_second=25.0, measured=True)),
        (None, [ran(1, 4, Outcome.PARTIAL)], Rate(per_second=0.25, measured=True)),
        (None, [ran(0, 10)], None),
        (None, [ran(10, 0)], None),
        (None, [ran(10, None, None), ran(10, 1, Outcome.FAILED), ran(10, 1, Outcome.INTERRUPTED)], None),
    ],
    ids=["configured", "no runs", "the largest", "partial", "no requests", "no time", "not brought to their end"],
)
def test_rate(configured: float | None, runs: Sequence[RunReport], expected: Rate | None) -> None:
    """As configured; else that of the recent run with the most requests; else nobody knows."""
    assert rate_of(configured, runs) == expected


@pytest.mark.parametrize(
    ("requests", "per_second", "reading", "expected"),
    [
        (1_000, 500.0, 0.5, 2.0),
        (1_000, 500.0, 60.0, 60.0),
        (0, None, 3.0, 3.0),
        (0, 500.0, 3.0, 3.0),
        (1, None, 3.0, None),
    ],
)
def test_duration(requests: int, per_second: float | None, reading: float, expected: float | None) -> None:
    """Reading and sending happen at the same time; without requests the rate does not matter."""
    rate = None if per_second is None else Rate(per_second=per_second, measured=True)
    assert duration(requests, rate, reading=reading) == expected


@pytest.mark.parametrize(
    ("now", "month"),
    [
        (NOON, datetime(2026, 3, 1, tzinfo=UTC)),
        (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
        # still March where they are, April in UTC
        (datetime(2026, 3, 31, 20, tzinfo=timezone(timedelta(hours=-5))), datetime(2026, 4, 1, tzinfo=UTC)),
    ],
)
def test_month(now: datetime, month: datetime) -> None:
    """A month is the calendar's, in UTC."""
    assert (month_of(now), month_of(now).utcoffset()) == (month, timedelta(0))


@pytest.mark.parametrize(("planned", "over"), [(0, 0), (40, 0), (41, 1)])
def test_budget(planned: int, over: int) -> None:
    """Exactly the budget is within it."""
    budget = Budget(limit=100, month=NOON, used=60, planned=planned)
    assert (budget.after, budget.over) == (60 + planned, over)


def found(*, added: int = 0, changed: int = 0, unchanged: int = 0, rejected: int = 0, **other: int) -> Foresight:
    """What was foreseen of a run."""
    sent = added + changed
    counts = Counts(read=sent + unchanged + rejected, skipped=sent, unchanged=unchanged, rejected=rejected)
    report = RunReport(
        run_id="1", mapping="rooms", collection="rooms", mode=Mode.INCREMENTAL, outcome=Outcome.SUCCEEDED,
        trigger="cli", started_at=NOON, finished_at=NOON + timedelta(seconds=1), counts=counts,
    )  # fmt: skip
    return Foresight(
        report=report, added=added, changed=changed, deleted=other.get("deleted", 0),
        refused={"NULL_KEY": rejected} if rejected else {}, requests=other.get("requests", 0),
        bytes=other.get("bytes", 0), known=changed + unchanged, withheld=None, failure=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rejected", "fine", "stops"), [(29, 0, False), (30, 3, True), (30, 4, False), (300, 33, True)]
)
def test_nearly_all_rejected(rejected: int, fine: int, stops: bool) -> None:
    """It is foreseen that a run stops when nearly every row is refused."""
    told = hindrances(
        ROOMS, found(changed=1, unchanged=fine - 1, rejected=rejected) if fine else found(rejected=rejected)
    )
    assert [type(each) for each in told] == ([NearlyAllRejected] if stops else [])


def test_the_table_fits_a_terminal() -> None:
    """With ten million rows, a long name and everything there can be, the text stays within 120 columns."""
    large = found(
        added=9_999_999, changed=999_999, unchanged=9_999_999, rejected=99_999, deleted=999_999, requests=1_199_999,
        bytes=123_456_789_012,
    )  # fmt: skip
    rate = Rate(per_second=500, measured=False)
    budget = Budget(limit=10**9, month=NOON, used=10**9, planned=large.objects)
    told = Plans(plans=[Plan(mapping=replace(ROOMS, name="r" * 24), found=large, rate=rate)] * 2, budget=budget)
    text = as_text(told)
    assert max(map(len, text.splitlines())) <= 120
    for words in (
        "9,999,999",
        "and 99,999 rejected (99,999 NULL_KEY)",
        "123.5 GB",
        "39m 59s",
        "In all: 23,999,994 obj",
    ):
        assert words in text
    assert "Warning: it would make 1,011,999,997 objects this month" in advice(told)[-2]
