"""MySQL and MariaDB through PyMySQL: decimals and times come as the server prints them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from pymysql.constants import FIELD_TYPE, FLAG
from pymysql.converters import encoders
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from syncer.core.model import Column, Kind, Watermark
from syncer.core.watermark import bind_value
from syncer.errors import MappingError
from syncer.source.cursor_mysql import Cursor
from syncer.source.dialect_generic import (
    CONNECT_SECONDS,
    STATEMENT_SECONDS,
    GenericDialect,
    Horizon,
    is_number,
    numeric,
    row_of,
)
from syncer.source.drivers import Rows, Sql, in_drivers_words
from syncer.source.horizon_mysql import error_number, horizon
from syncer.source.numbers_mysql import outlasted

_BINARY_CHARSET = 63
_DUPLICATE_COLUMN = 1060
_INTEGERS = {
    FIELD_TYPE.TINY: "TINYINT", FIELD_TYPE.SHORT: "SMALLINT", FIELD_TYPE.INT24: "MEDIUMINT",
    FIELD_TYPE.LONG: "INT", FIELD_TYPE.LONGLONG: "BIGINT", FIELD_TYPE.YEAR: "YEAR",
}  # fmt: skip
_FLOATS = {FIELD_TYPE.FLOAT: "FLOAT", FIELD_TYPE.DOUBLE: "DOUBLE"}
_OTHERS = {
    FIELD_TYPE.DATE: (Kind.DATE, "DATE"), FIELD_TYPE.NEWDATE: (Kind.DATE, "DATE"),
    FIELD_TYPE.TIME: (Kind.TIME, "TIME"), FIELD_TYPE.DATETIME: (Kind.TIMESTAMP, "DATETIME"),
    FIELD_TYPE.TIMESTAMP: (Kind.INSTANT, "TIMESTAMP"), FIELD_TYPE.JSON: (Kind.JSON, "JSON"),
    FIELD_TYPE.GEOMETRY: (Kind.BYTES, "GEOMETRY"), FIELD_TYPE.NULL: (Kind.ANY, "NULL"),
}  # fmt: skip
_BLOBS = (FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB, FIELD_TYPE.BLOB)
_CASTS = {Kind.TIMESTAMP: "DATETIME(6)", Kind.INSTANT: "DATETIME(6)", Kind.DATE: "DATE"}
#: the lower end of times; below it the server's arithmetic gives NULL
_FIRST_MOMENT = "0000-01-01"
_LOWEST = {Kind.INTEGER: -(2**63), Kind.DECIMAL: -(10**65) + 1}


class MysqlDialect(GenericDialect):
    """MySQL 8 and MariaDB 10.5, and later."""

    enforces_keys = True
    has_limit = True
    awaits_numbers = True
    orders_nulls = "first"

    def rows(self, connection: Connection, sql: Sql) -> Rows:
        """See `Cursor`."""
        cursor = connection.connection.driver_connection.cursor(Cursor)  # type: ignore[union-attr]
        cursor.execute(*in_drivers_words(connection, sql))
        return cast("Rows", cursor)

    def engine_options(self) -> dict[str, Any]:
        """Only integers and floats are converted; all else stays text, or bytes."""
        conversions: dict[Any, Callable[..., Any]] = dict(encoders)
        conversions |= dict.fromkeys(_INTEGERS, int) | dict.fromkeys(_FLOATS, float)
        wanted = {"charset": "utf8mb4", "connect_timeout": CONNECT_SECONDS, "read_timeout": STATEMENT_SECONDS}
        given = self.url.query
        arguments = {name: value for name, value in wanted.items() if name not in given}
        return {"connect_args": {**arguments, "conv": conversions}}

    def set_up(self, connection: Any) -> None:
        """UTC, repeatable read, read-only, and patience with a slow reader.

        Zero dates may be compared with (they are in the tables all the same), and CHAR comes without its padding.
        """
        limit = f"max_execution_time={STATEMENT_SECONDS * 1000}"
        if "MariaDB" in connection.get_server_info():
            limit = f"max_statement_time={STATEMENT_SECONDS}"
        modes = "@@SESSION.sql_mode"
        for mode in ("NO_ZERO_DATE", "NO_ZERO_IN_DATE", "PAD_CHAR_TO_FULL_LENGTH"):
            modes = f"REPLACE({modes}, '{mode}', '')"
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION time_zone='+00:00', SESSION sql_mode={modes}, SESSION {limit}")
            cursor.execute("SET SESSION net_write_timeout=3600, SESSION lock_wait_timeout=60")
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SET SESSION TRANSACTION READ ONLY")

    def begin(self, connection: Connection) -> None:
        """A plain BEGIN would take its snapshot at the first read only."""
        connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").close()

    def horizon(self, connection: Connection) -> Horizon:
        """The start of the oldest transaction or statement that is open; see `horizon_mysql`."""
        return horizon(connection)

    def outlasted(self, connection: Connection) -> Horizon:
        """The server's statements, and then InnoDB's transactions; see `numbers_mysql`."""
        return outlasted(connection)

    def interrupt(self, driver: Any) -> None:
        """End the connection under the statement; the server notices when it next wants to answer."""
        if driver._sock is not None:
            with suppress(OSError):  # it has just ended by itself
                driver._sock.shutdown(socket.SHUT_RDWR)

    def abandon(self, connection: Connection) -> None:
        """Close the connection under the result: PyMySQL would read the rest of it first."""
        if connection.invalidated:
            return  # it is lost, and the rest with it
        driver: Any = connection.connection.dbapi_connection
        if driver is not None and driver._result is not None:
            driver._result.unbuffered_active = False
        connection.invalidate()

    def identity(self, connection: Connection) -> str:
        """The server's own id and the database; host and port for servers without one."""
        with connection.exec_driver_sql(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid')"
        ) as result:
            server = next((value for _, value in result if value), f"{self.url.host}:{self.url.port or 3306}")
        return f"mysql:{server}/{self.url.database or ''}"

    def words(self, error: BaseException) -> str:
        """The server's sentence without its number."""
        if len(error.args) > 1 and isinstance(error.args[1], str):
            return error.args[1]
        return super().words(error)

    def describe(self, connection: Connection, query: Sql) -> tuple[Column, ...]:
        """As ever, but this server itself refuses to wrap a result with a name that comes twice."""
        try:
            return super().describe(connection, query)
        except DBAPIError as error:
            if error_number(error) != _DUPLICATE_COLUMN:
                raise
            raise MappingError(
                f"two columns of the query have the same name: {self.words(error.orig or error)}",
                "give one of them another name with AS",
            ) from None

    def columns(self, connection: Connection, cursor: Any) -> tuple[Column, ...]:
        """By the column definitions of the wire protocol."""
        return tuple(_column(each) for each in cursor._result.fields)

    def own_key(self, connection: Connection, schema: str | None, table: str) -> tuple[str, ...]:
        """From the index: SQLAlchemy's own look-up warns about types it does not know."""
        keys = self._keys(connection, schema, table)
        return tuple(name for key, _, name in sorted(keys) if key == "PRIMARY")

    def indexed(self, connection: Connection, schema: str | None, table: str) -> frozenset[str]:
        """The columns that an index of the table begins with."""
        return frozenset(name for _, place, name in self._keys(connection, schema, table) if place == 1)

    def _keys(self, connection: Connection, schema: str | None, table: str) -> list[tuple[str, int, str]]:
        with connection.execute(text(f"SHOW KEYS FROM {self.path(schema, table)}")) as result:
            return [(str(row.Key_name), int(row.Seq_in_index), str(row.Column_name)) for row in result]

    def item(self, column: Column) -> str:
        """FLOAT as DOUBLE: the server prints six of its digits only, 16777200 for 16777216."""
        if column.single:
            return f"({self.place(column)} + 0e0) AS {self.quote(column.name)}"
        return self.place(column)

    def grouped(self, column: Column) -> str:
        """Bytes, because collations call `a`, `A` and `a ` the same."""
        if column.kind in {Kind.TEXT, Kind.JSON}:
            return f"CAST({self.place(column)} AS BINARY)"
        return self.place(column)

    def point(self, column: Column, watermark: Watermark, back: timedelta | int, name: str) -> Sql:
        """Times less the lookback by the server; integers and decimals as exact literals."""
        cast = _CASTS.get(column.kind)
        if cast is None:
            value: Any = bind_value(column.kind, watermark.text)
            whole = f" - :{name}_back" if back else ""
            binds = {name: value, f"{name}_back": back} if back else {name: value}
            if isinstance(value, int) and back:
                return Sql(text=f":{name}", binds={name: value - int(_whole(back))})
            return Sql(text=f"(:{name}{whole})" if back else f":{name}", binds=binds)
        expression = f"CAST(:{name} AS {cast})"
        if not isinstance(back, timedelta) or not back:
            return Sql(text=expression, binds={name: watermark.text})
        step = "DAY" if column.kind is Kind.DATE else "MICROSECOND"
        unit = timedelta(days=1) if column.kind is Kind.DATE else timedelta(microseconds=1)
        return Sql(
            text=f"IFNULL({expression} - INTERVAL :{name}_back {step}, CAST('{_FIRST_MOMENT}' AS {cast}))",
            binds={name: watermark.text, f"{name}_back": -(-back // unit)},
        )

    def lowest(self, column: Column) -> Sql:
        """Below everything but zero dates, which are no times."""
        if column.kind in _CASTS:
            return Sql(text=f"CAST('{_FIRST_MOMENT}' AS {_CASTS[column.kind]})")
        return Sql(text=":watermark", binds={"watermark": _LOWEST.get(column.kind, "")})

    def bound(self, column: Column, value: str, name: str, connection: Connection) -> Sql:
        """Cast by the server. It makes NULL of what it cannot read, so it is asked first."""
        cast = _CASTS.get(column.kind)
        if cast is None:
            return Sql(text=f":{name}", binds={name: numeric(column, value) if is_number(column) else value})
        (unread,) = row_of(connection, f"SELECT CAST(:{name} AS {cast}) IS NULL", {name: value})
        if unread:
            raise MappingError(
                f"the bound {value!r} is no {column.sql_type}, but watermark {column.name} is",
                "write it like 2026-01-31 or 2026-01-31 13:45:00",
            )
        return Sql(text=f"CAST(:{name} AS {cast})", binds={name: value})

    def mark_of(self, column: Column, moment: datetime) -> Watermark | None:
        """TIMESTAMP values are compared in the session's zone, which is UTC, and written without it."""
        if column.kind is Kind.INSTANT:
            text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
            return Watermark(kind=Kind.INSTANT, text=text)
        return super().mark_of(column, moment)


def _whole(back: timedelta | int) -> int:
    return back if isinstance(back, int) else 0


def _column(field: Any) -> Column:
    """A column from its definition packet: type, flags, character set, length, decimals."""
    name, sort, binary = field.name, field.type_code, field.charsetnr == _BINARY_CHARSET
    if sort in _INTEGERS:
        unsigned = " UNSIGNED" if field.flags & FLAG.UNSIGNED and sort != FIELD_TYPE.YEAR else ""
        return Column(name=name, kind=Kind.INTEGER, sql_type=_INTEGERS[sort] + unsigned)
    if sort in _FLOATS:
        single = sort == FIELD_TYPE.FLOAT
        return Column(name=name, kind=Kind.FLOAT, sql_type=_FLOATS[sort], single=single)
    if sort in (FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL):
        return _decimal(field)
    if sort == FIELD_TYPE.BIT:
        return Column(name=name, kind=Kind.BITS, sql_type=f"BIT({field.length})", width=field.length)
    if sort in _OTHERS:
        kind, sql_type = _OTHERS[sort]
        return Column(name=name, kind=kind, sql_type=sql_type)
    if field.flags & (FLAG.ENUM | FLAG.SET):
        return Column(name=name, kind=Kind.TEXT, sql_type="ENUM" if field.flags & FLAG.ENUM else "SET")
    if sort in _BLOBS:
        return Column(name=name, kind=Kind.BYTES if binary else Kind.TEXT, sql_type="BLOB" if binary else "TEXT")
    fixed = "" if sort == FIELD_TYPE.STRING else "VAR"
    kind = Kind.BYTES if binary else Kind.TEXT
    return Column(name=name, kind=kind, sql_type=f"{fixed}{'BINARY' if binary else 'CHAR'}")


def _decimal(field: Any) -> Column:
    signs = (0 if field.flags & FLAG.UNSIGNED else 1) + (1 if field.scale else 0)
    return Column(
        name=field.name, kind=Kind.DECIMAL, sql_type=f"DECIMAL({field.length - signs},{field.scale})", scale=field.scale
    )
