"""Looking around in a database, for `init` and `check`. Nothing of a run lives here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import inspect

from syncer.core.model import CollectionMapping, Column, Kind
from syncer.source.describing import find_table
from syncer.source.drivers import Sql
from syncer.source.sql import SqlSource

_OF_THE_SYSTEM = frozenset({
    "information_schema", "pg_catalog", "pg_toast", "mysql", "performance_schema", "sys", "INFORMATION_SCHEMA",
})  # fmt: skip
#: names of columns that tell when a row changed, the best first
_WATERMARKS = (
    "updated_at", "updatedat", "modified_at", "modifiedat", "last_modified", "last_update", "last_updated",
    "updated", "modified", "updated_on", "modified_on", "date_updated", "date_modified", "mtime",
)  # fmt: skip
_WATERMARK_KINDS = frozenset({Kind.TIMESTAMP, Kind.INSTANT, Kind.TEXT, Kind.INTEGER, Kind.ANY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table or view as a mapping would use it."""

    #: as the mapping's `table` takes it
    name: str
    columns: tuple[Column, ...]
    #: empty without one
    primary_key: tuple[str, ...]
    #: the column that tells best when a row changed
    watermark: str | None


def tables(source: SqlSource) -> list[Table]:
    """All tables and views that the source's user may see, by name."""
    with source.snapshot() as connection:
        inspector = inspect(connection)
        usual = inspector.default_schema_name
        found: list[tuple[str | None, str]] = []
        for schema in inspector.get_schema_names():
            if schema in _OF_THE_SYSTEM:
                continue
            told = None if schema in (usual, "main") else schema
            names = [*inspector.get_table_names(schema=schema), *inspector.get_view_names(schema=schema)]
            found += [(told, name) for name in names]
    return [_table(source, schema, name) for schema, name in sorted(found, key=lambda each: (each[0] or "", each[1]))]


def _table(source: SqlSource, schema: str | None, name: str) -> Table:
    dialect = source.dialect
    with source.snapshot() as connection:
        query = Sql(text=f"SELECT * FROM {dialect.path(schema, name)}")  # noqa: S608  quoted names
        columns = dialect.describe(connection, query)
        key = dialect.own_key(connection, schema, name)
    return Table(
        name=f"{schema}.{name}" if schema else name, columns=columns, primary_key=key, watermark=_watermark(columns)
    )


def _watermark(columns: Sequence[Column]) -> str | None:
    by_name = {column.name.lower(): column.name for column in columns if column.kind in _WATERMARK_KINDS}
    return next((by_name[name] for name in _WATERMARKS if name in by_name), None)


def has_watermark_index(source: SqlSource, mapping: CollectionMapping, watermark: str) -> bool | None:
    """Whether an index of the mapping's table begins with the watermark. None: a query, of which nobody knows."""
    if mapping.table is None:
        return None
    with source.snapshot() as connection:
        schema, table = find_table(connection, mapping.name, mapping.table)
        return watermark in source.dialect.indexed(connection, schema, table)


def estimate(source: SqlSource, mapping: CollectionMapping) -> int | None:
    """About how many rows the mapping's query returns, where the planner tells without reading them."""
    with source.snapshot() as connection:
        return source.dialect.estimate(connection, source.query(connection, mapping))
