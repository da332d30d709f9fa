"""How far the transactions of MySQL and MariaDB have come: the oldest that may still commit rows with earlier stamps.

`NOW()` is the time at which a statement began. So running statements count, and transactions with a statement behind
them; one that did nothing yet does not. The order of the looks matters, because transactions move on meanwhile:

1. the clock;
2. running statements. One that waits for a table's lock has no transaction yet, but its stamp already;
3. InnoDB's transactions, but for those that only read, as ours do. The list is a copy which the server makes again only
   when nobody looked for a tenth of a second: it is new enough when our own transaction is in it;
4. prepared transactions whose session is gone (XA): after a restart of the server they seem to begin with it. While one
   stays, nothing moves: it began after every watermark saved so far.

What InnoDB calls a transaction's beginning is its first touch of a table. A first statement that waited for a table's
lock longer than the margin, in a transaction that then stays open, has stamps before it: there the lookback protects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from syncer.source.dialect_generic import LONG_AGO, Horizon, bounded, outlasting, row_of

#: the error without a privilege
ACCESS_DENIED = 1227
_SYNTAX = 1064

BEGIN = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
CLOCK = "SELECT UTC_TIMESTAMP(6), CONNECTION_ID(), CURRENT_USER()"
#: statements of others that run
RUNNING = (
    "FROM information_schema.processlist WHERE id <> CONNECTION_ID() "
    "AND (user = 'system user' OR command <> 'Sleep') AND command <> 'Daemon' AND command NOT LIKE 'Binlog Dump%%'"
)
_STATEMENTS = f"SELECT id, user, command, COALESCE(time, 0) {RUNNING}"
# InnoDB tells times in the zone of the server's system. In the hour that comes twice a year the earlier one is meant.
_UTC = "CONVERT_TZ(trx_started, 'SYSTEM', '+00:00')"
_HOUR_BEFORE = f"({_UTC} - INTERVAL 1 HOUR)"
_BEGAN = f"IF(CONVERT_TZ({_HOUR_BEFORE}, '+00:00', 'SYSTEM') = trx_started, {_HOUR_BEFORE}, {_UTC})"
_TRANSACTIONS = (
    f"SELECT trx_mysql_thread_id, trx_is_read_only, trx_id, {_BEGAN} "  # noqa: S608  constants
    "FROM information_schema.innodb_trx"
)
_REPLICATES = ("Slave_IO_Running", "Slave_SQL_Running", "Replica_IO_Running", "Replica_SQL_Running")
_BEHIND = ("Seconds_Behind_Master", "Seconds_Behind_Source")
_PREPARED = "a prepared transaction (XA RECOVER lists it)"
_BY_REPLICATION = "rows arrive here by replication, and transactions open where they come from cannot be seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One of InnoDB's; `thread` is 0 where the session is gone."""

    thread: int
    only_reads: bool
    number: str
    began: datetime

    def __str__(self) -> str:
        return f"a transaction (connection {self.thread})" if self.thread else _PREPARED


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is open: beginnings with whose they are, what holds everything, and what cannot be known."""

    open: Sequence[tuple[datetime, str]] = ()
    held_by: str | None = None
    uncertain: str | None = None


def horizon(connection: Connection) -> Horizon:
    """The bound. Takes seconds when transactions of unknown age stay open."""
    connection.exec_driver_sql(BEGIN).close()
    told, own, user = row_of(connection, CLOCK)
    now = instant(told)
    replication = told_by_replication(connection, now)
    try:
        seen = _seen(connection, int(own), now)
    except DBAPIError as error:
        if error_number(error) != ACCESS_DENIED:
            raise
        seen = Seen(uncertain=hidden(user))
    connection.rollback()
    return _judged(now, seen, replication)


def _judged(now: datetime, seen: Seen, replication: Seen) -> Horizon:
    uncertain = replication.uncertain or seen.uncertain
    held_by = replication.held_by or seen.held_by
    if held_by is not None:
        return Horizon(at=LONG_AGO, now=now, uncertain=uncertain, held_by=held_by)
    return bounded(now, [*seen.open, *replication.open], uncertain=uncertain)


def _seen(connection: Connection, own: int, now: datetime) -> Seen:
    """Raises DBAPIError without the privilege PROCESS."""
    statements = _statements(connection)
    found = transactions(connection)

    def fresh() -> frozenset[str]:
        found[:] = transactions(connection)
        return frozenset() if any(each.thread == own for each in found) else frozenset({"stale"})

    stale = all(each.thread != own for each in found) and outlasting({"stale"}, fresh)
    readers = {each.thread for each in found if each.only_reads}
    writers = [each for each in found if not each.only_reads]
    detached = outlasting(
        {each.number for each in writers if not each.thread},
        lambda: {each.number for each in transactions(connection)},
    )
    held = [(each.began, str(each)) for each in writers if each.thread]
    held += [
        (now - timedelta(seconds=max(0, int(seconds))), f"a statement (connection {thread})")
        for thread, user, _, seconds in statements
        if user != "system user" and thread not in readers
    ]
    uncertain = "the server does not show its open transactions as they are now" if stale else None
    if any(user == "system user" for _, user, _, _ in statements):
        uncertain = _BY_REPLICATION
    held_by = _PREPARED if detached else None
    return Seen(open=held, held_by=held_by, uncertain=uncertain)


def _statements(connection: Connection) -> Sequence[Any]:
    with connection.exec_driver_sql(_STATEMENTS) as result:
        return result.all()


def transactions(connection: Connection) -> list[Transaction]:
    """InnoDB's, in the copy that the server has of them. Raises DBAPIError without the privilege PROCESS."""
    with connection.exec_driver_sql(_TRANSACTIONS) as result:
        return [
            Transaction(thread=int(thread), only_reads=bool(int(reads)), number=str(number), began=instant(told))
            for thread, reads, number, told in result
        ]


def told_by_replication(connection: Connection, now: datetime) -> Seen:
    """How far a replica is behind, where the privilege shows it. One whose threads are stopped was promoted."""
    every = "ALL REPLICAS" if connection.dialect.is_mariadb else "REPLICA"  # type: ignore[attr-defined]
    try:
        with connection.exec_driver_sql(f"SHOW {every} STATUS") as result:
            channels = [dict(row) for row in result.mappings()]
    except DBAPIError as error:
        if error_number(error) not in {ACCESS_DENIED, _SYNTAX}:
            raise
        return Seen()
    running = [each for each in channels if any(each.get(name, "No") != "No" for name in _REPLICATES)]
    if not running:
        return Seen()
    behind = [each[name] for each in running for name in _BEHIND if name in each]
    if None in behind:
        return Seen(held_by="replication, which does not tell how far it is behind", uncertain=_BY_REPLICATION)
    held = [(now - timedelta(seconds=int(seconds)), "replication, which is behind its source") for seconds in behind]
    return Seen(open=held, uncertain=_BY_REPLICATION)


def instant(told: object) -> datetime:
    """A time that the server told, in UTC."""
    return datetime.fromisoformat(str(told)).replace(tzinfo=UTC)


def hidden(user: str) -> str:
    """What to say to a user without the privilege PROCESS."""
    return f"open transactions of other users are hidden; `GRANT PROCESS ON *.* TO {_account(user)}` shows them"


def _account(user: str) -> str:
    name, _, host = user.rpartition("@")
    return f"'{name}'@'{host}'"


def error_number(error: DBAPIError) -> object:
    """The server's number of an error."""
    return error.orig.args[0] if error.orig is not None and error.orig.args else None
