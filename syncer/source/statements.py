"""The SELECT statements of a mapping: read, count, find again. What to read is in the plan; how to say it, here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection

from syncer.core.model import CollectionMapping, Column, Kind, Watermark
from syncer.core.plan import RunPlan
from syncer.core.statement import PreparedQuery
from syncer.core.watermark import decode_key, lookback_of
from syncer.errors import MappingError
from syncer.source.base import Described
from syncer.source.describing import column_named
from syncer.source.dialect_generic import GenericDialect, select
from syncer.source.drivers import Sql
from syncer.source.keyset import ReadOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The statement of a plan, and how to see the watermark in its rows."""

    sql: Sql
    order: ReadOrder
    #: the last value of a row says where it stands: see `GenericDialect.position`
    positioned: bool
    saved: Watermark | None
    horizon: Watermark | None
    #: nothing passes the horizon
    pinned: bool = False

    @property
    def column(self) -> Column | None:
        """The watermark column."""
        return self.order.watermark


def reading(
    dialect: GenericDialect,
    query: PreparedQuery,
    plan: RunPlan,
    described: Described,
    *,
    connection: Connection,
    horizon: Watermark | None,
) -> Reading:
    """The statement that reads a plan.

    Raises:
        MappingError: the lookback or a bound does not fit the watermark's type.
    """
    column = watermark_column(described)
    pinned = column is not None and horizon is not None and horizon == dialect.nowhere(column)
    position = dialect.position(column, plan.watermark, None if pinned else horizon) if column else None
    inner = placed(dialect, query, plan, described)
    order = read_order(dialect, described)
    chosen = _where(dialect, query, plan, described, connection)
    items = ", ".join(map(dialect.item, described.columns)) + (f", {position.text}" if position else "")
    limit = f"\nLIMIT {int(plan.limit)}" if plan.limit is not None and dialect.has_limit else ""
    binds = {**inner.binds, **(position.binds if position else {}), **chosen.binds}
    return Reading(
        sql=Sql(text=f"{select(items, inner)}{chosen.text}{order.sql}{limit}", binds=binds), order=order,
        positioned=position is not None, saved=plan.watermark, horizon=horizon,
        pinned=pinned,
    )  # fmt: skip


def counting(
    dialect: GenericDialect,
    query: PreparedQuery,
    plan: RunPlan,
    described: Described,
    *,
    connection: Connection,
    most: int,
) -> Sql:
    """Counts the rows of a plan, where the database allows it no further than to `most`."""
    inner, chosen = placed(dialect, query, plan, described), _where(dialect, query, plan, described, connection)
    limit = f"\nLIMIT {int(most)}" if dialect.has_limit else ""
    rows = Sql(text=f"{select('1 AS n', inner)}{chosen.text}{limit}", binds={**inner.binds, **chosen.binds})
    return Sql(text=select("COUNT(*)", rows), binds=rows.binds)


def _where(
    dialect: GenericDialect, query: PreparedQuery, plan: RunPlan, described: Described, connection: Connection
) -> Sql:
    """Which rows a plan reads."""
    column, order = watermark_column(described), read_order(dialect, described)
    conditions = _conditions(dialect, query, plan, column, connection) if column else []
    conditions += [order.from_on(plan.after)] if plan.after is not None else []
    conditions += [order.up_to(plan.until)] if plan.until is not None else []
    binds = {name: value for condition in conditions for name, value in condition.binds.items()}
    text = f"\nWHERE {' AND '.join(condition.text for condition in conditions)}" if conditions else ""
    return Sql(text=text, binds=binds)


def watermark_column(described: Described) -> Column | None:
    """The column that is the watermark."""
    return column_named(described.columns, described.watermark) if described.watermark is not None else None


def placed(dialect: GenericDialect, query: PreparedQuery, plan: RunPlan | None, described: Described) -> Sql:
    """The query itself, with the watermark where it asks for it; without a watermark, the lowest value."""
    if not query.places_watermark:
        return Sql(text=query.render())
    column = watermark_column(described)
    if column is None:
        raise MappingError(
            "the query uses :watermark, but the mapping has none", "add `watermark: COLUMN` to the mapping"
        )
    if plan is not None and plan.watermark is not None:
        point = dialect.point(column, plan.watermark, _lookback(dialect, plan, column), "watermark")
    else:
        point = dialect.lowest(column)
    return Sql(text=query.render(f"({point.text})"), binds=point.binds)


def _lookback(dialect: GenericDialect, plan: RunPlan, column: Column) -> timedelta | int:
    assert plan.rule is not None
    assert plan.watermark is not None
    kind = dialect.lookback_kind(column, plan.watermark)
    return lookback_of(plan.rule, kind, zone_shifts=dialect.zone_shifts)


def _conditions(
    dialect: GenericDialect, query: PreparedQuery, plan: RunPlan, column: Column, connection: Connection
) -> list[Sql]:
    """Which rows. NULL watermarks belong to every run but one that asks for a range."""
    conditions: list[Sql] = []
    if plan.watermark is not None and not query.places_watermark:
        conditions.append(dialect.since(column, plan.watermark, _lookback(dialect, plan, column)))
    if plan.start is not None:
        conditions.append(dialect.starts_at(column, plan.start, connection))
    if plan.end is not None:
        conditions.append(dialect.ends_before(column, plan.end, connection))
    ranged = plan.end is not None or (plan.start is not None and not plan.advances)
    assert plan.rule is not None
    if ranged or plan.rule.nulls == "skip":
        return conditions
    empty = f"{dialect.place(column)} IS NULL"
    return [Sql(text=f"({each.text} OR {empty})", binds=each.binds) for each in conditions]


def read_order(dialect: GenericDialect, described: Described) -> ReadOrder:
    """How the rows of a mapping are ordered."""
    column, keys = watermark_column(described), _keys(described)
    return ReadOrder(
        dialect=dialect, watermark=column, key=tuple(keys),
        index=described.columns.index(column) if column else None,
        indexes=tuple(described.columns.index(key) for key in keys),
    )  # fmt: skip


def highest(dialect: GenericDialect, query: PreparedQuery, plan: RunPlan, described: Described) -> Sql:
    """Reads the highest watermark, as far as the plan reads it; NULL where there is none."""
    column = watermark_column(described)
    assert column is not None
    inner = placed(dialect, query, plan, described)
    most = select(f"MAX({dialect.place(column)})", inner)
    if plan.watermark is None or query.places_watermark:
        return Sql(text=most, binds=inner.binds)
    since = dialect.since(column, plan.watermark, 0)
    return Sql(text=f"{most} WHERE {since.text}", binds={**inner.binds, **since.binds})


def counting_nulls(dialect: GenericDialect, inner: Sql, described: Described) -> Sql:
    """Counts rows with a NULL key part, and rows with a NULL watermark."""
    keys = _keys(described)
    no_key = " OR ".join(f"{dialect.place(key)} IS NULL" for key in keys)
    column = watermark_column(described)
    no_watermark = f"{dialect.place(column)} IS NULL" if column else "1 = 0"
    sums = [f"COALESCE(SUM(CASE WHEN {each} THEN 1 ELSE 0 END), 0)" for each in (no_key, no_watermark)]
    return Sql(text=select(", ".join(sums), inner), binds=inner.binds)


def counting_duplicates(dialect: GenericDialect, inner: Sql, described: Described) -> Sql:
    """Counts keys that more than one row has."""
    keys = _keys(described)
    full = " AND ".join(f"{dialect.place(key)} IS NOT NULL" for key in keys)
    grouped = ", ".join(map(dialect.grouped, keys))
    groups = Sql(text=f"{select('COUNT(*) AS n', inner)} WHERE {full} GROUP BY {grouped} HAVING COUNT(*) > 1")
    return Sql(text=select("COUNT(*)", groups), binds=inner.binds)


def finding(dialect: GenericDialect, inner: Sql, described: Described, keys: Sequence[str]) -> Sql:
    """Reads the rows with these keys."""
    columns = _keys(described)
    binds = dict(inner.binds)
    alternatives: list[str] = []
    for number, key in enumerate(keys):
        parts = [
            dialect.equals(column, kind, text, f"key_{number}_{part}")
            for part, (column, (kind, text)) in enumerate(zip(columns, decode_key(key), strict=True))
        ]
        alternatives.append(f"({' AND '.join(part.text for part in parts)})")
        for part in parts:
            binds |= part.binds
    items = ", ".join(map(dialect.item, described.columns))
    return Sql(text=f"{select(items, inner)} WHERE {' OR '.join(alternatives)}", binds=binds)


def key_kinds(described: Described) -> list[Kind]:
    """The kinds of the key columns."""
    return [column.kind for column in _keys(described)]


def check_ties(mapping: CollectionMapping, query: PreparedQuery, described: Described) -> None:
    """Refuse a query that leaves out the rows at the watermark itself, unless a lookback reads them again.

    Raises:
        MappingError: new rows may come to stand there, and would never be read.
    """
    column = watermark_column(described)
    if not query.strict or column is None or mapping.watermark is None or lookback_of(mapping.watermark, column.kind):
        return
    raise MappingError(
        f"mapping {mapping.name}: the query compares with `> :watermark`, which leaves out new rows at the watermark",
        "write `>= :watermark`: what was sent already is not sent again",
    )


def check_saved(mapping: CollectionMapping, column: Column, saved: Watermark | None) -> None:
    """Refuse a saved watermark of another type than the column has now.

    Raises:
        MappingError: the column's type changed.
    """
    if saved is None or not column.exact or saved.kind is column.kind:
        return
    raise MappingError(
        f"mapping {mapping.name}: the saved watermark has the type {saved.kind}, "
        f"but column {column.name} now has {column.kind}",
        f"run `syncer run --select {mapping.name} --full` to begin again",
    )


def _keys(described: Described) -> list[Column]:
    return [column_named(described.columns, name) for name in described.primary_key]
