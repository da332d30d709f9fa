"""Keeps a delivery busy: batches wait in order, and each that comes back lets the next go at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from syncer.core.ledger import Ledger
from syncer.core.model import Batch, Receipt
from syncer.delivery.base import Delivery


class Sending:
    """Sends a run's batches. `settled` is called with every receipt; `halted` says whether to begin no more."""

    def __init__(
        self,
        delivery: Delivery,
        ledger: Ledger,
        *,
        synchronous: bool,
        settled: Callable[[Batch, Receipt], None],
        halted: Callable[[], bool],
    ) -> None:
        #: what a receipt's settling raised: a defect, which ends the run
        self.crash: BaseException | None = None
        self._delivery = delivery
        self._ledger = ledger
        self._synchronous = synchronous
        self._settled = settled
        self._halted = halted
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()

    async def put(self, batch: Batch) -> bool:
        """Queue a batch once there is room for it. False: halted, and the batch holds the watermark."""
        while self._ledger.waiting >= self._delivery.max_in_flight and not self._halted():
            await self._movement()
        if self._halted():
            self._ledger.hold(batch.first_row)
            return False
        self._ledger.queue(batch)
        self._pump()
        return True

    async def drain(self) -> None:
        """Until everything is back. What still waits when halted is abandoned; requests are never cancelled."""
        while self._tasks or (self._ledger.waiting and not self._halted()):
            await self._movement()
        self._ledger.abandon()

    async def _movement(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    def _pump(self) -> None:
        while len(self._tasks) < self._delivery.max_in_flight and not self._halted():
            batch = self._ledger.take()
            if batch is None:
                return
            task = asyncio.create_task(self._deliver(batch))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def _deliver(self, batch: Batch) -> None:
        self._settled(batch, await self._delivery.send(batch, synchronous=self._synchronous))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self.crash = self.crash or task.exception()
        self._pump()
        self._moved.set()
