"""From an object's id to the keys its row may have, so that one row can be found without reading all. Pure.

A guess that finds nothing proves something only where the id tells the key for certain; the id that counts is always
the one that shaping makes of the row.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice, product
from typing import TypeAlias

from syncer.core.model import Column, Kind
from syncer.core.naming import MAX_ID, id_parts, was_cut

_INTEGER = re.compile(r"0|-?[1-9]\d*", re.ASCII)
_DECIMAL = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
#: keys looked for of one id; every untyped part doubles them
_MOST = 64

#: a key part as `core.watermark.encode_key` has it
Part: TypeAlias = tuple[Kind, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """The keys that the row of an id may have."""

    #: as `core.watermark.encode_key` writes them
    keys: tuple[str, ...]
    #: whether a row with this id has one of these keys
    certain: bool


def keys_of(identifier: str, columns: Sequence[Column]) -> Sought:
    """The keys from which an object may have got its id.

    Args:
        columns: the key columns.
    """
    if len(identifier) > MAX_ID:
        return Sought(keys=(), certain=True)
    cut = was_cut(identifier)
    parts = id_parts(identifier, len(columns))
    if parts is None:
        return Sought(keys=(), certain=not cut)
    guesses = [_guesses(column, part) for column, part in zip(columns, parts, strict=True)]
    certain = not cut and all(map(_tells, columns))
    keys = (json.dumps(key, separators=(",", ":")) for key in islice(product(*guesses), _MOST))
    return Sought(keys=tuple(keys), certain=certain)


def _tells(column: Column) -> bool:
    """Whether the text of a value is the value, and nothing else has it."""
    return column.exact and column.kind in (Kind.INTEGER, Kind.TEXT)


def _guesses(column: Column, text: str) -> list[Part]:
    """What a value may be whose text in the id is this."""
    if not _tells(column) and column.kind in (Kind.INTEGER, Kind.TEXT, Kind.ANY):
        # any value may stand in the column, whatever its type says
        return [*_numbers(text), (Kind.TEXT, text)]
    match column.kind:
        case Kind.INTEGER:
            return _numbers(text)
        case Kind.TEXT:
            return [(Kind.TEXT, text)]
        case Kind.DECIMAL:
            return _decimals(column, text)
        case Kind.FLOAT:
            return [(Kind.FLOAT, repr(float(text)))] if _DECIMAL.fullmatch(text) else []
        case Kind.BOOLEAN:
            return [(Kind.BOOLEAN, text)] if text in ("true", "false") else []
        case Kind.DATE:
            return [(Kind.DATE, text)] if _DATE.fullmatch(text) else []
        case Kind.BYTES:
            return [(Kind.BYTES, text)] if _is_base64(text) else []
    return []


def _numbers(text: str) -> list[Part]:
    return [(Kind.INTEGER, text)] if _INTEGER.fullmatch(text) else []


def _decimals(column: Column, text: str) -> list[Part]:
    if not _DECIMAL.fullmatch(text):
        return []
    # an id has no zeros at the end of a fraction, but the column's values have
    scale = column.scale or 0
    return [(Kind.DECIMAL, format(Decimal(text), f".{scale}f") if scale > 0 else text)]


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
