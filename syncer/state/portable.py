"""State in databases that syncer knows nothing special about, with statements every database understands.

Three things are asked of them, and looked at before the tables are used: transactions that can be rolled back,
primary keys that are enforced, and that of two transactions which change the same row one waits or fails.
Everything else is done by hand: a row is looked for before it is inserted, numbers are counted in `syncer_numbers`.
What two processes do at once then ends in an error of one of them, and `Database` does its work again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    MetaData,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    or_,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import Column

from syncer.errors import StateError
from syncer.state.columns import Number, Words
from syncer.state.faults import damaged
from syncer.state.tables import meta, metadata

Row = Mapping[str, Any]

#: rows looked for in one statement; some databases take no more than 2,000 values
_AT_ONCE: Final = 200
_PROBE: Final = "probe"
_TURNS: Final = "migrations"

_plain = MetaData()
_numbers = Table("syncer_numbers", _plain, Column("name", Words(64), primary_key=True), Column("last", Number))


def _twin(table: Table) -> Table:
    """The table without numbers that the database would have to give."""
    twin = table.to_metadata(_plain)
    for column in twin.primary_key.columns:
        column.autoincrement = False
    return twin


_twins: Final = {table: _twin(table) for table in metadata.tables.values()}
#: every table, as it is made
TABLES: Final = tuple(_plain.tables.values())


def create(connection: Connection) -> None:
    """Make every table that is not there yet. Ends the transaction, several times.

    Raises:
        StateError: the database is of a kind that loses or doubles rows.
    """
    # first, because where DDL cannot be rolled back its presence says that a creation was begun
    meta.create(connection, checkfirst=True)
    connection.commit()
    _require_promises(connection)
    _plain.create_all(connection, checkfirst=True)
    counted = [_TURNS, *(table.name for table in _twins if _is_numbered(table))]
    put(connection, _numbers, [{"name": name, "last": 0} for name in counted], replace=False)
    connection.commit()


def put(
    connection: Connection, table: Table, rows: Sequence[Row], key: Sequence[str] = (), *, replace: bool = True
) -> None:
    """Insert the rows; one that is there under the same key (default: the primary key) is replaced or left."""
    names = tuple(key) or tuple(table.primary_key.columns.keys())
    known = _known(connection, table, rows, names)
    new = [row for row in rows if _key(row, names) not in known]
    if new:
        add(connection, table, new)
    old = [row for row in rows if _key(row, names) in known]
    if old and replace:
        same = and_(*(table.c[name] == bindparam(f"its_{name}") for name in names))
        changes = [{f"its_{name}" if name in names else name: value for name, value in row.items()} for row in old]
        connection.execute(update(table).where(same), changes)


def add(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows, with the next numbers where the table has numbers."""
    if _is_numbered(table):
        numbers = _next(connection, table, len(rows))
        rows = [{**row, "number": number} for row, number in zip(rows, numbers, strict=True)]
    connection.execute(insert(_twins.get(table, table)), rows)


def add_numbered(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows with the numbers they have."""
    connection.execute(insert(_twins.get(table, table)), rows)


def last_number(connection: Connection, name: str) -> int:
    """The last number that was given in this table."""
    return int(connection.execute(select(_numbers.c.last).where(_numbers.c.name == name)).scalar() or 0)


def count_on(connection: Connection, name: str, last: int) -> None:
    """Let the next number of this table be the one after."""
    connection.execute(update(_numbers).where(_numbers.c.name == name).values(last=last))


def take_turn(connection: Connection) -> None:
    """Keep other processes from doing so until the transaction ends, once there are tables."""
    if inspect(connection).has_table(_numbers.name):
        connection.execute(update(_numbers).where(_numbers.c.name == _TURNS).values(last=_numbers.c.last + 1))


def _is_numbered(table: Table) -> bool:
    return table.autoincrement_column is not None


def _next(connection: Connection, table: Table, count: int) -> Sequence[int]:
    """Numbers never given before. The row stays locked: none is given twice, and those of a later commit are higher."""
    row = _numbers.c.name == table.name
    connection.execute(update(_numbers).where(row).values(last=_numbers.c.last + count))
    last = connection.execute(select(_numbers.c.last).where(row)).scalar_one_or_none()
    if last is None:
        raise damaged()
    return range(last - count + 1, last + 1)


def _known(connection: Connection, table: Table, rows: Sequence[Row], names: Sequence[str]) -> set[tuple[object, ...]]:
    """Keys of those rows that are there."""
    columns = [table.c[name] for name in names]
    found: set[tuple[object, ...]] = set()
    for start in range(0, len(rows), _AT_ONCE):
        keys = [_is(table, row, names) for row in rows[start : start + _AT_ONCE]]
        found.update(tuple(row) for row in connection.execute(select(*columns).where(or_(*keys))))
    return found


def _is(table: Table, row: Row, names: Sequence[str]) -> ColumnElement[bool]:
    return and_(*(table.c[name] == row[name] for name in names))


def _key(row: Row, names: Sequence[str]) -> tuple[object, ...]:
    return tuple(row[name] for name in names)


def _require_promises(connection: Connection) -> None:
    """Insert a row twice in a transaction: a database that can keep state refuses that and keeps neither."""
    row = {"name": _PROBE, "content": ""}
    connection.execute(insert(meta), row)
    try:
        connection.execute(insert(meta), row)
        connection.commit()
    except DBAPIError:
        connection.rollback()
    left = connection.execute(select(func.count()).select_from(meta).where(meta.c.name == _PROBE)).scalar_one()
    if left:
        connection.execute(delete(meta).where(meta.c.name == _PROBE))
        connection.commit()
        meta.drop(connection)
        connection.commit()
        raise StateError(
            f"state cannot be kept in {connection.dialect.name}: it "
            + ("does not enforce primary keys" if left > 1 else "does not roll transactions back"),
            "use sqlite:///syncer.db, or postgresql://user:password@host/database for several hosts",
        )
