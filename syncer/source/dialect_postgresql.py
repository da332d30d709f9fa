"""PostgreSQL through psycopg: every value comes as the server prints it, but for integers, floats, booleans, bytes."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import ServerCursor, postgres
from psycopg.types.string import TextLoader
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from syncer.core.model import Column, Kind, Watermark
from syncer.core.watermark import bind_value
from syncer.source.dialect_generic import (
    CONNECT_SECONDS,
    STATEMENT_SECONDS,
    GenericDialect,
    Horizon,
    column_of,
    is_number,
    numeric,
    row_of,
)
from syncer.source.drivers import Rows, Sql, in_drivers_words
from syncer.source.horizon_postgresql import OURS, horizon, outlasted

#: of the transaction only, so that a connection pooler's other clients never see them
_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": "60s",
    "idle_in_transaction_session_timeout": "0",
    # the whole result is wanted, not its first rows soon
    "cursor_tuple_fraction": "1",
}
_NATIVE = ("bool", "int2", "int4", "int8", "oid", "float4", "float8", "bytea")
_KINDS = {
    "smallint": Kind.INTEGER, "integer": Kind.INTEGER, "bigint": Kind.INTEGER, "oid": Kind.INTEGER,
    "real": Kind.FLOAT, "double precision": Kind.FLOAT, "numeric": Kind.DECIMAL, "boolean": Kind.BOOLEAN,
    "timestamp without time zone": Kind.TIMESTAMP, "timestamp with time zone": Kind.INSTANT, "date": Kind.DATE,
    "time without time zone": Kind.TIME, "time with time zone": Kind.TIME, "interval": Kind.INTERVAL,
    "bytea": Kind.BYTES, "json": Kind.JSON, "jsonb": Kind.JSON,
}  # fmt: skip
_LOWEST = {Kind.INTEGER: "-9223372036854775808", Kind.DECIMAL: "-1e1000"}
_SMALLEST_BIGINT = -(2**63)


class PostgresDialect(GenericDialect):
    """PostgreSQL 12 and later."""

    enforces_keys = True
    has_limit = True
    awaits_numbers = True
    orders_nulls = "last"

    def rows(self, connection: Connection, sql: Sql) -> Rows:
        """A named cursor: it is in the server, which sends as many rows as are asked for."""
        cursor: ServerCursor[Any] = connection.connection.driver_connection.cursor(name="syncer")  # type: ignore[union-attr]
        try:
            return cursor.execute(*in_drivers_words(connection, sql))
        except psycopg.Error:
            cursor.close()
            raise

    def engine_options(self) -> dict[str, Any]:
        """Time limits and UTF-8, unless the URL says otherwise; no hstore look-up."""
        wanted = {"connect_timeout": CONNECT_SECONDS, "client_encoding": "utf8", "application_name": "syncer"}
        given = self.url.query
        return {
            "use_native_hstore": False,
            "connect_args": {name: value for name, value in wanted.items() if name not in given},
        }

    def set_up(self, connection: Any) -> None:
        """Read-only repeatable read; text for all types whose Python type is smaller than the server's."""
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.prepare_threshold = None
        for known in postgres.types:
            if known.name not in _NATIVE:
                connection.adapters.register_loader(known.oid, TextLoader)
            if known.array_oid:
                connection.adapters.register_loader(known.array_oid, TextLoader)

    def begin(self, connection: Connection) -> None:
        """The first statement takes the snapshot, and marks the transaction as one that only reads."""
        settings = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _SETTINGS.items())
        mark = f"set_config('application_name', '{OURS}' || current_setting('application_name'), true)"
        connection.exec_driver_sql(f"SELECT {settings}, {mark}").close()

    def interrupt(self, driver: Any) -> None:
        """Ask the server to cancel the statement."""
        driver.cancel_safe(timeout=5.0)

    def horizon(self, connection: Connection) -> Horizon:
        """The start of the oldest transaction that is open in this database; see `horizon_postgresql`."""
        return horizon(connection)

    def outlasted(self, connection: Connection) -> Horizon:
        """This database's transactions, by their locks, which no privilege hides; see `horizon_postgresql`."""
        return outlasted(connection)

    def identity(self, connection: Connection) -> str:
        """The cluster's own number and the database; host and database where the number may not be read."""
        try:
            with connection.begin_nested():
                number, name = row_of(
                    connection, "SELECT system_identifier, current_database() FROM pg_control_system()"
                )
        except DBAPIError as error:
            if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege | psycopg.errors.UndefinedFunction):
                raise
            return super().identity(connection)
        return f"postgresql:{number}/{name}"

    def words(self, error: BaseException) -> str:
        """The primary message, which holds no detail about rows."""
        told = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        return told or super().words(error)

    def columns(self, connection: Connection, cursor: Any) -> tuple[Column, ...]:
        """By the type numbers and modifiers of the described result."""
        described = cursor.pgresult
        fields = range(described.nfields)
        with connection.execute(
            text(
                "SELECT format_type(t.oid, d.mod), format_type(t.oid, -1), t.typtype, t.typcategory, d.mod "
                "FROM unnest(CAST(:oids AS bigint[]), CAST(:mods AS integer[])) WITH ORDINALITY AS d(oid, mod, n) "
                "JOIN pg_catalog.pg_type t ON t.oid = d.oid ORDER BY d.n"
            ),
            {"oids": [described.ftype(n) for n in fields], "mods": [described.fmod(n) for n in fields]},
        ) as found:
            types = found.all()
        return tuple(_column(each.name, *known) for each, known in zip(cursor.description, types, strict=True))

    def own_key(self, connection: Connection, schema: str | None, table: str) -> tuple[str, ...]:
        """From the catalogue: SQLAlchemy's own look-up needs arrays, which come as text here."""
        return column_of(
            connection,
            "SELECT a.attname FROM pg_catalog.pg_index i "
            "CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(number, n) "
            "JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number "
            "WHERE i.indrelid = CAST(:path AS regclass) AND i.indisprimary ORDER BY k.n",
            {"path": self.path(schema, table).replace("\\:", ":")},
        )

    def indexed(self, connection: Connection, schema: str | None, table: str) -> frozenset[str]:
        """From the catalogue, without partial indexes."""
        return frozenset(
            column_of(
                connection,
                "SELECT a.attname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a "
                "ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
                "WHERE i.indrelid = CAST(:path AS regclass) AND i.indpred IS NULL",
                {"path": self.path(schema, table).replace("\\:", ":")},
            )
        )

    def item(self, column: Column) -> str:
        """Arrays and composites as JSON, which the server makes."""
        if _needs_json(column):
            return f"CAST(to_json({self.place(column)}) AS text) AS {self.quote(column.name)}"
        return self.place(column)

    def grouped(self, column: Column) -> str:
        """JSON has no equality of its own, and case-insensitive text has too much of it."""
        if _needs_json(column):
            return f"CAST(to_json({self.place(column)}) AS text)"
        if column.kind is Kind.JSON or column.sql_type == "citext":
            return f"CAST({self.place(column)} AS text)"
        return self.place(column)

    def can_order_by(self, column: Column) -> bool:
        """Arrays can be ordered, but they are JSON to us."""
        return column.kind is not Kind.JSON

    def value(self, column: Column, kind: Kind, value: str, name: str) -> Sql:
        """In the column's own type, so that its index is used."""
        return Sql(text=f"CAST(:{name} AS {_base(column)})", binds={name: bind_value(kind, value)})

    def equals(self, column: Column, kind: Kind, value: str, name: str) -> Sql:
        """JSON is compared as text."""
        if column.kind is Kind.JSON:
            return Sql(text=f"{self.grouped(column)} = CAST(:{name} AS text)", binds={name: value})
        return super().equals(column, kind, value, name)

    def point(self, column: Column, watermark: Watermark, back: timedelta | int, name: str) -> Sql:
        """Times and decimals less the lookback by the server; integers are exact here as well."""
        if column.kind is Kind.INTEGER:
            whole = max(int(watermark.text) - int(_whole(back)), _SMALLEST_BIGINT)
            return Sql(text=f"CAST(:{name} AS bigint)", binds={name: whole})
        expression, binds = f"CAST(:{name} AS {_base(column)})", {name: watermark.text}
        if not back:
            return Sql(text=expression, binds=binds)
        if column.kind is Kind.DATE:
            less = "CAST(:{0} AS integer)"
        elif isinstance(back, timedelta):
            less = "make_interval(secs => CAST(:{0} AS double precision))"
        else:
            less = "CAST(:{0} AS numeric)"
        if watermark.text.endswith("BC"):  # the server's times begin in 4713 BC, and its arithmetic fails below
            return Sql(text=f"CAST('-infinity' AS {_base(column)})")
        return Sql(
            text=f"({expression} - {less.format(f'{name}_back')})",
            binds={**binds, f"{name}_back": _distance(column, back)},
        )

    def lowest(self, column: Column) -> Sql:
        """Minus infinity for times, no text for text."""
        lowest = _LOWEST.get(column.kind, "-infinity" if column.kind in _TIMES else "")
        if column.sql_type == "uuid":
            lowest = "00000000-0000-0000-0000-000000000000"
        return Sql(text=f"CAST(:watermark AS {_wide(column)})", binds={"watermark": lowest})

    def bound(self, column: Column, value: str, name: str, connection: Connection) -> Sql:
        """Cast by the server, which refuses what it cannot read."""
        bind = numeric(column, value) if is_number(column) else value
        return Sql(text=f"CAST(:{name} AS {_wide(column)})", binds={name: bind})

    def estimate(self, connection: Connection, query: Sql) -> int | None:
        """The planner's guess."""
        (plan,) = row_of(connection, f"EXPLAIN (FORMAT JSON) {query.text}", query.binds)
        rows = re.search(r'"Plan Rows": (\d+)', plan)
        return int(rows[1]) if rows else None


_TIMES = (Kind.TIMESTAMP, Kind.INSTANT, Kind.DATE)


def _column(name: str, sql_type: str, base: str, typtype: Any, category: Any, modifier: int) -> Column:
    kind = _KINDS.get(base, Kind.TEXT)
    if _text(category) in {"A", "C"} or _text(typtype) == "c" or base == "record":
        kind = Kind.JSON
    scale = None
    if kind is Kind.DECIMAL and modifier >= 4:
        scale = ((modifier - 4) & 0x7FF ^ 1024) - 1024  # eleven bits, signed since PostgreSQL 15
    return Column(name=name, kind=kind, sql_type=sql_type, scale=scale)


def _text(char: Any) -> str:
    return char.decode() if isinstance(char, bytes) else str(char)


def _needs_json(column: Column) -> bool:
    return column.kind is Kind.JSON and column.sql_type not in {"json", "jsonb"}


def _base(column: Column) -> str:
    """The type without its length or precision, to which no cast loses anything."""
    base = re.sub(r"\(\d+(?:,-?\d+)?\)", "", column.sql_type)
    return {"character": "bpchar", "bit": "varbit"}.get(base, base)


def _wide(column: Column) -> str:
    """The type that takes any bound a person may write."""
    return {Kind.INTEGER: "bigint", Kind.DECIMAL: "numeric"}.get(column.kind, _base(column))


def _whole(back: timedelta | int) -> int:
    return back if isinstance(back, int) else 0


def _distance(column: Column, back: timedelta | int) -> float | int:
    if not isinstance(back, timedelta):
        return back
    return -(-back // timedelta(days=1)) if column.kind is Kind.DATE else back.total_seconds()
