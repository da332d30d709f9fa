"""How collections and properties become SQLite tables and columns: names, statements, stored values. Pure.

A collection is one STRICT table whose ANY columns keep every value as it is. A property that cannot be a
column is kept in `_objects` only: names the warehouse reserves, names it cannot spell, and one too many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from syncer.sandbox.exact import Value

#: column names Segment's warehouses keep for themselves; a property of that name is lost there
RESERVED = frozenset({"id", "received_at", "uuid", "uuid_ts"})
#: columns of a table, well below SQLite's own limits of columns and of statement length
MAX_COLUMNS = 1000
#: bytes of a column name, as in Redshift
MAX_NAME = 127

_INT64 = range(-(2**63), 2**63)
#: SQLite compares column names without regard to the case of ASCII letters only
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

SCHEMA = """
CREATE TABLE IF NOT EXISTS _objects (
    collection TEXT NOT NULL, id TEXT NOT NULL,
    properties TEXT NOT NULL,
    times INTEGER NOT NULL, first_received_at TEXT NOT NULL, last_received_at TEXT NOT NULL,
    PRIMARY KEY (collection, id)
) STRICT;
CREATE TABLE IF NOT EXISTS _requests (
    number INTEGER PRIMARY KEY,
    received_at TEXT NOT NULL, collection TEXT, objects INTEGER NOT NULL,
    status INTEGER NOT NULL, synchronous INTEGER NOT NULL, bytes INTEGER NOT NULL,
    path TEXT NOT NULL DEFAULT '/v1/set', sync_id TEXT, uploaded INTEGER NOT NULL DEFAULT 0
) STRICT;
"""
#: columns of `_requests` that files of before the bulk API lack
LATER_COLUMNS = {
    "path": "path TEXT NOT NULL DEFAULT '/v1/set'",
    "sync_id": "sync_id TEXT",
    "uploaded": "uploaded INTEGER NOT NULL DEFAULT 0",
}
INSERT_REQUEST = """
INSERT INTO _requests (received_at, collection, objects, status, synchronous, bytes, path, sync_id, uploaded)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
UPSERT_OBJECT = """
INSERT INTO _objects (collection, id, properties, times, first_received_at, last_received_at)
VALUES (?, ?, ?, 1, ?, ?)
ON CONFLICT (collection, id) DO UPDATE SET
    properties = excluded.properties, times = times + 1, last_received_at = excluded.last_received_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How objects with one list of property names go into their table."""

    #: takes the id and the values of `names`
    statement: str
    #: the properties that have a column, in the statement's order
    names: tuple[str, ...]


def table_of(collection: str) -> str:
    """Its table: SQLite keeps `sqlite_...` for itself, and no collection begins with an underscore."""
    return f"_{collection}" if collection.startswith("sqlite_") else collection


def collection_of(table: str) -> str | None:
    """The collection a table holds; None for tables that are not collections."""
    if table.startswith("_sqlite_"):
        return table[1:]
    return None if table.startswith(("_", "sqlite_")) else table


def quoted(name: str) -> str:
    """A name as an SQL identifier, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def folded(name: str) -> str:
    """What makes two property names the same column."""
    return name.translate(_LOWER)


def has_column(name: str) -> bool:
    """Whether a property of this name can be a column."""
    return folded(name) not in RESERVED and "\0" not in name and len(name.encode()) <= MAX_NAME


def create_table(collection: str, columns: Iterable[str]) -> str:
    """The statement for a collection's first objects."""
    definitions = ["id TEXT NOT NULL PRIMARY KEY", *(f"{quoted(name)} ANY" for name in columns)]
    return f"CREATE TABLE {quoted(table_of(collection))} ({', '.join(definitions)}) STRICT"


def add_column(collection: str, column: str) -> str:
    """The statement for a property the collection did not have."""
    return f"ALTER TABLE {quoted(table_of(collection))} ADD COLUMN {quoted(column)} ANY"


def layout(collection: str, names: Iterable[str], columns: Mapping[str, str]) -> Layout:
    """The upsert of objects with these properties; of two that share a column the last wins.

    Args:
        columns: the table's columns by their folded names.
    """
    chosen = {folded(name): name for name in names if has_column(name) and folded(name) in columns}
    own = [quoted(columns[key]) for key in chosen]
    merging = ", ".join(f"{column} = excluded.{column}" for column in own)
    statement = (
        f"INSERT INTO {quoted(table_of(collection))} ({', '.join(['id', *own])}) "  # noqa: S608  (quoted)
        f"VALUES ({', '.join('?' * (len(own) + 1))}) "
        f"ON CONFLICT (id) DO {f'UPDATE SET {merging}' if own else 'NOTHING'}"
    )
    return Layout(statement=statement, names=tuple(chosen.values()))


@lru_cache(maxsize=16)
def select_objects(count: int) -> str:
    """The statement that reads the properties of `count` objects of a collection."""
    return f"SELECT id, properties FROM _objects WHERE collection = ? AND id IN ({', '.join('?' * count)})"  # noqa: S608


def stored(value: Value) -> str | int | float | None:
    """What a column holds: numbers SQLite cannot hold exactly are the text of the number."""
    kind = type(value)
    if kind is str or value is None:
        return value  # type: ignore[return-value]
    if isinstance(value, Decimal):
        near = float(value)
        return near if Decimal(repr(near)) == value else str(value)
    return int(value) if value in _INT64 else str(value)
