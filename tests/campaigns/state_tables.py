"""The state's tables, looked at and changed from outside with plain SQL. No fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

MINUTE_US = 60_000_000


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    patience = {"timeout": 60} if url.startswith("sqlite") else {}
    engine = create_engine(url, connect_args=patience)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    """The rows of one statement; none while the table is not there."""
    try:
        with _connected(url) as connection:
            return [tuple(row) for row in connection.execute(text(sql))]
    except DBAPIError as error:
        if "no such table" in str(error) or "does not exist" in str(error):
            return []
        raise


def change(url: str, sql: str) -> None:
    """Execute one statement, and commit."""
    with _connected(url) as connection:
        connection.execute(text(sql))


def dump(url: str) -> dict[str, list[str]]:
    """Every row of every table but the counter of looks at a lease, as text, in order."""
    with _connected(url) as connection:
        tables = sorted(name for name in inspect(connection).get_table_names() if name.startswith("syncer_"))
        found = {name: connection.execute(text(f"SELECT * FROM {name}")).mappings().all() for name in tables}
    return {
        name: sorted(str({key: value for key, value in row.items() if key != "turn"}) for row in rows)
        for name, rows in found.items()
    }


def unfinished(url: str) -> int:
    """How many runs of the history have no outcome."""
    rows = ask(url, "SELECT count(*) FROM syncer_runs WHERE outcome IS NULL")
    return int(rows[0][0]) if rows else 0


def holders(url: str) -> list[tuple[Any, ...]]:
    """Mappings somebody holds, and their epochs."""
    return ask(url, "SELECT mapping, epoch FROM syncer_leases WHERE owner IS NOT NULL")


def outdate(url: str, column: str, table: str) -> None:
    """Let a minute and a second have passed for a column of instants."""
    change(url, f"UPDATE {table} SET {column} = {column} - {MINUTE_US + 1_000_000} WHERE {column} IS NOT NULL")
