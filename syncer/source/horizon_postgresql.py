"""How far PostgreSQL's transactions have come: the oldest that may still commit rows with earlier stamps.

`now()` is the time at which a transaction began, whenever it writes and commits. So every open transaction counts, also
one that wrote nothing yet and has no number. The order of the looks matters, because transactions move on meanwhile:

1. the clock;
2. sessions, and when their transactions began. Not ours, which only read, and not those that never write tables;
3. sessions that hide it (no `pg_read_all_stats`, or `track_activities` off): their locks tell at least whether they
   have a transaction open, and which. Once these have ended, it no longer matters when they began;
4. prepared transactions, which left their sessions in the meantime. They tell when they were prepared, not when they
   began. While one stays, nothing moves: it began after every watermark saved so far, because when that was saved it
   was either an open transaction that was waited for, or not there yet.

Numbers of a sequence tell no time. For them every transaction counts that is open now, by the lock on its own number,
until it has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from syncer.source.dialect_generic import LONG_AGO, Horizon, bounded, column_of, outlasting, row_of

#: what the names of our own read-only transactions begin with
OURS = "syncer reads only: "

_CLOCK = (
    "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint), pg_is_in_recovery(), "
    "CAST(extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000000 AS bigint)"
)
# Between two transactions of one message `xact_start` is empty, but the next has the message's time for its beginning.
_SESSIONS = f"""
SELECT pid, who, CAST(extract(epoch FROM began) * 1000000 AS bigint), hidden FROM (
  SELECT pid, coalesce(usename, backend_type) AS who,
    coalesce(xact_start, CASE WHEN state = 'active' THEN query_start END) AS began,
    coalesce(query, '') = '<insufficient privilege>' OR coalesce(state, '') = 'disabled' AS hidden
  FROM pg_catalog.pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'walsender')
    AND left(coalesce(application_name, ''), {len(OURS)}) <> '{OURS}'
) sessions WHERE hidden OR began IS NOT NULL
"""  # noqa: S608  constants
_OPEN = (
    "SELECT virtualtransaction FROM pg_catalog.pg_locks WHERE locktype = 'virtualxid' "
    "AND virtualxid = virtualtransaction AND pid = ANY (CAST(:pids AS integer[]))"
)
_WRITERS = f"""
SELECT pid || '/' || virtualtransaction FROM pg_catalog.pg_locks JOIN pg_catalog.pg_stat_activity USING (pid)
WHERE locktype = 'virtualxid' AND virtualxid = virtualtransaction AND pid <> pg_backend_pid()
  AND datname = current_database() AND usesysid IS NOT NULL AND coalesce(backend_type, '') <> 'walsender'
  AND left(coalesce(application_name, ''), {len(OURS)}) <> '{OURS}'
"""  # noqa: S608  constants
_PREPARED = "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()"
_HERE_ONLY = "this is a standby, where the open transactions of its primary cannot be seen"
_FED = "SELECT current_user, EXISTS (SELECT FROM pg_catalog.pg_subscription_rel)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    pid: int
    who: str
    #: None: hidden
    began: datetime | None


def horizon(connection: Connection) -> Horizon:
    """The bound. Takes seconds when transactions of unknown age stay open."""
    told, in_recovery, replayed = row_of(connection, _CLOCK)
    now = _instant(told)
    found = _standby(now, replayed) if in_recovery else _primary(connection, now)
    connection.rollback()
    return found


def outlasted(connection: Connection) -> Horizon:
    """Waits for this database's transactions, and for the prepared ones that some of them may have become."""
    told, in_recovery, _ = row_of(connection, _CLOCK)
    now = _instant(told)
    if in_recovery:
        connection.rollback()
        return Horizon(at=now, now=now, uncertain=_HERE_ONLY)
    left = outlasting(_writers(connection), lambda: _writers(connection))
    prepared = outlasting(_prepared(connection), lambda: _prepared(connection))
    uncertain = _uncertain(connection, frozenset())
    connection.rollback()
    if not left and not prepared:
        return Horizon(at=now, now=now, uncertain=uncertain)
    held_by = f"a transaction that stays open (pid {min(left).partition('/')[0]})" if left else _named(prepared)
    return Horizon(at=LONG_AGO, now=now, uncertain=uncertain, held_by=held_by)


def _writers(connection: Connection) -> frozenset[str]:
    return frozenset(column_of(connection, _WRITERS))


def _standby(now: datetime, replayed: int | None) -> Horizon:
    """Commits come in the primary's order, so what is replayed is complete but for what is open on the primary."""
    held = [] if replayed is None else [(_instant(replayed), "the last commit that was replayed here")]
    return bounded(now, held, uncertain=_HERE_ONLY)


def _primary(connection: Connection, now: datetime) -> Horizon:
    sessions = _sessions(connection)
    hidden = _lasting(connection, [each.pid for each in sessions if each.began is None])
    prepared = outlasting(_prepared(connection), lambda: _prepared(connection))
    uncertain = _uncertain(connection, hidden)
    if prepared:
        return Horizon(at=LONG_AGO, now=now, uncertain=uncertain, held_by=_named(prepared))
    held = [
        (each.began, f"a transaction of {each.who} (pid {each.pid})") for each in sessions if each.began is not None
    ]
    return bounded(now, held, uncertain=uncertain)


def _sessions(connection: Connection) -> list[_Session]:
    with connection.exec_driver_sql(_SESSIONS) as result:
        return [
            _Session(pid=pid, who=who, began=None if hidden or told is None else _instant(told))
            for pid, who, told, hidden in result
        ]


def _lasting(connection: Connection, pids: Sequence[int]) -> frozenset[str]:
    """The transactions open in these sessions that do not end soon."""

    def open_now() -> frozenset[str]:
        return frozenset(column_of(connection, _OPEN, {"pids": list(pids)}))

    return outlasting(open_now(), open_now) if pids else frozenset()


def _prepared(connection: Connection) -> frozenset[str]:
    return frozenset(column_of(connection, _PREPARED))


def _named(prepared: frozenset[str]) -> str:
    told = ", ".join(f"'{name}'" for name in sorted(prepared)[:3])
    return f"the prepared transaction {told}"


def _uncertain(connection: Connection, hidden: frozenset[str]) -> str | None:
    user, fed = row_of(connection, _FED)
    if hidden:
        return (
            f"{len(hidden)} open transaction{'s' if len(hidden) > 1 else ''} of other users hide when they began; "
            f"`GRANT pg_read_all_stats TO {user}` lets them be seen"
        )
    if fed:
        return "a subscription feeds tables of this database: their rows carry the publisher's times and come later"
    return None


def _instant(microseconds: int) -> datetime:
    return LONG_AGO + timedelta(microseconds=microseconds)
