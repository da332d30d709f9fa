"""Places in the read order as SQL: what lies from a place on, and what lies up to it. Both include the place itself.

The order is that of the watermark, where there is one, then of the key. Comparisons happen in the database, in each
column's own type and collation; whatever that calls equal to the place is read again rather than left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from syncer.core.model import Column, Kind, Position, Row
from syncer.core.watermark import decode_key, encode, encode_key
from syncer.source.dialect_generic import GenericDialect
from syncer.source.drivers import Sql


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOrder:
    """How a query's rows are ordered."""

    dialect: GenericDialect
    watermark: Column | None
    #: the key columns
    key: tuple[Column, ...]
    #: places of the watermark and of the key columns in a row
    index: int | None
    indexes: tuple[int, ...]

    @property
    def has_places(self) -> bool:
        """Whether reading can go on at a row: every key column can be ordered and compared with its text."""
        return self.dialect.orders_nulls is not None and all(map(self._can_be_placed, self.key))

    def _can_be_placed(self, column: Column) -> bool:
        return column.kind is not Kind.JSON and self.dialect.can_order_by(column)

    @property
    def sql(self) -> str:
        """The ORDER BY clause; none where nothing depends on the order."""
        if self.watermark is None and not self.has_places:
            return ""
        known = [] if self.watermark is None else [self.watermark]
        columns = [*known, *(each for each in self.key if each not in known and self.dialect.can_order_by(each))]
        return f"\nORDER BY {', '.join(map(self.dialect.place, columns))}"

    def position(self, row: Row) -> Position | None:
        """The place of a row. None: it has none that the database would find again, such as one without a key."""
        values = [row[index] for index in self.indexes]
        if not self.has_places or None in values:
            return None
        mark = None
        if self.watermark is not None and self.index is not None and row[self.index] is not None:
            mark = encode(self.watermark.kind, row[self.index])
            if mark is None:
                return None
        return Position(watermark=mark, key=encode_key([column.kind for column in self.key], values))

    def from_on(self, position: Position) -> Sql:
        """The condition that a row lies at the place or behind it."""
        parts = self._parts(position, "after")
        return Sql(text=_nested(parts, forward=True), binds=_binds(parts))

    def up_to(self, position: Position) -> Sql:
        """The condition that a row lies at the place or before it."""
        parts = self._parts(position, "until")
        return Sql(text=_nested(parts, forward=False), binds=_binds(parts))

    def _parts(self, position: Position, name: str) -> list[_Part]:
        dialect, parts = self.dialect, []
        nulls = dialect.orders_nulls or "first"
        if self.watermark is not None:
            place = dialect.place(self.watermark)
            value = None
            if position.watermark is not None:
                value = dialect.point(self.watermark, position.watermark, 0, name)
            parts.append(_Part(place=place, value=value, nulls=nulls))
        for number, (column, (kind, text)) in enumerate(zip(self.key, decode_key(position.key), strict=True)):
            value = dialect.value(column, kind, text, f"{name}_{number}")
            parts.append(_Part(place=dialect.place(column), value=value, nulls=nulls))
        return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One column of the order and its value at the place; None: NULL."""

    place: str
    value: Sql | None
    #: whether NULL sorts first or last
    nulls: str

    @property
    def binds(self) -> Mapping[str, object]:
        return self.value.binds if self.value is not None else {}

    @property
    def same(self) -> str:
        return f"{self.place} IS NULL" if self.value is None else f"{self.place} = {self.value.text}"

    def beyond(self, *, forward: bool) -> str:
        """What lies behind the value, or before it."""
        nulls_beyond = self.nulls == ("last" if forward else "first")
        if self.value is None:
            return "1 = 0" if nulls_beyond else f"{self.place} IS NOT NULL"
        compared = f"{self.place} {'>' if forward else '<'} {self.value.text}"
        return f"({compared} OR {self.place} IS NULL)" if nulls_beyond else compared


def _nested(parts: Sequence[_Part], *, forward: bool) -> str:
    first, *rest = parts
    inner = f"({first.same} AND {_nested(rest, forward=forward)})" if rest else first.same
    return f"({first.beyond(forward=forward)} OR {inner})"


def _binds(parts: Sequence[_Part]) -> dict[str, object]:
    return {name: value for part in parts for name, value in part.binds.items()}
