"""Who may still commit a number that MySQL or MariaDB gave out: statements that run, then InnoDB's transactions.

An auto-increment is drawn by a statement, just before InnoDB calls its transaction begun. So, in this order:

1. running statements are listed;
2. those of transactions that only read, as ours are, draw nothing. InnoDB tells which they are, in a copy of its list
   that it makes again only when nobody looked for a tenth of a second: it is newer than the first list when our own
   transaction, begun in between, is in it. What runs before and after the copy ran when it was made;
3. the others are waited for. Then what they drew is in a transaction or has ended;
4. transactions are listed, in a copy newer than that: our own, ended in between, is in it no more. They are waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from syncer.source.dialect_generic import LONG_AGO, Horizon, column_of, outlasting, row_of
from syncer.source.horizon_mysql import (
    ACCESS_DENIED,
    BEGIN,
    CLOCK,
    RUNNING,
    Transaction,
    error_number,
    hidden,
    instant,
    told_by_replication,
    transactions,
)

_STALE = "the server, which does not show its open transactions as they are now"


def outlasted(connection: Connection) -> Horizon:
    """Whether all have ended, after seconds at most. The connection must be one that had no transaction yet."""
    told, own, user = row_of(connection, CLOCK)
    now, held_by = instant(told), None
    uncertain = told_by_replication(connection, now).uncertain
    try:
        held_by = _left(connection, int(own))
    except DBAPIError as error:
        if error_number(error) != ACCESS_DENIED:
            raise
        uncertain = uncertain or hidden(user)
    connection.rollback()
    return Horizon(at=now if held_by is None else LONG_AGO, now=now, uncertain=uncertain, held_by=held_by)


def _left(connection: Connection, own: int) -> str | None:
    """Who has not ended. Raises DBAPIError without the privilege PROCESS."""
    first = _statements(connection)
    connection.rollback()
    connection.exec_driver_sql(BEGIN).close()
    found = _copy(connection, lambda threads: own in threads)
    readers = {each.thread for each in found or () if each.only_reads}
    drawing = first - {each for each in _statements(connection) if _thread(each) in readers}
    running = outlasting(drawing, lambda: _statements(connection))
    if running:
        return f"a statement (connection {_thread(min(running))})"
    if drawing:
        connection.rollback()
        found = _copy(connection, lambda threads: own not in threads)
    if found is None:
        return _STALE
    writers = {each.number: each for each in found if not each.only_reads}
    left = outlasting(writers.keys(), lambda: {each.number for each in transactions(connection)})
    return str(writers[min(left)]) if left else None


def _statements(connection: Connection) -> frozenset[str]:
    """Those that run, each by its connection, and by its own number where the server has one (MariaDB)."""
    number = "query_id" if connection.dialect.is_mariadb else "''"  # type: ignore[attr-defined]
    return frozenset(column_of(connection, f"SELECT CONCAT(id, '/', {number}) {RUNNING}"))


def _thread(statement: str) -> int:
    return int(statement.partition("/")[0])


def _copy(connection: Connection, is_new: Callable[[AbstractSet[int]], bool]) -> list[Transaction] | None:
    """The list of transactions, once its connections say that it was made lately; None: in vain."""
    found = transactions(connection)

    def look() -> frozenset[str]:
        found[:] = transactions(connection)
        return frozenset() if is_new({each.thread for each in found}) else frozenset({"old"})

    old = not is_new({each.thread for each in found}) and outlasting({"old"}, look)
    return None if old else found
