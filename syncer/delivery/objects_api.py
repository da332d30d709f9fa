"""The Objects API: batches of ten, each one POST, with retries, pauses and splitting. No HTTP library lives here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from syncer.core.batch import encoded
from syncer.core.model import Batch, Limits, Receipt, SegmentObject
from syncer.core.verdict import Action, Answer, NoAnswer, Verdict, judge
from syncer.delivery.base import permitted
from syncer.delivery.line import Api, Line, Request
from syncer.delivery.tally import Tally
from syncer.errors import SyncerError

OBJECTS_API = Api(name="Objects API", keys="destination.region or destination.endpoint")


class ObjectsApi:
    """Delivers to `POST /v1/set`. One per write key and endpoint, used from one event loop.

    After the write key was refused or the endpoint turned out not to be the API, every later `send` returns at once.
    """

    def __init__(
        self, *, line: Line, identity: str, synchronous: Literal["auto", "always", "never"], max_in_flight: int
    ) -> None:
        self._line = line
        self._identity = identity
        self._mode = synchronous
        self._max_in_flight = max_in_flight

    def __repr__(self) -> str:
        return f"<ObjectsApi {self._line.place}>"

    @property
    def limits(self) -> Limits:
        """Ten objects, 500 KB."""
        return Limits()

    @property
    def identity(self) -> str:
        """See `Delivery.identity`."""
        return self._identity

    @property
    def ended(self) -> bool:
        """See `Delivery.ended`."""
        return self._line.failure is not None

    @property
    def max_in_flight(self) -> int:
        """How many batches are worth sending at once."""
        return self._max_in_flight

    async def send(
        self, batch: Batch, *, synchronous: bool = False, forbidden: Callable[[], SyncerError | None] = permitted
    ) -> Receipt:
        """Deliver one batch; see `Delivery.send`."""
        ordered = self._mode == "always" or (self._mode == "auto" and synchronous)
        headers = {"Content-Type": "application/json"} | ({"Synchronous": "true"} if ordered else {})
        tally = Tally(forbidden)
        await self._deliver(batch.collection, batch.objects, headers, tally)
        return tally.receipt()

    def flush(self, collection: str) -> None:
        """Every batch is a request of its own, so none waits for more to come."""

    def stop(self) -> None:
        """Begin no further attempt. Call it in the event loop's thread."""
        self._line.stop()

    async def close(self) -> None:
        """Let go of the connections. Idempotent."""
        await self._line.close()

    async def _deliver(
        self, collection: str, objects: Sequence[SegmentObject], headers: Mapping[str, str], tally: Tally
    ) -> None:
        """Send, and halve what is refused until the guilty stand alone: at most 2n - 1 requests for n objects."""
        outcome = tally.failure or await self._line.ask(self._request(collection, objects, headers, tally), tally)
        if isinstance(outcome, SyncerError):
            tally.give_up(objects, outcome)
        elif outcome.action is Action.ACCEPT:
            tally.accept(objects)
        elif len(objects) == 1:
            tally.reject(objects[0], outcome)
        else:
            middle = len(objects) // 2
            for half in (objects[:middle], objects[middle:]):
                await self._deliver(collection, half, headers, tally)

    def _request(
        self, collection: str, objects: Sequence[SegmentObject], headers: Mapping[str, str], tally: Tally
    ) -> Request:
        line = self._line

        def judged(answer: Answer | NoAnswer) -> Verdict:
            return judge(answer, now=line.world.now(), sent=objects, secrets=line.secrets)

        return Request(
            collection=collection, body=encoded(collection, objects), headers=headers, judge=judged,
            doubted=lambda verdict: tally.doubt(objects, late=verdict.late),
        )  # fmt: skip
