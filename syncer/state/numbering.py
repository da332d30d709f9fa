"""How far the databases have counted: for a copy of the tables that is to count on where the first one stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, Table, func, select, text

from syncer.state import portable
from syncer.state.columns import FAMILIES, MYSQL
from syncer.state.tables import metadata

#: tables whose rows the database numbers, by name
NUMBERED: Final = {
    name: table for name, table in metadata.tables.items() if table.autoincrement_column is not None
}  # fmt: skip

_SEQUENCE: Final = "pg_get_serial_sequence(:name, 'number')"
#: what a database knows of the last number, also when its row is gone
_LAST: Final = {
    "sqlite": "SELECT seq FROM sqlite_sequence WHERE name = :name",
    "postgresql": f"SELECT pg_sequence_last_value({_SEQUENCE}::regclass)",
    "mysql": "SELECT auto_increment - 1 FROM information_schema.tables "
    "WHERE table_schema = database() AND table_name = :name",
}


def last_numbers(connection: Connection) -> dict[str, int]:
    """By table, the last number that was given, or 0."""
    return {name: _last(connection, table) for name, table in NUMBERED.items()}


def count_on(connection: Connection, last: Mapping[str, int]) -> None:
    """Let the next numbers of empty tables be those after the last ones. On MySQL this ends the transaction."""
    for name, number in last.items():
        if number:
            _go_on(connection, name, number)


def _last(connection: Connection, table: Table) -> int:
    highest = connection.execute(select(func.max(table.c.number))).scalar_one() or 0
    if connection.dialect.name not in FAMILIES:
        return max(highest, portable.last_number(connection, table.name))
    family = "mysql" if connection.dialect.name in MYSQL else connection.dialect.name
    # some servers answer with what they knew a day ago
    return max(highest, connection.execute(text(_LAST[family]), {"name": table.name}).scalar() or 0)


def _go_on(connection: Connection, name: str, last: int) -> None:
    match connection.dialect.name:
        case "sqlite":
            row = {"name": name, "last": last}
            connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": name})
            connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), row)
        case "postgresql":
            connection.execute(text(f"SELECT setval({_SEQUENCE}, :last)"), {"name": name, "last": last})
        case family if family in MYSQL:
            connection.exec_driver_sql(f"ALTER TABLE {name} AUTO_INCREMENT = {last + 1}")
        case _:
            portable.count_on(connection, name, last)
