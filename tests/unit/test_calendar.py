"""When schedules fire: the crontab fields, the days on which clocks change, intervals."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from campaign import rounds
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from syncer.core.calendar import (
    believed,
    fire_after,
    first_seen,
    next_fire,
    next_fires,
    parse_cron,
    schedule_key,
)
from syncer.core.model import Mode, Schedule

MINUTE = timedelta(minutes=1)
ZONES = (
    "America/New_York",
    "Europe/Paris",
    "Australia/Lord_Howe",  # half an hour of summer time
    "Asia/Kolkata",  # none
    "Africa/Casablanca",  # backwards for Ramadan
    "America/St_Johns",
)


def at(text: str) -> datetime:
    """An instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fires(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The next fires as local times with their offsets."""
    schedule = Schedule(cron=cron, timezone=zone)
    return [f"{fire.astimezone(ZoneInfo(zone)):%m-%d %H:%M %z}" for fire in next_fires(schedule, at(after), count)]


# 2026-01-01 is a Thursday
@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("* * * * *", ["01-01 00:01", "01-01 00:02", "01-01 00:03"]),
        ("*/25 * * * *", ["01-01 00:25", "01-01 00:50", "01-01 01:00"]),
        ("5/25 * * * *", ["01-01 00:05", "01-01 00:30", "01-01 00:55"]),
        ("10-30/10 3 * * *", ["01-01 03:10", "01-01 03:20", "01-01 03:30"]),
        ("0 22,6 * * *", ["01-01 06:00", "01-01 22:00", "01-02 06:00"]),
        ("0 0 * * 0", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0 0 * * 7", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0 0 * * SUN", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0 0 * * 1", ["01-05 00:00", "01-12 00:00", "01-19 00:00"]),
        ("0 0 * * fri-sun", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("0 0 * * 5-7", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("0 0 * * */3", ["01-03 00:00", "01-04 00:00", "01-07 00:00"]),
        ("0 0 31 * *", ["01-31 00:00", "03-31 00:00", "05-31 00:00"]),
        ("0 0 1 feb,Jul *", ["02-01 00:00", "07-01 00:00", "02-01 00:00"]),
        ("0 0 29 2 *", ["02-29 00:00", "02-29 00:00", "02-29 00:00"]),
    ],
)
def test_fields_mean_what_crontab_says(cron: str, expected: list[str]) -> None:
    """Numbers, lists, ranges, steps and names fire as crontab(5) has it, Sunday being 0 and 7."""
    assert expected == [fire[:11] for fire in fires(cron, "UTC", "2026-01-01T00:00:30", 3)]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 0 13 * 5", ["01-02", "01-09", "01-13", "01-16"]),  # both restricted: the 13th, and every Friday
        ("0 0 13 * *", ["01-13", "02-13", "03-13", "04-13"]),
        ("0 0 * * 5", ["01-02", "01-09", "01-16", "01-23"]),
        ("0 0 */2 * 5", ["01-09", "01-23", "02-13", "02-27"]),  # begins with *: Fridays on odd days
        ("0 0 1-31/2 * 5", ["01-02", "01-03", "01-05", "01-07"]),  # does not: odd days, and every Friday
        ("0 0 30 2 1", ["02-02", "02-09", "02-16", "02-23"]),  # no 30th, but Mondays
    ],
)
def test_either_day_is_enough_when_both_are_restricted(cron: str, expected: list[str]) -> None:
    """Day of month and weekday follow crontab's rule: either, unless one of them begins with `*`."""
    assert expected == [fire[:5] for fire in fires(cron, "UTC", "2026-01-01T00:00:00", 4)]


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("", "has 0 fields"),
        ("0 0 * *", "has 4 fields"),
        ("@daily", "has 1 fields"),
        ("0 0 0 * * *", "has 6 fields"),
        ("60 * * * *", "the minute cannot be `60`; it takes 0 to 59"),
        ("* 24 * * *", "the hour cannot be `24`"),
        ("* * 0 * *", "the day of month cannot be `0`"),
        ("* * * 13 *", "the month cannot be `13`; it takes 1 to 12 or jan"),
        ("* * * * 8", "the weekday cannot be `8`; it takes 0 to 7 or sun"),
        ("* * * * monday", "the weekday cannot be `monday`"),
        ("* * ? * *", "the day of month cannot be `\\?`"),
        ("1, * * * *", "the minute cannot be ``"),
        ("-5 * * * *", "the minute cannot be ``"),
        ("٣ * * * *", "the minute cannot be `٣`"),
        ("* 22-2 * * *", "the hour range `22-2` runs backwards"),
        ("*/0 * * * *", "`0` is not a step"),
        ("*/x * * * *", "`x` is not a step"),
        ("*/ * * * *", "`` is not a step"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
    ],
)
def test_what_is_not_crontab_is_refused(cron: str, said: str) -> None:
    """An expression that crontab would not take, or that never fires, is an error that names the part."""
    with pytest.raises(ValueError, match=said):
        parse_cron(cron)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        # New York, 8 March: 01:59 -0500 is followed by 03:00 -0400
        ("30 2 * * *", "America/New_York", "2026-03-07T08:00", ["03-08 03:00 -0400", "03-09 02:30 -0400"]),
        ("*/20 2 * * *", "America/New_York", "2026-03-08T00:00", ["03-08 03:00 -0400", "03-09 02:00 -0400"]),
        ("0 2,3 * * *", "America/New_York", "2026-03-08T00:00", ["03-08 03:00 -0400", "03-09 02:00 -0400"]),
        # New York, 1 November: 01:00 to 01:59 come twice, first at -0400
        ("30 1 * * *", "America/New_York", "2026-11-01T00:00", ["11-01 01:30 -0400", "11-02 01:30 -0500"]),
        ("30 1 * * *", "America/New_York", "2026-11-01T05:45", ["11-02 01:30 -0500", "11-03 01:30 -0500"]),
        ("0 * * * *", "America/New_York", "2026-11-01T04:30", ["11-01 01:00 -0400", "11-01 01:00 -0500"]),
        ("*/30 * * * *", "America/New_York", "2026-11-01T05:45", ["11-01 01:00 -0500", "11-01 01:30 -0500"]),
        # Lord Howe moves by half an hour: 02:00 to 02:29 skipped in October, 01:30 to 01:59 repeated in April
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00", ["10-04 02:30 +1100", "10-05 02:15 +1100"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00", ["04-05 01:45 +1100", "04-06 01:45 +1030"]),
        # Samoa had no 30 December 2011
        ("0 9 * * *", "Pacific/Apia", "2011-12-29T12:00", ["12-29 09:00 -1000", "12-31 00:00 +1400"]),
        # Newfoundland changed at one minute past midnight until 2011
        ("5 0 * * *", "America/St_Johns", "2011-03-12T12:00", ["03-13 01:01 -0230", "03-14 00:05 -0230"]),
    ],
)
def test_days_when_clocks_change(cron: str, zone: str, after: str, expected: list[str]) -> None:
    """A skipped local time fires once at the end of the gap; a repeated one the first time only, unless hourly."""
    assert expected == fires(cron, zone, after, 2)


Field = tuple[str, frozenset[int]]


def numbers(low: int, high: int, star: frozenset[int]) -> st.SearchStrategy[Field]:
    """A field's text and the numbers it stands for."""
    lists = st.frozensets(st.integers(low, high), min_size=1, max_size=4)
    return st.one_of(
        st.just(("*", star)),
        lists.map(lambda chosen: (",".join(map(str, sorted(chosen))), chosen)),
    )


def change_days(zone: str, year: int) -> list[datetime]:
    """Midnights UTC by which the zone's offset changed in a year; the middle of the year where none did."""
    days = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(365)]
    offset = {day: day.astimezone(ZoneInfo(zone)).utcoffset() for day in days}
    return [day for day in days[1:] if offset[day] != offset[day - timedelta(days=1)]] or [days[180]]


def walk(
    zone: ZoneInfo, fits: Callable[[datetime], bool], start: datetime, end: datetime, *, hourly: bool
) -> list[datetime]:
    """The oracle: looks at every minute, and at the local minutes that a jump of the clock left out."""
    found: list[datetime] = []
    before = start.astimezone(zone).replace(tzinfo=None)
    instant = start
    while instant < end:
        instant += MINUTE
        local = instant.astimezone(zone)
        naive = local.replace(tzinfo=None, fold=0)
        skipped = (before + MINUTE * n for n in range(1, max(1, (naive - before) // MINUTE)))
        if ((local.fold == 0 or hourly) and fits(naive)) or any(fits(minute) for minute in skipped):
            found.append(instant)
        before = naive
    return found


@settings(deadline=None, max_examples=rounds(20, 500))
@given(
    zone=st.sampled_from(ZONES),
    year=st.integers(2010, 2030),
    minutes=numbers(0, 59, frozenset(range(60))),
    hours=numbers(0, 4, frozenset(range(24))),
    weekdays=numbers(0, 6, frozenset(range(7))),
    choice=st.integers(0, 3),
)
def test_agrees_with_looking_at_every_minute(
    zone: str, year: int, minutes: Field, hours: Field, weekdays: Field, choice: int
) -> None:
    """Around a change of the clock, the fires are those found by looking at every single minute."""
    days = change_days(zone, year)
    start = days[choice % len(days)] - timedelta(hours=30)
    end = start + timedelta(hours=48)

    def fits(local: datetime) -> bool:
        return local.minute in minutes[1] and local.hour in hours[1] and local.isoweekday() % 7 in weekdays[1]

    cron = parse_cron(f"{minutes[0]} {hours[0]} * * {weekdays[0]}")
    found: list[datetime] = []
    following = next_fire(cron, ZoneInfo(zone), start)
    while following <= end:
        found.append(following)
        following = next_fire(cron, ZoneInfo(zone), following)
    hourly = hours[1] == frozenset(range(24))
    assert walk(ZoneInfo(zone), fits, start, end, hourly=hourly) == found


@given(
    zone=st.sampled_from(ZONES),
    after=st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
    minutes=numbers(0, 59, frozenset(range(60))),
    hours=numbers(0, 23, frozenset(range(24))),
    days=numbers(1, 28, frozenset(range(1, 32))),
    months=numbers(1, 12, frozenset(range(1, 13))),
    weekdays=numbers(0, 6, frozenset(range(7))),
)
def test_fires_later_and_at_a_time_that_fits(
    zone: str, after: datetime, minutes: Field, hours: Field, days: Field, months: Field, weekdays: Field
) -> None:
    """A fire is later than asked for, in UTC, and its local time fits the fields unless a gap precedes it."""
    cron = parse_cron(" ".join(field[0] for field in (minutes, hours, days, months, weekdays)))
    fire = next_fire(cron, ZoneInfo(zone), after)
    assert fire > after
    assert fire.tzinfo is UTC
    local = fire.astimezone(ZoneInfo(zone))
    assume(local.utcoffset() == (fire - MINUTE).astimezone(ZoneInfo(zone)).utcoffset())
    assert (local.minute in minutes[1], local.hour in hours[1], local.month in months[1]) == (
        True,
        True,
        True,
    )
    by_day, by_weekday = local.day in days[1], local.isoweekday() % 7 in weekdays[1]
    assert (by_day or by_weekday) if "*" not in (days[0], weekdays[0]) else (by_day and by_weekday)
    assert (local.second, local.microsecond) == (0, 0)


def test_every_is_elapsed_time() -> None:
    """`every: 5h` comes five hours after the last fire, across midnight and a change of the clock."""
    schedule = Schedule(every=timedelta(hours=5), timezone="America/New_York")
    expected = [at("2026-03-08T03:10"), at("2026-03-08T08:10"), at("2026-03-08T13:10")]
    assert expected == next_fires(schedule, at("2026-03-07T23:00"), last=at("2026-03-07T22:10"))


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, ["12:05", "12:10"]),  # fires at `after` itself, when the daemon starts
        ("11:57", ["12:02", "12:07"]),
        ("11:00", ["12:00", "12:05"]),  # overdue
        ("12:01", ["12:06", "12:11"]),  # a minute ahead of the clock
        ("12:02", ["12:05", "12:10"]),  # recorded under a wrong clock
    ],
)
def test_next_fires_of_every_count_from_the_last(last: str | None, expected: list[str]) -> None:
    """`every` counts from the recorded last fire; one that is overdue is due now."""
    recorded = at(f"2026-05-01T{last}") if last else None
    schedule = Schedule(every=timedelta(minutes=5))
    found = next_fires(schedule, at("2026-05-01T12:00"), 2, last=recorded)
    assert [at(f"2026-05-01T{text}") for text in expected] == found


def test_next_fires_of_cron_ignore_the_last() -> None:
    """`cron` fires by the wall clock, wherever its last fire was."""
    schedule = Schedule(cron="0 2 * * *")
    after = at("2026-05-01T12:00")
    assert next_fires(schedule, after) == next_fires(schedule, after, last=at("2026-01-01T00:00"))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            Schedule(cron="0  2 * * *", mode=Mode.FULL, timezone="America/New_York"),
            "cron:0 2 * * *|full|America/New_York",
        ),
        (Schedule(cron="0 2 * * *"), "cron:0 2 * * *|incremental|UTC"),
        (Schedule(every=timedelta(hours=5)), "every:18000s|incremental"),
        (Schedule(every=timedelta(hours=5), timezone="Asia/Kolkata"), "every:18000s|incremental"),
        (Schedule(every=timedelta(days=50), mode=Mode.FULL), "every:4320000s|full"),
        (Schedule(every=timedelta(milliseconds=500)), "every:0.5s|incremental"),
    ],
)
def test_schedule_key_is_stable_text(schedule: Schedule, expected: str) -> None:
    """The name a schedule's last fire is kept under says all that makes it this schedule, and no more."""
    assert expected == schedule_key(schedule)


def test_a_new_every_is_due_and_a_new_cron_has_missed_nothing() -> None:
    """First seen, `every` fires at once and `cron` waits for its time."""
    now = at("2026-05-01T12:00")
    every, cron = Schedule(every=timedelta(hours=6)), Schedule(cron="0 * * * *")
    assert now == fire_after(every, first_seen(every, now))
    assert at("2026-05-01T13:00") == fire_after(cron, first_seen(cron, now))


@pytest.mark.parametrize(
    ("last", "expected"), [("11:00", "11:00"), ("12:01", "12:01"), ("12:02", "12:00"), ("23:00", "12:00")]
)
def test_a_last_fire_from_the_future_is_not_believed(last: str, expected: str) -> None:
    """A last fire more than a minute ahead of the clock was recorded under a wrong clock."""
    assert at(f"2026-05-01T{expected}") == believed(at(f"2026-05-01T{last}"), at("2026-05-01T12:00"))
