"""The ways rows get into the state tables, spoken as each database wants it. No transactions and no values here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table, insert
from sqlalchemy.sql.dml import Insert

from syncer.state.columns import FAMILIES, MYSQL

Row = Mapping[str, Any]
_NAMED = re.compile(r"%\(\w+\)s")


def put(connection: Connection, table: Table, rows: Sequence[Row], *key: str) -> None:
    """Insert rows; one with the same key (default: the primary key) as an old one replaces all its columns."""
    if connection.dialect.name in FAMILIES:
        connection.execute(_upsert(connection.dialect, table, key), rows)
    else:
        from syncer.state import portable

        portable.put(connection, table, rows, key)


def put_plainly(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    """As `put`, on a database of `FAMILIES`: rows in the table's order, with values as the driver takes them.

    For what is written by the million: what SQLAlchemy does for each value takes longer than the database.
    """
    named = str(_upsert(connection.dialect, table, ()).compile(dialect=connection.dialect))
    connection.exec_driver_sql(_NAMED.sub("%s", named), rows)


def put_absent(connection: Connection, table: Table, row: Row) -> None:
    """Insert a row, unless there is one with the same primary key: that one stays as it is."""
    if connection.dialect.name in FAMILIES:
        connection.execute(_insert_absent(connection.dialect, table), row)
    else:
        from syncer.state import portable

        portable.put(connection, table, [row], replace=False)


def add(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows; those of a table with numbers get the next ones."""
    if connection.dialect.name in FAMILIES:
        connection.execute(insert(table), rows)
    else:
        from syncer.state import portable

        portable.add(connection, table, rows)


def _upsert(dialect: Dialect, table: Table, key: Sequence[str]) -> Insert:
    names = key or tuple(table.primary_key.columns.keys())
    changed = [column.name for column in table.columns if not column.primary_key and column.name not in names]
    if dialect.name in MYSQL:
        return _mysql_upsert(table, changed)
    statement = _conflict_insert(dialect, table)
    new = {name: statement.excluded[name] for name in changed}
    upsert: Insert = statement.on_conflict_do_update(index_elements=names, set_=new)
    return upsert


def _insert_absent(dialect: Dialect, table: Table) -> Insert:
    names = tuple(table.primary_key.columns.keys())
    if dialect.name in MYSQL:
        # not INSERT IGNORE: that would also turn errors into warnings
        return _mysql_upsert(table, names)
    absent: Insert = _conflict_insert(dialect, table).on_conflict_do_nothing(index_elements=names)
    return absent


# imported where they are used: each costs a thirtieth of a second, and one is enough


def _mysql_upsert(table: Table, names: Sequence[str]) -> Insert:
    from sqlalchemy.dialects.mysql import insert as mysql_insert

    into = mysql_insert(table)
    return into.on_duplicate_key_update({name: into.inserted[name] for name in names})


def _conflict_insert(dialect: Dialect, table: Table) -> Any:
    if dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert(table)
    from sqlalchemy.dialects.postgresql import insert as postgresql_insert

    return postgresql_insert(table)
