"""The Bulk API delivery over a transport in memory, in virtual time. No tests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import httpx
import virtual_time
from bulk_far import BulkFar, Call

from syncer.core.events import Event
from syncer.core.model import Batch, Receipt, SegmentObject
from syncer.delivery.bulk_api import BULK_API, MOST_AT_ONCE, BulkApi
from syncer.delivery.client import HttpClient
from syncer.delivery.line import Line, World
from syncer.delivery.pacing import Pace

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


#: answers to a request that may as well be good the next time
PASSING = [
    (500, b'{"error":"oops"}'),
    (503, b""),
    (502, b"<html>"),
    (429, b""),
    (408, b""),
    (409, b""),
    (200, b"<html>"),
]
