"""Times that a database keeps as text (SQLite): which of them sort in time order, and texts below them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from syncer.core.model import Column
from syncer.core.watermark import TIME_KINDS
from syncer.errors import MappingError

_TIME = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:(?P<gap>[ T])(?P<minute>\d\d:\d\d)(?P<rest>:\d\d(?:\.\d+)?)?(?P<offset>Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
_MANY = r"(?:\d{{4}}-\d\d-\d\d{gap}\d\d:\d\d(?::\d\d(?:\.\d+)?)?{offset}\n)*"
_UTC = {"Z", "+00:00", "+0000", "-00:00"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTime:
    """A time written as ISO 8601 text."""

    #: `2026-01-31`
    day: str
    #: between day and time: `T`, a blank, or nothing for a date
    gap: str
    #: `13:45`
    minute: str
    #: as written: `Z`, `+02:00`, or nothing
    offset: str

    @property
    def to_the_minute(self) -> str:
        """The text all times of this minute and form begin with, so it is not above any of them."""
        return f"{self.day}{self.gap}{self.minute}"


def parse(text: str) -> TextTime | None:
    """The time a text says; None for other text."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    parts = {name: found[name] or "" for name in ("day", "gap", "minute", "offset")}
    return TextTime(**parts)


def form_of(value: object) -> str | None:
    """What must not be mixed in a watermark column, in words; None for NULL.

    Text sorts in time order only if the day and the time are separated in one way, and all offsets are the same.
    """
    if value is None:
        return None
    if isinstance(value, int | float):
        return "numbers"
    if not isinstance(value, str):
        return "bytes"
    time = parse(value)
    if time is None:
        return "text"
    return _said(time) if time.gap else "dates"


def _said(time: TextTime) -> str:
    between = "a T" if time.gap == "T" else "a blank"
    zone = "UTC" if time.offset in _UTC else (time.offset or "no offset")
    return f"times with {between} and {zone}"


def forms_of(values: Sequence[object]) -> set[str]:
    """The forms of all values but NULLs. Most columns have one, which shows at once."""
    first = values[0] if values else None
    if isinstance(first, str) and set(map(type, values)) == {str} and (time := parse(first)) is not None and time.gap:
        many = re.compile(_MANY.format(gap=time.gap, offset=re.escape(time.offset)), re.ASCII)
        lines = "\n".join((*cast("Sequence[str]", values), ""))
        # a value that holds a line break could look like two
        if lines.count("\n") == len(values) and many.fullmatch(lines):
            return {_said(time)}
    return {form for form in map(form_of, values) if form is not None}


def check_forms(column: Column, known: set[str], values: Sequence[object]) -> None:
    """Add the forms of these values to the known ones.

    Raises:
        MappingError: there is more than one, or a column of times holds other text.
    """
    known.update(forms_of(values))
    if len(known) > 1:
        raise MappingError(
            f"the watermark column {column.name} mixes {' and '.join(sorted(known))}, which do not sort in order",
            f"make them one form, in the query for example: SELECT ..., strftime('%Y-%m-%d %H:%M:%f', "
            f"{column.name}) AS {column.name}",
        )
    if "text" in known and column.kind in TIME_KINDS:
        raise MappingError(
            f"the watermark column {column.name} holds text that is no ISO 8601 time and does not sort in order",
            "write times as 2026-01-31 13:45:00, in the query for example",
        )
