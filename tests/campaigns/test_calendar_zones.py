"""Schedules over many zones and years, on the days when clocks change, against looking at every single minute.

Short: sixty changes in random zones and years from 2000 to 2037. Long: ten random years of every zone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from campaign import rounds
from unit.test_calendar import change_days, walk

from syncer.core.calendar import next_fire, parse_cron

#: changes of a clock looked at, and years of each zone; more than there are in the long form
CHANGES, YEARS = rounds(60, 100_000), rounds(1, 10)
#: what it fires at, by hour and minute of the day; None: any
CRONS = {
    "30 2 * * *": (2, {30}),
    "15 0 * * *": (0, {15}),
    "*/20 1 * * *": (1, {0, 20, 40}),
    "0 * * * *": (None, {0}),
    "*/30 * * * *": (None, {0, 30}),
}


def zones() -> list[str]:
    """Zones with a name of a place; leap seconds, rules and abbreviations are left out."""
    others = ("Etc/", "posix/", "right/", "SystemV/")
    return sorted(name for name in available_timezones() if "/" in name and not name.startswith(others))


def changes(choose: random.Random) -> Iterator[tuple[str, datetime]]:
    """Zones, and days by which their clocks were changed."""
    for name in choose.sample(zones(), len(zones())):
        for year in choose.sample(range(2000, 2038), YEARS):
            for day in change_days(name, year):
                if len({(day - timedelta(days=n)).astimezone(ZoneInfo(name)).utcoffset() for n in (0, 1)}) == 2:
                    yield name, day


def around(day: datetime) -> tuple[datetime, datetime]:
    """From well before a change until well after it."""
    return day - timedelta(hours=26), day + timedelta(hours=14)


def fires_between(cron: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """The fires later than `start`, up to `end`."""
    found = []
    following = next_fire(parse_cron(cron), zone, start)
    while following <= end:
        found.append(following)
        following = next_fire(parse_cron(cron), zone, following)
    return found


def test_fires_of_every_zone_and_year() -> None:
    """In both directions of a change, whatever the zone, no fire is missed, doubled or at another minute."""
    choose, seen = random.Random(21), Counter[str]()
    for name, day in islice(changes(choose), CHANGES):
        seen[name] += 1
        start, end = around(day)
        cron, (hour, minutes) = choose.choice(list(CRONS.items()))

        def fits(local: datetime, hour: int | None = hour, minutes: set[int] = minutes) -> bool:
            return hour in (None, local.hour) and local.minute in minutes

        expected = walk(ZoneInfo(name), fits, start, end, hourly=hour is None)
        assert fires_between(cron, ZoneInfo(name), start, end) == expected, (name, day, cron)
    print(f"{seen.total()} changes of the clock in {len(seen)} zones")
    assert seen.total() >= min(CHANGES, 60)
