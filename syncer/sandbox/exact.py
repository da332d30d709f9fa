"""JSON whose numbers keep every digit. Pure; knows nothing of objects or requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

import orjson

#: A JSON scalar. Fractions and integers of thousands of digits are Decimal, so nothing is rounded.
Value: TypeAlias = str | int | Decimal | bool | None

#: Python refuses longer texts of an int; a Decimal takes them in linear time
_INT_DIGITS = 4000


@dataclass(frozen=True, slots=True)
class Unusable:
    """Stands where the text has something JSON may not have, so that the reader can say where that is."""

    #: goes on a sentence that begins with the place, such as "is NaN, which is not JSON"
    reason: str


def decode(text: str) -> object:
    """Parse JSON; fractions become Decimal, repeated keys, NaN and the like become `Unusable`.

    Raises:
        json.JSONDecodeError: not JSON.
        RecursionError: nested deeper than Python's stack.
    """
    try:
        return _QUICK.decode(text)
    except json.JSONDecodeError:
        raise
    except (ValueError, InvalidOperation):  # an integer too long, an exponent too large
        return _THOROUGH.decode(text)


def encode(properties: Mapping[str, Value]) -> str:
    """JSON text of properties, keys in their order, each number with all its digits."""
    try:
        return orjson.dumps(properties, default=_digits).decode()
    except orjson.JSONEncodeError:  # orjson stops at 64 bits
        wide = {name: Decimal(value) if type(value) is int else value for name, value in properties.items()}
        return orjson.dumps(wide, default=_digits).decode()


def _digits(value: object) -> orjson.Fragment:
    return orjson.Fragment(str(value))


def _members(pairs: list[tuple[str, object]]) -> dict[str, object] | Unusable:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    return Unusable(f"has the key {shown(repeated)} more than once")


def _constant(name: str) -> Unusable:
    return Unusable(f"is {name}, which is not JSON")


def _fraction(text: str) -> Decimal | Unusable:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Unusable("is a number with an exponent beyond any range")


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) < _INT_DIGITS else Decimal(text)


def shown(name: str) -> str:
    """A key or a property name for people: quoted, escaped, not longer than a line."""
    return repr(name if len(name) <= 60 else name[:60] + "…")


_QUICK = json.JSONDecoder(object_pairs_hook=_members, parse_float=Decimal, parse_constant=_constant)
_THOROUGH = json.JSONDecoder(
    object_pairs_hook=_members, parse_float=_fraction, parse_int=_integer, parse_constant=_constant
)
