"""The pump of batches, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
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


class Session(MemoryDelivery):
    """Settles nothing before it is told that no more comes, and then everything at once."""

    def __init__(self, max_in_flight: int) -> None:
        super().__init__(max_in_flight=max_in_flight)
        #: how many batches each flush found
        self.flushes: list[int] = []
        self._held: list[asyncio.Event] = []

    async def send(self, batch: Batch, **how: object) -> Receipt:
        held = asyncio.Event()
        self._held.append(held)
        await held.wait()
        await asyncio.sleep(1.0)  # it takes a while, during which more is read
        return await super().send(batch)

    def flush(self, collection: str) -> None:
        assert collection == "rooms"
        if self._held:
            self.flushes.append(len(self._held))
        for held in self._held:
            held.set()
        self._held = []


@pytest.mark.parametrize(
    ("rows", "flushes"),
    [
        ([1], [1]),
        ([1, 2, 3, 4], [4]),
        # as many as go at once, again and again; the rest at the end
        ([*range(11)], [4, 4, 3]),
        # a newer version of a row has to wait for the older one
        ([1, 2, 1, 3, 4, 5, 6], [2, 4, 1]),
        ([1, 1, 1], [1, 1, 1]),
    ],
)
def test_what_is_held_is_flushed(rows: list[int], flushes: list[int]) -> None:
    """As soon as nothing more can come before something is settled, and no sooner."""

    async def story() -> list[int]:
        ledger, delivery = Ledger(), Session(max_in_flight=4)
        ledger.chunk_read(len(rows), Mark())
        sending = Sending(
            delivery, ledger, synchronous=lambda _: False, forbidden=lambda: None,
            settled=lambda batch, _: ledger.settle(batch), halted=lambda: False,
        )  # fmt: skip
        for number, row in enumerate(rows):
            await asyncio.sleep(0.1)
            assert await sending.put(replace(room(row), number=number))
        await sending.drain(asyncio.Event())
        ledger.decided()
        assert (sending.heard_of_all, ledger.settled) == (True, len(rows))
        return delivery.flushes

    assert virtual_time.run(story()) == flushes


def test_a_stop_waits_for_what_is_in_flight() -> None:
    """It is finished, not cancelled."""
    assert drained(20.0) == (20.0, True, 1)


def test_a_stop_does_not_wait_for_ever() -> None:
    """What is not back within the grace is neither settled nor heard of, so its rows stay noted."""
    assert drained(90.0) == (GRACE, False, 0)
