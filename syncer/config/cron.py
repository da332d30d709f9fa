"""Cron expressions as crontab(5) means them. Nothing fires here; the scheduler takes `spell_weekdays`' answer."""

from __future__ import annotations

import re
from datetime import UTC

#: by crontab's numbers, in which both 0 and 7 are Sunday
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NUMBERS = {name: number for number, name in enumerate(_WEEKDAYS)} | {str(n): n for n in range(8)}
_ITEM = re.compile(r"(?:\*|(?P<first>[a-z]{3}|[0-7])(?:-(?P<last>[a-z]{3}|[0-7]))?)(?:/(?P<step>[1-7]))?", re.I)

_FIELDS = {
    "minute": ("minute", "0-59"),
    "hour": ("hour", "0-23"),
    "day": ("day of month", "1-31"),
    "month": ("month", "1-12 or jan-dec"),
}


def spell_weekdays(expression: str) -> str:
    """Write the weekdays of a cron expression by name.

    APScheduler 3 counts weekdays from Monday where crontab(5) counts from Sunday (its issue 286), and has no
    steps in ranges of names. Names in a list mean the same to both.

    >>> spell_weekdays("0 2 * * 0"), spell_weekdays("0 2 * * 5-7"), spell_weekdays("0 2 * * *")
    ('0 2 * * sun', '0 2 * * fri,sat,sun', '0 2 * * *')

    Raises:
        ValueError: one sentence saying what is wrong.
    """
    fields = expression.split()
    if len(fields) != 5:
        raise ValueError("a cron expression has five fields, such as `0 2 * * *` for 02:00 every day")
    if fields[4] != "*":
        days = {day for item in fields[4].split(",") for day in _days(item)}
        fields[4] = ",".join(name for name in (*_WEEKDAYS[1:], "sun") if _NUMBERS[name] in days)
    return " ".join(fields)


def _days(item: str) -> set[int]:
    found = _ITEM.fullmatch(item)
    if found is None:
        raise ValueError("the weekday of the cron expression is not valid; expected 0-7 or sun-sat")
    if found["first"] is None:
        first, last = 0, 6
    else:
        first = _number(found["first"])
        # as in Vixie cron, a step without an end runs to the end of the week
        last = _number(found["last"]) if found["last"] else (6 if found["step"] else first)
    if last == 0 < first:
        last = 7
    if last < first:
        raise ValueError("the weekday of the cron expression runs backwards")
    return {day % 7 for day in range(first, last + 1, int(found["step"] or 1))}


def _number(day: str) -> int:
    if day.lower() not in _NUMBERS:
        raise ValueError("the weekday of the cron expression is not valid; expected 0-7 or sun-sat")
    return _NUMBERS[day.lower()]


def check_cron(expression: str) -> None:
    """Check all five fields.

    Raises:
        ValueError: one sentence naming the field and what it may hold.
    """
    from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]  # slow to import

    spelled = spell_weekdays(expression)
    fields = spelled.split()
    for (name, (words, valid)), text in zip(_FIELDS.items(), fields, strict=False):
        try:
            CronTrigger(**{name: text}, timezone=UTC)
        except ValueError:
            raise ValueError(f"the {words} of the cron expression is not valid; expected {valid}") from None
    CronTrigger.from_crontab(spelled, timezone=UTC)
    if fields[2] != "*" and fields[4] != "*":
        raise ValueError(
            "a cron expression with both a day of month and a weekday means `either` to some programs and `both` "
            "to others; write two schedules"
        )
