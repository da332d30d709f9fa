"""Leases in `syncer_leases`: a row per mapping, never deleted, locked while looked at. Rules: `tenure`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update

from syncer.core.model import Lease
from syncer.state.rows import tenure_of, tenure_row
from syncer.state.tables import insert_absent, leases, upsert
from syncer.state.tenure import Tenure, lost, succeed


def prepare(connection: Connection, mapping: str) -> None:
    """Make sure the mapping has a row. In a transaction of its own: MySQL deadlocks if that also locks it."""
    connection.execute(insert_absent(connection.dialect, leases), {"mapping": mapping, "epoch": 0})


def take(connection: Connection, mapping: str, owner: str, now: datetime, ttl: timedelta) -> Lease:
    """Give the mapping's lease to the owner. Raises `LeaseHeld`."""
    lease = succeed(_locked(connection, mapping), mapping, owner, now, ttl)
    tenure = Tenure(epoch=lease.epoch, owner=owner, since=now, expires_at=lease.expires_at)
    connection.execute(upsert(connection.dialect, leases), tenure_row(lease, tenure))
    return lease


def prolong(connection: Connection, lease: Lease, now: datetime, ttl: timedelta) -> Lease:
    """Let the lease last longer. Raises `LeaseLost`."""
    require(connection, lease)
    expires_at = now + ttl
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
    query = select(leases).where(leases.c.mapping == mapping).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    return Tenure() if row is None else tenure_of(row)
