"""Blackouts against looking at every single minute of the clock on the wall."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.core.blackouts import begins, blackout_end, leaves_time
from syncer.core.model import Blackout

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
#: whose clocks change at different hours, by an hour, by half of one, and at midnight; and one whose never do
ZONES = ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Asuncion", "Asia/Kolkata")


def wall_says(blackout: Blackout, at: datetime) -> bool:
    """Whether the clock on the wall and the calendar below it say that the blackout is on."""
    local = at.astimezone(ZoneInfo(blackout.timezone)).replace(tzinfo=None)
    overnight = blackout.end <= blackout.start
    today, yesterday = local.isoweekday() % 7, (local - timedelta(days=1)).isoweekday() % 7
    if overnight:
        began_today = today in blackout.days and local.time() >= blackout.start
        return began_today or (yesterday in blackout.days and local.time() < blackout.end)
    return today in blackout.days and blackout.start <= local.time() < blackout.end


def at(text: str, zone: str = "UTC") -> datetime:
    """A local time of a zone, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


minutes = st.integers(0, 24 * 60 - 1).map(lambda minute: time(minute // 60, minute % 60))
blackouts = st.builds(
    Blackout,
    start=minutes,
    end=minutes,
    days=st.frozensets(st.integers(0, 6), min_size=1),
    timezone=st.sampled_from(ZONES),
)
#: around changes of the clock of all of them
moments = st.builds(
    lambda day, minute: day + minute * MINUTE,
    st.sampled_from([datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 10, 11)]),
    st.integers(0, 31 * 24 * 60),
)


@settings(deadline=None)
@given(blackouts, moments)
def test_it_is_what_the_wall_says(blackout: Blackout, moment: datetime) -> None:
    """Wherever the wall says that it is on, it is; else a clock change lies nearby, in the midst of the blackout."""
    found = blackout_end([blackout], moment)
    if wall_says(blackout, moment):
        assert found is not None
    elif found is not None:
        near = [moment + step * MINUTE for step in range(-180, 181)]
        assert len({each.astimezone(ZoneInfo(blackout.timezone)).utcoffset() for each in near}) == 2
        assert any(wall_says(blackout, each) for each in near)


@settings(deadline=None)
@given(st.lists(blackouts, min_size=1, max_size=3).filter(leaves_time), moments)
def test_nothing_is_on_at_its_end_and_something_is_until_then(some: Sequence[Blackout], moment: datetime) -> None:
    """The end is free, and the minutes before it are not: it is neither too late nor too early."""
    end = blackout_end(some, moment)
    if end is None:
        assert not any(wall_says(each, moment) for each in some)
        return
    assert moment < end
    assert blackout_end(some, end) is None
    steps = int((end - moment) / MINUTE)
    for step in {0, steps // 3, steps // 2, max(0, steps - 1)}:
        assert blackout_end(some, moment + step * MINUTE) == end


NIGHT = Blackout(start=time(22), end=time(2), days=frozenset(range(1, 6)), timezone="America/New_York")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-05-01T21:59", None),  # a Friday
        ("2026-05-01T22:00", "2026-05-02T02:00"),
        ("2026-05-02T01:59", "2026-05-02T02:00"),  # Saturday, but it began on Friday
        ("2026-05-02T02:00", None),
        ("2026-05-02T22:00", None),  # Saturday
        ("2026-05-04T01:00", None),  # Monday: Sunday's would have begun before
        ("2026-05-04T23:00", "2026-05-05T02:00"),
    ],
)
def test_days_are_those_it_begins_on(moment: str, expected: str | None) -> None:
    """`mon-fri` from 22:00 to 02:00 covers the early Saturday, and not the early Monday."""
    zone = "America/New_York"
    assert (at(expected, zone) if expected else None) == blackout_end([NIGHT], at(moment, zone))


@pytest.mark.parametrize(
    ("start", "end", "begins", "ends"),
    [
        # clocks go forward at 02:00 to 03:00, which is 07:00 UTC
        (time(1), time(4), "2026-03-08T06:00", "2026-03-08T08:00"),
        (time(2, 30), time(4), "2026-03-08T07:00", "2026-03-08T08:00"),
        (time(1), time(2, 30), "2026-03-08T06:00", "2026-03-08T07:00"),
        # clocks go back at 02:00 to 01:00, which is 06:00 UTC
        (time(0), time(4), "2026-11-01T04:00", "2026-11-01T09:00"),
        (time(1, 30), time(4), "2026-11-01T05:30", "2026-11-01T09:00"),
        (time(0), time(1, 30), "2026-11-01T04:00", "2026-11-01T06:30"),
    ],
)
def test_when_clocks_change(start: time, end: time, begins: str, ends: str) -> None:
    """A skipped time is the end of the gap; of a repeated one it begins with the first and ends with the last."""
    blackout = Blackout(start=start, end=end, timezone="America/New_York")
    assert blackout_end([blackout], at(begins) - MINUTE) is None
    assert blackout_end([blackout], at(begins)) == at(ends)
    assert blackout_end([blackout], at(ends) - MINUTE) == at(ends)
    assert blackout_end([blackout], at(ends)) is None


def test_a_blackout_in_a_gap_is_none() -> None:
    """What a clock change skips as a whole does not take place."""
    blackout = Blackout(start=time(2, 15), end=time(2, 45), timezone="America/New_York")
    assert blackout_end([blackout], at("2026-03-08T07:00")) is None


def test_blackouts_that_meet_are_one() -> None:
    """From 22:00 to 02:00 and from 01:00 to 05:00: it ends at 05:00."""
    both = [Blackout(start=time(22), end=time(2)), Blackout(start=time(1), end=time(5))]
    assert blackout_end(both, at("2026-05-01T23:00")) == at("2026-05-02T05:00")


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        ([], True),
        ([Blackout(start=time(0), end=time(0))], False),
        ([Blackout(start=time(22), end=time(22))], False),
        ([Blackout(start=time(0), end=time(12)), Blackout(start=time(12), end=time(0))], False),
        ([Blackout(start=time(0), end=time(12)), Blackout(start=time(12), end=time(23, 59))], True),
        ([Blackout(start=time(0), end=time(0), days=frozenset(range(1, 7)))], True),
    ],
)
def test_whether_there_is_time_left(some: Sequence[Blackout], expected: bool) -> None:
    """Blackouts round the clock leave none; a minute a day or a day a week is enough."""
    assert leaves_time(some) is expected


def test_fires_in_one_blackout_begin_one_run() -> None:
    """At its end; others begin when they come."""
    night = Blackout(start=time(22), end=time(2))
    fires = [datetime(2026, 1, 5, hour, tzinfo=UTC) for hour in (21, 22, 23)]
    assert begins((night,), fires) == [fires[0], datetime(2026, 1, 6, 2, tzinfo=UTC)]
    assert begins((), fires) == fires
