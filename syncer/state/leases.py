"""Leases in `syncer_leases`: a row per mapping, never deleted, locked while looked at.

The rules are in `tenure`; the time they are measured by is told in `clocks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update

from syncer.core.model import Lease
from syncer.state.clocks import agreed, utc_now
from syncer.state.rows import tenure_of
from syncer.state.tables import leases
from syncer.state.tenure import Tenure, lost, succeed
from syncer.state.writing import put_absent


def look(
    connection: Connection,
    mapping: str,
    owner: str,
    now: datetime,
    ttl: timedelta,
    *,
    clock: Callable[[], datetime] = utc_now,
) -> bool:
    """Whether the mapping has a row, seen without a lock. Raises `LeaseHeld` when the lease cannot be had now."""
    row = connection.execute(select(leases).where(leases.c.mapping == mapping)).mappings().one_or_none()
    if row is not None:
        succeed(tenure_of(row), mapping, owner, agreed(connection, now, clock), ttl)
    return row is not None


def prepare(connection: Connection, mapping: str) -> None:
    """Make sure the mapping has a row. In a transaction of its own: MySQL deadlocks if that also locks it."""
    put_absent(connection, leases, {"mapping": mapping, "epoch": 0, "turn": 0})


def take(
    connection: Connection,
    mapping: str,
    owner: str,
    now: datetime,
    ttl: timedelta,
    *,
    clock: Callable[[], datetime] = utc_now,
) -> Lease:
    """Give the mapping's lease to the owner, measured by the database's clock. Raises `LeaseHeld`."""
    found, at = _locked(connection, mapping), agreed(connection, now, clock)
    lease = succeed(found, mapping, owner, at, ttl)
    tenure = Tenure(epoch=lease.epoch, owner=owner, since=at, expires_at=lease.expires_at)
    connection.execute(update(leases).where(leases.c.mapping == mapping), asdict(tenure))
    return lease


def prolong(
    connection: Connection, lease: Lease, now: datetime, ttl: timedelta, *, clock: Callable[[], datetime] = utc_now
) -> Lease:
    """Let the lease last longer, measured by the database's clock. Raises `LeaseLost`."""
    require(connection, lease)
    expires_at = agreed(connection, now, clock) + ttl
    change = update(leases).where(leases.c.mapping == lease.mapping)
    connection.execute(change, {"expires_at": expires_at})
    return replace(lease, expires_at=expires_at)


def give_back(connection: Connection, lease: Lease) -> None:
    """Leave the row with its epoch and without an owner, if it is still ours."""
    if _locked(connection, lease.mapping).belongs_to(lease):
        change = update(leases).where(leases.c.mapping == lease.mapping)
        connection.execute(change, {"owner": None, "since": None, "expires_at": None})


def require(connection: Connection, lease: Lease) -> None:
    """Lock the row until the transaction ends. Raises `LeaseLost` when it no longer belongs to the lease."""
    if not _locked(connection, lease.mapping).belongs_to(lease):
        raise lost(lease)


def held(connection: Connection) -> tuple[Lease, ...]:
    """Leases that have an owner, by mapping name."""
    rows = connection.execute(select(leases).where(leases.c.owner.is_not(None))).mappings()
    found = (
        Lease(mapping=row["mapping"], owner=row["owner"], epoch=row["epoch"], expires_at=row["expires_at"])
        for row in rows
    )
    return tuple(sorted(found, key=lambda lease: lease.mapping))


def _locked(connection: Connection, mapping: str) -> Tenure:
    # not FOR UPDATE, which some databases lack; nor a change to the same value, which DuckDB takes for none
    connection.execute(update(leases).where(leases.c.mapping == mapping).values(turn=leases.c.turn + 1))
    row = connection.execute(select(leases).where(leases.c.mapping == mapping)).mappings().one_or_none()
    return Tenure() if row is None else tenure_of(row)
