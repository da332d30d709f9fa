"""The API and the network before it: requests that are lost, unanswered, late, refused; objects merged by id.

A request whose client gave it up, crashed or was suspended may land up to `LATE` seconds after that, never later.
An answer of the API's own (500, 503, 409) may come before or after it took the request; one of a gateway (408, 502,
504, HTML, none at all) tells nothing, and the request may still land late.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from sim_loop import Crashed, Process, SimLoop
from sim_settings import Settings
from sim_source import UNWELCOME, is_tombstone

from syncer.core.verdict import Answer, Fault, NoAnswer

#: seconds that a request lives after its client is done with it
LATE = 25.0
#: seconds after which a client gives up
PATIENCE = 30.0
_OK = b'{"success":true}'
_ACCEPTED = Answer(status=200, headers={}, body=_OK)
_PLAIN: Mapping[str, str] = {}


@dataclass(slots=True, eq=False)
class Request:
    """One POST, from its client's first byte to whatever becomes of it."""

    number: int
    process: Process
    run_id: str
    objects: dict[str, dict[str, object]]
    synchronous: bool
    #: world seconds at which it lands; None: never, or it has
    lands_at: float | None = None
    timer: asyncio.TimerHandle | None = None
    #: the client has not given it up
    open: bool = True
    #: of the Bulk API: carries it out, and says what it is answered
    land: Callable[[], Answer] | None = None
    #: what it is answered, once it has landed
    said: Answer | None = None
    answer: asyncio.Future[Answer | NoAnswer] | None = None


@dataclass(frozen=True, slots=True)
class Landing:
    """An object as the API took it."""

    at: float
    request: int
    process: Process
    properties: dict[str, object]


@dataclass(slots=True)
class Fate:
    """What the network does to a request: when it lands, what is answered and when. None: never."""

    lands: float | None
    answers: float
    #: None: whatever the API says when it lands
    answer: Answer | NoAnswer | None = None


@dataclass(slots=True)
class Api:
    """What the API holds, and everything it ever took."""

    loop: SimLoop
    settings: Settings
    rng: random.Random
    log: Callable[..., None]
    now: Callable[[], datetime]
    #: whether the faults of the network are on
    faulty: bool = True
    capricious: bool = False
    objects: dict[str, dict[str, object]] = field(default_factory=dict)
    landings: dict[str, list[Landing]] = field(default_factory=dict)
    requests: int = 0
    on_their_way: list[Request] = field(default_factory=list)
    #: taken, asynchronously, and not merged yet: in no order
    processing: list[Request] = field(default_factory=list)
    #: of the Bulk API: `sim_bulk.Sessions`
    sessions: Any = None
    #: the context in which requests travel: no process's own
    context: Context = field(default_factory=Context)

    def draw(self) -> Fate:
        """What happens to the next request."""
        latency = self.settings.latency
        there, back = self._spread(latency), self._spread(latency)
        for name in _FATES if self.faulty else ():
            if self.rng.random() < self.settings.rate(name):
                self.log("fate", name)
                return _FATES[name](self, there, there + back)
        stalled = self.settings.rate("stalled")  # no dice are thrown for it where there is none
        if stalled and self.faulty and self.rng.random() < stalled:
            self.log("fate", "stalled")
            return _stalled(self, there, there + back)
        return Fate(lands=there, answers=there + back)

    def _spread(self, mean: float) -> float:
        return mean * self.rng.choice((0.1, 0.5, 1.0, 2.0))

    def late(self, answers: float) -> float | None:
        """Landing before the answer, after it, or not at all."""
        way = self.rng.random()
        if way < 0.3:
            return None
        if way < 0.5:
            return answers * self.rng.random()
        return answers + LATE * self.rng.random()

    def verdict(self, request: Request) -> Answer:
        """What the API says of a request."""
        if len(request.objects) > self.settings.largest:
            return Answer(status=413, headers=_PLAIN, body=b'{"error":"too large"}')
        refusals = (self.refusal(*each) for each in request.objects.items())
        return next((each for each in refusals if each is not None), _ACCEPTED)

    def refusal(self, identifier: str, properties: Mapping[str, object]) -> Answer | None:
        """The API refuses the same object for ever: with 400, or with a success that is none."""
        if is_tombstone(properties) and not self.faulty:
            return None  # every run makes a new one, so that one of them was refused says nothing of the next
        if properties.get("city") == UNWELCOME:
            return Answer(status=400, headers=_PLAIN, body=b'{"error":"not welcome"}')
        if not self.capricious:
            return None
        chance = random.Random(f"{self.settings.seed} {identifier} {properties}")
        if chance.random() < self.settings.rate("invalid"):
            return Answer(status=chance.choice((400, 422)), headers=_PLAIN, body=b'{"error":"invalid"}')
        if chance.random() < self.settings.rate("told"):
            body = chance.choice((b'{"success":false}', b'{"error":"no"}', b'{"errors":["no"]}'))
            return Answer(status=200, headers=_PLAIN, body=body)
        return None

    def depart(self, request: Request, fate: Fate) -> None:
        """Send it on its way."""
        self.on_their_way.append(request)
        if fate.lands is not None:
            self._schedule(request, fate.lands)
        if fate.answer is not None:
            self.loop.call_later(fate.answers, self._reply, request, fate.answer, context=self.context)
        elif fate.lands is not None:
            said = self.verdict(request) if request.land is None else None
            self.loop.call_later(fate.answers, self._reply, request, said, context=self.context)

    def _schedule(self, request: Request, seconds: float) -> None:
        if request.timer is not None:
            request.timer.cancel()
        request.lands_at = self.loop.time() + seconds
        request.timer = self.loop.call_later(seconds, self._land, request, context=self.context)

    def _reply(self, request: Request, answer: Answer | NoAnswer | None) -> None:
        if request.answer is not None and not request.answer.done():
            request.answer.set_result(answer or request.said)

    def _land(self, request: Request) -> None:
        request.lands_at = None
        self.on_their_way.remove(request)
        if request.land is not None:
            request.said = request.land()
            return
        if self.verdict(request) is not _ACCEPTED:
            return
        self.landed(request, request.objects)
        wait = 0.0 if request.synchronous else self.settings.processing * self.rng.random()
        if wait:
            self.processing.append(request)
            self.loop.call_later(wait, self._merge, request, context=self.context)
            return
        # what is synchronous comes after everything that was taken before it
        for earlier in self.processing:
            for identifier in request.objects.keys() & earlier.objects.keys():
                self.apply(identifier, earlier.objects.pop(identifier))
        self._merge(request)

    def landed(self, request: Request, objects: Mapping[str, dict[str, object]]) -> None:
        """The API took them."""
        self.log("land", request.number, sorted(objects))
        for identifier, properties in objects.items():
            landing = Landing(self.loop.time(), request.number, request.process, properties)
            self.landings.setdefault(identifier, []).append(landing)

    def _merge(self, request: Request) -> None:
        if request in self.processing:
            self.processing.remove(request)
        for identifier, properties in request.objects.items():
            self.apply(identifier, properties)

    def apply(self, identifier: str, properties: dict[str, object]) -> None:
        self.objects.setdefault(identifier, {}).update(properties)

    def cut(self, process: Process) -> None:
        """Its connections are dead: what it sent lands soon or never."""
        for request in self.on_their_way:
            if request.process is process and request.open and request.lands_at is not None:
                left = request.lands_at - self.loop.time()
                self._schedule(request, min(left, LATE * self.rng.random()))

    @property
    def quiet(self) -> bool:
        """Whether nothing can land any more."""
        return not any(request.lands_at is not None for request in self.on_their_way)


def _gone(api: Api, there: float, answers: float) -> Fate:
    return Fate(lands=None, answers=_giving_up(api), answer=NoAnswer(fault=Fault.IN_DOUBT, detail="no answer"))


def _refused(api: Api, there: float, answers: float) -> Fate:
    return Fate(lands=None, answers=there, answer=NoAnswer(fault=Fault.NOT_SENT, detail="no connection"))


def _unanswered(api: Api, there: float, answers: float) -> Fate:
    gone = api.rng.choice((there, PATIENCE))
    lost = NoAnswer(fault=Fault.IN_DOUBT, detail="connection reset")
    return Fate(lands=gone * api.rng.random(), answers=gone, answer=lost)


def _late(api: Api, there: float, answers: float) -> Fate:
    gone = _giving_up(api)
    return Fate(
        lands=gone + LATE * api.rng.random(), answers=gone, answer=NoAnswer(fault=Fault.IN_DOUBT, detail="gone")
    )


def _throttled(api: Api, there: float, answers: float) -> Fate:
    after = api.rng.choice((None, "1", "7", "soon", format_datetime(api.now() + timedelta(seconds=3), usegmt=True)))
    headers = {"Retry-After": after} if after else {}
    return Fate(lands=None, answers=answers, answer=Answer(status=429, headers=headers, body=b""))


def _stalled(api: Api, there: float, answers: float) -> Fate:
    headers = {"Retry-After": api.rng.choice(("35", "50"))}
    return Fate(lands=None, answers=answers, answer=Answer(status=429, headers=headers, body=b""))


def _broken(api: Api, there: float, answers: float) -> Fate:
    status = api.rng.choice((500, 503, 507))
    headers = {"Retry-After": "2"} if status == 503 and api.rng.random() < 0.3 else {}
    lands = api.rng.choice((None, there))
    return Fate(lands=lands, answers=answers, answer=Answer(status=status, headers=headers, body=b"oops"))


def _gateway(api: Api, there: float, answers: float) -> Fate:
    status = api.rng.choice((408, 502, 504, 522))
    return Fate(lands=api.late(answers), answers=answers, answer=Answer(status=status, headers=_PLAIN, body=b""))


def _conflict(api: Api, there: float, answers: float) -> Fate:
    status = api.rng.choice((409, 425))
    lands = api.rng.choice((None, there))
    return Fate(lands=lands, answers=answers, answer=Answer(status=status, headers=_PLAIN, body=b""))


def _html(api: Api, there: float, answers: float) -> Fate:
    return Fate(
        lands=api.late(answers), answers=answers, answer=Answer(status=200, headers=_PLAIN, body=b"<html>hello</html>")
    )


def _unauthorized(api: Api, there: float, answers: float) -> Fate:
    return Fate(lands=None, answers=answers, answer=Answer(status=401, headers=_PLAIN, body=b""))


def _giving_up(api: Api) -> float:
    return api.rng.choice((0.2, 5.0, PATIENCE))


_FATES: Mapping[str, Callable[[Api, float, float], Fate]] = {
    "lost": _gone, "refused": _refused, "unanswered": _unanswered, "late": _late, "throttled": _throttled,
    "broken": _broken, "gateway": _gateway, "conflict": _conflict, "html": _html, "unauthorized": _unauthorized,
}  # fmt: skip


class SimClient:
    """One process's HTTP client: what `HttpClient` is to the delivery."""

    def __init__(
        self, api: Api, process: Process, run_id: Callable[[], str],
        check: Callable[[Request, Mapping[str, str], bytes, list[Request]], None],
    ) -> None:  # fmt: skip
        #: requests made, and objects in those that were answered as accepted
        self.posts = 0
        self.accepted = 0
        self._api = api
        self._process = process
        self._run_id = run_id
        self._check = check
        self._open: list[Request] = []

    async def post(
        self, body: bytes, headers: Mapping[str, str], path: str = "", *, still: Callable[[], bool] = lambda: True
    ) -> Answer | NoAnswer:
        """See `HttpClient.post`."""
        if self._process.dead:
            raise Crashed
        if not still():
            return NoAnswer(fault=Fault.NOT_SENT, detail="it is not to be sent any more")
        api = self._api
        api.requests += 1
        self.posts += 1
        request = self._request(body, headers, path)
        api.log("post", self._process, request.number, path, sorted(request.objects), request.synchronous)
        self._check(request, headers, body, self._open)
        request.answer = api.loop.create_future()
        self._open.append(request)
        # before a later request of the same ids takes them over
        size = len(request.objects)
        api.depart(request, api.draw())
        try:
            answer = await request.answer
            if answer is _ACCEPTED:
                self.accepted += size
            self._answered(request, answer)
            return answer
        finally:
            request.open = False
            self._open.remove(request)

    def _request(self, body: bytes, headers: Mapping[str, str], path: str) -> Request:
        told: dict[str, Any] = json.loads(body)
        return Request(
            number=self._api.requests, process=self._process, run_id=self._run_id(),
            objects={each["id"]: each["properties"] for each in told["objects"]},
            synchronous=headers.get("Synchronous") == "true",
        )  # fmt: skip

    def _answered(self, request: Request, answer: Answer | NoAnswer) -> None:
        """An answer came."""

    async def close(self) -> None:
        """See `HttpClient.close`."""
