"""Pacing, patience and splitting of the Objects API delivery, in virtual time over a transport in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

import httpx
import orjson
import pytest
import virtual_time
from campaign import rounds
from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.core.batch import encoded
from syncer.core.events import DeliveryPaused, Event, RequestRetried
from syncer.core.model import Batch, Receipt, SegmentObject
from syncer.delivery.client import HttpClient
from syncer.delivery.line import Line, World
from syncer.delivery.objects_api import OBJECTS_API, ObjectsApi
from syncer.delivery.pacing import Pace
from syncer.errors import DeliveryError, EndpointMisconfigured, EndpointUnreachable, Unauthorized

Answering = Callable[[httpx.Request], httpx.Response]


class Api(httpx.AsyncBaseTransport):
    """An API in memory: answers after a virtual while, and remembers when each request came."""

    def __init__(self, answering: Answering, latency: float = 0.05) -> None:
        self.answering, self.latency = answering, latency
        self.times: list[float] = []
        self.requests: list[httpx.Request] = []
        self.at_once = self.most_at_once = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.times.append(virtual_time.clock())
        self.requests.append(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.latency)
            return self.answering(request)
        finally:
            self.at_once -= 1

    @property
    def ids(self) -> list[list[str]]:
        return [[each["id"] for each in orjson.loads(request.read())["objects"]] for request in self.requests]


def delivery(
    api: Api, *, events: list[Event] | None = None, retry_for: float = 300, rate: float | None = None,
    max_in_flight: int = 4, synchronous: Literal["auto", "always", "never"] = "auto",
) -> ObjectsApi:  # fmt: skip
    world = World(
        clock=virtual_time.clock,
        now=lambda: datetime(2026, 3, 1, tzinfo=UTC),
        sleep=asyncio.sleep,
        rng=random.Random(1),
    )
    line = Line(
        api=OBJECTS_API, write_key="canary", endpoint="https://rooms.example", max_in_flight=max_in_flight,
        pace=Pace(requests_per_second=rate, clock=world.clock), retry_for=retry_for,
        notice=(events if events is not None else []).append, world=world,
        client=HttpClient("https://rooms.example/v1/set", transport=api),
    )  # fmt: skip
    return ObjectsApi(line=line, identity="rooms.example", synchronous=synchronous, max_in_flight=max_in_flight)


def batch(number: int = 0, size: int = 10) -> Batch:
    first = number * size
    return Batch(
        number=number, collection="rooms",
        objects=tuple(
            SegmentObject(id=str(row), properties=b'{"name":"Room %d"}' % row, row=row, key=f"k{row}")
            for row in range(first, first + size)
        ),
    )  # fmt: skip


def send(api: Api, *batches: Batch, **options: object) -> list[Receipt]:
    async def main() -> list[Receipt]:
        to = delivery(api, **options)  # type: ignore[arg-type]
        return await asyncio.gather(*(to.send(each) for each in batches))

    return virtual_time.run(main())


def ok(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=b"{}")


def status(code: int, **headers: str) -> Answering:
    return lambda _: httpx.Response(code, headers={k.replace("_", "-"): v for k, v in headers.items()})


def raising(error: Exception) -> Answering:
    def answering(_: httpx.Request) -> httpx.Response:
        raise error

    return answering


def sequence(*answers: Answering, then: Answering = ok) -> Answering:
    left = list(answers)
    return lambda request: (left.pop(0) if left else then)(request)


def balanced(sent: Batch, receipt: Receipt) -> bool:
    rows = [each.row for part in (receipt.accepted, receipt.rejections, receipt.unsettled) for each in part]
    return sorted(rows) == [each.row for each in sent.objects]


# --- the request


def test_body_and_headers() -> None:
    """The request is what the API's page shows: Basic auth with the key and a colon, JSON, the encoded properties."""
    api = Api(ok)
    send(api, batch(size=2))
    request = api.requests[0]
    assert "POST https://rooms.example/v1/set" == f"{request.method} {request.url}"
    assert ("Basic Y2FuYXJ5Og==", "application/json") == (
        request.headers["authorization"], request.headers["content-type"],
    )  # fmt: skip
    assert (
        b'{"collection":"rooms","objects":[{"id":"0","properties":{"name":"Room 0"}},'
        b'{"id":"1","properties":{"name":"Room 1"}}]}'
    ) == request.read()


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_any_id_survives(identifier: str) -> None:
    """Quotes, control characters and every script in an id arrive as they are."""
    each = SegmentObject(id=identifier, properties=b"{}", row=0, key="k")
    assert identifier == orjson.loads(encoded("rooms", [each]))["objects"][0]["id"]


@pytest.mark.parametrize(
    ("mode", "asked", "header"),
    [
        ("auto", False, None), ("auto", True, "true"), ("always", False, "true"),
        ("always", True, "true"), ("never", False, None), ("never", True, None),
    ],
)  # fmt: skip
def test_synchronous(mode: Literal["auto", "always", "never"], asked: bool, header: str | None) -> None:
    """`Synchronous: true` goes out when the mode says always, or leaves it to the caller who asks."""
    api = Api(ok)

    async def main() -> None:
        await delivery(api, synchronous=mode).send(batch(), synchronous=asked)

    virtual_time.run(main())
    assert header == api.requests[0].headers.get("synchronous")


def test_the_key_shows_nowhere() -> None:
    """No repr of the delivery or its client holds the write key."""

    async def main() -> str:
        to = delivery(Api(ok))
        return repr(to) + repr(to._line._client)

    shown = virtual_time.run(main())
    assert "<ObjectsApi rooms.example:443><HttpClient rooms.example:443>" == shown


# --- pace


@given(rate=st.floats(1, 1000), requests=st.integers(2, 60), latency=st.floats(0, 1), most=st.integers(1, 32))
@settings(max_examples=rounds(30, 1_000), deadline=None)
def test_rate_ceiling(rate: float, requests: int, latency: float, most: int) -> None:
    """No two requests begin closer together than the rate allows, however many may be in flight."""
    api = Api(ok, latency)
    send(api, *map(batch, range(requests)), rate=rate, max_in_flight=most)
    gaps = [after - before for before, after in zip(api.times, api.times[1:], strict=False)]
    assert min(gaps) >= 1 / rate * (1 - 1e-9) - 1e-9
    assert requests == len(api.times)


@pytest.mark.parametrize("most", [1, 2, 5, 16])
def test_max_in_flight(most: int) -> None:
    """Exactly as many requests as allowed are in flight while there is enough to send."""
    api = Api(ok)
    send(api, *map(batch, range(40)), max_in_flight=most)
    assert most == api.most_at_once


def test_a_waiting_batch_leaves_its_place() -> None:
    """With one place, a second batch goes out while the first waits to be retried."""
    api = Api(lambda request: httpx.Response(503 if len(api.requests) < 5 and b'"0"' in request.read() else 200))
    send(api, batch(0), batch(1), max_in_flight=1)
    assert ["0", "10"] == [ids[0] for ids in api.ids[:2]]


def test_pause_is_everyones() -> None:
    """After a 429 nothing goes out before its Retry-After has passed."""
    events: list[Event] = []
    api = Api(sequence(status(429, retry_after="30")))
    receipts = send(api, *map(batch, range(3)), max_in_flight=1, events=events)
    assert [1000.0, 1030.05, 1030.10, 1030.15] == [round(each, 2) for each in api.times]
    assert [DeliveryPaused(reason="HTTP 429", wait=30)] == events
    assert [(2, 1), (1, 0), (1, 0)] == [(each.requests, each.retried) for each in receipts]


def test_pauses_of_requests_in_flight_are_one_pause() -> None:
    """Sixteen simultaneous 429 make one event and one pause."""
    events: list[Event] = []
    api = Api(sequence(*[status(429, retry_after="30")] * 16))
    send(api, *map(batch, range(16)), max_in_flight=16, events=events)
    assert (1, 32, 1) == (len(events), len(api.times), len({round(each) for each in api.times[16:]}))


def test_pause_respects_the_rate_afterwards() -> None:
    """What waited for a pause does not come out of it all at once."""
    api = Api(sequence(*[status(429, retry_after="30")] * 5))
    send(api, *map(batch, range(5)), max_in_flight=5, rate=10)
    gaps = [after - before for before, after in zip(api.times, api.times[1:], strict=False)]
    assert min(gaps) >= 0.1 - 1e-9


def test_pauses_are_no_attempts() -> None:
    """A pause does not lengthen the backoff of the retries after it."""
    events: list[Event] = []
    api = Api(sequence(*[status(429, retry_after="1")] * 5, status(500)))
    send(api, batch(), events=events)
    retries = [each for each in events if isinstance(each, RequestRetried)]
    assert [1] == [each.attempt for each in retries]
    assert retries[0].wait <= 0.5


def test_a_pause_also_holds_who_waits_for_the_rate() -> None:
    """A batch that waits for its turn under the rate when a pause begins waits for the pause as well."""
    api = Api(sequence(status(429, retry_after="30")))
    send(api, batch(0), batch(1), rate=1)
    assert api.times[1] >= 1030.05 - 1e-9


def test_a_shorter_pause_does_not_shorten_a_longer_one() -> None:
    """Of two pauses asked for together the longer holds."""
    api = Api(sequence(status(429, retry_after="30"), status(429, retry_after="1")))
    send(api, batch(0), batch(1))
    assert api.times[2] >= 1030.05 - 1e-9


def test_unspecified_pauses_grow_per_pause_not_per_request() -> None:
    """Sixteen simultaneous 429 without Retry-After make one short pause, the next sixteen a longer one."""
    events: list[Event] = []
    api = Api(sequence(*[status(429)] * 32), latency=0.001)
    send(api, *map(batch, range(16)), max_in_flight=16, events=events)
    assert 2 == len(events)
    assert all(event.wait <= most for event, most in zip(events, (0.5, 1.0), strict=True))  # type: ignore[union-attr]


# --- patience


def test_backoff_is_full_jitter() -> None:
    """The n-th wait lies between nothing and 0.5 s doubled n times, a minute at most."""
    events: list[Event] = []
    send(Api(sequence(ok, then=status(500))), batch(0), batch(1), max_in_flight=1, retry_for=3600, events=events)
    waits = [each.wait for each in events if isinstance(each, RequestRetried)]
    assert len(waits) > 50
    assert all(wait <= min(60, 0.5 * 2**number) for number, wait in enumerate(waits))
    assert max(waits) > 40
    assert min(waits[8:]) < 20


@pytest.mark.parametrize(
    ("answering", "in_doubt"),
    [
        (status(500), True), (status(408), True), (status(409), True), (raising(httpx.ReadTimeout("slow")), True),
        (raising(httpx.ReadError("reset")), True), (status(429), False), (status(503, retry_after="40"), True),
    ],
)  # fmt: skip
def test_retries_end(answering: Answering, in_doubt: bool) -> None:
    """A batch that is never accepted is given up after retry_for, plus the pauses the server asked for."""
    api = Api(answering, latency=0)
    (receipt,) = send(api, batch(), retry_for=300)
    assert isinstance(receipt.failure, EndpointUnreachable)
    assert balanced(batch(), receipt)
    assert (10 if in_doubt else 0) == len(receipt.in_doubt)
    assert 300 <= api.times[-1] - 1000 <= 300 + 900 + 60


def test_last_attempt_is_at_the_end() -> None:
    """The last attempt is made when the time is up, not before."""
    api = Api(status(500), latency=0)
    send(api, batch(), retry_for=20)
    assert 1020.0 == pytest.approx(api.times[-1])


def test_an_accepted_batch_renews_patience() -> None:
    """A batch that keeps failing is retried while others are accepted, and given up retry_for after the last."""
    api = Api(lambda request: httpx.Response(500 if b'"0"' in request.read() else 200), latency=0)

    async def main() -> Receipt:
        to = delivery(api, retry_for=30)
        failing = asyncio.create_task(to.send(batch(0)))
        for number in range(1, 11):
            await to.send(batch(number))
            await asyncio.sleep(10)
        return await failing

    receipt = virtual_time.run(main())
    assert isinstance(receipt.failure, EndpointUnreachable)
    assert 1090.0 + 30 == pytest.approx(api.times[-1])


def test_patience_begins_with_the_batch() -> None:
    """A batch first tried long after the last acceptance has the whole time."""
    api = Api(sequence(ok, then=status(500)), latency=0)

    async def main() -> Receipt:
        to = delivery(api, retry_for=30)
        await to.send(batch(0))
        await asyncio.sleep(10_000)
        return await to.send(batch(1))

    virtual_time.run(main())
    assert 11_030.0 == pytest.approx(api.times[-1])


def test_unheard_endpoint_is_given_up_early() -> None:
    """An endpoint that never answered anything is given up after 15 s, naming host, port and reason."""
    api = Api(raising(httpx.ConnectError("Connection refused")), latency=0)
    (receipt,) = send(api, batch(), retry_for=300)
    assert "no connection to rooms.example:443: Connection refused" == str(receipt.failure)
    assert 1015.0 == pytest.approx(api.times[-1])
    assert frozenset() == receipt.in_doubt
    assert 0 == receipt.bytes


def test_heard_endpoint_is_not_given_up_early() -> None:
    """One answer, even an error, and a refused connection is retried for as long as anything else."""
    api = Api(sequence(status(500), then=raising(httpx.ConnectError("Connection refused"))), latency=0)
    (receipt,) = send(api, batch(), retry_for=300)
    assert 1300.0 == pytest.approx(api.times[-1])
    assert 10 == len(receipt.in_doubt)


def test_three_foreign_successes_in_a_row_end_it() -> None:
    """Something that answers 200 with a web page is given up after three times, and never believed."""
    api = Api(lambda _: httpx.Response(200, html="<html>Please log in</html>"))
    (receipt,) = send(api, batch())
    assert isinstance(receipt.failure, EndpointUnreachable)
    assert "proxy" in (receipt.failure.hint or "")
    assert (3, 10) == (len(api.requests), len(receipt.in_doubt))


def test_foreign_successes_between_others_do_not_end_it() -> None:
    """Two web pages, an error, two web pages and the batch is accepted all the same."""

    def page(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, html="<html>")

    (receipt,) = send(Api(sequence(page, page, status(500), page, page)), batch())
    assert (10, 5) == (len(receipt.accepted), receipt.retried)


# --- splitting


@pytest.mark.parametrize("code", [400, 413, 422])
@pytest.mark.parametrize("guilty", [{0}, {4}, {9}, {0, 9}, set(range(10)), {2, 3, 5, 7}])
def test_split_isolates_the_guilty(code: int, guilty: set[int]) -> None:
    """A refused batch is halved until only the guilty are rejected, in at most 2n - 1 requests."""

    def answering(request: httpx.Request) -> httpx.Response:
        ids = {int(each["id"]) for each in orjson.loads(request.read())["objects"]}
        return httpx.Response(code if ids & guilty else 200)

    api = Api(answering)
    (receipt,) = send(api, batch())
    assert guilty == {each.row for each in receipt.rejections}
    assert {f"API_{code}"} == {each.code for each in receipt.rejections}
    assert set(range(10)) - guilty == {each.row for each in receipt.accepted}
    assert len(api.requests) == receipt.requests <= 19
    assert 0 == receipt.retried
    first = [ids[0] for ids in api.ids]
    assert first == sorted(first)  # siblings go out in order


def test_rejection_tells_everything() -> None:
    """A rejection carries code, reason, status, answer and the object, so it can stand as a dead letter."""
    (receipt,) = send(Api(lambda _: httpx.Response(422, json={"error": "bad Room"})), batch(size=1))
    (rejection,) = receipt.rejections
    assert ("API_422", 422, '{"error":"bad Room"}', "0", "k0", 0, b'{"name":"Room 0"}') == (
        rejection.code, rejection.status, rejection.response, rejection.id, rejection.key, rejection.row,
        rejection.properties,
    )  # fmt: skip
    assert 'the API refused it: HTTP 422: {"error":"bad …"}' == rejection.reason


def test_success_that_reports_an_error_is_a_rejection() -> None:
    """A lone object that gets a 200 with an error body is rejected as API_ERROR."""
    (receipt,) = send(Api(lambda _: httpx.Response(200, json={"success": False})), batch(size=1))
    assert ["API_ERROR"] == [each.code for each in receipt.rejections]


@pytest.mark.parametrize(("code", "kind"), [(401, Unauthorized), (404, EndpointMisconfigured)])
def test_split_that_fails_half_way(code: int, kind: type[DeliveryError]) -> None:
    """What was accepted before a split batch failed stays accepted; the rest is unsettled."""
    api = Api(sequence(status(400), ok, then=status(code)))
    (receipt,) = send(api, batch())
    assert ([*range(5)], [*range(5, 10)]) == (
        [each.row for each in receipt.accepted], [each.row for each in receipt.unsettled],
    )  # fmt: skip
    assert isinstance(receipt.failure, kind)
    assert 3 == len(api.requests)


def test_a_given_up_half_ends_the_split() -> None:
    """When the first half of a split is given up, the second is not tried: the receipt is unsettled either way."""
    api = Api(sequence(status(400), then=status(500)), latency=0)
    (receipt,) = send(api, batch(), retry_for=5)
    assert 10 == len(receipt.unsettled)
    assert {str(row) for row in range(5)} == receipt.in_doubt
    assert all("5" not in ids for ids in api.ids[1:])


# --- in doubt


@pytest.mark.parametrize(
    ("first", "late"),
    [
        (raising(httpx.ReadTimeout("slow")), True), (raising(httpx.ReadError("reset")), True),
        (raising(httpx.RemoteProtocolError("cut off")), True), (lambda _: httpx.Response(200, html="<html>"), True),
        (status(408), True), (status(502), True), (status(504, retry_after="5"), True), (status(522), True),
        (raising(httpx.ConnectError("refused")), False), (status(500), False), (status(503, retry_after="5"), False),
        (status(409), False), (status(425), False), (status(429), False),
    ],
)  # fmt: skip
def test_accepted_objects_whose_first_request_may_land_late_are_in_doubt(first: Answering, late: bool) -> None:
    """Acceptance does not end the doubt about an earlier request without a final answer; the API's own answer does."""
    (receipt,) = send(Api(sequence(first)), batch())
    assert (10, 10 if late else 0) == (len(receipt.accepted), len(receipt.in_doubt))


def test_the_doubt_about_a_batch_is_that_of_its_halves() -> None:
    """A batch without answer that is then split: what is accepted is in doubt, what is refused is not."""

    def answering(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400 if b'"3"' in request.read() else 200)

    (receipt,) = send(Api(sequence(raising(httpx.ReadTimeout("slow")), then=answering)), batch())
    assert ["3"] == [each.id for each in receipt.rejections]
    assert {str(row) for row in range(10)} - {"3"} == receipt.in_doubt


def test_doubt_about_one_half_is_not_about_the_other() -> None:
    """Only the objects of the half whose request had no answer are in doubt."""
    answers = (status(400), ok, raising(httpx.ReadTimeout("slow")))
    (receipt,) = send(Api(sequence(*answers)), batch())
    assert (10, {str(row) for row in range(5, 10)}) == (len(receipt.accepted), receipt.in_doubt)


# --- the end


@pytest.mark.parametrize(("code", "kind"), [(401, Unauthorized), (403, Unauthorized), (302, EndpointMisconfigured)])
def test_the_first_refusal_is_the_last_request(code: int, kind: type[DeliveryError]) -> None:
    """After the key or the endpoint turned out wrong, nothing more goes out, and every batch says why."""
    api = Api(status(code))
    receipts = send(api, *map(batch, range(10)), max_in_flight=1)
    assert 1 == len(api.requests)
    assert [kind] * 10 == [type(each.failure) for each in receipts]
    assert all(balanced(batch(number), each) for number, each in enumerate(receipts))


def test_a_refusal_wakes_those_who_wait() -> None:
    """A batch in backoff ends at once when the write key is refused to another."""

    def answering(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503, headers={"retry-after": "600"}) if b'"0"' in request.read() else httpx.Response(401)

    api = Api(answering)
    receipts = send(api, batch(0), batch(1))
    assert 2 == len(api.requests)
    assert [Unauthorized, Unauthorized] == [type(each.failure) for each in receipts]
    assert 10 == len(receipts[0].in_doubt)


def test_stop_ends_retries_and_finishes_requests() -> None:
    """On stop a request in flight is finished and counted; a waiting retry ends at once, unsettled."""
    api = Api(lambda request: httpx.Response(503 if b'"0"' in request.read() else 200), latency=1)

    async def main() -> tuple[list[Receipt], float]:
        to = delivery(api, retry_for=10_000)
        waiting = asyncio.create_task(to.send(batch(0)))
        await asyncio.sleep(200)
        in_flight = asyncio.create_task(to.send(batch(1)))
        await asyncio.sleep(0.5)
        to.stop()
        stopped = virtual_time.clock()
        receipts = [await waiting, await in_flight, await to.send(batch(2))]
        return receipts, virtual_time.clock() - stopped

    receipts, took = virtual_time.run(main())
    assert [0, 10, 0] == [len(each.accepted) for each in receipts]
    assert [True, False, True] == [isinstance(each.failure, DeliveryError) for each in receipts]
    assert took <= 1
    assert 10 == len(receipts[0].in_doubt)


ANSWERS: Sequence[Answering] = [
    ok, status(204), status(400), status(401), status(302), status(413), status(429), status(429, retry_after="3"),
    status(500), status(503, retry_after="x"), status(418), raising(httpx.ConnectError("no")),
    raising(httpx.RemoteProtocolError("no")), lambda _: httpx.Response(200, html="<html>"),
    lambda _: httpx.Response(200, json={"success": False}),
]  # fmt: skip


@given(st.lists(st.sampled_from(ANSWERS), max_size=30), st.sampled_from(ANSWERS), st.integers(1, 5))
@settings(max_examples=300, deadline=None)
def test_every_object_is_accounted_for_once(answers: list[Answering], last: Answering, batches: int) -> None:
    """Whatever the API answers, every object is accepted, rejected or unsettled; a rejected one is never in doubt."""
    api = Api(sequence(*answers, then=last))
    receipts = send(api, *map(batch, range(batches)), retry_for=30)
    for number, receipt in enumerate(receipts):
        assert balanced(batch(number), receipt)
        assert bool(receipt.unsettled) == (receipt.failure is not None)
        assert receipt.in_doubt <= {each.id for each in (*receipt.accepted, *receipt.unsettled)}
    assert len(api.requests) == sum(each.requests for each in receipts)
    assert api.most_at_once <= 4
