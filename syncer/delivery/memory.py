"""A delivery into memory, for tests and for trying things out: it merges as the API does, and fails when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from enum import StrEnum

import orjson

from syncer.core.batch import encoded
from syncer.core.model import Batch, Limits, Receipt, SegmentObject
from syncer.core.verdict import Action, Verdict
from syncer.delivery.base import permitted
from syncer.delivery.tally import Tally
from syncer.errors import DeliveryError, EndpointUnreachable, Stopped, SyncerError, Unauthorized


class Scripted(StrEnum):
    """What one call of `send` comes to."""

    ACCEPT = "accept"
    #: every object is refused
    REJECT = "reject"
    #: nothing was sent
    FAIL = "fail"
    #: everything landed, but nobody said so
    DOUBT = "doubt"
    #: accepted, after a first attempt that had no answer and may land later
    LATE = "late"
    #: the write key is refused, from now on
    UNAUTHORIZED = "unauthorized"


class MemoryDelivery:
    """Keeps what was sent. Accepts everything unless its script or `refuses` says otherwise."""

    def __init__(
        self,
        script: Iterable[Scripted] = (),
        *,
        refuses: Callable[[SegmentObject], bool] = lambda _: False,
        limits: Limits | None = None,
        max_in_flight: int = 16,
        identity: str = "memory",
    ) -> None:
        #: by collection and id: the properties as merged
        self.objects: dict[tuple[str, str], dict[str, object]] = {}
        #: every batch `send` was called with, in order
        self.batches: list[Batch] = []
        #: numbers of the batches sent with `synchronous`
        self.synchronous: list[int] = []
        self._script = iter(script)
        self._refuses = refuses
        self._limits = limits or Limits()
        self._max_in_flight = max_in_flight
        self._identity = identity
        self._failure: DeliveryError | None = None

    def __repr__(self) -> str:
        return f"<MemoryDelivery {len(self.objects)} objects, {len(self.batches)} batches>"

    @property
    def limits(self) -> Limits:
        """What one batch may carry."""
        return self._limits

    @property
    def identity(self) -> str:
        """See `Delivery.identity`."""
        return self._identity

    @property
    def ended(self) -> bool:
        """Whether it was stopped or its write key refused."""
        return self._failure is not None

    @property
    def max_in_flight(self) -> int:
        """How many batches are worth sending at once."""
        return self._max_in_flight

    async def send(
        self, batch: Batch, *, synchronous: bool = False, forbidden: Callable[[], SyncerError | None] = permitted
    ) -> Receipt:
        """Keep one batch, or do what the script says."""
        await asyncio.sleep(0)
        tally = Tally()
        failure = self._failure or forbidden()
        if failure is not None:
            tally.give_up(batch.objects, failure)
            return tally.receipt()
        self.batches.append(batch)
        if synchronous:
            self.synchronous.append(batch.number)
        tally.requested(size=_size(batch), again=False)
        self._play(next(self._script, Scripted.ACCEPT), batch, tally)
        return tally.receipt()

    def _play(self, scripted: Scripted, batch: Batch, tally: Tally) -> None:
        match scripted:
            case Scripted.ACCEPT | Scripted.REJECT:
                self._take(batch, tally, refused=scripted is Scripted.REJECT)
            case Scripted.FAIL:
                tally.give_up(batch.objects, EndpointUnreachable("no connection to memory"))
            case Scripted.DOUBT:
                self._merge(batch.collection, batch.objects)
                tally.doubt(batch.objects, late=True)
                tally.give_up(batch.objects, EndpointUnreachable("no answer from memory"))
            case Scripted.LATE:
                tally.doubt(batch.objects, late=True)
                tally.requested(size=_size(batch), again=True)
                self._take(batch, tally, refused=False)
            case Scripted.UNAUTHORIZED:
                self._failure = self._failure or Unauthorized("memory refuses the write key")
                tally.give_up(batch.objects, self._failure)

    def _take(self, batch: Batch, tally: Tally, *, refused: bool) -> None:
        for each in batch.objects:
            if refused or self._refuses(each):
                tally.reject(each, Verdict(action=Action.SPLIT, reason="HTTP 400", status=400))
            else:
                tally.accept((each,))
                self._merge(batch.collection, (each,))

    def _merge(self, collection: str, objects: Iterable[SegmentObject]) -> None:
        for each in objects:
            self.objects.setdefault((collection, each.id), {}).update(orjson.loads(each.properties))

    def flush(self, collection: str) -> None:
        """Nothing waits."""

    def stop(self) -> None:
        """Take nothing more."""
        self._failure = self._failure or Stopped("stopped before memory had accepted everything")

    async def close(self) -> None:
        """Nothing to let go of."""


def _size(batch: Batch) -> int:
    return len(encoded(batch.collection, batch.objects))
