"""One clock for all hosts that share a state: the database server's. Leases and doubts are measured by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection

#: clocks that differ by less are taken for equal: the lease lives sixty times as long
TOLERANCE: Final = timedelta(seconds=1)

#: the time in UTC, as each server tells it without regard to session time zones or the transaction's start
_TIME: Final = {
    "postgresql": "SELECT clock_timestamp() AT TIME ZONE 'UTC'",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "mariadb": "SELECT UTC_TIMESTAMP(6)",
    "mssql": "SELECT SYSUTCDATETIME()",
    "oracle": "SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM dual",
}


def utc_now() -> datetime:
    """This host's clock, in UTC."""
    return datetime.now(UTC)


def agreed(connection: Connection, now: datetime, clock: Callable[[], datetime] = utc_now) -> datetime:
    """An instant of this host's clock as the database server's clock would have told it.

    Args:
        now: an instant of `clock`.
        clock: this host's.
    """
    return now + ahead(connection, clock)


def ahead(connection: Connection, clock: Callable[[], datetime] = utc_now) -> timedelta:
    """By how much the database server's clock is ahead of this host's, which `clock` tells.

    Nothing where the server is not known to tell the time, and with SQLite, where all processes share one host's.
    """
    statement = _TIME.get(connection.dialect.name)
    if statement is None:
        return timedelta(0)
    before = clock()
    there = connection.exec_driver_sql(statement).scalar_one().replace(tzinfo=UTC)
    return difference(there, before, clock())


def difference(there: datetime, before: datetime, after: datetime) -> timedelta:
    """By how much the server is ahead, told its time at some moment between our `before` and `after`.

    The smallest difference that explains what was seen, so that a slow answer is not mistaken for one.
    """
    if before - TOLERANCE <= there <= after + TOLERANCE:
        return timedelta(0)
    return there - (after if there > after else before)
