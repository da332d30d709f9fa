"""One write key's line to one API: requests are sent until they are taken or refused, or are of no use. No HTTP here.

What the deliveries share: places and pace, patience, pauses, back-off, and the errors that end it all.
"""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote

from syncer import __version__
from syncer.core.events import DeliveryPaused, Event, RequestRetried
from syncer.core.verdict import Action, Answer, Fault, NoAnswer, Verdict
from syncer.delivery.client import place_of
from syncer.delivery.pacing import Pace, Patience, Rest
from syncer.delivery.places import Places
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
#: what whoever sent the request has to decide
_DECIDED = (Action.ACCEPT, Action.SPLIT, Action.LOST)


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


class Client(Protocol):
    """Sends one request: see `delivery.client.HttpClient`."""

    async def post(
        self, body: bytes, headers: Mapping[str, str], path: str = "", *, still: Callable[[], bool] = ...
    ) -> Answer | NoAnswer:
        """Send once."""

    async def close(self) -> None:
        """Let go of the connections. Idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What is at the other end, for error texts."""

    name: str
    #: keys of the configuration that say where it is
    keys: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, however often it goes out."""

    collection: str
    body: bytes
    judge: Callable[[Answer | NoAnswer], Verdict]
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    #: told of a verdict that leaves it in doubt
    doubted: Callable[[Verdict], None] = lambda _: None
    #: done before it goes out again; a verdict of it takes the place of the request's own
    between: Callable[[], Awaitable[Verdict | None]] | None = None


@dataclass(slots=True, kw_only=True)
class Tries:
    """How often one thing was tried."""

    first: float | None = None
    retries: int = 0
    foreign: int = 0


class Line:
    """The line of one write key to one API. Used from one event loop.

    After the write key was refused or the endpoint turned out not to be the API, every later request ends at once.
    """

    def __init__(
        self,
        *,
        api: Api,
        write_key: str,
        endpoint: str,
        max_in_flight: int,
        pace: Pace,
        retry_for: float,
        notice: Callable[[Event], None],
        client: Client,
        world: World,
    ) -> None:
        token = base64.b64encode(f"{write_key}:".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "User-Agent": f"syncer/{__version__}"}
        #: texts that must show nowhere
        self.secrets = (write_key, token, token.rstrip("="), quote(write_key, safe=""))
        #: host and port, for people
        self.place = place_of(endpoint)
        #: why nothing more is sent, for good
        self.failure: DeliveryError | None = None
        self.world = world
        self.rest = Rest(world.sleep)
        self._api = api
        self._notice = notice
        self._client = client
        self._places = Places(max_in_flight, clock=world.clock)
        self._pace = pace
        self._patience = Patience(retry_for=retry_for, clock=world.clock)
        self._pauses = 0

    def stop(self) -> None:
        """Begin no further attempt. Call it in the event loop's thread."""
        self._end(Stopped(f"stopped before {self.place} had accepted everything"))

    async def close(self) -> None:
        """Let go of the connections. Idempotent."""
        await self._client.close()

    async def ask(self, request: Request, tally: Tally) -> Verdict | SyncerError:
        """Send until it is taken, refused or lost, or until that is of no use any more."""
        tries = Tries()
        while True:
            verdict = await self._attempt(request, tries, tally)
            if isinstance(verdict, SyncerError) or verdict.action in _DECIDED:
                return verdict
            if failure := await self.waited(request.collection, verdict, tries):
                return failure
            if request.between is not None and (instead := await request.between()) is not None:
                return instead

    async def once(self, request: Request, tally: Tally) -> Verdict | SyncerError:
        """Send once, whatever comes of it."""
        verdict = await self._attempt(request, Tries(), tally)
        if isinstance(verdict, Verdict) and verdict.action is Action.PAUSE:
            self._pause(verdict)
        return verdict

    async def farewell(self, request: Request, tally: Tally) -> None:
        """Send once, although nothing may be sent any more, and whatever comes of it; not into a pause."""
        async with self._places:
            if not self._pace.pause_left:
                await self._post(request, tally, again=False)

    async def waited(self, collection: str, verdict: Verdict, tries: Tries) -> DeliveryError | None:
        """Let time pass before it is tried again, or say why there is no point in that."""
        if failure := self._hopeless(verdict, tries):
            return failure
        await self._wait(collection, verdict, tries)
        return None

    async def _attempt(self, request: Request, tries: Tries, tally: Tally) -> Verdict | SyncerError:
        async with self._places:
            await self._pace.turn(self.rest)
            if (failure := self.failure or tally.forbidden()) is not None:
                return failure
            again = tries.first is not None
            began = self.world.clock()
            if tries.first is None:
                tries.first = began
            answer = await self._post(
                request, tally, again=again, still=lambda: (self.failure or tally.forbidden()) is None
            )
        unsent = isinstance(answer, NoAnswer) and answer.fault is not Fault.IN_DOUBT
        verdict = request.judge(answer)
        self._learn(verdict, heard=not unsent)
        self._places.answered(began, crowded=verdict.action is Action.PAUSE, troubled=verdict.action is Action.RETRY)
        tries.foreign = tries.foreign + 1 if verdict.foreign else 0
        if verdict.in_doubt:
            request.doubted(verdict)
        return verdict

    async def _post(
        self, request: Request, tally: Tally, *, again: bool, still: Callable[[], bool] = lambda: True
    ) -> Answer | NoAnswer:
        headers = {**self._headers, **request.headers}
        answer = await self._client.post(request.body, headers, request.path, still=still)
        unsent = isinstance(answer, NoAnswer) and answer.fault is not Fault.IN_DOUBT
        tally.requested(size=0 if unsent else len(request.body), again=again)
        return answer

    def _learn(self, verdict: Verdict, *, heard: bool) -> None:
        self._patience.heard = self._patience.heard or heard
        if verdict.action is Action.ACCEPT:
            self._patience.accepted(self._pace.pause_left)
            self._pauses = 0

    def _hopeless(self, verdict: Verdict, tries: Tries) -> DeliveryError | None:
        """Why there is no point in trying again, if there is none."""
        if verdict.action is Action.STOP:
            return self._end(
                Unauthorized(
                    f"{self.place} refuses the write key: {verdict.reason}",
                    "check destination.write_key: the write key of an HTTP API source in the region you send to",
                )
            )
        if verdict.action is Action.MISCONFIGURED:
            return self._end(self._misconfigured(verdict))
        if tries.foreign >= _FOREIGN_IN_A_ROW:
            return EndpointUnreachable(
                f"something else than the {self._api.name} answers at {self.place}: {verdict.reason}",
                "look for a proxy or a login page between this machine and the endpoint",
            )
        if self._patience.left(tries.first or 0.0) > 0:
            return None
        return self._unreachable(verdict)

    def _misconfigured(self, verdict: Verdict) -> EndpointMisconfigured:
        if verdict.status is None:
            return EndpointMisconfigured(
                f"{self.place} cannot be trusted: {verdict.reason}",
                "check destination.endpoint; SSL_CERT_FILE names the authorities of a private network",
            )
        return EndpointMisconfigured(
            f"what answers at {self.place} is not the {self._api.name}: {verdict.reason}", f"check {self._api.keys}"
        )

    def _unreachable(self, verdict: Verdict) -> EndpointUnreachable:
        if not self._patience.heard:
            return EndpointUnreachable(
                f"no connection to {self.place}: {verdict.reason}", f"check the network, and {self._api.keys}"
            )
        return EndpointUnreachable(
            f"{self.place} has accepted nothing for {self._patience.retry_for:g} s: {verdict.reason}",
            "run again once it has recovered: what was not accepted is sent then",
        )

    async def _wait(self, collection: str, verdict: Verdict, tries: Tries) -> None:
        """Let time pass before the next attempt. A pause is everyone's, so it is waited for with the next turn."""
        if self.failure is not None:
            return
        if verdict.action is Action.PAUSE:
            self._pause(verdict)
            return
        wait = min(self._backoff(tries.retries), self._patience.left(tries.first or 0.0))
        tries.retries += 1
        self._notice(RequestRetried(collection=collection, attempt=tries.retries, reason=verdict.reason, wait=wait))
        await self.rest.wait(wait)

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
        return self.world.rng.uniform(0, min(60.0, 0.5 * 2 ** min(times, 10)))

    def _end(self, failure: DeliveryError) -> DeliveryError:
        self.failure = self.failure or failure
        self.rest.end()
        return failure
