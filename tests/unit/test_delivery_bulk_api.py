"""Sessions of the Bulk API delivery, in virtual time over a transport in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from bulk_far import BulkFar
from bulk_wire import Wire, batch, handed_in, rows, run, send, troubled

from syncer.core.model import Batch
from syncer.delivery.bulk_api import BulkApi
from syncer.delivery.bulk_session import KEEP_ALIVE


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
