"""Watermark and key values as text and back, and how far behind the watermark to read. Pure.

No order and no arithmetic of times live here: the database compares and subtracts in its own type.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation

from syncer.core.model import Kind, Watermark, WatermarkRule
from syncer.errors import MappingError

TIME_KINDS = frozenset({Kind.TIMESTAMP, Kind.INSTANT, Kind.DATE})
_NUMBER_KINDS = frozenset({Kind.INTEGER, Kind.DECIMAL})
_KINDS_OF_TEXT = TIME_KINDS | {Kind.TEXT, Kind.TIME, Kind.INTERVAL, Kind.JSON}
_DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)

_UNFIT = {
    Kind.FLOAT: "floats tie and round, so rows would be missed",
    Kind.BOOLEAN: "two values tell nothing about what is new",
    Kind.TIME: "a time of day starts again every midnight",
    Kind.INTERVAL: "lengths of time have no order that follows the changes",
    Kind.BYTES: "bytes have no order that follows the changes",
    Kind.BITS: "bit strings have no order that follows the changes",
    Kind.JSON: "JSON has no order that follows the changes",
}


def check_kind(kind: Kind, column: str) -> None:
    """Refuse a column that cannot be a watermark.

    Raises:
        MappingError: says why, and what to use.
    """
    if kind in _UNFIT:
        raise MappingError(
            f"column {column} ({kind}) cannot be the watermark: {_UNFIT[kind]}",
            "use a timestamp, date, integer, decimal or text column that grows with every change, "
            "or leave `watermark` out so that every run is full",
        )


def encode(kind: Kind, value: object) -> Watermark | None:
    """The watermark of a driver's value, lossless. None: a value that must never move the watermark.

    Such values are NULL, NaN, the infinities, MySQL's zero and impossible dates, and text that is no Unicode.
    A column without a declared type (`Kind.ANY`), and times that SQLite holds as numbers, go by the value.

    Raises:
        MappingError: the value cannot be a watermark (a float, bytes, a boolean).
    """
    if value is None:
        return None
    if isinstance(value, bool | float | bytes | bytearray | memoryview | time | timedelta):
        return _encode_unlikely(kind, value)
    if isinstance(value, int):
        return Watermark(kind=Kind.DECIMAL if kind is Kind.DECIMAL else Kind.INTEGER, text=str(value))
    if isinstance(value, Decimal):
        return Watermark(kind=Kind.DECIMAL, text=str(value)) if value.is_finite() else None
    if isinstance(value, date):
        return _encode_date(value)
    return _encode_text(kind, str(value))


def _encode_unlikely(kind: Kind, value: object) -> Watermark | None:
    if kind is Kind.DECIMAL and isinstance(value, float):  # SQLite keeps its decimals as floats
        return Watermark(kind=kind, text=repr(value)) if math.isfinite(value) else None
    raise MappingError(
        f"the watermark column holds a value of type {type(value).__name__}, which has no use as a watermark",
        "use a column that holds timestamps, dates, integers, decimals or text, and only one of them",
    )


def _encode_date(value: date) -> Watermark:
    if not isinstance(value, datetime):
        return Watermark(kind=Kind.DATE, text=value.isoformat())
    if value.tzinfo is None:
        return Watermark(kind=Kind.TIMESTAMP, text=value.isoformat(sep=" "))
    return Watermark(kind=Kind.INSTANT, text=value.astimezone(UTC).isoformat(sep=" "))


def _encode_text(kind: Kind, text: str) -> Watermark | None:
    if kind is Kind.ANY:
        kind = Kind.TEXT
    if not _is_unicode(text):
        return None
    if kind in TIME_KINDS and not _is_a_time(text):
        return None
    if kind is Kind.INTEGER and not _INTEGER.fullmatch(text):
        kind = Kind.TEXT  # SQLite keeps any text in an INTEGER column
    if kind is Kind.DECIMAL:
        number = _decimal(text)
        if number is None:
            kind = Kind.TEXT
        elif not number.is_finite():
            return None
    return Watermark(kind=kind, text=text)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _is_a_time(text: str) -> bool:
    """Whether the database will read it back: not `infinity`, `0000-00-00` or the 31st of February."""
    if "infinity" in text:
        return False
    day = _DAY.match(text)
    if day is None:
        return True
    try:
        date(int(day[1]), int(day[2]), int(day[3]))
    except ValueError:
        return False
    return True


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def encode_key(kinds: Sequence[Kind], values: Sequence[object]) -> str:
    """Typed text of a row's key, by which `read_keys` finds the row again: a JSON list of [kind, text].

    The kind written is that of the value where the two differ, as SQLite allows.

    Raises:
        ValueError: a part is None; such a row has no key.
    """
    return f"[{','.join(map(_encoded_part, kinds, values))}]"


def number_key(digits: str) -> str:
    """What `encode_key` makes of a key that is one whole number: nearly all of them."""
    return f'[["integer","{digits}"]]'


def _encoded_part(kind: Kind, value: object) -> str:
    if type(value) is int:
        return f'["integer","{value}"]'
    kind, text = _key_part(kind, value)
    return f'["{kind}",{json.dumps(text)}]'


def _key_part(kind: Kind, value: object) -> tuple[Kind, str]:
    match value:
        case None:
            raise ValueError("a key part is NULL")
        case bool():
            return Kind.BOOLEAN, "true" if value else "false"
        case int():
            return Kind.INTEGER, str(value)
        case float():
            return Kind.FLOAT, repr(value)
        case Decimal():
            return Kind.DECIMAL, str(value)
        case bytes() | bytearray() | memoryview():
            return _bytes_part(kind, bytes(value))
        case datetime() | date():
            mark = _encode_date(value)
            return mark.kind, mark.text
        case time():
            return Kind.TIME, value.isoformat()
    text = str(value)
    if kind in _KINDS_OF_TEXT or (kind is Kind.DECIMAL and _decimal(text) is not None):
        return kind, text
    return Kind.TEXT, text


def _bytes_part(kind: Kind, value: bytes) -> tuple[Kind, str]:
    if kind is Kind.BITS:
        return kind, str(int.from_bytes(value, "big"))
    return Kind.BYTES, base64.b64encode(value).decode()


def decode_key(text: str) -> list[tuple[Kind, str]]:
    """What `encode_key` wrote."""
    return [(Kind(kind), part) for kind, part in json.loads(text)]


def bind_value(kind: Kind, text: str) -> object:
    """The Python value to bind for a watermark's or key part's text; times stay text."""
    match kind:
        case Kind.INTEGER | Kind.BITS:
            return int(text)
        case Kind.DECIMAL:
            return Decimal(text)
        case Kind.FLOAT:
            return float(text)
        case Kind.BOOLEAN:
            return text == "true"
        case Kind.BYTES:
            return base64.b64decode(text)
    return text


def lookback_of(rule: WatermarkRule, kind: Kind, *, zone_shifts: bool = False) -> timedelta | int:
    """How far behind the saved watermark to read: time for times, a whole number for the rest.

    Defaults: 5 minutes for timestamps, 1 day for dates, 0 for numbers and text. Timestamps without a zone
    whose clock is set back (`zone_shifts`) get 75 minutes: the hour that comes twice must be read again.

    Raises:
        MappingError: a duration for a number, a number for a time, or any distance for text.
    """
    asked = rule.lookback
    if kind in TIME_KINDS:
        if asked is None:
            return _default_time(kind, zone_shifts)
        if isinstance(asked, timedelta):
            return asked
        if asked == 0:
            return timedelta(0)
        raise MappingError(
            f"lookback {asked} has no unit, but the watermark {rule.column} is a time",
            f"write a duration, such as `lookback: {asked}s` or `lookback: 5m`",
        )
    if not asked:
        return 0
    if kind not in _NUMBER_KINDS:
        raise MappingError(
            f"watermark {rule.column} is text, which has no distance, so a lookback means nothing to it",
            "leave `lookback` out, or use a timestamp, date or number as the watermark",
        )
    if isinstance(asked, timedelta):
        raise MappingError(
            f"the lookback of watermark {rule.column} is a duration, but the column is a number",
            "write a whole number, such as `lookback: 1000`",
        )
    return asked


def _default_time(kind: Kind, zone_shifts: bool) -> timedelta:
    if kind is Kind.DATE:
        return timedelta(days=1)
    return timedelta(minutes=75 if kind is Kind.TIMESTAMP and zone_shifts else 5)
