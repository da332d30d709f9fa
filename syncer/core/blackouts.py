"""Blackouts: times of day at which schedules begin no run. Local time, so they follow clock changes. No clock here.

A blackout is one stretch of time, from the first instant of its start to the last instant of its end:
- a local time that a clock change skips counts as the first instant after the gap;
- of a local time that a clock change repeats, the start is the first and the end the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from syncer.core.calendar import instant
from syncer.core.model import Blackout
from syncer.core.zones import zone_of

_DAY = timedelta(days=1)
#: blackouts that follow each other for longer never end: they repeat by the week
ENDLESS = timedelta(days=8)
#: any week without a clock change, to look at blackouts as such
_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def begins(blackouts: Sequence[Blackout], fires: Iterable[datetime]) -> list[datetime]:
    """When the runs of these fires begin: those in a blackout together at its end."""
    return sorted({blackout_end(blackouts, each) or each for each in fires})


def blackout_end(blackouts: Sequence[Blackout], at: datetime) -> datetime | None:
    """When the blackout is over in which an instant lies, and those that follow it without a break; UTC.

    None: the instant lies in none. Blackouts that leave no time at all end somewhere beyond `ENDLESS`.
    """
    end = at
    while end - at <= ENDLESS:
        ends = [stop for each in blackouts for start, stop in _around(each, end) if start <= end < stop]
        if not ends:
            break
        end = max(ends)
    return end if end > at else None


def leaves_time(blackouts: Sequence[Blackout]) -> bool:
    """Whether there is any time at which a run may begin."""
    end = blackout_end(blackouts, _MONDAY)
    return end is None or end - _MONDAY <= ENDLESS


def _around(blackout: Blackout, at: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Its stretches that may hold an instant."""
    zone = zone_of(blackout.timezone)
    today = at.astimezone(zone).date()
    for day in (today - _DAY, today):
        if day.isoweekday() % 7 in blackout.days:
            last = day if blackout.end > blackout.start else day + _DAY
            start = instant(datetime.combine(day, blackout.start), zone)
            yield start, _last_instant(datetime.combine(last, blackout.end), zone)


def _last_instant(local: datetime, zone: tzinfo) -> datetime:
    """The instant of a local time, the last of two."""
    second = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    exists = second.astimezone(zone).replace(tzinfo=None) == local
    return second if exists else instant(local, zone)
