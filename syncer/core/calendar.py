"""When a schedule fires: crontab expressions, local time, intervals. No clock lives here.

Local time, for `cron` with a `timezone`:
- a local time that a clock change skips fires at the first instant after the gap, once if it skips several;
- a local time that a clock change repeats fires the first time only.
The cron trigger of APScheduler 3.11 does neither, counts weekdays from Monday and knows no either-day rule,
hence this module.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

from syncer.core.model import Schedule
from syncer.core.zones import zone_of

#: A last fire this far ahead of the clock is believed (the clock was set back a little); one further ahead
#: was recorded under a wrong clock. One minute is the resolution of cron.
SET_BACK = timedelta(minutes=1)

#: clocks are never set back by more
_LONGEST_REPEAT = timedelta(hours=3)
_HOURS = 24
_MINUTE = timedelta(minutes=1)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """What one of the five fields may hold."""

    title: str
    low: int
    high: int
    #: where `*` and open ranges end: Sunday is 0 and 7, but only once
    end: int
    names: Mapping[str, int] = field(default_factory=dict)


_FIELDS = (
    _Field(title="minute", low=0, high=59, end=59),
    _Field(title="hour", low=0, high=23, end=23),
    _Field(title="day of month", low=1, high=31, end=31),
    _Field(title="month", low=1, high=12, end=12, names={name: n for n, name in enumerate(_MONTHS, 1)}),
    _Field(title="weekday", low=0, high=7, end=6, names={name: n for n, name in enumerate(_WEEKDAYS)}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A crontab expression, read once."""

    #: local times of day, in order
    times: tuple[time, ...]
    days: frozenset[int]
    months: frozenset[int]
    #: 0 is Sunday
    weekdays: frozenset[int]
    #: day of month and weekday are both restricted, so either is enough: crontab(5)
    either: bool
    #: it fires in every hour, so also in one that comes twice
    hourly: bool

    def on(self, day: date) -> bool:
        """Whether it fires on this local date."""
        by_day = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        days_fit = by_day or by_weekday if self.either else by_day and by_weekday
        return day.month in self.months and days_fit


@lru_cache(maxsize=1024)
def parse_cron(text: str) -> Cron:
    """Read `minute hour day-of-month month weekday` as crontab(5) does.

    Numbers, `*`, lists, ranges, steps, and three-letter names of months and weekdays. Sunday is 0 and 7.
    Where day of month and weekday are both restricted, either is enough; as in Vixie's cron, a field that
    begins with `*` is not restricted.

    Raises:
        ValueError: what is wrong, for people; also for a date that never comes, such as 30 February.
    """
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            f"`{text}` has {len(parts)} fields; cron needs five: minute, hour, day of month, month, weekday"
        )
    minutes, hours, days, months, weekdays = map(_parse_field, _FIELDS, parts)
    either = not parts[2].startswith("*") and not parts[4].startswith("*")
    if not either and all(min(days) > _LONGEST[month - 1] for month in months):
        raise ValueError(f"`{text}` never fires: none of its months has that day")
    return Cron(
        times=tuple(time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)),
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        either=either,
        hourly=len(hours) == _HOURS,
    )


def _parse_field(kind: _Field, text: str) -> frozenset[int]:
    """All numbers a field names."""
    return frozenset(number for item in text.split(",") for number in _parse_item(kind, item))


def _parse_item(kind: _Field, item: str) -> range:
    """One item of a list: `*`, `5`, `1-5`, `mon-fri`, `*/15`, `0-30/10`, `5/15`."""
    span, stepped, step = item.partition("/")
    first, ranged, last = span.partition("-")
    if span == "*":
        low, high = kind.low, kind.end
    else:
        low = _number(kind, first)
        high = _number(kind, last) if ranged else kind.end if stepped else low
    if kind.title == "weekday" and ranged and high == 0 < low:
        high = 7  # fri-sun
    if low > high:
        raise ValueError(f"the {kind.title} range `{span}` runs backwards; write two ranges with a comma")
    if stepped and not (_is_digits(step) and int(step) > 0):
        raise ValueError(f"`{step}` is not a step for the {kind.title}; a step is a number from 1 on")
    return range(low, high + 1, int(step) if stepped else 1)


def _number(kind: _Field, text: str) -> int:
    """The value of a number or a name."""
    named = kind.names.get(text.lower())
    if named is not None:
        return named
    if not _is_digits(text) or not kind.low <= int(text) <= kind.high:
        names = f" or {', '.join(kind.names)}" if kind.names else ""
        raise ValueError(f"the {kind.title} cannot be `{text}`; it takes {kind.low} to {kind.high}{names}")
    return int(text)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def parse_weekdays(text: str) -> frozenset[int]:
    """Weekdays as in the last field of `parse_cron`: `mon-fri`, `sat,sun`, `*`; 0 is Sunday.

    Raises:
        ValueError: what is wrong, for people.
    """
    return frozenset(day % 7 for day in _parse_field(_FIELDS[-1], text))


def next_fire(cron: Cron, zone: tzinfo, after: datetime) -> datetime:
    """The first instant later than `after` at which the expression fires in the zone; UTC."""
    start = after.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0) + _MINUTE
    fires = (instant(local, zone) for local in _local_times(cron, start))
    following = next(at for at in fires if at > after)
    return min([following, *_repeats(cron, zone, start, after)]) if cron.hourly else following


def _repeats(cron: Cron, zone: tzinfo, start: datetime, after: datetime) -> Iterator[datetime]:
    """Later fires of an hourly expression in an hour that comes twice, the second time, if one is near."""
    around = (start - _LONGEST_REPEAT, start + _LONGEST_REPEAT)
    before, behind = (local.replace(tzinfo=zone).utcoffset() for local in around)
    if before == behind:  # no clock ever changed to and fro within hours
        return
    for local in _local_times(cron, start - _LONGEST_REPEAT):
        if local > start + _LONGEST_REPEAT:
            return
        first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first < second and second > after:
            yield second


def _local_times(cron: Cron, start: datetime) -> Iterator[datetime]:
    """Local times that fit, from `start` on, in order, without regard to clock changes."""
    skip = bisect_left(cron.times, start.time())
    for day in _days(cron, start.date()):
        times = cron.times[skip:] if day == start.date() else cron.times
        yield from (datetime.combine(day, at) for at in times)


def _days(cron: Cron, start: date) -> Iterator[date]:
    """Dates that fit, from `start` on."""
    day = start
    while True:
        if cron.on(day):
            yield day
        day += timedelta(days=1)


def instant(local: datetime, zone: tzinfo) -> datetime:
    """The instant of a local time; UTC.

    1. It exists: that instant; the first of two.
    2. It was skipped: the end of the gap, found between its readings under the offsets before and after.
    """
    late = local.replace(tzinfo=zone).astimezone(UTC)
    if late.astimezone(zone).replace(tzinfo=None) == local:
        return late
    early = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    offset = late.astimezone(zone).utcoffset()
    seconds = range(int((late - early).total_seconds()))
    end = bisect_left(seconds, True, key=lambda n: _offset(early, n, zone) == offset)
    return early + timedelta(seconds=end)


def _offset(instant: datetime, seconds: int, zone: tzinfo) -> timedelta | None:
    """The zone's offset so many seconds after an instant."""
    return (instant + timedelta(seconds=seconds)).astimezone(zone).utcoffset()


def schedule_key(schedule: Schedule) -> str:
    """Stable text of a schedule: its last fire is kept under this name. A changed schedule is a new one.

    `cron:0 2 * * *|full|America/New_York`, `every:18000s|incremental`.
    """
    if schedule.every is not None:
        return f"every:{schedule.every.total_seconds():.15g}s|{schedule.mode}"
    return f"cron:{' '.join(_cron_text(schedule).split())}|{schedule.mode}|{schedule.timezone}"


def fire_after(schedule: Schedule, last: datetime) -> datetime:
    """The fire that follows a fire at `last`; UTC. `every` is true elapsed time, whatever the time zone.

    Raises:
        ValueError: the expression is not one; see `parse_cron`.
    """
    if schedule.every is not None:
        return last.astimezone(UTC) + schedule.every
    return next_fire(parse_cron(_cron_text(schedule)), zone_of(schedule.timezone), last)


def due_at(schedule: Schedule, fire: datetime, mapping: str) -> datetime:
    """When the fire of a time comes, `jitter` included: always the same for the same mapping, schedule and time.

    It comes later by less than `jitter`, and by less than half of what there is until the next fire, so that fires
    stay as many, and in order.
    """
    if not schedule.jitter:
        return fire
    room = min(schedule.jitter, (fire_after(schedule, fire) - fire) / 2)
    told = f"{mapping}|{schedule_key(schedule)}|{fire.astimezone(UTC).isoformat()}"
    digest = hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return fire + room * (int.from_bytes(digest, "big") / 2**48)


def due_ahead(schedule: Schedule, last: datetime, now: datetime, mapping: str) -> datetime:
    """When the next fire after the one at `last` comes, later than now: those that have passed unnoticed are one."""
    for start in (last, fire_after(schedule, last), now):
        due = due_at(schedule, fire_after(schedule, start), mapping)
        if due > now:
            break
    return due


def first_seen(schedule: Schedule, now: datetime) -> datetime:
    """What counts as the last fire of one that never fired: `every` is due at once, `cron` missed nothing."""
    return now - schedule.every if schedule.every is not None else now


def believed(last: datetime, now: datetime) -> datetime:
    """The last fire, unless it lies in the future because it was recorded under a wrong clock: then `now`."""
    return last if last - now <= SET_BACK else now


def next_fires(
    schedule: Schedule, after: datetime, count: int = 3, *, mapping: str = "", last: datetime | None = None
) -> list[datetime]:
    """The next `count` fires of a mapping's schedule from `after` on, `jitter` included; UTC.

    `last` is the recorded last fire, the anchor of `every`; one that is overdue fires at `after`. Without it,
    a first fire at `after` is assumed. `cron` needs none.
    """
    known = None if last is None else believed(last, after)
    # what was to fire before may be on its way yet
    fire = after - schedule.jitter if schedule.every is None else known or after
    fires: list[datetime] = []
    while len(fires) < count:
        fire = fire_after(schedule, fire)
        due = due_at(schedule, fire, mapping)
        if due < after and schedule.every is not None:
            fire = due = after
        if due >= after and (known is None or fire > known):
            fires.append(due)
    return fires


def _cron_text(schedule: Schedule) -> str:
    assert schedule.cron is not None, "a schedule has `cron` or `every`"
    return schedule.cron
