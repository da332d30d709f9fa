"""Plain tables: aligned columns that survive pipes and copying. Formatting only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from unicodedata import east_asian_width


def render(headers: Sequence[str], rows: Sequence[Sequence[object]], *, most: int = 60) -> str:
    """A table with a header line. Numbers align right; cells longer than `most` are cut with an ellipsis."""
    texts = [[_cell(value, most) for value in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(headers, *texts, strict=True)]
    numeric = [_is_numeric([row[index] for row in rows]) for index in range(len(headers))]
    lines = [headers, ["-" * width for width in widths], *texts]
    return "\n".join(_line(line, widths, numeric) for line in lines)


def _is_numeric(column: Sequence[object]) -> bool:
    numbers = [isinstance(value, int | float) for value in column if value is not None]
    return bool(numbers) and all(numbers)


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = []
    for cell, width, right in zip(cells, widths, numeric, strict=True):
        blanks = " " * (width - _width(cell))
        padded.append(blanks + cell if right else cell + blanks)
    return "  ".join(padded).rstrip()


def _cell(value: object, most: int) -> str:
    if value is None:
        return "-"
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def printable(text: str) -> str:
    """On one line, without signs that command a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def _width(text: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def moment(at: datetime | None) -> str | None:
    """A time in UTC, to the second."""
    return None if at is None else f"{at:%Y-%m-%d %H:%M:%SZ}"


def length(span: timedelta | None) -> str | None:
    """`3d 4h`, `12m 5s`, `0.4s`: the two largest units."""
    if span is None:
        return None
    seconds = span.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f}s"
    parts = []
    rest = int(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
