"""The Bulk API delivery over real connections: uploads of megabytes, connections that break in the middle of them."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import http_server
import orjson
import pytest
from bulk_far import BulkFar, Call
from http_server import Reply, Request, Then, answer

from syncer.core.model import Batch, Receipt, SegmentObject
from syncer.delivery import BulkAt, open_delivery
from syncer.delivery.base import send_alone


def batch(objects: int, *, kilobytes: int = 20, seed: int = 1) -> Batch:
    """Objects that do not compress well."""
    dice = random.Random(seed)
    texts = ("".join(dice.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=1_000 * kilobytes)) for _ in range(objects))
    return Batch(
        number=0, collection="rooms",
        objects=tuple(
            SegmentObject(id=str(row), properties=orjson.dumps({"told": text}), row=row, key=f"k{row}")
            for row, text in enumerate(texts)
        ),
    )  # fmt: skip


class Server:
    """A Bulk API behind a socket."""

    def __init__(self) -> None:
        self.far = BulkFar()
        self.troubles: list[Reply] = []

    def script(self, request: Request) -> Reply:
        """One answer."""
        call = self.far.call(request.line.split()[1], request.headers, request.body)
        assert isinstance(call, Call), call
        self.far.calls.append(call)
        if call.step == "upload" and self.troubles:
            return self.troubles.pop(0)
        return answer(*self.far.take(call))


def sent(endpoint: str, given: Batch, *, part_size: int = 16_000_000) -> Receipt:
    """Deliver a batch."""

    async def main() -> Receipt:
        delivery = open_delivery(
            write_key="canary", endpoint="https://elsewhere.example", notice=lambda _: None,
            bulk=BulkAt(endpoint=endpoint, part_size=part_size), retry_for=timedelta(seconds=20),
        )  # fmt: skip
        try:
            return await send_alone(delivery, given)
        finally:
            await delivery.close()

    return asyncio.run(main())


@pytest.mark.parametrize("trouble", [None, http_server.RESET, http_server.CLOSED, http_server.HALF, answer(503)])
def test_megabytes_arrive_whole(trouble: Reply | None) -> None:
    """An upload much larger than what a socket takes at once, also the second time, when the first found no answer."""
    server, given = Server(), batch(200)
    server.troubles = [trouble] if trouble is not None else []
    with http_server.serving(server.script) as running:
        receipt = sent(running.endpoint, given)
    assert (200, 3 + (trouble is not None)) == (len(receipt.accepted), receipt.requests)
    assert receipt.bytes > 2_000_000 * (1 + (trouble is not None))
    assert {each.id: each.properties for each in given.objects} == {
        each: orjson.dumps(properties) for (_, each), properties in server.far.objects.items()
    }


def test_a_server_that_refuses_before_all_is_said() -> None:
    """413 while megabytes are still to come, and the connection is closed: smaller uploads are made of it."""
    far = BulkFar()
    refusals = [0]

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As a proxy does that allows a megabyte."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *fields = head.split("\r\n")
                headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in fields if each)}
                size = int(headers.get("content-length", "0"))
                if size > 1_000_000:
                    refusals[0] += 1
                    writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    await writer.drain()
                    while await reader.read(65_536):  # lingers, so that the answer is not lost in a reset
                        pass
                    return
                status, body = far.serve(line.split()[1], headers, await reader.readexactly(size))
                writer.write(b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def main() -> Receipt:
        listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        delivery = open_delivery(
            write_key="canary", endpoint="https://elsewhere.example", notice=lambda _: None,
            bulk=BulkAt(endpoint=f"http://127.0.0.1:{port}"), retry_for=timedelta(seconds=20),
        )  # fmt: skip
        try:
            return await send_alone(delivery, batch(200))
        finally:
            await delivery.close()
            listener.close()
            await listener.wait_closed()

    receipt = asyncio.run(main())
    assert ([], 200, 200) == ([*receipt.rejections], len(receipt.accepted), len(far.objects))
    assert 1 <= refusals[0] <= 6


def test_parts_of_a_size() -> None:
    """Parts of a megabyte uncompressed: many uploads, each a little smaller than that, everything in order."""
    server, given = Server(), batch(200)
    with http_server.serving(server.script) as running:
        receipt = sent(running.endpoint, given, part_size=1_000_000)
    (session,) = server.far.sessions
    assert (200, 2 + len(session.parts)) == (len(receipt.accepted), receipt.requests)
    assert len(session.parts) == 5
    assert all(980_000 < part.size <= 1_000_000 for part in session.parts[:-1])
    assert [each.id for each in given.objects] == session.ids


def test_an_answer_that_never_comes() -> None:
    """A finish that was heard and not answered leaves its objects in doubt, and accepted by nobody."""
    far = BulkFar()

    def script(request: Request) -> Reply:
        call = far.call(request.line.split()[1], request.headers, request.body)
        assert isinstance(call, Call), call
        status, body = far.take(call)
        return Reply(then=Then.RESET) if call.step == "finish" else answer(status, body)

    async def main(endpoint: str) -> Receipt:
        delivery = open_delivery(
            write_key="canary", endpoint="https://elsewhere.example", notice=lambda _: None,
            bulk=BulkAt(endpoint=endpoint), retry_for=timedelta(0),
        )  # fmt: skip
        try:
            return await send_alone(delivery, batch(5, kilobytes=1))
        finally:
            await delivery.close()

    with http_server.serving(script) as running:
        receipt = asyncio.run(main(running.endpoint))
    assert (0, 5, {"0", "1", "2", "3", "4"}) == (len(receipt.accepted), len(receipt.unsettled), receipt.in_doubt)
    assert 5 == len(far.objects)
