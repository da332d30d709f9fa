"""The seam to the destination: what a delivery promises to the pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from syncer.core.model import Batch, Limits, Receipt
from syncer.errors import SyncerError


def permitted() -> SyncerError | None:
    """Nothing speaks against sending."""
    return None


class Delivery(Protocol):
    """Sends batches. One per write key and endpoint, shared by all mappings of it.

    `send` may be called concurrently; the delivery itself bounds requests in flight and the rate.
    """

    @property
    def identity(self) -> str:
        """What makes this the same destination tomorrow; tells nothing of the write key."""

    @property
    def ended(self) -> bool:
        """Whether it takes nothing more: told to stop, or refused for good. The next run opens another."""

    @property
    def limits(self) -> Limits:
        """What one batch may carry."""

    @property
    def max_in_flight(self) -> int:
        """How many batches are worth sending at once."""

    async def send(
        self, batch: Batch, *, synchronous: bool = False, forbidden: Callable[[], SyncerError | None] = permitted
    ) -> Receipt:
        """Deliver one batch, with retries and splitting; returns when every object's fate is known or given up.

        `forbidden` is asked right before every attempt; an error of it ends the sending of this batch.
        Never raises for what the network or the API does: the receipt says it, with `failure` set to a
        `DeliveryError` when objects stay unsettled. Sending a batch again is harmless: the API merges by id.
        """

    def flush(self, collection: str) -> None:
        """Batches of a collection that were handed in wait for no others: none comes until something is settled.

        Who sends has to say so, or `send` may wait for ever.
        """

    def stop(self) -> None:
        """Begin no further attempt: pending retries end as unsettled, requests in flight are finished."""

    async def close(self) -> None:
        """Let go of the connections. Idempotent."""


async def send_alone(
    delivery: Delivery, batch: Batch, *, forbidden: Callable[[], SyncerError | None] = permitted
) -> Receipt:
    """Send a batch that nothing follows."""
    sending = asyncio.ensure_future(delivery.send(batch, forbidden=forbidden))
    asyncio.get_running_loop().call_soon(delivery.flush, batch.collection)
    return await sending
