"""The Objects API: batches of ten, each one POST, with retries, pauses and splitting. No HTTP library lives here."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

from syncer import __version__
from syncer.core.batch import encoded
from syncer.core.events import DeliveryPaused, Event, RequestRetried
from syncer.core.fingerprint import destination_of
from syncer.core.model import Batch, Limits, Receipt, SegmentObject
from syncer.core.verdict import Action, Fault, NoAnswer, Verdict, judge
from syncer.delivery.base import permitted
from syncer.delivery.client import HttpClient, place_of
from syncer.delivery.pacing import Pace, Patience, Rest
from syncer.delivery.tally import Tally
from syncer.errors import (
    DeliveryError,
    EndpointMisconfigured,
    EndpointUnreachable,
    Stopped,
    SyncerError,
    Unauthorized,
)

#: answers in a row that are a success of something else than the API
_FOREIGN_IN_A_ROW = 3


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Time and chance, as the delivery sees them."""

    #: seconds, never going back
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    rng: random.Random = field(default_factory=random.Random)


@dataclass(slots=True, kw_only=True)
class _Tries:
    """How often one body went out."""

    first: float | None = None
    retries: int = 0
    foreign: int = 0


class ObjectsApi:
    """Delivers to `POST /v1/set`. One per write key and endpoint, used from one event loop.

    After the write key was refused or the endpoint turned out not to be the API, every later `send` returns at once.
    """

    def __init__(
        self,
        *,
        write_key: str,
        endpoint: str,
        synchronous: Literal["auto", "always", "never"],
        max_in_flight: int,
        requests_per_second: float | None,
        retry_for: float,
        notice: Callable[[Event], None],
        client: HttpClient,
        world: World,
    ) -> None:
        token = base64.b64encode(f"{write_key}:".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {token}",
            "Content-Type": "application/json",
            "User-Agent": f"syncer/{__version__}",
        }
        self._secrets = (write_key, token, token.rstrip("="), quote(write_key, safe=""))
        self._place = place_of(endpoint)
        self._identity = destination_of(endpoint, write_key)
        self._mode = synchronous
        self._max_in_flight = max_in_flight
        self._notice = notice
        self._client = client
        self._world = world
        self._rest = Rest(world.sleep)
        self._pace = Pace(
            max_in_flight=max_in_flight, requests_per_second=requests_per_second, clock=world.clock, rest=self._rest
        )
        self._patience = Patience(retry_for=retry_for, clock=world.clock)
        self._pauses = 0
        self._failure: DeliveryError | None = None

    def __repr__(self) -> str:
        return f"<ObjectsApi {self._place}>"

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
        return self._failure is not None

    @property
    def max_in_flight(self) -> int:
        """How many batches are worth sending at once."""
        return self._max_in_flight

    async def send(
        self, batch: Batch, *, synchronous: bool = False, forbidden: Callable[[], SyncerError | None] = permitted
    ) -> Receipt:
        """Deliver one batch; see `Delivery.send`."""
        ordered = self._mode == "always" or (self._mode == "auto" and synchronous)
        headers = {**self._headers, "Synchronous": "true"} if ordered else self._headers
        tally = Tally(forbidden)
        await self._deliver(batch.collection, batch.objects, headers, tally)
        return tally.receipt()

    def stop(self) -> None:
        """Begin no further attempt. Call it in the event loop's thread."""
        self._end(Stopped(f"stopped before {self._place} had accepted everything"))

    async def close(self) -> None:
        """Let go of the connections. Idempotent."""
        await self._client.close()

    async def _deliver(
        self, collection: str, objects: Sequence[SegmentObject], headers: Mapping[str, str], tally: Tally
    ) -> None:
        """Send, and halve what is refused until the guilty stand alone: at most 2n - 1 requests for n objects."""
        outcome = tally.failure or await self._settle(collection, objects, headers, tally)
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

    async def _settle(
        self, collection: str, objects: Sequence[SegmentObject], headers: Mapping[str, str], tally: Tally
    ) -> Verdict | SyncerError:
        """Send until it is accepted or refused, or until it is of no use any more."""
        body = encoded(collection, objects)
        tries = _Tries()
        while True:
            verdict = await self._attempt(body, objects, headers, tries, tally)
            if isinstance(verdict, SyncerError) or verdict.action in (Action.ACCEPT, Action.SPLIT):
                return verdict
            if failure := self._hopeless(verdict, tries):
                return failure
            await self._wait(collection, verdict, tries)

    async def _attempt(
        self, body: bytes, objects: Sequence[SegmentObject], headers: Mapping[str, str], tries: _Tries, tally: Tally
    ) -> Verdict | SyncerError:
        async with self._pace.turn():
            if (failure := self._failure or tally.forbidden()) is not None:
                return failure
            again = tries.first is not None
            if tries.first is None:
                tries.first = self._world.clock()
            answer = await self._client.post(body, headers)
        unsent = isinstance(answer, NoAnswer) and answer.fault is not Fault.IN_DOUBT
        tally.requested(size=0 if unsent else len(body), again=again)
        verdict = judge(answer, now=self._world.now(), sent=objects, secrets=self._secrets)
        self._learn(verdict, heard=not unsent)
        tries.foreign = tries.foreign + 1 if verdict.foreign else 0
        if verdict.in_doubt:
            tally.doubt(objects, late=verdict.late)
        return verdict

    def _learn(self, verdict: Verdict, *, heard: bool) -> None:
        self._patience.heard = self._patience.heard or heard
        if verdict.action is Action.ACCEPT:
            self._patience.accepted(self._pace.pause_left)
            self._pauses = 0

    def _hopeless(self, verdict: Verdict, tries: _Tries) -> DeliveryError | None:
        """Why there is no point in trying again, if there is none."""
        if verdict.action is Action.STOP:
            return self._end(
                Unauthorized(
                    f"{self._place} refuses the write key: {verdict.reason}",
                    "check destination.write_key: the write key of an HTTP API source in the region you send to",
                )
            )
        if verdict.action is Action.MISCONFIGURED:
            return self._end(self._misconfigured(verdict))
        if tries.foreign >= _FOREIGN_IN_A_ROW:
            return EndpointUnreachable(
                f"something else than the Objects API answers at {self._place}: {verdict.reason}",
                "look for a proxy or a login page between this machine and the endpoint",
            )
        if self._patience.left(tries.first or 0.0) > 0:
            return None
        return self._unreachable(verdict)

    def _misconfigured(self, verdict: Verdict) -> EndpointMisconfigured:
        if verdict.status is None:
            return EndpointMisconfigured(
                f"{self._place} cannot be trusted: {verdict.reason}",
                "check destination.endpoint; SSL_CERT_FILE names the authorities of a private network",
            )
        return EndpointMisconfigured(
            f"what answers at {self._place} is not the Objects API: {verdict.reason}",
            "check destination.region or destination.endpoint",
        )

    def _unreachable(self, verdict: Verdict) -> EndpointUnreachable:
        if not self._patience.heard:
            return EndpointUnreachable(
                f"no connection to {self._place}: {verdict.reason}",
                "check the network, and destination.region or destination.endpoint",
            )
        return EndpointUnreachable(
            f"{self._place} has accepted nothing for {self._patience.retry_for:g} s: {verdict.reason}",
            "run again once it has recovered: what was not accepted is sent then",
        )

    async def _wait(self, collection: str, verdict: Verdict, tries: _Tries) -> None:
        """Let time pass before the next attempt. A pause is everyone's, so it is waited for with the next turn."""
        if self._failure is not None:
            return
        if verdict.action is Action.PAUSE:
            self._pause(verdict)
            return
        wait = min(self._backoff(tries.retries), self._patience.left(tries.first or 0.0))
        tries.retries += 1
        self._notice(RequestRetried(collection=collection, attempt=tries.retries, reason=verdict.reason, wait=wait))
        await self._rest.wait(wait)

    def _pause(self, verdict: Verdict) -> None:
        wait = verdict.wait
        if wait is None:
            if self._pace.pause_left:
                return
            wait = self._backoff(self._pauses)
            self._pauses += 1
        before = self._pace.pause_left
        news = self._pace.pause(wait)
        self._patience.paused(self._pace.pause_left - before)
        if news:
            self._notice(DeliveryPaused(reason=verdict.reason, wait=wait))

    def _backoff(self, times: int) -> float:
        """Full jitter, so that those who failed together do not come back together.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        return self._world.rng.uniform(0, min(60.0, 0.5 * 2 ** min(times, 10)))

    def _end(self, failure: DeliveryError) -> DeliveryError:
        self._failure = self._failure or failure
        self._rest.end()
        return failure
