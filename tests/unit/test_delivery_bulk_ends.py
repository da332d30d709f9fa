"""What the Bulk API refuses, how sending ends, and what holds whatever happens, in virtual time."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import virtual_time
from bulk_far import BulkFar, Call
from bulk_wire import KEY, PASSING, Wire, balanced, batch, delivery, handed_in, run, send
from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.core.events import Event, RequestRetried
from syncer.core.model import Batch, Receipt
from syncer.delivery.bulk_api import BulkApi
from syncer.errors import (
    EndpointUnreachable,
    LeaseLost,
    Stopped,
    SyncerError,
)

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
@pytest.mark.parametrize(
    ("status", "step"), [(400, "upload"), (422, "upload"), (413, "upload"), (400, "finish"), (413, "finish")]
)
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


def test_a_finish_that_is_too_large_leaves_the_parts_as_they_are() -> None:
    """It was not the uploads that were."""
    far = guilty("3", status=413, step="finish")

    async def story(to: BulkApi) -> int:
        await handed_in(to, [batch(0, 40)])
        before = len(far.calls)
        far.trouble = lambda _: None
        await handed_in(to, [batch(1, 40)])
        return len(far.calls) - before

    assert 3 == run(far, story)


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
