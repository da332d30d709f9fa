"""The HTTP client against a real server: what counts as sent, as in doubt, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import http_server
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.core.verdict import LARGEST_ANSWER, Answer, Fault, NoAnswer
from syncer.delivery.client import HttpClient, Timeouts

QUICK = Timeouts(connect=0.2, write=0.2, read=0.2, attempt=5)
CERTIFICATE = Path(__file__).parent.parent / "certificates" / "localhost.pem"


def post(endpoint: str, body: bytes = b"{}", timeouts: Timeouts = QUICK) -> Answer | NoAnswer:
    async def main() -> Answer | NoAnswer:
        client = HttpClient(f"{endpoint}/v1/set", timeouts=timeouts)
        try:
            return await client.post(body, {"Content-Type": "application/json", "User-Agent": "syncer/test"})
        finally:
            await client.close()

    return asyncio.run(main())


def test_answer() -> None:
    """Status, headers in lower case and body come back; the request arrived as it was made."""
    reply = http_server.answer(429, b"slow down", ("Retry-After", "7"))
    with http_server.serving(http_server.always(reply)) as server:
        got = post(server.endpoint, b'{"rooms":1}')
    assert isinstance(got, Answer)
    assert (429, "7", b"slow down") == (got.status, got.headers["retry-after"], got.body)
    (request,) = server.requests
    assert ("POST /v1/set HTTP/1.1", b'{"rooms":1}') == (request.line, request.body)
    assert ("application/json", "syncer/test") == (request.headers["content-type"], request.headers["user-agent"])


@pytest.mark.parametrize(
    "reply",
    [
        http_server.RESET, http_server.CLOSED, http_server.SILENT, http_server.GARBAGE, http_server.HALF,
        http_server.HALF_RESET, http_server.STALLED,
        http_server.Reply(parts=[b"HTTP/1.1 200 OK\r\nContent-Le"], then=http_server.Then.CLOSE),
        http_server.Reply(
            parts=[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}"], then=http_server.Then.CLOSE
        ),
        http_server.Reply(
            parts=[b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"],
            then=http_server.Then.CLOSE,
        ),
        *(
            http_server.Reply(
                parts=[b"HTTP/1.1 200 OK\r\n" + codings + b"\r\n{}"], then=http_server.Then.CLOSE
            )
            for codings in (
                b"Transfer-Encoding: gzip\r\n",
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
                b"Transfer-Encoding: gzip, identity\r\n",
            )
        ),
        http_server.Reply(
            parts=[b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
            then=http_server.Then.CLOSE,
        ),
    ],
    ids=["reset", "closed", "silent", "garbage", "half", "half-reset", "stalled", "half-head", "half-chunk",
         "bad-gzip", "gzip-coding", "chunked-in-gzip", "two-codings", "no-content-in-chunks"],
)  # fmt: skip
def test_no_answer_to_a_request_that_arrived_is_in_doubt(reply: http_server.Reply) -> None:
    """Whatever goes wrong after the request arrived, it may have been carried out."""
    with http_server.serving(http_server.always(reply)) as server:
        got = post(server.endpoint)
    assert isinstance(got, NoAnswer)
    assert Fault.IN_DOUBT is got.fault
    assert 1 == len(server.requests)


@pytest.mark.filterwarnings("ignore:Sending a large body")
def test_server_that_does_not_read() -> None:
    """A body beyond what the kernel takes, and nobody reads it: in doubt after the write timeout."""
    with http_server.serving(http_server.always(http_server.ACCEPTED), reads=False) as server:
        got = post(server.endpoint, b"x" * 30_000_000, Timeouts(connect=5, write=0.2, read=60, attempt=60))
    assert isinstance(got, NoAnswer)
    assert Fault.IN_DOUBT is got.fault


def test_what_must_not_go_any_more_is_not_sent() -> None:
    """Whoever may not send any more when the connection is there sends nothing on it: it may have taken minutes."""
    looks = iter([True, False])

    async def main() -> list[Answer | NoAnswer]:
        client = HttpClient(f"{server.endpoint}/v1/set")
        try:
            return [await client.post(b"{}", {}, still=lambda: next(looks)) for _ in range(2)]
        finally:
            await client.close()

    with http_server.serving(http_server.always(http_server.ACCEPTED)) as server:
        first, second = asyncio.run(main())
    assert isinstance(first, Answer)
    assert isinstance(second, NoAnswer)
    assert Fault.NOT_SENT is second.fault
    assert 1 == len(server.requests)


def test_refused_connection_is_not_sent() -> None:
    """Nobody listens: nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    got = post(f"http://127.0.0.1:{port}")
    assert isinstance(got, NoAnswer)
    assert Fault.NOT_SENT is got.fault


def test_unknown_host_is_not_sent() -> None:
    """A name that cannot be resolved (RFC 6761 reserves `.invalid`): nothing was sent."""
    got = post("http://rooms.invalid", timeouts=Timeouts())
    assert isinstance(got, NoAnswer)
    assert Fault.NOT_SENT is got.fault


def test_connection_that_is_never_made_is_not_sent() -> None:
    """A full backlog swallows connections: the connect timeout says that nothing was sent."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        got = post(f"http://127.0.0.1:{full.getsockname()[1]}")
        for each in waiting:
            each.close()
    assert isinstance(got, NoAnswer)
    assert Fault.NOT_SENT is got.fault


def test_tls_session_that_is_never_made_is_not_sent() -> None:
    """A server that accepts but never speaks TLS: nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        got = post(f"https://127.0.0.1:{silent.getsockname()[1]}")
    assert isinstance(got, NoAnswer)
    assert Fault.NOT_SENT is got.fault


@pytest.fixture
def tls_server() -> Iterator[http_server.ScriptedServer]:
    """A server with a certificate for `localhost` that nobody vouches for."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    with http_server.serving(http_server.always(http_server.ACCEPTED), tls=tls) as server:
        yield server


def test_certificate_nobody_vouches_for(tls_server: http_server.ScriptedServer) -> None:
    """A self-signed certificate is not trusted, and no request reaches the server."""
    got = post(f"https://localhost:{tls_server.port}", timeouts=Timeouts())
    assert isinstance(got, NoAnswer)
    assert Fault.UNTRUSTED is got.fault
    assert [] == tls_server.requests


def test_certificate_of_another_host(tls_server: http_server.ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trusted certificate of another name is not trusted here."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    got = post(f"https://127.0.0.1:{tls_server.port}", timeouts=Timeouts())
    assert isinstance(got, NoAnswer)
    assert Fault.UNTRUSTED is got.fault


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("size", [2, 490_000, 5_000_000])
def test_requests_of_every_size_share_one_session(
    run: Callable[[Coroutine[Any, Any, list[object]]], list[object]], size: int,
    tls_server: http_server.ScriptedServer, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Over TLS too a request is written to its end, and the next one goes on the same connection."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))

    async def main() -> list[object]:
        client = HttpClient(f"https://localhost:{tls_server.port}/v1/set", timeouts=Timeouts(write=5, read=5))
        try:
            return [await client.post(b"x" * size, {}) for _ in range(5)]
        finally:
            await client.close()

    assert [200] * 5 == [each.status for each in run(main()) if isinstance(each, Answer)]
    assert (5, 1) == (len(tls_server.requests), tls_server.connections)


def test_an_answer_before_the_request_is_said() -> None:
    """A refusal is heard at once; the connection, on which the rest was never sent, is not used again."""
    talks: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(0)
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                talks[-1] += 1
                status = b"413 Too Large" if b"Content-Length: 30000000" in head else b"200 OK"
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\n{}" % status)
                await writer.drain()

    async def main() -> list[Answer | NoAnswer]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**26)
        client = HttpClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/set")
        try:
            return [await client.post(b"x" * 30_000_000, {}), await client.post(b"", {})]
        finally:
            await client.close()
            server.close()
            await asyncio.sleep(0.2)  # until it has heard of that

    first, second = asyncio.run(main())
    assert [413, 200] == [each.status for each in (first, second) if isinstance(each, Answer)]
    assert [1, 1] == talks


def test_authority_of_a_private_network(
    tls_server: http_server.ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE names who is trusted instead."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    got = post(f"https://localhost:{tls_server.port}", timeouts=Timeouts())
    assert isinstance(got, Answer)
    assert 200 == got.status


def test_redirects_are_not_followed() -> None:
    """A redirect is an answer; the write key goes nowhere else."""
    with http_server.serving(http_server.always(http_server.ACCEPTED)) as other:
        reply = http_server.answer(307, b"", ("Location", f"{other.endpoint}/v1/set"))
        with http_server.serving(http_server.always(reply)) as server:
            got = post(server.endpoint)
    assert isinstance(got, Answer)
    assert (307, []) == (got.status, other.requests)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY changes nothing: the write key goes to the endpoint alone."""
    with http_server.serving(http_server.always(http_server.ACCEPTED)) as server:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        got = post(server.endpoint)
    assert isinstance(got, Answer)


def test_long_answers_are_cut() -> None:
    """Of an endless answer one byte more than allowed is read, and the connection is dropped."""
    endless = http_server.Reply(
        parts=[b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", b"x" * 30_000_000],
        then=http_server.Then.SILENCE,
    )
    with http_server.serving(http_server.always(endless)) as server:
        got = post(server.endpoint, timeouts=Timeouts())
    assert isinstance(got, Answer)
    assert LARGEST_ANSWER + 1 == len(got.body)


def test_compressed_answers_are_read() -> None:
    """An answer a proxy compressed is understood."""
    reply = http_server.answer(200, gzip.compress(b'{"success":true}'), ("Content-Encoding", "gzip"))
    with http_server.serving(http_server.always(reply)) as server:
        got = post(server.endpoint)
    assert isinstance(got, Answer)
    assert b'{"success":true}' == got.body


def test_dripping_server_is_left_at_the_deadline() -> None:
    """A good answer that comes a byte at a time is in doubt once the attempt has taken too long."""
    with http_server.serving(http_server.always(http_server.DRIPPING)) as server:
        got = post(server.endpoint, timeouts=Timeouts(attempt=0.03))
    assert isinstance(got, NoAnswer)
    assert Fault.IN_DOUBT is got.fault


def test_patient_reading_of_a_dripping_server() -> None:
    """A good answer that comes a byte at a time, but in time, is an answer."""
    with http_server.serving(http_server.always(http_server.DRIPPING)) as server:
        got = post(server.endpoint, timeouts=Timeouts())
    assert isinstance(got, Answer)
    assert b'{"success":true}' == got.body


def test_connections_are_reused_and_closed() -> None:
    """A hundred requests, four at a time, take four connections; close leaves none."""

    async def main() -> tuple[int, int]:
        client = HttpClient(server.endpoint, connections=4)

        async def several() -> None:
            for _ in range(25):
                await client.post(b"{}", {})

        await asyncio.gather(*(several() for _ in range(4)))
        opened = server.connections
        await client.close()
        await client.close()
        deadline = time.monotonic() + 10
        while server.open_connections and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        return opened, server.open_connections

    with http_server.serving(http_server.always(http_server.ACCEPTED)) as server:
        opened, left = asyncio.run(main())
    assert (100, 4, 0) == (len(server.requests), opened, left)


def test_no_more_connections_than_allowed() -> None:
    """Eight requests at once over two connections wait for each other."""

    async def main() -> None:
        client = HttpClient(server.endpoint, connections=2)
        await asyncio.gather(*(client.post(b"{}", {}) for _ in range(8)))
        await client.close()

    with http_server.serving(http_server.always(http_server.ACCEPTED)) as server:
        asyncio.run(main())
    assert (8, 2) == (len(server.requests), server.connections)


def test_a_failed_connection_is_not_used_again() -> None:
    """After an answer that was cut off, the next request gets a connection of its own."""

    async def main() -> list[Answer | NoAnswer]:
        client = HttpClient(server.endpoint)
        try:
            return [await client.post(b"{}", {}) for _ in range(3)]
        finally:
            await client.close()

    script = http_server.in_order(http_server.HALF, http_server.RESET)
    with http_server.serving(script) as server:
        got = asyncio.run(main())
    assert [NoAnswer, NoAnswer, Answer] == [type(each) for each in got]


@given(
    st.binary(max_size=200)
    | st.tuples(
        st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200\r\n", b"HTTP/1.1 2000 X\r\n", b"HTTP/9.9 200 OK\r\n"]),
        st.sampled_from(
            [
                b"", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n",
                b"X: \xff\xe9\r\n",
            ]
        ),
        st.binary(max_size=60),
    ).map(lambda parts: parts[0] + parts[1] + b"\r\n" + parts[2])
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_an_answer_or_none(raw: bytes) -> None:
    """Whatever bytes a server sends, there is an answer or none: never an exception."""
    garbage[:] = [http_server.Reply(parts=[raw] if raw else [], then=http_server.Then.CLOSE)]
    got = post(f"http://127.0.0.1:{fuzzed.port}", timeouts=Timeouts())
    assert isinstance(got, Answer | NoAnswer)


garbage: list[http_server.Reply] = []
fuzzed: http_server.ScriptedServer


@pytest.fixture(autouse=True, scope="module")
def _fuzzed() -> Iterator[None]:
    """One server for all examples of the fuzzing."""
    global fuzzed
    with http_server.serving(lambda _: garbage[0]) as fuzzed:
        yield
