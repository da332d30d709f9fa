"""What goes wrong in sessions of the Bulk API, and what comes of it, in virtual time."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from bulk_far import BulkFar
from bulk_wire import PASSING, Wire, batch, handed_in, rows, run, send, troubled

from syncer.core.events import DeliveryPaused, Event
from syncer.core.model import Receipt
from syncer.delivery.bulk_api import BulkApi
from syncer.errors import (
    DeliveryError,
    EndpointMisconfigured,
    EndpointUnreachable,
    Unauthorized,
)


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
