"""What a source asks of any database, in the SQL that all of them take. The dialects of their own override it.

Only SQL and driver settings live here and in the other dialects; what to read is decided elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from datetime import date as Date
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from syncer.core.model import Column, Kind, Watermark
from syncer.core.statement import Lexis, escape, lexis_of
from syncer.core.watermark import TIME_KINDS, bind_value
from syncer.errors import MappingError
from syncer.source.drivers import Rows, Sql
from syncer.source.text_forms import check_growth

#: seconds a statement may take, and seconds until a connection stands
STATEMENT_SECONDS = 3600
CONNECT_SECONDS = 15
#: what a transaction may need from its first stamp until others can see that it is there
MARGIN = timedelta(seconds=5)
#: a bound that nothing can pass: the watermark that is saved stays, and where none is, everything is read again
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
#: seconds that transactions of which nobody tells the beginning get to end, and between two looks at them
_PATIENCE = 1.0
_LOOK_EVERY = 0.15

#: where a row stands: below the saved watermark, between it and the horizon, beyond the horizon, or beyond a horizon
#: that lies below the saved watermark, which then stays as it is
BEHIND, WITHIN, BEYOND, HELD = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """The commit-safe bound, by the database's own clock: how far the watermark may be saved, whatever was read."""

    #: rows stamped before this instant are visible now, or never will be
    at: datetime
    #: the database's clock
    now: datetime
    #: why transactions may be hidden, so that only the lookback protects from their late commits; None: none are
    uncertain: str | None = None
    #: what holds `at` back
    held_by: str | None = None

    @property
    def pinned(self) -> bool:
        """Whether nothing moves at all."""
        return self.at == LONG_AGO


def bounded(now: datetime, held: Iterable[tuple[datetime, str]] = (), *, uncertain: str | None = None) -> Horizon:
    """The bound less the margin where these beginnings, each of something that goes on, hold it back.

    In whole seconds, because many columns keep no fractions of them.
    """
    began, what = min(held, default=(now, ""))
    at = (min(began, now) - MARGIN).replace(microsecond=0)
    return Horizon(at=at, now=now, uncertain=uncertain, held_by=what if began < now - MARGIN else None)


def outlasting(first: AbstractSet[str], look: Callable[[], AbstractSet[str]]) -> frozenset[str]:
    """Those of the first that do not end soon. What began after them need not be waited for."""
    left, until = frozenset(first), time.monotonic() + _PATIENCE
    while left and time.monotonic() < until:
        time.sleep(_LOOK_EVERY)
        left &= look()
    return left


def select(items: str, query: Sql) -> str:
    """A query wrapped as `q`. The line breaks end a comment that the query ends with."""
    return f"SELECT {items} FROM (\n{query.text}\n) q"  # noqa: S608  the query is the user's own, values are binds


class GenericDialect:
    """Any database SQLAlchemy can reach: types unknown, snapshots as good as its default isolation."""

    #: whether a declared primary key keeps NULLs and repetitions out
    enforces_keys = False
    #: whether LIMIT is written at the end of a statement
    has_limit = False
    #: numbers that the database gives out may be committed in another order, and `outlasted` waits for the lower ones
    awaits_numbers = False
    #: where NULL stands in an ORDER BY; None: unknown
    orders_nulls: Literal["first", "last"] | None = None

    def __init__(self, url: URL, zone: tzinfo) -> None:
        self.url = url
        self.zone = zone
        self._quotes = ('"', '"')

    # --- connections -------------------------------------------------------------------------------------------

    @property
    def lexis(self) -> Lexis:
        """How the database reads quotes and comments."""
        return lexis_of(self.url.get_backend_name())

    @property
    def zone_shifts(self) -> bool:
        """Whether naive timestamps are in a zone whose clock may be set back."""
        return str(self.zone) not in {"UTC", "Etc/UTC"}

    def engine(self) -> Engine:
        """An engine that keeps no idle connection and prints no values."""
        engine = create_engine(self.url, poolclass=NullPool, hide_parameters=True, **self.engine_options())
        event.listen(engine, "connect", lambda connection, _record: self.set_up(connection))
        preparer = engine.dialect.identifier_preparer
        self._quotes = (preparer.initial_quote, preparer.final_quote)
        return engine

    def rows(self, connection: Connection, sql: Sql) -> Rows:
        """Begin to read, streamed by the server."""
        return connection.execute(text(sql.text).execution_options(stream_results=True), dict(sql.binds))

    def engine_options(self) -> dict[str, Any]:
        """More arguments for `create_engine`."""
        return {}

    def set_up(self, connection: Any) -> None:
        """Prepare a new driver connection."""

    def begin(self, connection: Connection) -> None:
        """Begin the read-only snapshot."""

    def horizon(self, connection: Connection) -> Horizon | None:
        """How far everything that was stamped by the database's clock can be seen. None: unknown.

        Asked before the snapshot begins: what is open then may commit unseen. The connection is left in no transaction.
        """
        return None

    def outlasted(self, connection: Connection) -> Horizon | None:
        """Wait a moment until all have ended who may have drawn a number by now. Pinned: not all have. None: unknown.

        Whoever drew a lower number than one that could be seen before had begun by then. So once all have ended, every
        lower one is seen in snapshots that begin later, or never will be. Asked on a connection that had no
        transaction yet; it is left in none.
        """
        return None

    def interrupt(self, driver: Any) -> None:
        """End the statement that a driver's connection waits for, from another thread; where there is a way."""

    def abandon(self, connection: Connection) -> None:
        """Give up a result that was not read to its end."""

    def identity(self, connection: Connection) -> str:
        """What makes this the same database tomorrow."""
        url = self.url
        return f"{url.get_backend_name()}:{url.host or ''}:{url.port or ''}/{url.database or ''}"

    def words(self, error: BaseException) -> str:
        """The database's own sentence about an error, without the statement and its values."""
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

    # --- columns -----------------------------------------------------------------------------------------------

    def describe(self, connection: Connection, query: Sql) -> tuple[Column, ...]:
        """Columns of a query's result, without reading a row."""
        with connection.execute(text(f"{select('*', query)} WHERE 1 = 0"), query.binds) as result:
            return self.columns(connection, result.cursor)

    def columns(self, connection: Connection, cursor: Any) -> tuple[Column, ...]:
        """Columns of an executed driver cursor."""
        return tuple(
            Column(name=each[0], kind=Kind.ANY, sql_type=getattr(each[1], "__name__", ""), exact=False)
            for each in cursor.description
        )

    def own_key(self, connection: Connection, schema: str | None, table: str) -> tuple[str, ...]:
        """The columns of the table's declared primary key; empty without one."""
        return tuple(inspect(connection).get_pk_constraint(table, schema=schema)["constrained_columns"])

    def indexed(self, connection: Connection, schema: str | None, table: str) -> frozenset[str]:
        """The columns that an index of the table begins with."""
        inspector = inspect(connection)
        indexes = [each["column_names"] for each in inspector.get_indexes(table, schema=schema)]
        return frozenset(
            names[0] for names in [*indexes, self.own_key(connection, schema, table)] if names and names[0]
        )

    # --- pieces of SQL -----------------------------------------------------------------------------------------

    def quote(self, name: str) -> str:
        """An identifier, exactly as spelled."""
        opening, closing = self._quotes
        return escape(f"{opening}{name.replace(closing, closing * 2)}{closing}")

    def path(self, schema: str | None, table: str) -> str:
        """A table as a statement names it."""
        return ".".join(self.quote(part) for part in (schema, table) if part is not None)

    def place(self, column: Column) -> str:
        """A column of the wrapped query."""
        return f"q.{self.quote(column.name)}"

    def item(self, column: Column) -> str:
        """The column in a select list, so that no value of it can make the driver raise."""
        return self.place(column)

    def grouped(self, column: Column) -> str:
        """The column such that two values are equal only if they are the same."""
        return self.place(column)

    def value(self, column: Column, kind: Kind, value: str, name: str) -> Sql:
        """A value of a key column, to compare it with."""
        return Sql(text=f":{name}", binds={name: bind_value(kind, value)})

    def equals(self, column: Column, kind: Kind, value: str, name: str) -> Sql:
        """The condition that a key column has this value."""
        sought = self.value(column, kind, value, name)
        return Sql(text=f"{self.place(column)} = {sought.text}", binds=sought.binds)

    # --- watermarks --------------------------------------------------------------------------------------------

    def point(self, column: Column, watermark: Watermark, back: timedelta | int, name: str) -> Sql:
        """The watermark less the lookback, in the column's own type."""
        value: Any = native(watermark)
        try:
            value = value - back if back else value
        except OverflowError:
            value = type(value).min
        return Sql(text=f":{name}", binds={name: value})

    def since(self, column: Column, watermark: Watermark, back: timedelta | int) -> Sql:
        """The condition that a row is no older than the watermark less the lookback."""
        point = self.point(column, watermark, back, "watermark")
        return Sql(text=f"{self.place(column)} >= {point.text}", binds=point.binds)

    def lowest(self, column: Column) -> Sql:
        """A value not above any watermark, for queries that place `:watermark` and have none yet."""
        raise MappingError(
            f"the first run cannot know the lowest value of column {column.name}",
            "give the watermark an `initial` value, or leave `:watermark` out of the query",
        )

    def bound(self, column: Column, value: str, name: str, connection: Connection) -> Sql:
        """The text of `--from`, `--to` or `initial` in the column's own type."""
        return Sql(text=f":{name}", binds={name: numeric(column, value) if is_number(column) else value})

    def starts_at(self, column: Column, value: str, connection: Connection) -> Sql:
        """The condition that a row is not before this text."""
        bound = self.bound(column, value, "start", connection)
        return Sql(text=f"{self.place(column)} >= {bound.text}", binds=bound.binds)

    def ends_before(self, column: Column, value: str, connection: Connection) -> Sql:
        """The condition that a row is before this text."""
        bound = self.bound(column, value, "end", connection)
        return Sql(text=f"{self.place(column)} < {bound.text}", binds=bound.binds)

    def position(self, column: Column, saved: Watermark | None, horizon: Watermark | None) -> Sql | None:
        """Whether a row is `BEHIND`, `WITHIN`, `BEYOND` or `HELD`; compared there."""
        cases: list[str] = []
        binds: dict[str, object] = {}
        if saved is not None:
            point = self.point(column, saved, 0, "saved")
            cases.append(f"WHEN {self.place(column)} < {point.text} THEN {BEHIND}")
            binds |= point.binds
        if horizon is not None:
            point = self.point(column, horizon, 0, "horizon")
            if saved is not None:  # a bound below the saved watermark keeps what is saved
                kept = self.point(column, saved, 0, "saved")
                cases.append(f"WHEN {self.place(column)} > {point.text} AND {point.text} < {kept.text} THEN {HELD}")
            cases.append(f"WHEN {self.place(column)} > {point.text} THEN {BEYOND}")
            binds |= point.binds
        return Sql(text=f"CASE {' '.join(cases)} ELSE {WITHIN} END", binds=binds) if cases else None

    def mark_of(self, column: Column, moment: datetime) -> Watermark | None:
        """An instant as a watermark of the column; None where the column's values are no times."""
        if column.kind is Kind.INSTANT:
            return Watermark(kind=Kind.INSTANT, text=moment.astimezone(UTC).isoformat(sep=" "))
        local = moment.astimezone(self.zone).replace(tzinfo=None)
        if column.kind is Kind.TIMESTAMP:
            return Watermark(kind=Kind.TIMESTAMP, text=local.isoformat(sep=" "))
        if column.kind is Kind.DATE:
            return Watermark(kind=Kind.DATE, text=local.date().isoformat())
        return None

    def nowhere(self, column: Column) -> Watermark | None:
        """The bound that nothing passes; None where the column's values are no times or numbers."""
        return Watermark(kind=column.kind, text="-Infinity") if is_number(column) else self.mark_of(column, LONG_AGO)

    def capped(self, column: Column, horizon: Watermark, last: Watermark) -> Watermark:
        """The horizon as the watermark to keep instead of a later one."""
        return horizon

    def lookback_kind(self, column: Column, watermark: Watermark) -> Kind:
        """What the watermark is, as far as its lookback is concerned."""
        return watermark.kind

    def guard(self, column: Column) -> Callable[[Iterable[object]], None] | None:
        """A check of every watermark value read, where the type alone does not say that they sort as they grow."""
        return partial(check_growth, column) if column.kind in (Kind.TEXT, Kind.ANY) else None

    def can_order_by(self, column: Column) -> bool:
        """Whether the database can sort by it."""
        return True

    def estimate(self, connection: Connection, query: Sql) -> int | None:
        """About how many rows the query returns, where the database's planner tells; None elsewhere."""
        return None


def native(watermark: Watermark) -> object:
    """A watermark as Python's own value."""
    match watermark.kind:
        case Kind.TIMESTAMP | Kind.INSTANT:
            return datetime.fromisoformat(watermark.text)
        case Kind.DATE:
            return Date.fromisoformat(watermark.text)
    return bind_value(watermark.kind, watermark.text)


def is_number(column: Column) -> bool:
    """Whether its values are numbers by their type."""
    return column.kind in {Kind.INTEGER, Kind.DECIMAL}


def numeric(column: Column, value: str) -> int | Decimal:
    """The number a bound's text says.

    Raises:
        MappingError: it is no number.
    """
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or (column.kind is Kind.INTEGER and number != number.to_integral_value()):
        raise MappingError(f"the bound {value!r} is no {column.kind}, but watermark {column.name} is", "write a number")
    return int(number) if column.kind is Kind.INTEGER else number


def is_time(column: Column) -> bool:
    """Whether its values are times by their type."""
    return column.kind in TIME_KINDS


def column_of(connection: Connection, sql: str, binds: Mapping[str, object] | None = None) -> tuple[str, ...]:
    """The one column of a statement, as text."""
    with connection.execute(text(sql), dict(binds or {})) as result:
        return tuple(str(value) for value in result.scalars())


def row_of(connection: Connection, sql: str, binds: Mapping[str, object] | None = None) -> Sequence[Any]:
    """The one row of a statement."""
    with connection.execute(text(sql), dict(binds or {})) as result:
        return tuple(result.one())
