"""Every row of the outcome table against a real server, at every place and as often as it can happen."""

from __future__ import annotations

import asyncio
import base64
import pickle
import random
import socket
import traceback
from collections.abc import Iterator
from datetime import timedelta

import http_server
import pytest
from http_server import Reply, Request, ScriptedServer, answer, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import Hurry

from syncer.core.events import DeliveryPaused, Event, RequestRetried
from syncer.core.model import Batch, Receipt, SegmentObject
from syncer.core.verdict import Answer, Verdict, judge
from syncer.delivery import Delivery, open_delivery
from syncer.delivery.client import Timeouts
from syncer.delivery.line import World
from syncer.errors import EndpointMisconfigured, EndpointUnreachable, SyncerError, Unauthorized

KEY = "canary/Key+42"
QUICK = Timeouts(connect=5, write=5, read=0.15, attempt=20)


def opened(server: ScriptedServer, events: list[Event], hurry: Hurry, *, max_in_flight: int = 4) -> Delivery:
    return open_delivery(
        write_key=KEY, endpoint=server.endpoint, notice=events.append, retry_for=timedelta(seconds=20),
        timeouts=QUICK, max_in_flight=max_in_flight,
        world=World(clock=hurry.clock, now=hurry.now, sleep=hurry.sleep, rng=random.Random(3)),
    )  # fmt: skip


def batch(number: int, size: int = 4) -> Batch:
    return Batch(
        number=number, collection="rooms",
        objects=tuple(
            SegmentObject(id=f"{row}", properties=b'{"name":"Suite Lagoon"}', row=row, key=f"k{row}")
            for row in range(number * size, number * size + size)
        ),
    )  # fmt: skip


def deliver(server: ScriptedServer, batches: int, events: list[Event] | None = None) -> list[Receipt]:
    """Send so many batches one after the other."""

    async def main() -> list[Receipt]:
        delivery = opened(server, events if events is not None else [], Hurry())
        try:
            return [await delivery.send(batch(number)) for number in range(batches)]
        finally:
            await delivery.close()

    return asyncio.run(main())


def failing(number: int, reply: Reply, times: int | None) -> http_server.Script:
    """This reply to so many of the requests that hold objects of one batch; None: to all of them."""
    seen = 0

    def script(request: Request) -> Reply:
        nonlocal seen
        if int(request.ids[0]) // 4 != number:
            return http_server.ACCEPTED
        seen += 1
        return reply if times is None or seen <= times else http_server.ACCEPTED

    return script


HTML = answer(200, b"<html>Welcome to the hotel's WLAN</html>")
RETRIED = {
    "reset": (http_server.RESET, True),
    "closed": (http_server.CLOSED, True),
    "silent": (http_server.SILENT, True),
    "garbage": (http_server.GARBAGE, True),
    "half": (http_server.HALF, True),
    "half-reset": (http_server.HALF_RESET, True),
    "408": (answer(408), True),
    "409": (answer(409), True),
    "425": (answer(425), True),
    "429": (answer(429), False),
    "429-seconds": (answer(429, b"", ("Retry-After", "7")), False),
    "429-date": (answer(429, b"", ("Retry-After", "Sun, 01 Mar 2026 00:20:00 GMT")), False),
    "429-garbage": (answer(429, b"", ("Retry-After", "soon")), False),
    "500": (answer(500, b'{"error":"oops"}'), True),
    "502": (answer(502, b"<html>Bad Gateway</html>"), True),
    "503": (answer(503, b"", ("Retry-After", "7")), True),
    "504": (answer(504), True),
    "529": (answer(529), True),
}
PLACES = pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])


@PLACES
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("name", RETRIED)
def test_passing_trouble_passes(name: str, times: int, place: int) -> None:
    """Trouble that passes costs retries and nothing else: every object of every batch is accepted."""
    with serving(failing(place, RETRIED[name][0], times)) as server:
        receipts = deliver(server, 3)
    assert [4, 4, 4] == [len(each.accepted) for each in receipts]
    assert [times if number == place else 0 for number in range(3)] == [each.retried for each in receipts]
    assert 3 + times == len(server.requests) == sum(each.requests for each in receipts)
    assert sum(len(request.body) for request in server.requests) == sum(each.bytes for each in receipts)


@PLACES
@pytest.mark.parametrize("name", [name for name in RETRIED if name != "silent"])
def test_trouble_for_ever(name: str, place: int) -> None:
    """Trouble that never passes leaves its batch unsettled, in doubt where it may have landed; others go on."""
    reply, in_doubt = RETRIED[name]
    with serving(failing(place, reply, None)) as server:
        receipts = deliver(server, 3)
    bad = receipts.pop(place)
    assert isinstance(bad.failure, EndpointUnreachable)
    assert (0, 4) == (len(bad.accepted), len(bad.unsettled))
    assert ({each.id for each in batch(place).objects} if in_doubt else set()) == bad.in_doubt
    assert [4, 4] == [len(each.accepted) for each in receipts]


@PLACES
@pytest.mark.parametrize("times", [1, 2])
def test_a_login_page_that_goes_away(times: int, place: int) -> None:
    """A web page instead of an answer, once or twice, is not believed, and the batch is sent again."""
    with serving(failing(place, HTML, times)) as server:
        receipts = deliver(server, 3)
    assert [4, 4, 4] == [len(each.accepted) for each in receipts]
    assert 3 + times == len(server.requests)


@PLACES
def test_a_login_page_that_stays(place: int) -> None:
    """A web page three times in a row ends the batch, in doubt, and names the likely cause."""
    with serving(failing(place, HTML, None)) as server:
        receipts = deliver(server, 3)
    bad = receipts.pop(place)
    assert isinstance(bad.failure, EndpointUnreachable)
    assert "proxy" in str(bad.failure.hint)
    assert (3, 4) == (bad.requests, len(bad.in_doubt))
    assert [4, 4] == [len(each.accepted) for each in receipts]


@PLACES
@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (answer(400, b'{"error":"malformed"}'), "API_400"), (answer(413), "API_413"), (answer(422), "API_422"),
        (answer(418), "API_418"), (answer(200, b'{"success":false,"error":"nope"}'), "API_ERROR"),
        (answer(202, b'{"errors":["nope"]}'), "API_ERROR"),
    ],
    ids=["400", "413", "422", "418", "200-error", "202-errors"],
)  # fmt: skip
def test_rejected_for_ever(reply: Reply, code: str, place: int) -> None:
    """A batch that is refused down to its single objects becomes rejections after 2n - 1 requests."""
    with serving(failing(place, reply, None)) as server:
        receipts = deliver(server, 3)
    bad = receipts.pop(place)
    assert [code] * 4 == [each.code for each in bad.rejections]
    assert (7, None, 0) == (bad.requests, bad.failure, len(bad.unsettled))
    assert [4, 4] == [len(each.accepted) for each in receipts]


@PLACES
@pytest.mark.parametrize(("times", "requests"), [(1, 3), (3, 5)])
def test_rejected_for_a_while(times: int, requests: int, place: int) -> None:
    """Refusals that stop: what is accepted in halves is accepted; a lone object that was refused stays so."""
    with serving(failing(place, answer(400), times)) as server:
        receipts = deliver(server, 3)
    bad = receipts.pop(place)
    assert (4 - times // 3, times // 3, requests) == (len(bad.accepted), len(bad.rejections), bad.requests)
    assert [4, 4] == [len(each.accepted) for each in receipts]


@PLACES
@pytest.mark.parametrize("times", [1, 3, None])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Unauthorized), (403, Unauthorized),
        *((status, EndpointMisconfigured) for status in (301, 302, 307, 308, 404, 405, 410, 415, 501, 505)),
    ],
)  # fmt: skip
def test_what_ends_a_delivery(status: int, kind: type[SyncerError], times: int | None, place: int) -> None:
    """A refused key or a wrong endpoint ends the delivery with one request; what came before stays accepted."""
    with serving(failing(place, answer(status, b"", ("Location", "http://127.0.0.1:1/")), times)) as server:
        receipts = deliver(server, 3)
    assert place + 1 == len(server.requests)
    assert [4] * place + [0] * (3 - place) == [len(each.accepted) for each in receipts]
    assert [kind] * (3 - place) == [type(each.failure) for each in receipts[place:]]
    assert all(frozenset() == each.in_doubt for each in receipts)


def test_nobody_listens() -> None:
    """A refused connection is given up early, naming host, port and reason; nothing is in doubt."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = ScriptedServer(http_server.always(http_server.ACCEPTED))
        nowhere.port = taken.getsockname()[1]
    events: list[Event] = []
    (receipt,) = deliver(nowhere, 1, events)
    assert isinstance(receipt.failure, EndpointUnreachable)
    assert f"127.0.0.1:{nowhere.port}" in str(receipt.failure)
    assert (4, frozenset(), 0) == (len(receipt.unsettled), receipt.in_doubt, receipt.bytes)
    assert sum(each.wait for each in events if isinstance(each, RequestRetried)) == pytest.approx(15)


def test_events() -> None:
    """Retries and pauses are told, with reason and wait, and without values of the row."""
    replies = (answer(500, b"boom: Suite Lagoon"), answer(429, b"", ("Retry-After", "7")), answer(503))
    events: list[Event] = []
    with serving(http_server.in_order(*replies)) as server:
        deliver(server, 1, events)
    retried, paused, again = events
    assert isinstance(retried, RequestRetried)
    assert ("rooms", 1, "HTTP 500: boom: …") == (retried.collection, retried.attempt, retried.reason)
    assert DeliveryPaused(reason="HTTP 429", wait=7.0) == paused
    assert isinstance(again, RequestRetried)
    assert 2 == again.attempt


@pytest.mark.parametrize("most", [1, 3, 16])
def test_the_server_never_sees_more_than_max_in_flight(most: int) -> None:
    """However many batches are sent together, and however they fail, so many requests arrive at once at most."""

    def script(request: Request) -> Reply:
        if request.number % 7 == 3:
            return answer(503, delay=0.002)
        if request.number % 11 == 5:
            return answer(400, delay=0.002)
        return answer(200, b"{}", delay=0.005)

    async def main() -> list[Receipt]:
        delivery = opened(server, [], Hurry(), max_in_flight=most)
        try:
            return await asyncio.gather(*(delivery.send(batch(number)) for number in range(60)))
        finally:
            await delivery.close()

    with serving(script) as server:
        receipts = asyncio.run(main())
    assert server.most_at_once == most
    assert server.connections <= most
    assert all(each.failure is None for each in receipts)


def test_headers_on_the_wire() -> None:
    """Basic auth is the key and a colon; the content is JSON; the agent says who we are."""
    with serving(http_server.always(http_server.ACCEPTED)) as server:
        deliver(server, 1)
    headers = server.requests[0].headers
    assert f"{KEY}:".encode() == base64.b64decode(headers["authorization"].removeprefix("Basic "))
    assert "application/json" == headers["content-type"]
    assert headers["user-agent"].startswith("syncer/")
    assert "synchronous" not in headers


TOKEN = base64.b64encode(f"{KEY}:".encode())


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500])
@pytest.mark.parametrize(
    "echo", [KEY.encode(), b"Authorization: Basic " + TOKEN, b'{"key":"canary\\/Key+42"}', b"canary%2FKey%2B42"]
)  # fmt: skip
def test_secrets_show_nowhere(status: int, echo: bytes) -> None:
    """A server that repeats the write key, plain or encoded, does not get it into anything we keep or print."""
    events: list[Event] = []
    with serving(http_server.always(answer(status, echo))) as server:
        (receipt,) = deliver(server, 1, events)
    failure = receipt.failure
    shown = [repr(receipt), repr(events), repr(failure), repr(pickle.dumps(receipt))]
    shown += traceback.format_exception(failure) if failure else []
    shown += [getattr(failure, "hint", None) or ""]
    for secret in ("canary", TOKEN.decode().rstrip("="), "Key+42", "Key%2B42"):
        assert not any(secret in each for each in shown)


@given(st.binary(max_size=120), st.sampled_from([200, 201, 204, 299, 400, 500]))
@settings(max_examples=100, deadline=None)
def test_any_body_is_never_accepted_falsely(body: bytes, status: int) -> None:
    """Whatever an answer holds, objects count as accepted only when the verdict on it says so."""
    fuzz[:] = [answer(status, b"" if status == 204 else body)]
    (receipt,) = deliver(fuzzed, 1)
    told: Verdict = judge(Answer(status=status, headers={}, body=b"" if status == 204 else body), now=Hurry().now())
    assert (4 if told.action == "accept" else 0) == len(receipt.accepted)
    assert 4 == len(receipt.accepted) + len(receipt.rejections) + len(receipt.unsettled)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_instead_of_http_are_never_accepted(raw: bytes) -> None:
    """Bytes that are not HTTP never count as an acceptance, and never raise."""
    fuzz[:] = [Reply(parts=[raw] if raw else [], then=http_server.Then.CLOSE)]
    (receipt,) = deliver(fuzzed, 1)
    assert raw.startswith(b"HTTP/") or not receipt.accepted
    assert 4 == len(receipt.accepted) + len(receipt.rejections) + len(receipt.unsettled)


fuzz: list[Reply] = []
fuzzed: ScriptedServer


@pytest.fixture(autouse=True, scope="module")
def _fuzzed() -> Iterator[None]:
    """One server for all examples of the fuzzing."""
    global fuzzed
    with serving(lambda _: fuzz[0]) as fuzzed:
        yield
