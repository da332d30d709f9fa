"""Looking around in a database for `syncer init`: tables, keys, indexes, from the catalogue alone. No row is read.

All tables of a schema are reflected together, which takes PostgreSQL a handful of questions for any number of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, inspect, text, types
from sqlalchemy.engine import URL, Inspector
from sqlalchemy.exc import SAWarning

from syncer.config.surveyed import Survey, SurveyedColumn, SurveyedTable
from syncer.core.model import Kind
from syncer.errors import UsageError
from syncer.source.sql import SqlSource

_OF_THE_SYSTEM = frozenset({
    "information_schema", "pg_catalog", "pg_toast", "mysql", "performance_schema", "sys", "temp",
})  # fmt: skip
#: of the tables in which syncer keeps its state
_OURS = "syncer_"
#: the first that fits decides
_KINDS: tuple[tuple[type[types.TypeEngine[Any]], Kind], ...] = (
    (types.DateTime, Kind.TIMESTAMP), (types.Date, Kind.DATE), (types.Time, Kind.TIME), (types.Boolean, Kind.BOOLEAN),
    (types.Integer, Kind.INTEGER), (types.Float, Kind.FLOAT), (types.Numeric, Kind.DECIMAL), (types.JSON, Kind.JSON),
    (types.Interval, Kind.INTERVAL), (types.LargeBinary, Kind.BYTES), (types.BINARY, Kind.BYTES),
    (types.VARBINARY, Kind.BYTES), (types.String, Kind.TEXT), (types.Uuid, Kind.TEXT),
)  # fmt: skip

#: name, estimated rows, whether it belongs to another table or to an extension, whether it may be read
_POSTGRES = """
SELECT c.relname,
  CASE c.relkind WHEN 'p' THEN (SELECT sum(greatest(leaf.reltuples, 0)) FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_class leaf ON leaf.oid = i.inhrelid WHERE i.inhparent = c.oid) ELSE c.reltuples END,
  c.relispartition OR EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
    AND d.classid = CAST('pg_catalog.pg_class' AS regclass)),
  has_table_privilege(c.oid, 'SELECT')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
"""
_MYSQL = "SELECT table_name, table_rows FROM information_schema.tables WHERE table_schema = :schema"
#: columns that `SELECT *` leaves out
_MYSQL_HIDDEN = (
    "SELECT table_name, column_name FROM information_schema.columns "
    "WHERE table_schema = :schema AND extra LIKE '%INVISIBLE%'"
)
#: full text indexes and the like: they have no key, and their inner tables are nobody's business
_SQLITE = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('virtual', 'shadow')"
_SQLITE_ROWS = "SELECT tbl, max(CAST(stat AS INTEGER)) FROM sqlite_stat1 GROUP BY tbl"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the database's own catalogue tells beyond SQLAlchemy's inspector, by the names of tables."""

    rows: Mapping[str, int] = field(default_factory=dict)
    passed_over: Collection[str] = frozenset()
    unreadable: Collection[str] = frozenset()
    #: tables with their columns
    hidden: Collection[tuple[str, str]] = frozenset()


def survey(source: SqlSource, schema: str | None = None) -> Survey:
    """Look at all tables and views of one schema.

    Left out: the database's own, partitions, what belongs to an extension, and syncer's state.

    Args:
        schema: None: the one in which the database looks for names without a schema.

    Raises:
        SourceError: the database cannot be reached, or refuses.
        UsageError: there is no such schema, or it holds nothing.
    """
    with source.snapshot() as connection, _reflecting(connection):
        inspector = inspect(connection)
        schemas = [each for each in inspector.get_schema_names() if each.lower() not in _OF_THE_SYSTEM]
        usual = inspector.default_schema_name
        if schema is None and not usual and not source.dialect.url.database:
            raise UsageError("the url names no database to look at", _elsewhere(schemas))
        if schema is not None and schema not in schemas:
            raise UsageError(f"there is no schema {schema} that this user may see", _elsewhere(schemas))
        tables = _tables(inspector, None if schema == usual else schema)
        backend = connection.dialect.name
    others = tuple(each for each in schemas if each != (schema or usual))
    if not tables:
        raise UsageError(f"there are no tables or views in {schema or usual}", _elsewhere(others))
    shown = _without_secrets(source.dialect.url)
    return Survey(url=shown, tables=tuple(tables), other_schemas=others, typed=backend != "sqlite")


def _without_secrets(url: URL) -> str:
    return URL.create(
        url.drivername, username=url.username, host=url.host, port=url.port, database=url.database
    ).render_as_string()


def _elsewhere(schemas: Sequence[str]) -> str:
    there = ", ".join(schemas[:20])
    return f"--schema NAME, with one of: {there}" if there else "check that the url names the right database"


@contextmanager
def _reflecting(connection: Connection) -> Iterator[None]:
    """Let SQLAlchemy reflect: it wants arrays of PostgreSQL, which sources read as text, and warns of unknown types."""
    if connection.dialect.name == "postgresql":
        from psycopg.postgres import types as known

        driver: Any = connection.connection.dbapi_connection
        for each in known:
            if each.array_oid:
                each.register(driver)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        yield


def _tables(inspector: Inspector, schema: str | None) -> list[SurveyedTable]:
    known = _known(inspector.bind, schema or inspector.default_schema_name or "")
    names = _wanted(inspector.get_table_names(schema=schema), known)
    views = _wanted([*inspector.get_view_names(schema=schema), *_materialized(inspector, schema)], known)
    found = [*_reflected(inspector, schema, names, known), *(_view(schema, each, known) for each in views)]
    return sorted(found, key=lambda each: each.name)


def _wanted(names: Sequence[str], known: _Known) -> list[str]:
    return [each for each in names if each not in known.passed_over and not each.lower().startswith(_OURS)]


def _materialized(inspector: Inspector, schema: str | None) -> Sequence[str]:
    found: list[str] = _where_there_are(lambda: inspector.get_materialized_view_names(schema=schema), [])
    return found


def _view(schema: str | None, name: str, known: _Known) -> SurveyedTable:
    return SurveyedTable(name=name, schema=schema, view=True, readable=name not in known.unreadable)


def _where_there_are(ask: Callable[[], Any], otherwise: Any) -> Any:
    """What not every dialect can tell."""
    try:
        return ask()
    except NotImplementedError:
        return otherwise


def _reflected(
    inspector: Inspector, schema: str | None, names: Sequence[str], known: _Known
) -> Iterator[SurveyedTable]:
    if not names:
        return
    # each answers by (schema, name)
    asked: dict[str, Any] = {"schema": schema, "filter_names": names}
    columns = inspector.get_multi_columns(**asked)
    keys = _where_there_are(lambda: inspector.get_multi_pk_constraint(**asked), {})
    # with those of unique constraints, which SQLite alone keeps to itself
    also: dict[str, Any] = {"include_auto_indexes": True} if inspector.dialect.name == "sqlite" else {}
    indexes = _where_there_are(lambda: inspector.get_multi_indexes(**asked, **also), None)
    for name in names:
        place = (schema, name)
        key = tuple((keys.get(place) or {}).get("constrained_columns") or ())
        whole = _whole((indexes or {}).get(place) or ())
        begun = frozenset(each[0] for each in (key, *whole) if each)
        shown = [each for each in columns.get(place, ()) if (name, each["name"]) not in known.hidden]
        yield SurveyedTable(
            name=name, schema=schema, primary_key=key, unique=tuple(each for each, unique in whole.items() if unique),
            columns=tuple(_column(each, key) for each in shown), indexed=None if indexes is None else begun,
            rows=known.rows.get(name), readable=name not in known.unreadable,
        )  # fmt: skip


def _whole(indexes: Sequence[Mapping[str, Any]]) -> dict[tuple[str, ...], bool]:
    """The columns of each index that holds all rows, up to the first expression, and whether they are unique."""
    found: dict[tuple[str, ...], bool] = {}
    for index in indexes:
        names = list(index["column_names"])
        plain = tuple(names[: names.index(None)] if None in names else names)
        partial = any(name.endswith("_where") and value is not None for name, value in _options(index).items())
        if plain and not partial:
            found[plain] = found.get(plain, False) or (bool(index["unique"]) and len(plain) == len(names))
    return found


def _options(index: Mapping[str, Any]) -> Mapping[str, Any]:
    options: Mapping[str, Any] = index.get("dialect_options") or {}
    return options


def _column(column: Mapping[str, Any], key: Collection[str]) -> SurveyedColumn:
    kind = next((kind for each, kind in _KINDS if isinstance(column["type"], each)), Kind.ANY)
    if kind is Kind.TIMESTAMP and getattr(column["type"], "timezone", False):
        kind = Kind.INSTANT
    # SQLite says of its own row numbers that they may be NULL
    return SurveyedColumn(name=column["name"], kind=kind, nullable=column["nullable"] and column["name"] not in key)


# --- catalogues -------------------------------------------------------------------------------------------------------


def _known(connection: Any, schema: str) -> _Known:
    match connection.dialect.name:
        case "postgresql":
            return _known_to_postgres(_rows(connection, _POSTGRES, schema=schema))
        case "mysql" | "mariadb":
            hidden = {(str(table), str(column)) for table, column in _rows(connection, _MYSQL_HIDDEN, schema=schema)}
            return _Known(rows=_counts(_rows(connection, _MYSQL, schema=schema)), hidden=hidden)
        case "sqlite":
            return _known_to_sqlite(connection)
    return _Known()


def _known_to_postgres(found: Sequence[Sequence[Any]]) -> _Known:
    return _Known(
        rows=_counts([(name, rows) for name, rows, _, _ in found]),
        passed_over={name for name, _, inner, _ in found if inner},
        unreadable={name for name, _, _, readable in found if not readable},
    )


def _known_to_sqlite(connection: Connection) -> _Known:
    """Since 3.37 it tells which tables are virtual."""
    analysed = inspect(connection).has_table("sqlite_stat1")
    tells = (connection.dialect.server_version_info or ()) >= (3, 37)
    return _Known(
        rows=_counts(_rows(connection, _SQLITE_ROWS)) if analysed else {},
        passed_over={str(name) for (name,) in _rows(connection, _SQLITE)} if tells else frozenset(),
    )


def _counts(found: Sequence[Sequence[Any]]) -> dict[str, int]:
    """Without what was never counted, which is NULL, -1 or 0."""
    return {str(name): int(rows) for name, rows in found if rows is not None and rows > 0}


def _rows(connection: Connection, sql: str, **binds: str) -> list[tuple[Any, ...]]:
    with connection.execute(text(sql), binds) as result:
        return [tuple(each) for each in result]
