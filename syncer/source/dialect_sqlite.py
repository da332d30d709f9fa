"""SQLite, opened read-only. Values have types of their own there; the columns' declared types are good advice."""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote, urlsplit

from sqlalchemy import Connection, text

from syncer.core.model import Column, Kind, Watermark
from syncer.core.watermark import TIME_KINDS, bind_value
from syncer.errors import MappingError, SourceUnreachable
from syncer.source import text_times
from syncer.source.dialect_generic import BEYOND, HELD, WITHIN, GenericDialect, Horizon, is_number, numeric, select
from syncer.source.drivers import Rows, Sql, in_drivers_words
from syncer.source.horizon_sqlite import clock, horizon, patient_row
from syncer.source.text_forms import check_growth

_BUSY_SECONDS = 60
#: the first that is found in the declared type decides
_KINDS: tuple[tuple[str, Kind], ...] = (
    ("BOOL", Kind.BOOLEAN), ("DATETIME", Kind.TIMESTAMP), ("TIMESTAMP", Kind.TIMESTAMP), ("DATE", Kind.DATE),
    ("JSON", Kind.JSON), ("CHAR", Kind.TEXT), ("CLOB", Kind.TEXT), ("TEXT", Kind.TEXT), ("BLOB", Kind.BYTES),
    ("REAL", Kind.FLOAT), ("FLOA", Kind.FLOAT), ("DOUB", Kind.FLOAT), ("DEC", Kind.DECIMAL),
    ("NUMERIC", Kind.DECIMAL), ("INTERVAL", Kind.ANY), ("POINT", Kind.ANY), ("INT", Kind.INTEGER), ("TIME", Kind.TIME),
)  # fmt: skip
_PRECISION = re.compile(r"\(\s*\d+\s*(?:,\s*(\d+)\s*)?\)")
_DESCRIBED = "syncer_described"


class SqliteDialect(GenericDialect):
    """SQLite 3.31 and later."""

    has_limit = True
    orders_nulls = "first"

    @property
    def file(self) -> Path:
        """The database file."""
        database = self.url.database or ""
        if database.startswith("file:"):
            database = unquote(urlsplit(database).path)
        if database in {"", ":memory:"}:
            raise SourceUnreachable(
                "a SQLite database in memory is empty and nobody else's", "name a file: sqlite:///path/to/file.db"
            )
        return Path(database).expanduser().resolve()

    def rows(self, connection: Connection, sql: Sql) -> Rows:
        """SQLite reads as it is asked."""
        cursor = connection.connection.driver_connection.cursor()  # type: ignore[union-attr]
        return cast("Rows", cursor.execute(*in_drivers_words(connection, sql)))

    def engine_options(self) -> dict[str, Any]:
        """The file is opened here, so that it is never created."""
        return {"creator": partial(_connect, self.file)}

    def begin(self, connection: Connection) -> None:
        """The first read takes the snapshot, so there is one."""
        connection.exec_driver_sql("PRAGMA query_only = ON").close()
        connection.exec_driver_sql("BEGIN").close()
        patient_row(connection, "SELECT count(*) FROM sqlite_master")

    def horizon(self, connection: Connection) -> Horizon:
        """Now, when no writer is at work; see `horizon_sqlite`."""
        return horizon(connection, self.file)

    def outlasted(self, connection: Connection) -> Horizon:
        """There is one writer at a time, so numbers are committed in the order in which they are drawn."""
        now = clock(connection)
        return Horizon(at=now, now=now)

    def interrupt(self, driver: Any) -> None:
        """End the statement."""
        driver.interrupt()

    def identity(self, connection: Connection) -> str:
        """The file."""
        return f"sqlite:{self.file}"

    def describe(self, connection: Connection, query: Sql) -> tuple[Column, ...]:
        """Names by the statement itself, types by a temporary view, which is no write to the file."""
        with connection.execute(text(f"{select('*', query)} WHERE 1 = 0"), query.binds) as result:
            names = [each[0] for each in result.cursor.description] if result.cursor else []
        _check_names(names)
        connection.exec_driver_sql("PRAGMA query_only = OFF").close()
        connection.execute(text(f"CREATE TEMP VIEW {_DESCRIBED} AS {select('*', query)}")).close()
        with connection.exec_driver_sql(f"PRAGMA temp.table_info({_DESCRIBED})") as result:
            types = [str(row[2] or "") for row in result]
        return tuple(_column(name, declared) for name, declared in zip(names, types, strict=True))

    def grouped(self, column: Column) -> str:
        """Without the column's own collation."""
        return f"{self.place(column)} COLLATE BINARY"

    def value(self, column: Column, kind: Kind, value: str, name: str) -> Sql:
        """By the value's own type; text that is no UTF-8 goes as bytes."""
        return Sql(text=_cast(kind, value, name), binds={name: _bind(kind, value)})

    def point(self, column: Column, watermark: Watermark, back: timedelta | int, name: str) -> Sql:
        """The watermark less the lookback: numbers by arithmetic, times by SQLite's date functions."""
        if watermark.kind is Kind.INTEGER:
            return Sql(text=f":{name}", binds={name: max(int(watermark.text) - _units(watermark, back), -(2**63))})
        if watermark.kind is Kind.DECIMAL:
            less = Sql(text=f"CAST(:{name} AS NUMERIC)", binds={name: watermark.text})
            return (
                less
                if not back
                else Sql(text=f"({less.text} - :{name}_back)", binds={**less.binds, f"{name}_back": back})
            )
        time = text_times.parse(watermark.text)
        if time is None or not isinstance(back, timedelta):
            return Sql(text=f":{name}", binds={name: watermark.text})
        # To the minute, because fractions and seconds are written or left out as it pleases the writer.
        form = "%Y-%m-%d" + (f"{time.gap}%H:%M" if time.gap else "")
        return Sql(
            text=f"coalesce(strftime(:{name}_form, :{name}, :{name}_back), '')",
            binds={
                name: f"{time.day} {time.minute or '00:00'}",
                f"{name}_form": form,
                f"{name}_back": f"-{_seconds(back, dates=not time.gap)} seconds",
            },
        )

    def since(self, column: Column, watermark: Watermark, back: timedelta | int) -> Sql:
        """`>=`, and what would hide below a text: numbers, and times of another form. The guard refuses those."""
        place = self.place(column)
        point = self.point(column, watermark, back, "watermark")
        plain = Sql(text=f"{place} >= {point.text}", binds=point.binds)
        if watermark.kind in {Kind.INTEGER, Kind.DECIMAL}:
            return plain
        time = text_times.parse(watermark.text)
        hidden = f"{place} < ''"
        if time is not None and time.gap:
            day = f"substr({point.text}, 1, 10)"
            hidden += f" OR ({place} >= {day} AND {place} < {day} || :watermark_gap)"
            return Sql(text=f"({plain.text} OR {hidden})", binds={**plain.binds, "watermark_gap": time.gap})
        return Sql(text=f"({plain.text} OR {hidden})", binds=plain.binds)

    def lowest(self, column: Column) -> Sql:
        """Below all values: no text for text, minus infinity for the rest."""
        return Sql(text="''" if column.kind is Kind.TEXT else "(-9e999)")

    def bound(self, column: Column, value: str, name: str, connection: Connection) -> Sql:
        """Numbers as numbers, everything else as text."""
        bind: object = value
        if is_number(column):
            bind = numeric(column, value)
        elif column.kind is Kind.ANY and value.lstrip("+-").isdecimal():
            bind = int(value)
        elif column.kind in TIME_KINDS and text_times.parse(value) is None:
            raise MappingError(
                f"the bound {value!r} is no time, but watermark {column.name} is", "write it like 2026-01-31 13:45"
            )
        return Sql(text=f":{name}", binds={name: bind if isinstance(bind, int | str) else float(str(bind))})

    def starts_at(self, column: Column, value: str, connection: Connection) -> Sql:
        """The day by the index; the rest whether `T` or a blank separates them."""
        return self._ranged(column, value, "start", ">=", ">=") or super().starts_at(column, value, connection)

    def ends_before(self, column: Column, value: str, connection: Connection) -> Sql:
        """As `starts_at`."""
        return self._ranged(column, value, "end", "<=", "<") or super().ends_before(column, value, connection)

    def _ranged(self, column: Column, value: str, name: str, day: str, moment: str) -> Sql | None:
        time = text_times.parse(value)
        if time is None or not time.gap or is_number(column):
            return None
        place = self.place(column)
        edge = time.day if name == "start" else f"{time.day}U"  # U comes after T
        plain = value.replace("T", " ").removesuffix(time.offset)
        return Sql(
            text=f"({place} {day} :{name}_day AND replace({place}, 'T', ' ') {moment} :{name})",
            binds={f"{name}_day": edge, name: plain},
        )

    def position(self, column: Column, saved: Watermark | None, horizon: Watermark | None) -> Sql | None:
        """As ever, but times beyond the horizon are seen whatever separates day and time."""
        plain = super().position(column, saved, None)
        if horizon is None:
            return plain
        before = plain.text.removeprefix("CASE").removesuffix(f" ELSE {WITHIN} END") if plain else ""
        later = _beyond(column, self.place(column))
        binds = {**(plain.binds if plain else {}), "horizon": horizon.text, "horizon_epoch": _epoch(horizon)}
        if saved is not None:  # a bound below the saved watermark keeps what is saved
            before += f" WHEN {later} AND {_beyond(column, ':saved_is')} THEN {HELD}"
            binds["saved_is"] = int(saved.text) if saved.kind is Kind.INTEGER else saved.text
        return Sql(text=f"CASE{before} WHEN {later} THEN {BEYOND} ELSE {WITHIN} END", binds=binds)

    def mark_of(self, column: Column, moment: datetime) -> Watermark | None:
        """The later of UTC and local time: which of them a text means, only its writer knows."""
        if column.kind not in TIME_KINDS | {Kind.TEXT, Kind.ANY}:
            return None
        local = max(moment.astimezone(UTC).replace(tzinfo=None), moment.astimezone(self.zone).replace(tzinfo=None))
        return Watermark(kind=Kind.TEXT, text=local.isoformat(sep=" ", timespec="milliseconds"))

    def capped(self, column: Column, horizon: Watermark, last: Watermark) -> Watermark:
        """In the form of the column's own texts, or numbers."""
        if last.kind is Kind.INTEGER and column.kind in TIME_KINDS:
            return Watermark(kind=Kind.INTEGER, text=str(_epoch(horizon) * _per_second(int(last.text))))
        time = text_times.parse(last.text)
        if time is None:
            return last
        day, moment = horizon.text[:10], horizon.text[11:]
        return Watermark(kind=last.kind, text=f"{day}{time.gap}{moment}{time.offset}" if time.gap else day)

    def lookback_kind(self, column: Column, watermark: Watermark) -> Kind:
        """Text that is a time counts as one, and so does a number in a column of times."""
        if watermark.kind is Kind.INTEGER:
            return column.kind if column.kind in TIME_KINDS else Kind.INTEGER
        time = text_times.parse(watermark.text)
        if time is None:
            return watermark.kind
        return Kind.TIMESTAMP if time.gap else Kind.DATE

    def guard(self, column: Column) -> Callable[[Iterable[object]], None] | None:
        """Every value of the watermark must sort with the others, and those that come later behind them."""
        known: set[str] = set()

        def check(values: Iterable[object]) -> None:
            read = list(values)
            text_times.check_forms(column, known, read)
            check_growth(column, read)

        return check


def _beyond(column: Column, value: str) -> str:
    """The condition that a value, text or a number since 1970, lies beyond the horizon."""
    text = f"{value} GLOB '[0-9]*' AND replace({value}, 'T', ' ') > :horizon"
    if column.kind not in TIME_KINDS:
        return f"(typeof({value}) = 'text' AND {text})"
    unit = f"CASE WHEN abs({value}) < 1e11 THEN 1 WHEN abs({value}) < 1e14 THEN 1000 ELSE 1000000 END"
    return f"CASE typeof({value}) WHEN 'text' THEN {text} ELSE {value} > :horizon_epoch * {unit} END"


def _epoch(horizon: Watermark) -> int:
    """Whole seconds since 1970, rounded down."""
    return math.floor(datetime.fromisoformat(horizon.text).replace(tzinfo=UTC).timestamp())


def _per_second(number: int) -> int:
    """In which unit a number counts the time since 1970: seconds, milliseconds or microseconds, by its size."""
    size = abs(number)
    return 1 if size < 10**11 else 1_000 if size < 10**14 else 1_000_000


def _connect(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise SourceUnreachable(f"there is no database file {path}", "check the path in the source's url")
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_SECONDS, isolation_level=None,
        check_same_thread=False,
    )  # fmt: skip
    # text that is not UTF-8 is a value's defect, and must not end the run
    connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    return connection


def _check_names(names: list[str]) -> None:
    """SQLite numbers a wrapped column whose name comes twice: `id:1`."""
    for name in names:
        base, colon, number = name.rpartition(":")
        if colon and number.isdecimal() and base in names:
            raise MappingError(
                f"two columns of the query have the same name: {base}", "give one of them another name with AS"
            )


def _column(name: str, declared: str) -> Column:
    upper = declared.upper()
    kind = next((kind for part, kind in _KINDS if part in upper), Kind.ANY)
    scale = None
    precision = _PRECISION.search(declared)
    if kind is Kind.DECIMAL and precision:
        scale = int(precision[1] or 0)
    return Column(name=name, kind=kind, sql_type=declared, scale=scale, exact=False)


def _cast(kind: Kind, value: str, name: str) -> str:
    if kind is Kind.DECIMAL:
        return f"CAST(:{name} AS NUMERIC)"
    return (
        f":{name}"
        if isinstance(_bind(kind, value), str | int | float) or kind is Kind.BYTES
        else f"CAST(:{name} AS TEXT)"
    )


def _bind(kind: Kind, value: str) -> object:
    bound = value if kind is Kind.DECIMAL else bind_value(kind, value)
    if isinstance(bound, str) and any("\udc80" <= char <= "\udcff" for char in bound):
        return bound.encode("utf-8", "surrogateescape")
    return bound


def _units(watermark: Watermark, back: timedelta | int) -> int:
    """A lookback in the unit of an epoch number."""
    if not isinstance(back, timedelta):
        return back
    return -(-back * _per_second(int(watermark.text)) // timedelta(seconds=1))


def _seconds(back: timedelta, *, dates: bool) -> int:
    unit = timedelta(days=1) if dates else timedelta(seconds=1)
    return -(-back // unit) * (86_400 if dates else 1)
