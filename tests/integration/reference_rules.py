"""The rules from rows to objects, written a second time for tests, from the documents. Imports nothing of syncer.

Values are JSON tokens as text (`4.50`, `"Zoë"`, `null`), so that 4.5 and 4.50, 1 and true are told apart.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any, TypeAlias

Token: TypeAlias = str
Rule: TypeAlias = Callable[[Any], Token]

NULL = "null"
LARGEST = 32_768


class Refused(Exception):
    """The row cannot be sent; carries the code."""


class NotFinite(Exception):
    """NaN or an infinity in a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table, and what its values become."""

    name: str
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one row should become."""

    #: None: it has no key
    id: str | None
    properties: Mapping[str, Token]
    #: why it must be refused
    code: str | None
    #: the value of its watermark column
    moment: datetime | None
    #: numbers that are not finite, if it is not refused
    not_finite: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as the reference reads it."""

    key: tuple[str, ...]
    #: the column's own name
    watermark: str | None
    rows: Sequence[Row]


def property_name(column: str) -> str:
    """Snake case, as far as the names of the datasets go."""
    parted = re.sub(r"(?<=[a-zà-ÿ0-9])(?=[A-Z])", " ", column).replace("_", " ")
    return "_".join(re.findall(r"\w+", parted)).lower()


def table(
    columns: Sequence[Column], key: Sequence[str], watermark: str | None, rows: Sequence[Sequence[object]]
) -> Table:
    """Turn rows, in the order of the columns, into what they should become."""
    names = [property_name(column.name) for column in columns]
    sent = [
        (name, index)
        for index, (name, column) in enumerate(zip(names, columns, strict=True))
        if not (name == "id" and column.name in key)
    ]
    places = [column.name for column in columns]
    parts = [places.index(name) for name in key]
    mark = None if watermark is None else places.index(watermark)
    shaped = [_row(columns, values, sent, parts, mark) for values in rows]
    return Table(key=tuple(key), watermark=watermark, rows=shaped)


def _row(
    columns: Sequence[Column],
    values: Sequence[object],
    sent: Sequence[tuple[str, int]],
    parts: Sequence[int],
    mark: int | None,
) -> Row:
    tokens: list[Token] = []
    codes: list[str] = []
    not_finite = 0
    for column, value in zip(columns, values, strict=True):
        try:
            tokens.append(NULL if value is None else column.rule(value))
        except NotFinite:
            tokens.append(NULL)
            not_finite += 1
        except Refused as refused:
            tokens.append(NULL)
            codes.append(str(refused))
    key = [tokens[index] for index in parts]
    properties = {name: tokens[index] for name, index in sent}
    if NULL in key:
        codes.insert(0, "NULL_KEY")
    if any(_is_large(each) for each in properties.values()):
        codes.append("VALUE_TOO_LARGE")
    return Row(
        id=None if NULL in key else object_id([plain(each) for each in key]),
        properties=properties,
        code=codes[0] if codes else None,
        moment=None if mark is None else _moment_of(tokens[mark]),
        not_finite=0 if codes else not_finite,
    )


def object_id(parts: Sequence[str]) -> str:
    """One part as it is; several escaped and joined by colons; digested when longer than 100 characters."""
    escapes = str.maketrans({"\\": "\\\\", ":": "\\:"})
    whole = parts[0] if len(parts) == 1 else ":".join(part.translate(escapes) for part in parts)
    if len(whole) > 100:
        return whole[:59] + "~" + hashlib.sha256(whole.encode()).hexdigest()[:40]
    return whole


def plain(value: Token) -> str:
    """The text of a token."""
    return str(json.loads(value)) if value.startswith('"') else value


def _is_large(value: Token) -> bool:
    """A character has at most four bytes, so short ones need not be measured."""
    return 4 * len(value) >= LARGEST and len(plain(value).encode()) >= LARGEST


def _moment_of(value: Token) -> datetime | None:
    if value == NULL:
        return None
    found = datetime.fromisoformat(plain(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# --- tokens ------------------------------------------------------------------------------------------------------


def token(value: object) -> Token:
    """The token of a value that the standard library read from JSON, fractions as Decimal."""
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def text(value: str) -> Token:
    """Text as it is."""
    return json.dumps(value, ensure_ascii=False)


def integer(value: str) -> Token:
    """A whole number from its text."""
    return str(int(value))


def floating(value: str) -> Token:
    """A binary number from its text, with a fraction."""
    number = float(value)
    if number in (float("inf"), float("-inf")) or number != number:
        raise NotFinite
    return str(Decimal(repr(number)))


def single(value: str) -> Token:
    """A binary number of 32 bits from the text of its 64: the fewest digits that lead back to it."""
    bits = ctypes.c_float(float(value)).value
    shortest = (f"{bits:.{digits}g}" for digits in range(1, 18))
    return floating(next(each for each in shortest if ctypes.c_float(float(each)).value == bits))


def decimal(scale: int | None) -> Rule:
    """An exact number from its text: whole without digits behind the point, else with a fraction."""

    def rule(value: str) -> Token:
        if value in ("NaN", "Infinity", "-Infinity"):
            raise NotFinite
        if scale == 0:
            return str(int(value))
        return str(Decimal(value if "." in value else value + ".0"))

    return rule


def binary(value: bytes) -> Token:
    """Base64."""
    return text(base64.b64encode(value).decode())


def encoded(value: str) -> Token:
    """Base64 the database made, in lines."""
    return text("".join(value.split()))


def day(value: str) -> Token:
    """A date of the calendar, from ISO text."""
    try:
        return text(date.fromisoformat(value).isoformat())
    except ValueError:
        raise Refused("VALUE_OUT_OF_RANGE") from None


def moment(zone: tzinfo, digits: int | None) -> Rule:
    """A moment, from ISO text with six digits of fraction; `digits` of them are kept, or those that are not 0."""

    def rule(value: str) -> Token:
        seconds, _, fraction = value.partition(".")
        try:
            told = datetime.fromisoformat(seconds).replace(tzinfo=zone).isoformat()
        except ValueError:
            raise Refused("VALUE_OUT_OF_RANGE") from None
        kept = fraction.rstrip("0") if digits is None else fraction[:digits]
        return text(told[:19] + (f".{kept}" if kept else "") + told[19:])

    return rule


def document(value: str) -> Token:
    """JSON text without the blanks between its parts: all else stays."""
    kept: list[str] = []
    within = escaped = False
    for char in value:
        if within or char not in " \t\r\n":
            kept.append(char)
        if char == '"' and not escaped:
            within = not within
        escaped = within and char == "\\" and not escaped
    return text("".join(kept))


def listed(value: object) -> Token:
    """Compact JSON text of lists that the driver made."""
    return text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def seconds(value: str) -> Token:
    """A length of time from the text of its seconds, with a fraction."""
    number = Decimal(value).normalize()
    return decimal(None)(format(number, "f"))
