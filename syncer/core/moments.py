"""Converters of dates, times and intervals. Text of the databases is rearranged; its digits stay as they are."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal

from syncer.core.values import NOT_FINITE, Converter, NotFinite, Refusal, Value, decimal_text, mismatch, number_fragment

_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[ T](?P<clock>\d\d:\d\d)(?P<second>:\d\d)?(?P<fraction>\.\d+)?"
    r" ?(?P<offset>Z|z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
#: what is a date to the database and none to ISO 8601: infinities, BC, five-digit years, zero dates
_BEYOND = re.compile(
    r"-?infinity|\d{4,}-\d\d-\d\d.*BC|\d{5,}-\d\d-\d\d.*|-\d+-\d\d-\d\d.*|0000-.*|\d{4}-00-.*|\d{4}-\d\d-00.*"
)
_OUT_OF_RANGE = "is not a date between years 1 and 9999"


def to_timestamp(zone: tzinfo) -> Converter:
    """ISO 8601 with offset and the full fraction. A value without an offset is in `zone`."""

    def convert(value: object) -> Value:
        if isinstance(value, datetime):
            return _zoned(value, zone).isoformat()
        if isinstance(value, date):
            return _zoned(datetime.combine(value, time()), zone).isoformat()
        if not isinstance(value, str):
            raise mismatch(value, "a date and time as text")
        return _moment(value, zone)

    return convert


def _moment(value: str, zone: tzinfo) -> str:
    return _usual(value) or _unusual(value, zone)


def _usual(value: str) -> str | None:
    """`2026-03-01 12:00:00+00`, with or without a fraction, as databases print instants: without much ado."""
    if value[10:11] != " " or value[-3:] != "+00" or value[19:20] not in ("+", ".") or value[4:5] != "-":
        return None
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return None
    return f"{value[:10]}T{value[11:]}:00"


def _unusual(value: str, zone: tzinfo) -> str:
    match = _MOMENT.fullmatch(value)
    if match is None or _BEYOND.fullmatch(value):
        raise _no_date(value, "a date and time as text")
    parts = match.groupdict(default="")
    clock = (parts["clock"] or "00:00") + (parts["second"] or ":00")
    try:
        local = datetime.fromisoformat(f"{parts['date']}T{clock}")
    except ValueError:
        raise Refusal("VALUE_OUT_OF_RANGE", "is not a date of the calendar") from None
    if parts["offset"]:
        return f"{parts['date']}T{clock}{parts['fraction']}{_offset(parts['offset'])}"
    moment = _zoned(local, zone).isoformat()
    return moment[:19] + parts["fraction"] + moment[19:]


def _zoned(moment: datetime, zone: tzinfo) -> datetime:
    """Give a naive moment its zone. Offsets of odd seconds (before standard time) are no ISO 8601: UTC then."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    offset = moment.utcoffset()
    if offset is None or offset.seconds % 60:
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            raise Refusal("VALUE_OUT_OF_RANGE", _OUT_OF_RANGE) from None
    return moment


def _offset(text: str) -> str:
    if text in "Zz":
        return "+00:00"
    digits = text[1:].replace(":", "")
    return f"{text[0]}{digits[:2]}:{digits[2:4] or '00'}"


def to_date(value: object) -> Value:
    """`YYYY-MM-DD`."""
    if isinstance(value, date):
        return value.isoformat()[:10]
    if not isinstance(value, str):
        raise mismatch(value, "a date as text")
    if len(value) == 10 and value[4] == value[7] == "-":
        try:
            date.fromisoformat(value)
        except ValueError:
            pass  # told below
        else:
            return value
    match = _MOMENT.fullmatch(value)
    if match is None or _BEYOND.fullmatch(value):
        raise _no_date(value, "a date as text")
    try:
        return date.fromisoformat(match["date"]).isoformat()
    except ValueError:
        raise Refusal("VALUE_OUT_OF_RANGE", "is not a date of the calendar") from None


def _no_date(value: str, expected: str) -> Refusal:
    if _BEYOND.fullmatch(value):
        return Refusal("VALUE_OUT_OF_RANGE", _OUT_OF_RANGE)
    return mismatch(value, expected)


def to_time(value: object) -> Value:
    """Time of day as the database prints it."""
    if isinstance(value, str):
        return value
    if isinstance(value, time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    raise mismatch(value, "a time as text")


_INTERVAL_PART = re.compile(r"([+-]?\d+) (year|mon|day)s?", re.ASCII)
_INTERVAL_CLOCK = re.compile(r"([+-]?)(\d+):(\d\d):(\d\d)(\.\d+)?", re.ASCII)
#: seconds, as PostgreSQL's EXTRACT(EPOCH FROM interval) counts them
_SECONDS = {"year": 31_557_600, "mon": 2_592_000, "day": 86_400}


def to_interval(value: object) -> Value:
    """Seconds as an exact number with a fraction."""
    if isinstance(value, timedelta):
        micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
        return number_fragment(decimal_text(Decimal(micros).scaleb(-6), scale=None, expected="a number"))
    if isinstance(value, str) and value.strip().lower() in NOT_FINITE:
        raise NotFinite
    if not isinstance(value, str):
        raise mismatch(value, "an interval")
    rest = _INTERVAL_PART.sub("", value).strip()
    clock = _INTERVAL_CLOCK.fullmatch(rest)
    if rest and clock is None:
        raise mismatch(value, "an interval")
    seconds = Decimal(sum(int(count) * _SECONDS[unit] for count, unit in _INTERVAL_PART.findall(value)))
    if clock:
        sign, hours, minutes, whole, fraction = clock.groups(default="")
        length = Decimal(int(hours) * 3600 + int(minutes) * 60 + int(whole)) + Decimal(fraction or 0)
        seconds = seconds - length if sign == "-" else seconds + length
    return number_fragment(decimal_text(seconds, scale=None, expected="a number"))
