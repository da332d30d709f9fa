"""Converters of numbers, text, bytes and documents: whatever a driver returned -> a JSON scalar, or a refusal.

The converters are total: they raise `Refusal` and nothing else. Text from the databases is rearranged, never
parsed into binary numbers. Only JSON-ready values leave here: str, int, float, bool, None, or an exact number.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from struct import pack, unpack
from typing import TypeAlias

import orjson

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


def mismatch(value: object, expected: str) -> Refusal:
    found = {str: "text", bytes: "bytes", int: "an integer", float: "a float", bool: "a boolean"}
    return Refusal("TYPE_MISMATCH", f"holds {found.get(type(value), type(value).__name__)}, expected {expected}")


# --- numbers ---------------------------------------------------------------------------------------------------

_INTEGER = re.compile(r"[+-]?\d{1,4000}", re.ASCII)
_PLAIN_DECIMAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
NOT_FINITE = frozenset({"nan", "inf", "infinity", "-inf", "-infinity", "+inf", "+infinity", "snan"})


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
        return number_fragment(decimal_text(value, scale=0, expected="an integer"))
    raise mismatch(value, "an integer")


def to_float(value: object) -> Value:
    """Binary floats; NaN and infinities are `NotFinite`."""
    if type(value) is float and value - value == 0:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise mismatch(value, "a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise mismatch(value, "a number") from None
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
        return number_fragment(decimal_text(value, scale=scale, expected="a number"))

    return convert


def decimal_text(value: object, *, scale: int | None, expected: str) -> str:
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
        raise mismatch(value, expected)
    if isinstance(value, str) and value.strip().lower() in NOT_FINITE:
        raise NotFinite
    try:
        # repr is the shortest text that is this float: 0.1 stays 0.1
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, ValueError):
        raise mismatch(value, expected) from None
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
    raise mismatch(value, "a boolean")


# --- text, bytes, documents ------------------------------------------------------------------------------------


def to_text(value: object) -> Value:
    """Text as it is; other scalars as their text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview | dict | list | tuple | set):
        raise mismatch(value, "text")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    try:
        return str(value)
    except Exception:  # noqa: BLE001  a driver's own class may do anything; its row is refused
        raise mismatch(value, "text") from None


def to_base64(value: object) -> Value:
    """Bytes as base64; text in a binary column as the base64 of its UTF-8."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    raise mismatch(value, "bytes")


def to_bits(width: int | None) -> Converter:
    """Bit strings as text of 0 and 1."""

    def convert(value: object) -> Value:
        if isinstance(value, str):
            return value
        if isinstance(value, bytes):
            return format(int.from_bytes(value, "big"), f"0{width or 8 * len(value)}b")
        raise mismatch(value, "bits")

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
        raise mismatch(value, "JSON")
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
        raise mismatch(value, "JSON") from None


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
