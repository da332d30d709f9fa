"""A source of rows in memory, with integer watermarks: for trying the pipeline without a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from syncer.core.model import CollectionMapping, Column, Row, Watermark
from syncer.core.plan import RunPlan
from syncer.core.watermark import encode, encode_key, lookback_of
from syncer.source.base import Chunk, Described, KeyFaults


class MemorySource:
    """Rows that a caller may change between reads; each read is a snapshot. `chunk` rows travel together."""

    def __init__(self, columns: Sequence[Column], key: Sequence[str], rows: Sequence[Row], *, chunk: int = 100) -> None:
        self.rows = list(rows)
        self._columns = tuple(columns)
        self._key = tuple(key)
        self._places = {column.name: place for place, column in enumerate(columns)}
        self._chunk = chunk

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
        rows = self._chosen(plan)[: plan.limit]
        yield (self._cut(plan, rows[start : start + self._chunk]) for start in range(0, len(rows), self._chunk))

    def read_keys(self, mapping: CollectionMapping, described: Described, keys: Sequence[str]) -> list[Row]:
        """The rows with these keys."""
        kinds = [self._columns[self._places[name]].kind for name in self._key]
        whole = [row for row in self.rows if None not in self._key_of(row)]
        return [row for row in whole if encode_key(kinds, self._key_of(row)) in set(keys)]

    def interrupt(self) -> None:
        """Nothing takes long enough."""

    def close(self) -> None:
        """Nothing to let go of."""

    def _key_of(self, row: Row) -> tuple[object, ...]:
        return tuple(row[self._places[name]] for name in self._key)

    def _chosen(self, plan: RunPlan) -> list[Row]:
        rule = plan.rule
        if rule is None:
            return list(self.rows)
        place = self._places[rule.column]
        kind = self._columns[place].kind
        nulls = [row for row in self.rows if row[place] is None]
        known = sorted((row for row in self.rows if row[place] is not None), key=lambda row: int(str(row[place])))
        if plan.watermark is not None:
            back = lookback_of(rule, kind)
            lower = int(plan.watermark.text) - (back if isinstance(back, int) else 0)
            known = [row for row in known if int(str(row[place])) >= lower]
        if plan.start is not None:
            known, nulls = [row for row in known if int(str(row[place])) >= int(plan.start or 0)], []
        if plan.end is not None:
            known, nulls = [row for row in known if int(str(row[place])) < int(plan.end or 0)], []
        return [*nulls, *known]

    def _cut(self, plan: RunPlan, rows: list[Row]) -> Chunk:
        """A chunk and the watermark of its last row; rows re-read behind the saved watermark have none."""
        rule = plan.rule
        if rule is None:
            return Chunk(rows=rows, watermark=None)
        place = self._places[rule.column]
        floor = int(plan.watermark.text) if plan.watermark else None
        ahead = [row for row in rows if row[place] is not None and (floor is None or int(str(row[place])) >= floor)]
        mark: Watermark | None = encode(self._columns[place].kind, ahead[-1][place]) if ahead else None
        return Chunk(rows=rows, watermark=mark)
