"""Rows from a server-side cursor in chunks of bounded size, each with the watermark it reaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from syncer.core.model import Column, Mark, Position, Row, Watermark
from syncer.core.watermark import encode
from syncer.source.base import Chunk
from syncer.source.dialect_generic import BEHIND, BEYOND, HELD, GenericDialect, Horizon
from syncer.source.statements import Reading

#: rows and bytes of a chunk, at most and about
MOST_ROWS = 1_000
MOST_BYTES = 4_000_000
#: rows of the first fetch and of later ones, and how many of them are weighed
_FIRST_ROWS = 20
_AT_ONCE = 100
_SAMPLE = 20
#: what a value other than text and bytes costs, about
_SMALL = 16


def chunks(
    fetch: Callable[[int], Sequence[Row]],
    reading: Reading,
    dialect: GenericDialect,
    *,
    limit: int | None,
    horizon: Horizon | None = None,
) -> Iterator[Chunk]:
    """Fetch to the end, in chunks of bounded size. `horizon`: as it was seen before the snapshot was taken."""
    marks = _Marks(reading, dialect)
    pinned = horizon is not None and horizon.pinned
    bound = None if horizon is None or pinned else horizon.at
    held_by = horizon.held_by if horizon is not None and pinned else None
    portions = _Portions(fetch)
    left = limit
    while left is None or left > 0:
        fetched = portions.gather(MOST_ROWS if left is None else min(MOST_ROWS, left))
        if not fetched:
            return
        mark = Mark(watermark=marks.reached(fetched), position=_position(reading, fetched))
        rows = [row[:-1] for row in fetched] if reading.positioned else [tuple(row) for row in fetched]
        left = None if left is None else left - len(rows)
        yield Chunk(rows=rows, mark=mark, ceiling=reading.horizon, bound=bound, held_by=held_by, ahead=marks.ahead)


def _position(reading: Reading, rows: Sequence[Row]) -> Position | None:
    """That of the last row that has one."""
    places = (reading.order.position(row) for row in reversed(rows))
    return next((place for place in places if place is not None), None) if reading.order.has_places else None


class _Portions:
    """Fetches a few rows at a time, fewer when they are large, until they are enough for a chunk."""

    def __init__(self, fetch: Callable[[int], Sequence[Row]]) -> None:
        self._fetch = fetch
        self._at_once = _FIRST_ROWS
        self._largest = 1

    def gather(self, most: int) -> list[Row]:
        """Up to so many rows of up to `MOST_BYTES` together; none at the end."""
        gathered: list[Row] = []
        size = 0
        while len(gathered) < most and size < MOST_BYTES:
            asked = max(1, min(self._at_once, most - len(gathered), (MOST_BYTES - size) // self._largest))
            rows = self._fetch(asked)
            gathered.extend(rows)
            size += self._weigh(rows)
            if len(rows) < asked:
                break
        return gathered

    def _weigh(self, rows: Sequence[Row]) -> int:
        step = max(1, len(rows) // _SAMPLE)
        sizes = [_bytes(row) for row in rows[::step]]
        self._largest = max([self._largest, *sizes])
        self._at_once = min(_AT_ONCE, 4 * self._at_once)
        return step * sum(sizes)


class _Marks:
    """Follows the watermark through the chunks of one reading."""

    def __init__(self, reading: Reading, dialect: GenericDialect) -> None:
        self._reading = reading
        self._dialect = dialect
        self._guard = dialect.guard(reading.column) if reading.column else None
        self._known: Watermark | None = None
        #: whether any row stood at or above the saved watermark
        self.ahead = reading.saved is None

    def reached(self, rows: Sequence[Row]) -> Watermark | None:
        """The watermark after these rows: that of the last of them that has one, or the last known."""
        column, index = self._reading.column, self._reading.order.index
        if column is None or index is None:
            return None
        if self._guard is not None:
            self._guard(row[index] for row in rows)
        for row in reversed(rows):
            mark = encode(column.kind, row[index])
            if mark is not None:
                self._known = self._placed(column, mark, row[-1] if self._reading.positioned else None)
                break
        return self._known

    def _placed(self, column: Column, mark: Watermark, position: object) -> Watermark | None:
        """Never below the saved watermark, never beyond the horizon; which it is, the database said.

        Where nothing moves and nothing is saved, there is none: the next run begins where this one did.
        """
        reading = self._reading
        self.ahead = self.ahead or position != BEHIND
        if reading.pinned or (position in (BEHIND, HELD) and reading.saved is not None):
            return reading.saved
        if position == BEYOND and reading.horizon is not None:
            return self._dialect.capped(column, reading.horizon, mark)
        return mark


def _bytes(row: Sequence[Any]) -> int:
    return sum(len(value) if isinstance(value, str | bytes) else _SMALL for value in row)
