"""Keeps a delivery busy: batches wait in order, and each that comes back lets the next go at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from syncer.core.ledger import Ledger
from syncer.core.model import Batch, Receipt
from syncer.delivery.base import Delivery
from syncer.errors import SyncerError

#: seconds that requests in flight have after a stop: a container is killed 30 s after it was told to end
GRACE = 25.0


class Sending:
    """Sends a run's batches. `settled` is called with every receipt; `halted` says whether to begin no more.

    `synchronous` says of a batch whether the order in which the API processes it matters, `forbidden` why nothing more
    may be sent.
    """

    def __init__(
        self,
        delivery: Delivery,
        ledger: Ledger,
        *,
        synchronous: Callable[[Batch], bool],
        forbidden: Callable[[], SyncerError | None],
        settled: Callable[[Batch, Receipt], None],
        halted: Callable[[], bool],
    ) -> None:
        #: what a receipt's settling raised: a defect, which ends the run
        self.crash: BaseException | None = None
        self._delivery = delivery
        self._ledger = ledger
        self._synchronous = synchronous
        self._forbidden = forbidden
        self._settled = settled
        self._halted = halted
        self._tasks: set[asyncio.Task[None]] = set()
        #: batches handed in whose receipt is not back
        self._out = 0
        self._collection = ""
        self._moved = asyncio.Event()

    async def put(self, batch: Batch) -> bool:
        """Queue a batch once there is room for it. False: halted, and it will not be sent."""
        while self._ledger.waiting >= self._delivery.max_in_flight and not self._halted():
            await self._movement()
        if self._halted():
            return False
        self._collection = batch.collection
        self._ledger.queue(batch)
        self._pump()
        return True

    @property
    def failure(self) -> Exception | None:
        """Why nothing more may be sent, whatever became of what was."""
        return self._forbidden() or (self.crash if isinstance(self.crash, Exception) else None)

    @property
    def heard_of_all(self) -> bool:
        """Whether it is known what became of every batch that was begun."""
        return not self._tasks and self.crash is None

    async def drain(self, stop: asyncio.Event) -> None:
        """Until everything is back; what still waits when halted is abandoned.

        Requests are never cancelled. Once told to stop they have `GRACE` seconds; what is not back then stays in doubt.
        """
        stopping = asyncio.create_task(_graced(stop))
        while (self._tasks or (self._ledger.waiting and not self._halted())) and not stopping.done():
            self._moved.clear()
            self._flush()
            moving = asyncio.create_task(self._moved.wait())
            await asyncio.wait([moving, stopping], return_when=asyncio.FIRST_COMPLETED)
            moving.cancel()
        stopping.cancel()
        self._ledger.abandon()

    async def _movement(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    def _pump(self) -> None:
        while self._out < self._delivery.max_in_flight and not self._halted():
            batch = self._ledger.take()
            if batch is None:
                break
            self._out += 1
            coming = self._delivery.send(batch, synchronous=self._synchronous(batch), forbidden=self._forbidden)
            task = asyncio.create_task(self._deliver(batch, coming))
            self._tasks.add(task)
            task.add_done_callback(self._done)
            task.add_done_callback(partial(_close, coming))
        if self._out == self._delivery.max_in_flight or self._ledger.waiting:
            self._flush()

    def _flush(self) -> None:
        """Nothing more can be handed in before something that was is settled."""
        if self._out:
            # once what was just handed in has arrived there
            asyncio.get_running_loop().call_soon(self._delivery.flush, self._collection)

    async def _deliver(self, batch: Batch, coming: Coroutine[Any, Any, Receipt]) -> None:
        try:
            receipt = await coming
        finally:
            self._out -= 1
        self._settled(batch, receipt)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.crash = self.crash or error
        self._pump()
        self._moved.set()


def _close(coming: Coroutine[Any, Any, Receipt], _: asyncio.Task[None]) -> None:
    """Where a task is cancelled before its first step, nobody else does."""
    coming.close()


async def _graced(stop: asyncio.Event) -> None:
    await stop.wait()
    await asyncio.sleep(GRACE)
