"""Sessions of the Bulk API delivery, in virtual time over a transport in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeVar

import httpx
import pytest
import virtual_time
from bulk_far import BulkFar, Call
from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.core.events import DeliveryPaused, Event, RequestRetried
from syncer.core.model import Batch, Receipt, SegmentObject
from syncer.delivery.bulk_api import BULK_API, MOST_AT_ONCE, BulkApi
from syncer.delivery.bulk_session import KEEP_ALIVE
from syncer.delivery.client import HttpClient
from syncer.delivery.line import Line, World
from syncer.delivery.pacing import Pace
from syncer.errors import (
    DeliveryError,
    EndpointMisconfigured,
    EndpointUnreachable,
    LeaseLost,
    Stopped,
    SyncerError,
    Unauthorized,
)

T = TypeVar("T")
KEY = "canary/Key+42"


class Wire(httpx.AsyncBaseTransport):
    """A line to a Bulk API in memory: it answers after a virtual while."""

    def __init__(self, far: BulkFar, latency: float = 0.05) -> None:
        self.far, self.latency = far, latency
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        self.times.append(virtual_time.clock())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.latency)
            status, body = self.far.serve(request.url.raw_path.decode(), dict(request.headers), request.content)
            return httpx.Response(status, content=body)
        finally:
            self.at_once -= 1


def delivery(
    far: BulkFar, *, wire: Wire | None = None, part_size: int = 16_000_000, retry_for: float = 300,
    events: list[Event] | None = None, places: int = MOST_AT_ONCE,
) -> BulkApi:  # fmt: skip
    world = World(
        clock=virtual_time.clock, now=lambda: datetime(2026, 3, 1, tzinfo=UTC), sleep=asyncio.sleep,
        rng=random.Random(1),
    )  # fmt: skip
    line = Line(
        api=BULK_API, write_key=KEY, endpoint="https://bulk.example", max_in_flight=places,
        pace=Pace(requests_per_second=None, clock=world.clock), retry_for=retry_for,
        notice=(events if events is not None else []).append, world=world,
        client=HttpClient("https://bulk.example", transport=wire or Wire(far)),
    )  # fmt: skip
    return BulkApi(line=line, identity="rooms.example", part_size=part_size)


def batch(number: int = 0, size: int = 4, *, collection: str = "rooms", text: str = "Room") -> Batch:
    first = number * size
    return Batch(
        number=number, collection=collection,
        objects=tuple(
            SegmentObject(id=str(row), properties=b'{"name":"%b %d"}' % (text.encode(), row), row=row, key=f"k{row}")
            for row in range(first, first + size)
        ),
    )  # fmt: skip


async def handed_in(to: BulkApi, batches: Sequence[Batch]) -> list[Receipt]:
    """In one session."""
    coming = [asyncio.ensure_future(to.send(each)) for each in batches]
    for collection in {each.collection for each in batches}:
        to.flush(collection)
    return await asyncio.gather(*coming)


def send(far: BulkFar, *batches: Batch, **options: object) -> list[Receipt]:
    return run(far, lambda to: handed_in(to, batches), **options)


def run(far: BulkFar, story: Callable[[BulkApi], Awaitable[T]], **options: object) -> T:
    async def main() -> T:
        to = delivery(far, **options)  # type: ignore[arg-type]
        try:
            return await story(to)
        finally:
            await to.close()

    return virtual_time.run(main())


def troubled(step: str, number: int, *answers: tuple[int, bytes] | None, took: bool = False) -> BulkFar:
    """These answers instead of those to the requests of a step from the n-th on. `took`: they have their effect."""
    far, left, seen = BulkFar(), list(answers), [0]

    def trouble(call: Call) -> tuple[int, bytes] | None:
        if call.step != step or call.error:
            return None
        seen[0] += 1
        answer = left.pop(0) if left and seen[0] > number else None
        if took and answer is not None:
            far.take(call)
        return answer

    far.trouble = trouble
    return far


def rows(receipt: Receipt) -> tuple[list[int], list[int], list[int]]:
    parts = (receipt.accepted, receipt.rejections, receipt.unsettled)
    accepted, rejected, unsettled = ([each.row for each in part] for part in parts)
    return sorted(accepted), sorted(rejected), sorted(unsettled)


def balanced(sent: Batch, receipt: Receipt) -> bool:
    return sorted(row for part in rows(receipt) for row in part) == [each.row for each in sent.objects]


# --- one session


def test_requests() -> None:
    """Start, an upload of gzip lines, finish: with Basic auth of the key and a colon, and the documented types."""
    far = BulkFar()
    wire = Wire(far)
    (receipt,) = send(far, batch(size=2), wire=wire)
    assert ["/v0/start", "/v0/upload/sync%200", "/v0/finish/sync%200"] == [
        each.url.raw_path.decode() for each in wire.requests
    ]
    assert {"Basic Y2FuYXJ5L0tleSs0Mjo="} == {each.headers["authorization"] for each in wire.requests}
    upload, finish = wire.requests[1:]
    assert ("binary/octet-stream", "gzip") == (upload.headers["content-type"], upload.headers["content-encoding"])
    assert (b'{"error":""}', "application/json") == (finish.content, finish.headers["content-type"])
    assert [
        {"id": "0", "collection": "rooms", "properties": {"name": "Room 0"}},
        {"id": "1", "collection": "rooms", "properties": {"name": "Room 1"}},
    ] == far.sessions[0].parts[0].objects
    assert (3, 0, sum(len(each.content) for each in wire.requests)) == (
        receipt.requests, receipt.retried, receipt.bytes,
    )  # fmt: skip


def test_batches_share_a_session() -> None:
    """What is handed in before a flush goes in one session, in its order; every batch has a receipt of its own."""
    far = BulkFar()
    receipts = send(far, *(batch(number) for number in range(5)))
    assert [[4 * number + row for row in range(4)] for number in range(5)] == [rows(each)[0] for each in receipts]
    assert [["start", "upload", "finish"], [str(row) for row in range(20)]] == [far.steps(), far.sessions[0].ids]
    assert 3 == sum(each.requests for each in receipts)


def test_nothing_is_settled_before_finish() -> None:
    """Receipts come with the answer to finish, not with uploads."""
    far = BulkFar()

    async def story(to: BulkApi) -> tuple[bool, bool]:
        coming = asyncio.ensure_future(to.send(batch(size=9)))
        await asyncio.sleep(30)
        uploaded = bool(far.sessions[0].parts) and not coming.done()
        to.flush("rooms")
        await coming
        return uploaded, far.sessions[0].ended == ""

    assert (True, True) == run(far, story, part_size=100)


def test_a_session_waits_for_more() -> None:
    """Without a flush it stays open, and batches that come later join it."""
    far = BulkFar()

    async def story(to: BulkApi) -> int:
        first = asyncio.ensure_future(to.send(batch(0)))
        await asyncio.sleep(100)
        assert not first.done()
        await handed_in(to, [batch(1)])
        return len((await first).accepted)

    assert 4 == run(far, story)
    assert ["start", "upload", "finish"] == far.steps()


def test_what_comes_after_a_flush_goes_in_the_next_session() -> None:
    """A session that is being finished takes nothing more, and the next begins when it is done."""
    far = BulkFar()

    async def story(to: BulkApi) -> None:
        first = asyncio.ensure_future(handed_in(to, [batch(0)]))
        await asyncio.sleep(0.12)  # between upload and finish
        assert ["start", "upload"] == far.steps()
        await handed_in(to, [batch(1)])
        await first

    run(far, story)
    assert ["start", "upload", "finish"] * 2 == far.steps()
    assert [batch(0), batch(1)] == [_batch_of(each.ids) for each in far.sessions]


def _batch_of(ids: Sequence[str]) -> Batch:
    return batch(int(ids[0]) // 4)


def test_a_flush_without_anything_changes_nothing() -> None:
    """It is about what was handed in, not about what comes."""
    far = BulkFar()

    async def story(to: BulkApi) -> None:
        to.flush("rooms")
        to.flush("cities")
        await handed_in(to, [batch(0)])
        to.flush("rooms")
        second = asyncio.ensure_future(to.send(batch(1)))
        await asyncio.sleep(100)
        assert not second.done()
        await handed_in(to, [batch(2)])
        await second

    run(far, story)
    assert [4, 8] == [len(each.ids) for each in far.sessions]


@pytest.mark.parametrize(("part_size", "parts"), [(1_000_000, 1), (1_000, 71), (60, 1_000), (1, 1_000)])
def test_parts(part_size: int, parts: int) -> None:
    """No upload is larger than a part, unless by a single object; together they are everything, in order.

    A line is 62 to 66 bytes, so that 14 or 15 go into a thousand.
    """
    far = BulkFar()
    receipts = send(far, batch(0, 600), batch(1, 400), part_size=part_size)
    (session,) = far.sessions
    assert parts == len(session.parts) == len(far.steps("upload"))
    assert all(part.size <= part_size or len(part.objects) == 1 for part in session.parts)
    assert [*map(str, range(600)), *map(str, range(400, 800))] == session.ids
    assert [600, 400] == [len(each.accepted) for each in receipts]


def test_collections_have_sessions_of_their_own() -> None:
    """Two mappings at once, none waits for the other."""
    far = BulkFar()
    run(far, lambda to: handed_in(to, [batch(0), batch(0, collection="cities")]))
    assert ["start", "start", "upload", "upload", "finish", "finish"] == far.steps()
    assert 8 == len(far.objects)


@pytest.mark.parametrize(("places", "most"), [(20, 20), (3, 3)])
def test_no_more_requests_at_once_than_allowed(places: int, most: int) -> None:
    """However many mappings send at once."""
    far = BulkFar()
    wire = Wire(far)
    run(far, lambda to: handed_in(to, [batch(0, collection=f"rooms{n}") for n in range(50)]), wire=wire, places=places)
    assert (most, 50) == (wire.most_at_once, len(far.sessions))


def test_uploads_of_a_session_go_one_after_the_other() -> None:
    """Their order is the objects' order."""
    wire = Wire(BulkFar())
    send(wire.far, batch(0, 100), wire=wire, part_size=200)
    assert 1 == wire.most_at_once


def test_an_idle_session_is_kept_alive() -> None:
    """Long before it would expire, for as long as it is idle, and no sooner than needed."""
    far = BulkFar()
    wire = Wire(far)

    async def story(to: BulkApi) -> None:
        first = asyncio.ensure_future(to.send(batch(0)))
        await asyncio.sleep(3_600)
        to.flush("rooms")
        await first

    run(far, story, wire=wire)
    assert 3_600 // KEEP_ALIVE - 1 <= len(far.steps("keep-alive")) <= 3_600 // KEEP_ALIVE
    assert max(later - sooner for sooner, later in pairwise(wire.times)) < 300
    assert KEEP_ALIVE < 300


def test_a_session_that_waits_to_try_again_is_kept_alive() -> None:
    """While an upload fails for longer than a session lives."""
    far = troubled("upload", 0, *[(503, b"")] * 40)
    wire = Wire(far)
    (receipt,) = send(far, batch(0), wire=wire, retry_for=36_000)
    assert (4, 40) == (len(receipt.accepted), receipt.retried)
    assert 1 < len(far.steps("keep-alive")) < 15
    kept = [when for when, call in zip(wire.times, far.calls, strict=True) if call.step == "keep-alive"]
    assert all(later - sooner < 300 for sooner, later in pairwise(kept))
    assert 1 == len(far.sessions)


def test_a_keep_alive_that_fails_is_tried_again() -> None:
    """And what else is wrong the next upload finds."""
    far = troubled("keep-alive", 0, (500, b""), (503, b""))

    async def story(to: BulkApi) -> int:
        first = asyncio.ensure_future(to.send(batch(0)))
        await asyncio.sleep(250)
        to.flush("rooms")
        return len((await first).accepted)

    assert 4 == run(far, story)
    assert ["start", *["keep-alive"] * 3, "upload", "finish"] == far.steps()


# --- trouble

PASSING = [
    (500, b'{"error":"oops"}'),
    (503, b""),
    (502, b"<html>"),
    (429, b""),
    (408, b""),
    (409, b""),
    (200, b"<html>"),
]


@pytest.mark.parametrize("answer", PASSING, ids=lambda each: str(each[0]))
@pytest.mark.parametrize(("step", "number"), [("start", 0), ("upload", 0), ("upload", 2), ("upload", 4), ("finish", 0)])
@pytest.mark.parametrize("took", [False, True])
def test_passing_trouble_passes(step: str, number: int, answer: tuple[int, bytes], took: bool) -> None:
    """A request that fails is sent again in the same session, whether it had taken effect or not."""
    far = troubled(step, number, answer, answer, took=took)
    (receipt,) = send(far, batch(0, 20), part_size=200)
    assert ([*range(20)], [], []) == rows(receipt)
    assert 2 == receipt.retried == receipt.requests - 2 - len(far.sessions[-1].parts) + (took and step == "upload") * 2
    assert 20 == len(far.objects)
    assert set(far.merged.values()) <= ({1, 3} if took and step == "upload" else {1})


@pytest.mark.parametrize("answer", [(404, b"{}"), (410, b'{"error":"expired"}')], ids=["404", "410"])
@pytest.mark.parametrize(("step", "number"), [("upload", 0), ("upload", 2), ("upload", 4), ("finish", 0)])
def test_a_lost_session_is_begun_again(step: str, number: int, answer: tuple[int, bytes]) -> None:
    """Nothing of a session counts that was not finished: all goes in another, and that one's finish settles it."""
    far = troubled(step, number, answer)
    receipts = send(far, batch(0, 10), batch(1, 10), part_size=200)
    assert [[*range(10)], [*range(10, 20)]] == [rows(each)[0] for each in receipts]
    _, *others = far.sessions
    assert [None, *[""] * len(others)] == [each.ended for each in far.sessions]
    assert [str(row) for row in range(20)] == [each for session in others for each in session.ids]
    assert {1} == set(far.merged.values())
    assert not any(each.in_doubt for each in receipts)


def test_a_session_that_expired_while_idle_is_begun_again() -> None:
    """The keep-alive finds it gone."""
    far = BulkFar()

    async def story(to: BulkApi) -> int:
        first = asyncio.ensure_future(to.send(batch(0, 9)))
        await asyncio.sleep(1)
        far.sessions[0].expired = True
        await asyncio.sleep(1_000)
        to.flush("rooms")
        return len((await first).accepted)

    assert 9 == run(far, story, part_size=100)
    assert 9 == len(far.objects)


def test_sessions_that_are_always_lost_are_given_up() -> None:
    """After the time for trying, with everything unsettled; the sessions' starts do not count as success."""
    far = BulkFar()
    far.trouble = lambda call: (410, b"") if call.step == "finish" else None
    wire = Wire(far)
    (receipt,) = send(far, batch(0), wire=wire, retry_for=60)
    assert isinstance(receipt.failure, EndpointUnreachable)
    assert (4, frozenset()) == (len(receipt.unsettled), receipt.in_doubt)
    assert 60 <= wire.times[-1] - wire.times[0] < 600


@pytest.mark.parametrize("step", ["start", "upload", "finish"])
def test_trouble_for_ever(step: str) -> None:
    """What never passes leaves everything unsettled; in doubt is only what a finish may have settled."""
    far = BulkFar()
    far.trouble = lambda call: (503, b"") if call.step == step and not call.error else None
    receipts = send(far, batch(0), batch(1), retry_for=60)
    assert [[0, 1, 2, 3], [4, 5, 6, 7]] == [rows(each)[2] for each in receipts]
    assert all(isinstance(each.failure, EndpointUnreachable) for each in receipts)
    doubted = {str(row) for row in range(8)} if step == "finish" else set()
    assert doubted == receipts[0].in_doubt | receipts[1].in_doubt
    assert {} == far.objects
    if step != "start":
        assert "has accepted nothing" in (far.sessions[0].ended or "")


def test_a_finish_without_an_answer_is_in_doubt_even_when_it_is_taken_later() -> None:
    """The first may still be on its way, and nobody knows what it would do to newer versions."""
    far, broken = BulkFar(), [True]

    class Cut(Wire):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if b"finish" in request.url.raw_path and broken[0]:
                broken[0] = False
                raise httpx.ReadError("connection reset")
            return await super().handle_async_request(request)

    (receipt,) = send(far, batch(0), wire=Cut(far))
    assert ([0, 1, 2, 3], [], []) == rows(receipt)
    assert {"0", "1", "2", "3"} == receipt.in_doubt
    assert receipt.failure is None


def test_an_upload_without_an_answer_leaves_no_doubt() -> None:
    """Once the session is finished, whatever became of the first."""
    far, broken = BulkFar(), [True]

    class Cut(Wire):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            if b"upload" in request.url.raw_path and broken[0]:
                broken[0] = False
                raise httpx.ReadError("connection reset")
            return answer

    (receipt,) = send(far, batch(0), wire=Cut(far))
    assert ([0, 1, 2, 3], [], []) == rows(receipt)
    assert frozenset() == receipt.in_doubt
    assert {2} == set(far.merged.values())


ENDINGS = [(401, Unauthorized), (403, Unauthorized), (302, EndpointMisconfigured), (405, EndpointMisconfigured)]


@pytest.mark.parametrize(("status", "error"), ENDINGS)
@pytest.mark.parametrize("step", ["start", "upload", "finish"])
def test_what_ends_it_all(step: str, status: int, error: type[DeliveryError]) -> None:
    """A refused key or a wrong endpoint ends at once, for every collection, and for good."""
    far = BulkFar()
    far.trouble = lambda call: (status, b"") if call.step == step else None

    async def story(to: BulkApi) -> list[Receipt]:
        first = await handed_in(to, [batch(0), batch(1)])
        assert to.ended
        return [*first, *await handed_in(to, [batch(2, collection="cities")])]

    receipts = run(far, story)
    assert [error] * 3 == [type(each.failure) for each in receipts]
    assert [0, 0] == [len(receipts[2].accepted), receipts[2].requests]
    assert 1 == len(far.steps(step))
    assert {} == far.objects


def test_a_wrong_address_says_which_key_to_check() -> None:
    """404 of a start is the endpoint's, not a session's."""
    far = BulkFar()
    far.trouble = lambda _: (404, b"nothing here")
    (receipt,) = send(far, batch(0))
    assert isinstance(receipt.failure, EndpointMisconfigured)
    assert "Objects Bulk API" in receipt.failure.message
    assert "destination.bulk.endpoint" in str(receipt.failure.hint)


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("start", (201, b"{}")), ("start", (200, b"")), ("start", (201, b'{"sync_id":7}')), ("upload", (200, b"{}")),
        ("upload", (202, b"{}")), ("finish", (200, b"{}")), ("finish", (204, b"")), ("finish", (202, b"<html>")),
    ],
)  # fmt: skip
def test_a_success_of_something_else_is_none(step: str, answer: tuple[int, bytes]) -> None:
    """What the Bulk API does not answer is not taken for it, however good it looks."""
    far = BulkFar()
    far.trouble = lambda call: answer if call.step == step and not call.error else None
    (receipt,) = send(far, batch(0))
    assert isinstance(receipt.failure, EndpointUnreachable)
    assert "something else than the Objects Bulk API" in receipt.failure.message
    assert (0, 4) == (len(receipt.accepted), len(receipt.unsettled))


def test_a_pause_is_kept() -> None:
    """`Retry-After` holds every request back."""
    far = BulkFar()
    events: list[Event] = []
    asked = [True]

    class Busy(Wire):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            if b"upload" in request.url.raw_path and asked[0]:
                asked[0] = False
                return httpx.Response(429, headers={"Retry-After": "120"})
            return answer

    wire = Busy(far)
    send(far, batch(0), wire=wire, events=events)
    assert [DeliveryPaused] == [type(each) for each in events]
    assert wire.times[2] - wire.times[1] >= 120


# --- what is refused


def guilty(*ids: str, status: int = 400, step: str = "upload") -> BulkFar:
    """An API that refuses what holds one of these."""
    far = BulkFar()

    def trouble(call: Call) -> tuple[int, bytes] | None:
        refused = call.step == step and not call.error and not set(ids).isdisjoint(call.ids)
        return (status, b'{"error":"line 1: Room is no good"}') if refused else None

    far.trouble = trouble
    return far


@pytest.mark.parametrize("ids", [("0",), ("7",), ("19",), ("3", "4"), ("0", "19"), tuple(map(str, range(20)))])
@pytest.mark.parametrize("part_size", [16_000_000, 200])
@pytest.mark.parametrize(("status", "step"), [(400, "upload"), (422, "upload"), (413, "upload"), (400, "finish")])
def test_only_the_guilty_are_rejected(ids: tuple[str, ...], part_size: int, status: int, step: str) -> None:
    """Halves are sent until it stands alone, first, in the middle or last, of an upload or of the session's end."""
    far = guilty(*ids, status=status, step=step)
    receipts = send(far, batch(0, 10), batch(1, 10), part_size=part_size)
    assert sorted(map(int, ids)) == sorted(each.row for receipt in receipts for each in receipt.rejections)
    assert {f"API_{status}"} == {each.code for receipt in receipts for each in receipt.rejections}
    assert all(balanced(batch(number, 10), receipt) for number, receipt in enumerate(receipts))
    assert {str(row) for row in range(20)} - set(ids) == {each for _, each in far.objects}
    assert {1} >= set(far.merged.values())
    assert sum(each.requests for each in receipts) == len(far.calls)
    # what was refused was taken back
    assert all(each.ended is not None for each in far.sessions)


def test_the_dead_letter_tells_what_was_answered() -> None:
    """The reason hides values, the response does not; a crowd of objects is never quoted."""
    far = guilty("3")
    (receipt,) = send(far, batch(0))
    (rejection,) = receipt.rejections
    assert "Room" not in rejection.reason
    assert "line 1" in rejection.reason
    assert "Room is no good" in str(rejection.response)


def test_an_upload_that_is_too_large_makes_the_later_ones_smaller() -> None:
    """A proxy in between may take less than the API does: that is found once, not with every session."""
    far = BulkFar()
    far.trouble = lambda call: (413, b"") if call.part is not None and call.part.size > 500 else None

    async def story(to: BulkApi) -> list[Receipt]:
        return [(await handed_in(to, [batch(number, 40)]))[0] for number in range(4)]

    receipts = run(far, story)
    assert [40] * 4 == [len(each.accepted) for each in receipts]
    sizes = [call.part.size for call in far.calls if call.part is not None]
    assert [True, True, True] == [size > 500 for size in sizes[:3]]
    assert max(sizes[3:]) <= 500


def test_a_failure_among_halves_leaves_the_rest_unsettled() -> None:
    """What was settled by then is; nothing else is tried for another five minutes."""
    far = guilty("0")
    refuse = far.trouble
    far.trouble = lambda call: refuse(call) or ((503, b"") if len(far.sessions) > 3 else None)
    wire = Wire(far)
    (receipt,) = send(far, batch(0, 16), wire=wire, retry_for=60)
    assert balanced(batch(0, 16), receipt)
    assert isinstance(receipt.failure, EndpointUnreachable)
    assert receipt.unsettled
    assert wire.times[-1] - wire.times[0] < 120


# --- the end


def test_stop_finishes_the_session_with_an_error() -> None:
    """What is in flight ends, the session is taken back, and everything is unsettled and not in doubt."""
    far = BulkFar()

    async def story(to: BulkApi) -> list[Receipt]:
        coming = [asyncio.ensure_future(to.send(batch(number, 9))) for number in range(2)]
        await asyncio.sleep(0.08)  # the first upload is on its way
        to.stop()
        return await asyncio.gather(*coming, to.send(batch(2, 9)))

    receipts = run(far, story, part_size=200)
    assert [Stopped] * 3 == [type(each.failure) for each in receipts]
    assert [9, 9, 9] == [len(each.unsettled) for each in receipts]
    assert not any(each.in_doubt for each in receipts)
    assert ["start", "upload", "finish"] == far.steps()
    assert "stopped" in (far.sessions[0].ended or "")


def test_a_stop_wakes_an_idle_session() -> None:
    """It does not wait for the next keep-alive."""
    far = BulkFar()

    async def story(to: BulkApi) -> float:
        coming = asyncio.ensure_future(to.send(batch(0)))
        await asyncio.sleep(10)
        to.stop()
        began = virtual_time.clock()
        await coming
        return virtual_time.clock() - began

    assert run(far, story) < 1


def test_what_is_forbidden_is_not_sent() -> None:
    """Sending under a lost lease ends with the next request, and takes back what was uploaded."""
    far = BulkFar()
    lost: list[SyncerError] = []

    async def story(to: BulkApi) -> Receipt:
        coming = asyncio.ensure_future(to.send(batch(0, 9), forbidden=lambda: lost[0] if lost else None))
        await asyncio.sleep(1)
        lost.append(LeaseLost("another process took it over"))
        to.flush("rooms")
        return await coming

    receipt = run(far, story, part_size=200)
    assert receipt.failure is lost[0]
    assert (9, "another process took it over") == (len(receipt.unsettled), far.sessions[0].ended)
    assert {} == far.objects


def test_a_pause_is_not_broken_to_say_goodbye() -> None:
    """A session that is given up while the API asks for quiet expires by itself."""
    far = BulkFar()
    far.trouble = lambda call: (429, b"") if call.step == "upload" else None

    async def story(to: BulkApi) -> Receipt:
        coming = asyncio.ensure_future(to.send(batch(0)))
        to.flush("rooms")
        await asyncio.sleep(0.15)
        while to._line._pace.pause_left == 0:  # between two pauses
            await asyncio.sleep(0.01)
        to.stop()
        return await coming

    assert isinstance(run(far, story).failure, Stopped)
    assert [] == far.steps("finish")


def test_close_ends_who_waits() -> None:
    """A batch whose session is never finished does not keep its sender waiting for ever."""

    async def story(to: BulkApi) -> bool:
        coming = asyncio.ensure_future(to.send(batch(0)))
        await asyncio.sleep(1)
        await to.close()
        await asyncio.wait([coming])
        return coming.cancelled()

    assert run(BulkFar(), story)


def test_a_defect_reaches_who_sent() -> None:
    """What breaks the session is raised, and not waited for."""

    class Broken(Wire):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise ZeroDivisionError

    far = BulkFar()
    with pytest.raises(ZeroDivisionError):
        send(far, batch(0), wire=Broken(far))


def test_the_key_shows_nowhere() -> None:
    """Neither in reprs nor in errors, however the API repeats it."""
    far = BulkFar()
    far.trouble = lambda _: (503, f"the key {KEY} is busy".encode())
    events: list[Event] = []
    (receipt,) = send(far, batch(0), events=events, retry_for=5)

    async def shown() -> str:
        return repr(delivery(far))

    told = f"{receipt.failure!r} {events} {virtual_time.run(shown())}"
    assert any(isinstance(each, RequestRetried) for each in events)
    assert KEY not in told


# --- whatever happens

ANSWERS = st.sampled_from(
    [None, None, None, *PASSING, (400, b""), (413, b""), (404, b""), (410, b""), (202, b'{"error":"x"}')]
)


@settings(max_examples=150, deadline=None)
@given(
    answers=st.lists(ANSWERS, max_size=25),
    took=st.booleans(),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
)
def test_every_object_is_accounted_for_once(
    answers: list[tuple[int, bytes] | None], took: bool, sizes: list[int]
) -> None:
    """Each is accepted, rejected or unsettled; what is accepted landed; the requests add up."""
    far, left = BulkFar(), list(answers)

    def trouble(call: Call) -> tuple[int, bytes] | None:
        answer = left.pop(0) if left else None
        if took and answer is not None and answer[0] >= 500:
            far.take(call)
        return answer

    far.trouble = trouble
    firsts = [sum(sizes[:place]) for place in range(len(sizes))]
    batches = [
        Batch(number=place, collection="rooms", objects=batch(0, sum(sizes)).objects[first : first + size])
        for place, (first, size) in enumerate(zip(firsts, sizes, strict=True))
    ]
    receipts = send(far, *batches, retry_for=30, part_size=120)
    assert all(balanced(one, two) for one, two in zip(batches, receipts, strict=True))
    accepted = {each.id for receipt in receipts for each in receipt.accepted}
    assert accepted <= {each for _, each in far.objects}
    assert sum(each.requests for each in receipts) == len(far.calls)
    unsure = {each for receipt in receipts for each in receipt.in_doubt}
    rejected = {each.id for receipt in receipts for each in receipt.rejections}
    assert {each for _, each in far.objects} <= accepted | unsure | rejected
