"""The rules of a lease: who may take it, and who still has it. Used by every store; touches none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from syncer.core.model import Lease
from syncer.errors import LeaseHeld, LeaseLost
from syncer.state import owner as owners


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """What a store keeps of a mapping's lease, also when it was given back: epochs only grow."""

    epoch: int = 0
    #: None: nobody holds it
    owner: str | None = None
    since: datetime | None = None
    expires_at: datetime | None = None

    def belongs_to(self, lease: Lease) -> bool:
        """Whether this is the very lease, expired or not."""
        return (self.epoch, self.owner) == (lease.epoch, lease.owner)


def succeed(
    tenure: Tenure,
    mapping: str,
    owner: str,
    now: datetime,
    ttl: timedelta,
    *,
    is_gone: Callable[[str], bool] = owners.is_gone,
) -> Lease:
    """The next lease of a mapping.

    Cases, first match wins:
    1. Nobody holds it, or the same owner does: granted.
    2. It has expired: granted.
    3. Its owner's process is certainly gone: granted, so that a killed run does not block the next one.
    4. Refused.

    Raises:
        LeaseHeld: case 4.
    """
    free = tenure.owner is None or tenure.expires_at is None
    if not (free or tenure.owner == owner or _expired(tenure, now) or is_gone(str(tenure.owner))):
        raise _held(tenure, mapping, now)
    return Lease(mapping=mapping, owner=owner, epoch=tenure.epoch + 1, expires_at=now + ttl)


def lost(lease: Lease) -> LeaseLost:
    """The error for a lease that is no longer its holder's."""
    return LeaseLost(
        f"mapping {lease.mapping}: this run's lease (epoch {lease.epoch}) was taken over or given back; "
        "nothing more is written for it here",
        f"let the other run finish; nothing is lost. See it with `syncer runs {lease.mapping}`",
    )


def _expired(tenure: Tenure, now: datetime) -> bool:
    return tenure.expires_at is not None and tenure.expires_at <= now


def _held(tenure: Tenure, mapping: str, now: datetime) -> LeaseHeld:
    since = "" if tenure.since is None else f" since {tenure.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    left = 0 if tenure.expires_at is None else math.ceil((tenure.expires_at - now).total_seconds())
    return LeaseHeld(
        f"mapping {mapping} is being run by {owners.describe(str(tenure.owner))}{since}",
        f"wait until it has finished; if it died, the mapping can be taken over in {left} s",
    )
