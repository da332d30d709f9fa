"""Texts that cannot be a watermark: they do not sort as they grow. Said at the first run, before rows are lost."""

from __future__ import annotations

import re
from collections.abc import Iterable

from syncer.core.model import Column
from syncer.errors import MappingError

_RANDOM = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}", re.IGNORECASE)
_DAY_FIRST = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{4}\b")
#: digits from which on a number without leading zeros is taken for a date or a time, which keeps its length
_LONG = 8


def check_growth(column: Column, values: Iterable[object]) -> None:
    """Refuse texts of which a later one may sort before an earlier one.

    Raises:
        MappingError: says what they are, and what to do.
    """
    for value in values:
        what = unsorted(value) if isinstance(value, str) else None
        if what is not None:
            raise MappingError(
                f"the watermark column {column.name} holds {what}, which do not sort as they grow",
                "use a column that does, or CAST it in the query to a number or a date; "
                "or leave `watermark` out so that every run is full",
            )


def unsorted(text: str) -> str | None:
    """What a text is, if it is of a kind that does not sort as it grows."""
    if text.isdecimal() and len(text) < _LONG and not text.startswith("0"):
        return "numbers written as text"
    if _RANDOM.fullmatch(text):
        return "random UUIDs"
    if _DAY_FIRST.match(text):
        return "dates that begin with the day"
    return None
