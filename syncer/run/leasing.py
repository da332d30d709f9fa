"""Holds a mapping's lease while something runs: takes it, keeps it alive, gives it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from syncer.core.events import Event, Noticed
from syncer.core.model import Lease
from syncer.errors import LeaseLost, SyncerError
from syncer.state.base import Store

#: how long a lease lives without being renewed
LEASE_TTL = timedelta(seconds=60)
#: we let go so much before others may take over: each host's clock counts as right within a second
MARGIN = timedelta(seconds=2)


class Holding:
    """A lease in our hands. Whoever was suspended for longer than it lives holds it no more."""

    def __init__(self, lease: Lease, monotonic: Callable[[], float]) -> None:
        self.lease = lease
        self._monotonic = monotonic
        self._lost: LeaseLost | None = None
        self._until = 0.0
        self.prolonged(monotonic())

    def prolonged(self, asked_at: float) -> None:
        """It was renewed; it lives from when that was asked."""
        self._until = asked_at + (LEASE_TTL - MARGIN).total_seconds()

    def lost(self, error: LeaseLost) -> None:
        """Another process has it."""
        self._lost = self._lost or error

    @property
    def failure(self) -> LeaseLost | None:
        """Why nothing more may be sent; None while the lease is ours."""
        if self._lost is None and self._monotonic() >= self._until:
            self._lost = LeaseLost(
                f"the lease of mapping {self.lease.mapping} ran out while this process was not running",
                "run it again; the checkpoint is safe",
            )
        return self._lost


@asynccontextmanager
async def holding(
    store: Store,
    mapping: str,
    owner: str,
    *,
    now: Callable[[], datetime],
    monotonic: Callable[[], float],
    notice: Callable[[Event], None],
) -> AsyncIterator[Holding]:
    """Hold the mapping's lease while the context is open.

    Raises:
        LeaseHeld: another process has it.
        StateError: the store cannot be used.
    """

    def tell(message: str) -> None:
        notice(Noticed(mapping=mapping, message=message))

    asked_at = monotonic()
    held = Holding(await asyncio.to_thread(store.acquire, mapping, owner, now(), LEASE_TTL), monotonic)
    held.prolonged(asked_at)
    beating = asyncio.create_task(_heartbeat(store, held, now, monotonic, tell))
    try:
        yield held
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        try:
            await asyncio.to_thread(store.release, held.lease)
        except SyncerError as error:
            tell(f"the lease was not given back, it expires by itself: {error}")


async def _heartbeat(
    store: Store,
    held: Holding,
    now: Callable[[], datetime],
    monotonic: Callable[[], float],
    tell: Callable[[str], None],
) -> None:
    """Keep the lease alive. A store that does not answer is asked again: every write is fenced anyway."""
    while held.failure is None:
        await asyncio.sleep(LEASE_TTL.total_seconds() / 4)
        asked_at = monotonic()
        try:
            await asyncio.to_thread(store.renew, held.lease, now(), LEASE_TTL)
        except LeaseLost as error:
            held.lost(error)
        except SyncerError as error:
            tell(f"the lease was not renewed: {error}")
        else:
            held.prolonged(asked_at)
