"""The pump of batches, in virtual time."""

from __future__ import annotations

import asyncio

import virtual_time

from syncer.core.ledger import Ledger
from syncer.core.model import Batch, Mark, Receipt, SegmentObject
from syncer.delivery.memory import MemoryDelivery
from syncer.run.sending import GRACE, Sending


class Silent(MemoryDelivery):
    """Answers after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def send(self, batch: Batch, **how: object) -> Receipt:
        await asyncio.sleep(self._seconds)
        return await super().send(batch)


def room(row: int) -> Batch:
    """One room in a batch of its own."""
    return Batch(
        number=row, collection="rooms", objects=(SegmentObject(id=str(row), properties=b"{}", row=row, key=str(row)),)
    )


def drained(seconds: float) -> tuple[float, bool, int]:
    """Stop while a request is unanswered: how long that takes, whether all was heard of, and how many rows settled."""

    async def story() -> tuple[float, bool, int]:
        stop, ledger = asyncio.Event(), Ledger()
        ledger.chunk_read(1, Mark())
        sending = Sending(
            Silent(seconds), ledger, synchronous=lambda _: False, forbidden=lambda: None,
            settled=lambda batch, _: ledger.settle(batch), halted=stop.is_set,
        )  # fmt: skip
        assert await sending.put(room(0))
        ledger.decided()
        began = virtual_time.clock()
        stop.set()
        await sending.drain(stop)
        return virtual_time.clock() - began, sending.heard_of_all, ledger.settled

    return virtual_time.run(story())


def test_a_stop_waits_for_what_is_in_flight() -> None:
    """It is finished, not cancelled."""
    assert drained(20.0) == (20.0, True, 1)


def test_a_stop_does_not_wait_for_ever() -> None:
    """What is not back within the grace is neither settled nor heard of, so its rows stay noted."""
    assert drained(90.0) == (GRACE, False, 0)
