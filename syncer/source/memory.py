"""A source of rows in memory, with integer watermarks: for trying the pipeline without a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from syncer.core.model import CollectionMapping, Column, Kind, Mark, Position, Row, Watermark
from syncer.core.plan import RunPlan
from syncer.core.watermark import bind_value, decode_key, encode_key, lookback_of
from syncer.source.base import Chunk, Described, KeyFaults


class MemorySource:
    """Rows that a caller may change between reads; each read is a snapshot. `chunk` rows travel together."""

    def __init__(self, columns: Sequence[Column], key: Sequence[str], rows: Sequence[Row], *, chunk: int = 100) -> None:
        self.rows = list(rows)
        self._columns = tuple(columns)
        self._key = tuple(key)
        self._places = {column.name: place for place, column in enumerate(columns)}
        self._chunk = chunk
        self._watermark: str | None = None

    def identity(self) -> str:
        """There is one memory."""
        return "memory"

    def describe(self, mapping: CollectionMapping) -> Described:
        """The columns and key it was made with."""
        rule = mapping.watermark
        return Described(columns=self._columns, primary_key=self._key, watermark=rule.column if rule else None)

    def key_faults(self, mapping: CollectionMapping, described: Described) -> KeyFaults:
        """Counted row by row."""
        keys = [self._key_of(row) for row in self.rows]
        whole = [key for key in keys if None not in key]
        rule = mapping.watermark
        return KeyFaults(
            nulls=len(keys) - len(whole),
            duplicates=sum(whole.count(key) > 1 for key in set(whole)),
            null_watermarks=sum(row[self._places[rule.column]] is None for row in self.rows) if rule else 0,
        )

    @contextmanager
    def read(self, plan: RunPlan, described: Described) -> Iterator[Iterator[Chunk]]:
        """The plan's rows, ordered by watermark where there is one."""
        self._watermark = plan.rule.column if plan.rule is not None else None
        rows = self._chosen(plan)[: plan.limit]
        yield (self._cut(plan, rows[start : start + self._chunk]) for start in range(0, len(rows), self._chunk))

    def horizon(self, *, numbers: bool = False) -> None:
        """Rows appear here without stamps."""

    def read_keys(self, mapping: CollectionMapping, described: Described, keys: Sequence[str]) -> list[Row]:
        """The rows with these keys."""
        kinds = [self._columns[self._places[name]].kind for name in self._key]
        whole = [row for row in self.rows if None not in self._key_of(row)]
        return [row for row in whole if encode_key(kinds, self._key_of(row)) in set(keys)]

    def count(self, plan: RunPlan, described: Described, most: int) -> int:
        """How many rows a plan reads, up to `most`."""
        return min(len(self._chosen(plan)), most)

    def interrupt(self) -> None:
        """Nothing takes long enough."""

    def close(self) -> None:
        """Nothing to let go of."""

    def _key_of(self, row: Row) -> tuple[object, ...]:
        return tuple(row[self._places[name]] for name in self._key)

    def _chosen(self, plan: RunPlan) -> list[Row]:
        rows = sorted(self.rows, key=self._order)
        if plan.after is not None:
            rows = [row for row in rows if self._order(row) >= self._place(plan.after)]
        if plan.until is not None:
            rows = [row for row in rows if self._order(row) <= self._place(plan.until)]
        if plan.rule is None:
            return rows
        lower, upper = (None if bound is None else int(bound) for bound in (plan.start, plan.end))
        if plan.watermark is not None:
            kind = self._columns[self._places[plan.rule.column]].kind
            back = lookback_of(plan.rule, kind)
            lower = int(plan.watermark.text) - (back if isinstance(back, int) else 0)
        ranged = plan.start is not None or plan.end is not None
        marks = [(self._mark(row), row) for row in rows]
        return [
            row
            for mark, row in marks
            if (mark is None and not ranged)
            or (mark is not None and (lower is None or mark >= lower) and (upper is None or mark < upper))
        ]

    def _mark(self, row: Row) -> int | None:
        value = row[self._places[self._watermark]] if self._watermark is not None else None
        return None if value is None else int(str(value))

    def _order(self, row: Row) -> tuple[Any, ...]:
        """NULL comes first, as in most databases."""
        mark = self._mark(row)
        return (mark is not None, mark or 0, *((value is not None, value) for value in self._key_of(row)))

    def _place(self, position: Position) -> tuple[Any, ...]:
        mark = position.watermark
        key = [bind_value(kind, text) for kind, text in decode_key(position.key)]
        return (mark is not None, int(mark.text) if mark else 0, *((True, value) for value in key))

    def _cut(self, plan: RunPlan, rows: list[Row]) -> Chunk:
        """A chunk and where it ends; rows that are read again behind the saved watermark do not move it."""
        kinds = [self._columns[self._places[name]].kind for name in self._key]
        last = self._mark(rows[-1])
        mark = None if last is None else Watermark(kind=Kind.INTEGER, text=str(last))
        key = self._key_of(rows[-1])
        position = None if None in key else Position(watermark=mark, key=encode_key(kinds, key))
        behind = last is not None and plan.watermark is not None and last < int(plan.watermark.text)
        return Chunk(rows=rows, mark=Mark(watermark=None if behind else mark, position=position), ahead=not behind)
