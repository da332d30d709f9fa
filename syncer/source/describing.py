"""Which table, which columns: names from the configuration matched with those the database has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from sqlalchemy import Connection, inspect
from sqlalchemy.engine import Inspector

from syncer.core.model import CollectionMapping, Column
from syncer.core.watermark import check_kind
from syncer.errors import MappingError
from syncer.source.base import Described


def resolve(mapping: CollectionMapping, columns: Sequence[Column], own_key: tuple[str, ...]) -> Described:
    """Match the mapping's key and watermark with the columns of its query.

    Raises:
        MappingError: a column that is missing, twice there, or unfit to be a watermark; no key.
    """
    names = [column.name for column in columns]
    _check_distinct(mapping, names)
    key = mapping.primary_key or own_key
    if not key:
        raise MappingError(
            f"mapping {mapping.name}: {mapping.table or 'the query'} has no primary key",
            f"name the columns that identify a row: `primary_key: id` in mappings.{mapping.name}",
        )
    watermark = None
    if mapping.watermark is not None:
        watermark = _resolved(mapping, "watermark", mapping.watermark.column, names)
        check_kind(next(column.kind for column in columns if column.name == watermark), watermark)
    found = tuple(_resolved(mapping, "primary_key", name, names) for name in key)
    return Described(columns=tuple(columns), primary_key=found, watermark=watermark)


def column_named(columns: Iterable[Column], name: str) -> Column:
    """The column of that exact name."""
    return next(column for column in columns if column.name == name)


def _check_distinct(mapping: CollectionMapping, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise MappingError(
            f"mapping {mapping.name}: two columns of the query have the same name: {', '.join(twice)}",
            "give one of them another name with AS",
        )


def _resolved(mapping: CollectionMapping, role: str, wanted: str, names: list[str]) -> str:
    if wanted in names:
        return wanted
    alike = [name for name in names if name.casefold() == wanted.casefold()]
    if len(alike) == 1:
        return alike[0]
    raise MappingError(
        f"mapping {mapping.name}: its {role} {wanted} is no column of the query; there are: {', '.join(names)}",
        _nearest(wanted, names) or f"add {wanted} to the query, or correct `{role}`",
    )


def _nearest(wanted: str, names: Iterable[str]) -> str | None:
    lowered = {name.lower(): name for name in names}
    close = get_close_matches(wanted.lower(), lowered, n=1, cutoff=0.5)
    return f"did you mean {lowered[close[0]]}?" if close else None


def find_table(connection: Connection, mapping_name: str, wanted: str) -> tuple[str | None, str]:
    """Schema and name of a table or view: a table of exactly this name first, then `schema.table`.

    Raises:
        MappingError: there is none.
    """
    inspector = inspect(connection)
    if inspector.has_table(wanted):
        return None, wanted
    schema, dot, name = wanted.partition(".")
    if dot and schema in inspector.get_schema_names() and inspector.has_table(name, schema=schema):
        return schema, name
    there = _table_names(inspector, schema if dot else None)
    raise MappingError(
        f"mapping {mapping_name}: there is no table {wanted}",
        _nearest(wanted, there) or f"there are: {', '.join(sorted(there)[:20]) or 'none that this user may see'}",
    )


def _table_names(inspector: Inspector, schema: str | None) -> list[str]:
    names = [*inspector.get_table_names(), *inspector.get_view_names()]
    if schema in inspector.get_schema_names():
        names += [f"{schema}.{name}" for name in inspector.get_table_names(schema=schema)]
    return names
