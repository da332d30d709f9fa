"""Arbitrary bytes instead of answers, and answers that never end: no traceback, nothing accepted falsely, no hang."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import io
import itertools
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta

import http_server
import pytest
from campaign import rounds
from delivery_bench import BATCH, Api, benched
from http_server import Reply, Request, Then
from virtual_time import Hurry

from syncer.core.model import Batch, Outcome, Receipt, SegmentObject
from syncer.core.verdict import LARGEST_ANSWER, Answer
from syncer.delivery import Delivery, open_delivery
from syncer.delivery.client import HttpClient, Timeouts
from syncer.delivery.line import World

#: seconds after which a test counts as hanging
FOR_EVER = 120
#: batches sent together, each met by noise of its own
TOGETHER = 8

_BODIES = (
    b"", b" ", b"{}", b'{"success":true}', b'{"success":false}', b'{"error":"no"}', b'{"errors":[]}', b"[]", b'"OK"',
    b"OK", b"<html></html>", b'{"success":tr', b"\xff\xfe", b"null", b"0", b"[" * 3000, b" " * (LARGEST_ANSWER + 1),
)  # fmt: skip
_HEADERS = (
    b"Content-Type: application/json", b"Connection: close", b"Connection: keep-alive", b"Retry-After: 1",
    b"Retry-After: \xff", b"X-Room: " + b"x" * 9000, b"X-Room: " + b"x" * 70000, b"X" * 9000 + b": y", b": nothing",
    b"no colon", b" folded", b"Content-Length: 2", b"Content-Length: +2", b"Content-Length: 1e1", b"Content-Length:",
    b"Content-Length: 99999999999999999999", b"Content-Encoding: gzip", b"Content-Encoding: br",
    b"Content-Encoding: deflate", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Upgrade: websocket",
    b"Location: //[", b"Set-Cookie: \x00",
    b"Nul: a\x00b", b"Bare: a\rb",
)  # fmt: skip
_LINES = (
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 205 Reset",
    b"HTTP/1.1 304 Not", b"HTTP/1.1 299 " + b"x" * 9000, b"HTTP/1.1 400 Bad", b"HTTP/1.1 500 Oops", b"HTTP/1.1 100 Go",
    b"HTTP/1.1 101 Switching", b"HTTP/1.1 103 Early", b"HTTP/1.1 999 ?", b"HTTP/1.1 -200 OK", b"HTTP/1.1 2e2 OK",
    b"HTTP/2 200", b"HTTP/9.9 200 OK", b"ICY 200 OK", b"http/1.1 200 ok", b"HTTP/1.1  200 OK", b"200 OK", b"",
)  # fmt: skip

_INFORMATIONAL = re.compile(rb"[\r\n]*HTTP/1\.1 1(?!01)[0-9][0-9] .*?\r?\n\r?\n", re.DOTALL)


def noise(rng: random.Random) -> bytes:
    """What a server might send: bytes, an answer, or an answer that something happened to."""
    if rng.random() < 0.1:
        return rng.randbytes(rng.randrange(300))
    text = _answer(rng)
    while rng.random() < 0.4:
        text = rng.choice((_truncated, _flipped, _inserted, _repeated, _ended, _after_another))(rng, text)
    return text


def _answer(rng: random.Random) -> bytes:
    body = rng.choice(_BODIES)
    line = rng.choice(_LINES) if rng.random() < 0.3 else _LINES[0]
    headers = rng.sample(_HEADERS, rng.choice((0, 0, 0, 1, 1, 2, 3)))
    match rng.randrange(5):
        case 0:
            headers.append(b"Transfer-Encoding: chunked")
            body = _chunked(rng, body)
        case 1:
            body = gzip.compress(body)
            headers += [b"Content-Encoding: gzip", b"Content-Length: %d" % len(body)]
        case 2:
            headers.append(b"Content-Length: %d" % (len(body) + rng.choice((0, 0, 1, -1, 1000))))
        case 3:
            headers.append(b"Content-Length: %d" % len(body))
        case _:
            pass  # until the end of the connection
    return b"\r\n".join([line, *headers, b"", body])


def _chunked(rng: random.Random, body: bytes) -> bytes:
    size = rng.choice((b"%x" % len(body), b"%X;note=x" % len(body), b"0%x" % len(body), b"-1", b"zz", b"f" * 20, b""))
    last = rng.choice((b"0\r\n\r\n", b"0\r\n", b"", b"0\r\nX-Late: y\r\n\r\n", b"00\r\n\r\n"))
    return size + b"\r\n" + body + rng.choice((b"\r\n", b"", b"\n")) + last


def _truncated(rng: random.Random, text: bytes) -> bytes:
    return text[: rng.randrange(len(text) + 1)]


def _flipped(rng: random.Random, text: bytes) -> bytes:
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.randbytes(1) + text[place + 1 :]


def _inserted(rng: random.Random, text: bytes) -> bytes:
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice((b"\r\n", b"\n", b"\r", b"\0", b" ", b"\r\n\r\n")) + text[place:]


def _repeated(rng: random.Random, text: bytes) -> bytes:
    return text + text


def _ended(rng: random.Random, text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n")


def _after_another(rng: random.Random, text: bytes) -> bytes:
    return rng.choice((b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n")) + text


class _Bytes:
    """A socket for `http.client`, of bytes."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._text)


def tells_acceptance(text: bytes) -> bool:
    """Whether these bytes are a whole 2xx answer, empty or JSON without an error, for Python's own HTTP client.

    Where clients differ, about ends of lines, it is enough that one reading of them is.
    """
    return any(_is_acceptance(status, body) for status, body in _readings(_final(text)))


def _is_acceptance(status: int, body: bytes) -> bool:
    try:
        said = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        return False
    marked = isinstance(said, dict) and (said.get("success", True) is False or said.get("error") or said.get("errors"))
    return 200 <= status < 300 and len(body) <= LARGEST_ANSWER and not marked


def _readings(text: bytes) -> Iterator[tuple[int, bytes]]:
    ended = re.sub(rb"\r?\n", b"\r\n", text)
    for variant in (text, ended):
        answer = http.client.HTTPResponse(_Bytes(variant), method="POST")  # type: ignore[arg-type]
        with suppress(http.client.HTTPException, OSError, ValueError, OverflowError):
            answer.begin()
            body = answer.read()
            for encoding in answer.headers.get_all("Content-Encoding", [""]):
                with suppress(zlib.error):
                    yield answer.status, _decoded(body, encoding.strip().lower())


def _final(text: bytes) -> bytes:
    """Without the informational answers at the beginning."""
    while (found := _INFORMATIONAL.match(text)) is not None:
        text = text[found.end() :]
    return text.lstrip(b"\r\n")


def _decoded(body: bytes, encoding: str) -> bytes:
    """As far as it goes: what an answer says it is whole, and how much of it can be unpacked is another matter."""
    if encoding in ("gzip", "deflate"):
        return zlib.decompressobj(31 if encoding == "gzip" else 15).decompress(body)
    return body


def batch(number: int) -> Batch:
    """Two rooms that no other batch has."""
    return Batch(
        number=number, collection="rooms",
        objects=tuple(
            SegmentObject(id=f"{row}", properties=b'{"city":"Oslo"}', row=row, key=f"k{row}")
            for row in (2 * number, 2 * number + 1)
        ),
    )  # fmt: skip


class Noisy:
    """Answers the requests of every batch with noise of its own, and remembers it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of(self, number: int) -> tuple[bytes, Then]:
        """The noise for a batch, and what happens then."""
        rng = random.Random(f"{self._seed}/{number}")
        then = rng.choices((Then.CLOSE, Then.KEEP, Then.RESET, Then.SILENCE), (940, 10, 40, 10))[0]
        return noise(rng), then

    def script(self, request: Request) -> Reply:
        """One answer."""
        text, then = self.of(int(request.ids[0]) // 2)
        return Reply(parts=[text] if text else [], then=then)


def opened(endpoint: str) -> Delivery:
    """A delivery that tries once, and waits a moment only."""
    hurry = Hurry()
    return open_delivery(
        write_key="a-write-key", endpoint=endpoint, notice=lambda _: None, retry_for=timedelta(0),
        timeouts=Timeouts(connect=30, write=30, read=0.25, attempt=60), max_in_flight=TOGETHER,
        world=World(clock=hurry.clock, now=hurry.now, sleep=hurry.sleep, rng=random.Random(1)),
    )  # fmt: skip


async def _through(endpoint: str, numbers: Sequence[int]) -> list[Receipt]:
    """Send these batches together."""
    delivery = opened(endpoint)
    try:
        return await asyncio.gather(*(delivery.send(batch(each)) for each in numbers))
    finally:
        await delivery.close()


def test_any_bytes() -> None:
    """Whatever bytes come, every object has one fate, and is accepted only if they are an answer that says so."""
    noisy, count = Noisy(20260301), rounds(300, 100_000)
    accepted = 0
    with http_server.serving(noisy.script) as server:
        for first in range(0, count, TOGETHER):
            numbers = range(first, min(first + TOGETHER, count))
            receipts = asyncio.run(asyncio.wait_for(_through(server.endpoint, numbers), FOR_EVER))
            for number, receipt in zip(numbers, receipts, strict=True):
                fates = [*receipt.accepted, *receipt.rejections, *receipt.unsettled]
                assert [each.id for each in batch(number).objects] == sorted((str(each.id) for each in fates), key=int)
                assert not receipt.accepted or tells_acceptance(noisy.of(number)[0]), noisy.of(number)
                accepted += bool(receipt.accepted)
    # the noise has answers in it, so that it could be believed falsely
    assert count / 10 < accepted < count / 2


def test_the_judge_of_noise() -> None:
    """What `test_any_bytes` rests on: whole good answers tell acceptance; cut off, refused and foreign ones do not."""
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    zipped = gzip.compress(b"{}")
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(zipped), zipped)
    assert all(map(tells_acceptance, (good, packed, b"HTTP/1.1 103 Early\r\n\r\n" + good)))
    bad = (good[:-1], packed[:-1], good.replace(b"200", b"400"), good.replace(b"{}", b"OK"), b"", b"{}")
    assert not any(map(tells_acceptance, bad))


def test_an_answer_nobody_asked_for() -> None:
    """What comes on a kept connection before a request is not the answer to it."""
    replies = [Reply(parts=[_GOOD, _GOOD], pause=0.05), http_server.answer(400)]

    async def main() -> list[object]:
        client = HttpClient(f"{server.endpoint}/v1/set")
        try:
            first = await client.post(b"{}", {})
            while not server.answered:
                await asyncio.sleep(0.001)
            return [first, await client.post(b"{}", {})]
        finally:
            await client.close()

    with http_server.serving(http_server.in_order(*replies)) as server:
        got = asyncio.run(main())
    assert [200, 400] == [each.status for each in got if isinstance(each, Answer)]


_GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
_HEAD = b"HTTP/1.1 200 OK\r\n"


def _for_ever(start: bytes, drop: bytes, pause: float = 0.005) -> Callable[[], Reply]:
    return lambda: Reply(parts=itertools.chain([start], itertools.repeat(drop)), pause=pause)


ENDLESS = {
    "status line": _for_ever(b"HTTP/1.1 200 ", b"O"),
    "headers": _for_ever(_HEAD, b"X-Room: attic\r\n"),
    "a header": _for_ever(_HEAD + b"X-Room: ", b"x"),
    "body": _for_ever(_HEAD + b"Content-Length: 60000\r\n\r\n", b" "),
    "chunks": _for_ever(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a chunk's size": _for_ever(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers": _for_ever(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Room: attic\r\n"),
    "no end": _for_ever(_HEAD + b"\r\n", b" "),
    "100s": _for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "empty lines": _for_ever(b"", b"\r\n"),
    # as much as the network carries
    "a flood of headers": _for_ever(_HEAD, b"X-Room: " + b"x" * 8000 + b"\r\n", 0),
    "a flood of trailers": _for_ever(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Room: x\r\n" * 800, 0),
    "a flood of 100s": _for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 300, 0),
    "a flood of empty lines": _for_ever(b"", b"\r\n" * 4000, 0),
}
#: half a second for an attempt, and more than that from one byte to the next
HALF_A_SECOND = Timeouts(connect=30, write=30, read=30, attempt=0.5)


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_without_an_end(name: str) -> None:
    """The attempt ends at its deadline, however slowly or fast it comes; the batch goes again, and stays in doubt."""
    api = Api()
    drips = [ENDLESS[name]()]
    api.trouble = lambda request: drips.pop() if drips and "1" in request.ids else None
    with benched(api, 2, timeouts=HALF_A_SECOND) as (server, bench):
        report = asyncio.run(asyncio.wait_for(bench.going(), FOR_EVER))
        assert (Outcome.SUCCEEDED, 2 * BATCH) == (report.outcome, bench.watermark)
        assert {str(number) for number in range(1, BATCH + 1)} <= bench.sent.in_doubt
        assert api.holds(bench.source.rows)
        assert server.connections >= 2  # the one that dripped is not used again
