"""One converter per kind of column: whatever a driver returned -> a JSON scalar, or a refusal with a stable code.

The converters are total: they raise `Refusal` and nothing else. Text from the databases is rearranged, never
parsed into binary numbers. Only JSON-ready values leave here: str, int, float, bool, None, or an exact number.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from struct import pack, unpack
from typing import TypeAlias

import orjson

from syncer.core.model import Column, Kind

#: str, int, float, bool, None, or a Fragment that holds an exact number
Value: TypeAlias = "str | int | float | bool | orjson.Fragment | None"
Converter: TypeAlias = Callable[[object], Value]


class Refusal(Exception):
    """A value that cannot become a property. Never leaves the core: the row becomes a rejection."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class NotFinite(Exception):
    """NaN or an infinity in a number: sent as null, and counted."""


def number_fragment(text: str) -> orjson.Fragment:
    """An exact JSON number from its text."""
    return orjson.Fragment(text.encode())


def fragment_text(value: orjson.Fragment) -> str:
    """The number's text again."""
    return orjson.dumps(value).decode()


def _mismatch(value: object, expected: str) -> Refusal:
    found = {str: "text", bytes: "bytes", int: "an integer", float: "a float", bool: "a boolean"}
    return Refusal("TYPE_MISMATCH", f"holds {found.get(type(value), type(value).__name__)}, expected {expected}")


# --- numbers ---------------------------------------------------------------------------------------------------

_INTEGER = re.compile(r"[+-]?\d{1,4000}", re.ASCII)
_PLAIN_DECIMAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_NOT_FINITE = frozenset({"nan", "inf", "infinity", "-inf", "-infinity", "+inf", "+infinity", "snan"})


def to_integer(value: object) -> Value:
    """Integers, exactly; integral floats and decimals too."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, bytes) and len(value) <= 8:
        return int.from_bytes(value, "big")
    if isinstance(value, str | Decimal):
        return number_fragment(_decimal_text(value, scale=0, expected="an integer"))
    raise _mismatch(value, "an integer")


def to_float(value: object) -> Value:
    """Binary floats; NaN and infinities are `NotFinite`."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise _mismatch(value, "a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise _mismatch(value, "a number") from None
    if number - number != 0:  # NaN and infinities only
        raise NotFinite
    return number


def shortest_single(value: object) -> object:
    """The shortest number that is this one in 32 bits: 0.1, where the 64 bits say 0.10000000149011612."""
    if not isinstance(value, float) or value - value != 0:
        return value
    # six digits are always kept by 32 bits, nine always tell two of them apart
    candidates = (float(f"{value:.{digits}g}") for digits in range(6, 9))
    return next((each for each in candidates if _in_32_bits(each) == value), float(f"{value:.9g}"))


def _in_32_bits(value: float) -> float:
    """The nearest float of 32 bits; one beyond their range stays as it is."""
    try:
        (nearest,) = unpack("f", pack("f", value))
    except OverflowError:
        return value
    return float(nearest)


def to_decimal(scale: int | None) -> Converter:
    """Exact numbers. Scale 0 is an integer; any other always shows a fraction, so that the type stays."""

    def convert(value: object) -> Value:
        return number_fragment(_decimal_text(value, scale=scale, expected="a number"))

    return convert


def _decimal_text(value: object, *, scale: int | None, expected: str) -> str:
    if isinstance(value, str) and _PLAIN_DECIMAL.fullmatch(value):
        text = value  # what PostgreSQL and MySQL print is a JSON number already
    else:
        text = _plain(_as_decimal(value, expected))
    if scale == 0:
        whole, _, fraction = text.partition(".")
        if fraction.strip("0"):
            raise Refusal("TYPE_MISMATCH", "holds a fraction, expected an integer")
        return whole
    return text if "." in text else f"{text}.0"


def _as_decimal(value: object, expected: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise _mismatch(value, expected)
    if isinstance(value, str) and value.strip().lower() in _NOT_FINITE:
        raise NotFinite
    try:
        # repr is the shortest text that is this float: 0.1 stays 0.1
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, ValueError):
        raise _mismatch(value, expected) from None
    if not number.is_finite():
        raise NotFinite
    return number


def _plain(number: Decimal) -> str:
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and abs(exponent) + abs(number.adjusted()) > 100_000:
        raise Refusal("VALUE_TOO_LARGE", "is a number of more than 32 KB")
    return format(number, "f")


def to_boolean(value: object) -> Value:
    """Booleans; 0 and 1 and their texts where the database has no boolean."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, Decimal) and value.is_finite() and value in (0, 1):
        return bool(value)
    if isinstance(value, bytes) and value in (b"\0", b"\1"):
        return value == b"\1"
    if isinstance(value, str) and value.lower() in ("true", "t", "1"):
        return True
    if isinstance(value, str) and value.lower() in ("false", "f", "0"):
        return False
    raise _mismatch(value, "a boolean")


# --- dates and times -------------------------------------------------------------------------------------------

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
            raise _mismatch(value, "a date and time as text")
        return _moment(value, zone)

    return convert


def _moment(value: str, zone: tzinfo) -> str:
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
        raise _mismatch(value, "a date as text")
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
    return _mismatch(value, expected)


def to_time(value: object) -> Value:
    """Time of day as the database prints it."""
    if isinstance(value, str):
        return value
    if isinstance(value, time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    raise _mismatch(value, "a time as text")


_INTERVAL_PART = re.compile(r"([+-]?\d+) (year|mon|day)s?", re.ASCII)
_INTERVAL_CLOCK = re.compile(r"([+-]?)(\d+):(\d\d):(\d\d)(\.\d+)?", re.ASCII)
#: seconds, as PostgreSQL's EXTRACT(EPOCH FROM interval) counts them
_SECONDS = {"year": 31_557_600, "mon": 2_592_000, "day": 86_400}


def to_interval(value: object) -> Value:
    """Seconds as an exact number with a fraction."""
    if isinstance(value, timedelta):
        micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
        return number_fragment(_decimal_text(Decimal(micros).scaleb(-6), scale=None, expected="a number"))
    if isinstance(value, str) and value.strip().lower() in _NOT_FINITE:
        raise NotFinite
    if not isinstance(value, str):
        raise _mismatch(value, "an interval")
    rest = _INTERVAL_PART.sub("", value).strip()
    clock = _INTERVAL_CLOCK.fullmatch(rest)
    if rest and clock is None:
        raise _mismatch(value, "an interval")
    seconds = Decimal(sum(int(count) * _SECONDS[unit] for count, unit in _INTERVAL_PART.findall(value)))
    if clock:
        sign, hours, minutes, whole, fraction = clock.groups(default="")
        length = Decimal(int(hours) * 3600 + int(minutes) * 60 + int(whole)) + Decimal(fraction or 0)
        seconds = seconds - length if sign == "-" else seconds + length
    return number_fragment(_decimal_text(seconds, scale=None, expected="a number"))


# --- text, bytes, documents ------------------------------------------------------------------------------------


def to_text(value: object) -> Value:
    """Text as it is; other scalars as their text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview | dict | list | tuple | set):
        raise _mismatch(value, "text")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    try:
        return str(value)
    except Exception:  # noqa: BLE001  a driver's own class may do anything; its row is refused
        raise _mismatch(value, "text") from None


def to_base64(value: object) -> Value:
    """Bytes as base64; text in a binary column as the base64 of its UTF-8."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    raise _mismatch(value, "bytes")


def to_bits(width: int | None) -> Converter:
    """Bit strings as text of 0 and 1."""

    def convert(value: object) -> Value:
        if isinstance(value, str):
            return value
        if isinstance(value, bytes):
            return format(int.from_bytes(value, "big"), f"0{width or 8 * len(value)}b")
        raise _mismatch(value, "bits")

    return convert


_JSON_BLANKS = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')


def compact_json(value: object) -> Value:
    """JSON text the database vouches for, relieved of its blanks: numbers and the order of keys stay."""
    if isinstance(value, str):
        return _JSON_BLANKS.sub(lambda match: match[1] or "", value)
    return to_json(value)


def to_json(value: object) -> Value:
    """Compact JSON text of anything; text must be JSON."""
    if isinstance(value, bytes | bytearray | memoryview):
        raise _mismatch(value, "JSON")
    if isinstance(value, str):
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError:
            if not _python_reads(value):
                raise Refusal("TYPE_MISMATCH", "holds text that is not JSON") from None
        return compact_json(value)
    try:
        return orjson.dumps(value, default=_plain_or_text, option=orjson.OPT_NON_STR_KEYS).decode()
    except (orjson.JSONEncodeError, RecursionError):
        raise _mismatch(value, "JSON") from None


def _python_reads(text: str) -> bool:
    """Numbers beyond a double (1e400) are JSON all the same; orjson refuses them, the standard library does not."""
    try:
        json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _plain_or_text(value: object) -> object:
    if isinstance(value, Decimal):
        return number_fragment(_plain(value)) if value.is_finite() else None
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)


def by_value(zone: tzinfo) -> Converter:
    """For columns without a declared type: what the value is decides."""
    rules: tuple[tuple[type | tuple[type, ...], Converter], ...] = (
        (float, to_float),
        (Decimal, to_decimal(None)),
        (datetime, to_timestamp(zone)),
        (date, to_date),
        ((time,), to_time),
        (timedelta, to_interval),
        ((bytes, bytearray, memoryview), to_base64),
        ((dict, list, tuple, set, frozenset), to_json),
    )

    def convert(value: object) -> Value:
        if isinstance(value, str | int):
            return value
        for types, converter in rules:
            if isinstance(value, types):
                return converter(value)
        return to_text(value)

    return convert


def converter_for(column: Column, zone: tzinfo) -> Converter | None:
    """The column's converter; None when the driver's values are JSON scalars already."""
    if column.exact and column.kind in (Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN):
        return None
    converter = _converters(column, zone)[column.kind]
    return (lambda value: converter(shortest_single(value))) if column.single else converter


def _converters(column: Column, zone: tzinfo) -> dict[Kind, Converter]:
    return {
        Kind.TEXT: to_text,
        Kind.INTEGER: to_integer,
        Kind.FLOAT: to_float,
        Kind.DECIMAL: to_decimal(column.scale),
        Kind.BOOLEAN: to_boolean,
        Kind.TIMESTAMP: to_timestamp(zone),
        Kind.INSTANT: to_timestamp(UTC),
        Kind.DATE: to_date,
        Kind.TIME: to_time,
        Kind.INTERVAL: to_interval,
        Kind.BYTES: to_base64,
        Kind.JSON: compact_json if column.exact else to_json,
        Kind.BITS: to_bits(column.width),
        Kind.ANY: by_value(zone),
    }
