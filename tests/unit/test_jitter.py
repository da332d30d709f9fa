"""Jitter: later by less than it says, always the same, and never fewer fires or another order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.core.calendar import due_ahead, due_at, fire_after, next_fires
from syncer.core.model import Schedule

BEGIN = datetime(2026, 3, 7, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

spans = st.integers(60, 3 * 86_400).map(lambda seconds: timedelta(seconds=seconds))
schedules = st.one_of(
    st.builds(Schedule, every=spans, jitter=spans),
    st.builds(
        Schedule,
        cron=st.sampled_from(["0 2 * * *", "*/7 * * * *", "0,1 * * * *", "30 1,2 * * sun"]),
        timezone=st.sampled_from(["UTC", "America/New_York"]),
        jitter=spans,
    ),
)


def fires(schedule: Schedule, count: int) -> list[datetime]:
    """The times that the schedule says."""
    found = [fire_after(schedule, BEGIN)]
    while len(found) < count:
        found.append(fire_after(schedule, found[-1]))
    return found


@settings(deadline=None)
@given(schedules, st.text(min_size=1, max_size=20))
def test_bounds_and_order(schedule: Schedule, mapping: str) -> None:
    """A fire comes within the jitter, and before half of the time to the next is over: two never become one."""
    times = fires(schedule, 12)
    due = [due_at(schedule, each, mapping) for each in times]
    for fire, comes, following in zip(times, due, times[1:], strict=False):
        assert fire <= comes < fire + schedule.jitter
        assert comes <= fire + (following - fire) / 2
    assert all(later > earlier for earlier, later in pairwise(due))
    assert due == [due_at(schedule, each, mapping) for each in times]


@settings(deadline=None)
@given(schedules, st.integers(0, 3 * 86_400))
def test_what_is_shown_is_what_comes(schedule: Schedule, later: int) -> None:
    """`next_fires` of any moment are the very moments at which the fires come, one after the other."""
    last, moment = BEGIN, BEGIN + timedelta(seconds=later)
    while due_at(schedule, fire_after(schedule, last), "rooms") < moment:
        last = fire_after(schedule, last)
    shown = next_fires(schedule, moment, 4, mapping="rooms", last=last)
    come = [due_at(schedule, fire_after(schedule, last), "rooms")]
    fire = fire_after(schedule, last)
    while len(come) < 4:
        fire = fire_after(schedule, fire)
        come.append(due_at(schedule, fire, "rooms"))
    assert shown == come


@settings(deadline=None)
@given(schedules, st.integers(-86_400, 9 * 86_400))
def test_the_timer_is_woken_ahead(schedule: Schedule, later: int) -> None:
    """Whatever the clock says, the next waking lies ahead of it."""
    now = BEGIN + timedelta(seconds=later)
    assert due_ahead(schedule, BEGIN, now, "rooms") > now


def test_it_spreads() -> None:
    """A hundred mappings of one schedule come evenly: some in each tenth of the hour, and no fire as the day before."""
    schedule = Schedule(cron="0 2 * * *", jitter=HOUR)
    fire, next_day = fires(schedule, 2)
    late = [due_at(schedule, fire, f"rooms_{number}") - fire for number in range(100)]
    assert {int(each / HOUR * 10) for each in late} == set(range(10))
    assert due_at(schedule, fire, "rooms") - fire != due_at(schedule, next_day, "rooms") - next_day


def test_none_without_it() -> None:
    """A schedule without jitter fires at its times."""
    schedule = Schedule(cron="0 2 * * *")
    assert due_at(schedule, BEGIN, "rooms") == BEGIN
