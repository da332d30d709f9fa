"""Converters of whole columns: all values at once, where all are as databases usually print them. Pure.

Each says exactly what the converter of single values says (`core/converters.py`). Whether all values are as usual is
decided by their types and by one pattern over the joined text, not by a call for every value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from math import isfinite
from typing import Any, TypeAlias

import orjson

from syncer.core.model import Column, Kind
from syncer.core.values import Converter

#: the converted values of a column, in order
ColumnConverter: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
#: those of values that are not NULL; None: some are not as usual
Usual: TypeAlias = Callable[[Sequence[Any]], Sequence[Any] | None]

#: dates from year 1 on; the last of February of the centuries is looked at alone
_DATE = (
    r"(?:(?!0000)\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"|\d\d(?:0[48]|[2468][048]|[13579][26])-02-29)"
)
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?"
_DATES = re.compile(rf"(?:{_DATE}\n)*", re.ASCII)
_NAIVE = re.compile(rf"(?:{_DATE} {_CLOCK}\n)*", re.ASCII)
_INSTANTS = re.compile(rf"(?:{_DATE} {_CLOCK}\+00\n)*", re.ASCII)
_WHOLE = re.compile(r"(?:-?(?:0|[1-9]\d*)\n)*", re.ASCII)
#: numbers up to here are never written with an exponent
_PLAIN = 10**15
_FRACTIONS = re.compile(r"(?:-?(?:0|[1-9]\d*)\.\d+\n)*", re.ASCII)


def column_converter(usual: Usual | None, each: Converter | None) -> ColumnConverter:
    """The converter of a column whose single values are converted by `each` (None: they stay), unless they are `usual`.

    It raises what `each` raises.
    """
    if each is None:
        return _unchanged
    return _with_nulls(lambda values: (usual(values) if usual else None) or list(map(each, values)))


def _with_nulls(convert: ColumnConverter) -> ColumnConverter:
    """NULLs stay where they are."""

    def converted(values: Sequence[Any]) -> Sequence[Any]:
        if None not in values:
            return convert(values)
        rest = iter(convert([value for value in values if value is not None]))
        return [None if value is None else next(rest) for value in values]

    return converted


def usual_values(column: Column, zone: tzinfo) -> Usual | None:
    """What is usual in a column; None: nothing that could be told at once."""
    kinds: dict[Kind, Usual] = {
        Kind.TEXT: _of_type(str),
        Kind.INTEGER: _of_type(int),
        Kind.FLOAT: _floats,
        Kind.BOOLEAN: _booleans,
        Kind.DECIMAL: _whole_numbers if column.scale == 0 else _fractions,
        Kind.DATE: _dates,
        Kind.INSTANT: _moments(UTC),
        Kind.TIMESTAMP: _moments(zone),
        Kind.ANY: _of_type(str, int),
    }
    return None if column.single else kinds.get(column.kind)


def _unchanged(values: Sequence[Any]) -> Sequence[Any]:
    return values


def _of_type(*types: type) -> Usual:
    """Values of one of these types, which stay as they are."""
    wanted = [{each} for each in types]
    return lambda values: values if set(map(type, values)) in wanted else None


def _floats(values: Sequence[Any]) -> Sequence[Any] | None:
    return values if set(map(type, values)) == {float} and all(map(isfinite, values)) else None


def _booleans(values: Sequence[Any]) -> Sequence[Any] | None:
    """0 and 1, where the database has no boolean."""
    return list(map(bool, values)) if set(map(type, values)) == {int} and {0, 1}.issuperset(values) else None


def _fractions(values: Sequence[Any]) -> Sequence[Any] | None:
    """Text, or the numbers that SQLite keeps as well as it can: 120.5 as a float, 120.00 as an integer."""
    if not {int, float}.isdisjoint(map(type, values)):
        if not {int, float}.issuperset(map(type, values)) or min(values) < -_PLAIN or max(values) > _PLAIN:
            return None
        values = [f"{each}.0" if type(each) is int else repr(each) for each in values]
    return list(map(orjson.Fragment, values)) if _lines(values, _FRACTIONS) is not None else None


def _whole_numbers(values: Sequence[Any]) -> Sequence[Any] | None:
    return list(map(orjson.Fragment, values)) if _lines(values, _WHOLE) is not None else None


def _dates(values: Sequence[Any]) -> Sequence[Any] | None:
    return values if _lines(values, _DATES) is not None else None


def _moments(zone: tzinfo) -> Usual:
    """Instants of UTC; naive timestamps too, where they are in UTC."""

    def converted(values: Sequence[Any]) -> Sequence[Any] | None:
        lines = _lines(values, _INSTANTS)
        if lines is not None:
            return lines.replace(" ", "T").replace("\n", ":00\n").split("\n")[:-1]
        lines = _lines(values, _NAIVE) if zone is UTC else None
        return lines.replace(" ", "T").replace("\n", "+00:00\n").split("\n")[:-1] if lines is not None else None

    return converted


def _lines(values: Sequence[Any], pattern: re.Pattern[str]) -> str | None:
    """The values as lines, if each is text of the pattern."""
    if set(map(type, values)) != {str}:
        return None
    lines = "\n".join((*values, ""))
    # a value that holds a line break could look like two
    return lines if lines.count("\n") == len(values) and pattern.fullmatch(lines) else None
