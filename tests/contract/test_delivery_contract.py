"""What every delivery promises, over memory, the Objects API and the Bulk API against real servers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Protocol, TypeVar

import http_server
import orjson
import pytest
from bulk_far import BulkFar, Call

from syncer.core.model import Batch, Limits, Receipt, SegmentObject
from syncer.delivery import BulkAt, Delivery, open_delivery
from syncer.delivery.base import send_alone
from syncer.delivery.memory import MemoryDelivery, Scripted
from syncer.errors import DeliveryError, Unauthorized

T = TypeVar("T")
Objects = dict[tuple[str, str], dict[str, object]]


class Far(Protocol):
    """A delivery, and what arrived at its other end."""

    #: requests that a batch takes which meets no trouble
    requests: int
    #: of a batch, and of one object
    limits: Limits

    def open(self) -> Delivery: ...
    def landed(self) -> Objects: ...


class Prepared(Protocol):
    """Opens a delivery whose other end refuses some ids, or plays a script per batch first."""

    def __call__(self, *script: Scripted, guilty: frozenset[str] = frozenset()) -> Far: ...


class FarMemory:
    requests, limits = 1, Limits()

    def __init__(self, script: tuple[Scripted, ...], guilty: frozenset[str]) -> None:
        self._memory = MemoryDelivery(script, refuses=lambda each: each.id in guilty, max_in_flight=4)

    def open(self) -> Delivery:
        return self._memory

    def landed(self) -> Objects:
        return self._memory.objects


class FarApi:
    """The Objects API as its page describes it, in a few lines, behind a real socket."""

    requests, limits = 1, Limits()

    def __init__(self, script: tuple[Scripted, ...], guilty: frozenset[str], stack: ExitStack) -> None:
        self._script, self._guilty = script, guilty
        self._seen: set[int] = set()
        self._landed: Objects = {}
        self._server = stack.enter_context(http_server.serving(self._answer))

    def open(self) -> Delivery:
        return open_delivery(
            write_key="canary", endpoint=self._server.endpoint, notice=lambda _: None, max_in_flight=4,
            retry_for=timedelta(seconds=5) if Scripted.LATE in self._script else timedelta(0),
        )  # fmt: skip

    def landed(self) -> Objects:
        return self._landed

    def _answer(self, request: http_server.Request) -> http_server.Reply:
        body = orjson.loads(request.body)
        number = int(request.ids[0]) // 10
        match self._script[number] if number < len(self._script) else Scripted.ACCEPT:
            case Scripted.FAIL:
                return http_server.answer(503)
            case Scripted.REJECT:
                return http_server.answer(400)
            case Scripted.UNAUTHORIZED:
                return http_server.answer(401)
            case Scripted.DOUBT:
                self._merge(body)
                return http_server.RESET
            case Scripted.LATE if number not in self._seen:
                self._seen.add(number)
                return http_server.RESET
        if self._guilty & set(request.ids):
            return http_server.answer(400)
        self._merge(body)
        return http_server.ACCEPTED

    def _merge(self, body: dict[str, object]) -> None:
        for each in body["objects"]:  # type: ignore[attr-defined]
            self._landed.setdefault((str(body["collection"]), each["id"]), {}).update(each["properties"])


class FarBulk:
    """The Bulk API, behind a real socket."""

    requests, limits = 3, Limits(objects=2_000, body=2_000_000, object=400_000, part=16_000_000)

    def __init__(self, script: tuple[Scripted, ...], guilty: frozenset[str], stack: ExitStack) -> None:
        self._script, self._guilty = script, guilty
        self._seen: set[int] = set()
        self._far = BulkFar()
        self._server = stack.enter_context(http_server.serving(self._answer))

    def open(self) -> Delivery:
        return open_delivery(
            write_key="canary", endpoint="https://elsewhere.example", notice=lambda _: None,
            bulk=BulkAt(endpoint=self._server.endpoint),
            retry_for=timedelta(seconds=5) if Scripted.LATE in self._script else timedelta(0),
        )  # fmt: skip

    def landed(self) -> Objects:
        return self._far.objects

    def _answer(self, request: http_server.Request) -> http_server.Reply:
        call = self._far.call(request.line.split()[1], request.headers, request.body)
        assert not isinstance(call, tuple), call
        return self._troubled(call) or http_server.answer(*self._far.take(call))

    def _troubled(self, call: Call) -> http_server.Reply | None:
        number = int(call.ids[0]) // 10 if call.ids and not call.error else None
        scripted = self._script[number] if number is not None and number < len(self._script) else Scripted.ACCEPT
        match scripted:
            case Scripted.FAIL:
                return http_server.answer(503)
            case Scripted.REJECT:
                return http_server.answer(400)
            case Scripted.UNAUTHORIZED:
                return http_server.answer(401)
            case Scripted.DOUBT if call.step == "finish":
                self._far.take(call)
                return http_server.RESET
            case Scripted.LATE if call.step == "finish" and number is not None and number not in self._seen:
                self._seen.add(number)
                return http_server.RESET
        guilty = call.part is not None and self._guilty & set(call.ids)
        return http_server.answer(400) if guilty else None


@contextmanager
def _memory() -> Iterator[Prepared]:
    yield lambda *script, guilty=frozenset(): FarMemory(script, guilty)


@contextmanager
def _objects_api() -> Iterator[Prepared]:
    with ExitStack() as stack:
        yield lambda *script, guilty=frozenset(): FarApi(script, guilty, stack)


@contextmanager
def _bulk_api() -> Iterator[Prepared]:
    with ExitStack() as stack:
        yield lambda *script, guilty=frozenset(): FarBulk(script, guilty, stack)


@pytest.fixture(params=[_memory, _objects_api, _bulk_api], ids=["memory", "objects_api", "bulk_api"])
def prepared(request: pytest.FixtureRequest) -> Iterator[Prepared]:
    """Every implementation."""
    with request.param() as make:
        yield make


def batch(number: int, *, size: int = 10, name: str = "Room") -> Batch:
    return Batch(
        number=number, collection="rooms",
        objects=tuple(
            SegmentObject(id=str(row), properties=orjson.dumps({"name": f"{name} {row}"}), row=row, key=f"k{row}")
            for row in range(number * 10, number * 10 + size)
        ),
    )  # fmt: skip


def with_delivery(far: Far, use: Callable[[Delivery], Awaitable[T]]) -> T:
    async def main() -> T:
        delivery = far.open()
        try:
            return await use(delivery)
        finally:
            await delivery.close()

    return asyncio.run(main())


def send(far: Far, *batches: Batch) -> list[Receipt]:
    """One after the other."""
    return with_delivery(far, lambda delivery: _all(delivery, batches))


async def _all(delivery: Delivery, batches: tuple[Batch, ...]) -> list[Receipt]:
    return [await send_alone(delivery, each) for each in batches]


def rows(receipt: Receipt) -> tuple[list[int], list[int], list[int]]:
    """Accepted, rejected, unsettled."""
    parts = (receipt.accepted, receipt.rejections, receipt.unsettled)
    accepted, rejected, unsettled = ([each.row for each in part] for part in parts)
    return accepted, rejected, unsettled


def test_accepted_objects_land(prepared: Prepared) -> None:
    """What a receipt calls accepted is at the other end, property by property."""
    far = prepared()
    (receipt,) = send(far, batch(0, size=3))
    assert ([0, 1, 2], [], []) == rows(receipt)
    assert {("rooms", str(row)): {"name": f"Room {row}"} for row in range(3)} == far.landed()
    assert receipt.failure is None


def test_sending_again_changes_nothing(prepared: Prepared) -> None:
    """A batch sent twice is merged by id: the same objects, the last values."""
    far = prepared()
    send(far, batch(0), batch(0, name="Suite"))
    assert 10 == len(far.landed())
    assert {"name": "Suite 3"} == far.landed()["rooms", "3"]


def test_properties_are_merged(prepared: Prepared) -> None:
    """A property that is left out keeps its value, as the API's page says."""
    far = prepared()
    later = SegmentObject(id="0", properties=b'{"city":"Lihue"}', row=0, key="k0")
    send(far, batch(0, size=1), Batch(number=1, collection="rooms", objects=(later,)))
    assert {"name": "Room 0", "city": "Lihue"} == far.landed()["rooms", "0"]


def test_only_the_guilty_are_rejected(prepared: Prepared) -> None:
    """The refused objects of a batch become rejections, all others are accepted and land."""
    far = prepared(guilty=frozenset({"3", "9"}))
    (receipt,) = send(far, batch(0))
    assert ([0, 1, 2, 4, 5, 6, 7, 8], [3, 9], []) == rows(receipt)
    assert {"API_400"} == {each.code for each in receipt.rejections}
    assert ["3", "9"] == [each.id for each in receipt.rejections]
    assert ["k3", "k9"] == [each.key for each in receipt.rejections]
    assert receipt.failure is None
    assert 8 == len(far.landed())


@pytest.mark.parametrize("position", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize(
    ("scripted", "expected", "in_doubt", "landed"),
    [
        (Scripted.REJECT, (0, 10, 0), 0, 20),
        (Scripted.FAIL, (0, 0, 10), None, 20),
        (Scripted.DOUBT, (0, 0, 10), 10, 30),
        (Scripted.LATE, (10, 0, 0), 10, 30),
    ],
)
def test_one_bad_batch_of_three(
    prepared: Prepared, position: int, scripted: Scripted, expected: tuple[int, ...], in_doubt: int | None, landed: int
) -> None:
    """Only the batch that went wrong says so; the others are accepted wherever it stands."""
    script = [Scripted.ACCEPT] * 3
    script[position] = scripted
    far = prepared(*script)
    receipts = send(far, *map(batch, range(3)))
    for number, receipt in enumerate(receipts):
        assert (expected if number == position else (10, 0, 0)) == tuple(map(len, rows(receipt)))
    bad = receipts[position]
    assert (scripted in (Scripted.FAIL, Scripted.DOUBT)) == isinstance(bad.failure, DeliveryError)
    assert (scripted is Scripted.LATE) == (bad.retried == 1 == bad.requests - far.requests)
    assert in_doubt is None or in_doubt == len(bad.in_doubt)
    assert landed == len(far.landed())


def test_a_refused_key_is_refused_for_good(prepared: Prepared) -> None:
    """After the write key was refused, later batches say so and nothing of them lands."""
    far = prepared(Scripted.ACCEPT, Scripted.UNAUTHORIZED)
    receipts = send(far, *map(batch, range(4)))
    assert [False, True, True, True] == [isinstance(each.failure, Unauthorized) for each in receipts]
    assert 10 == len(far.landed())


def test_stop_takes_nothing_more(prepared: Prepared) -> None:
    """What is sent after stop comes back unsettled, with the reason, and is not in doubt."""
    far = prepared()

    async def use(delivery: Delivery) -> list[Receipt]:
        first = await send_alone(delivery, batch(0))
        delivery.stop()
        return [first, await send_alone(delivery, batch(1))]

    first, second = with_delivery(far, use)
    assert (10, 0) == (len(first.accepted), len(second.accepted))
    assert isinstance(second.failure, DeliveryError)
    assert (10, frozenset(), 0) == (len(second.unsettled), second.in_doubt, second.requests)
    assert 10 == len(far.landed())


def test_batches_may_be_sent_together(prepared: Prepared) -> None:
    """Concurrent sends each get the receipt of their own batch."""
    far = prepared(guilty=frozenset({"55"}))

    async def use(delivery: Delivery) -> list[Receipt]:
        return await asyncio.gather(*(send_alone(delivery, batch(number)) for number in range(20)))

    receipts = with_delivery(far, use)
    for number, receipt in enumerate(receipts):
        assert batch(number).objects == tuple(
            sorted((*receipt.accepted, *(o for o in batch(number).objects if o.row in rows(receipt)[1])), key=_row)
        )
    assert [5] == [number for number, receipt in enumerate(receipts) if receipt.rejections]
    assert 199 == len(far.landed())


def _row(each: SegmentObject) -> int:
    return each.row


def test_limits_are_the_documented_ones(prepared: Prepared) -> None:
    """A batch may hold what a request may, or is a part of an upload of objects of at most 400 KB."""
    far = prepared()

    async def use(delivery: Delivery) -> Limits:
        assert delivery.max_in_flight > 0
        return delivery.limits

    assert far.limits == with_delivery(far, use)


def test_closing_twice_is_harmless(prepared: Prepared) -> None:
    """Close may be called again."""

    async def use(delivery: Delivery) -> None:
        await send_alone(delivery, batch(0))
        await delivery.close()

    with_delivery(prepared(), use)
