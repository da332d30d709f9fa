"""Where the page listens, and how it ends."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Sequence
from contextlib import closing

import pytest
from web_control import NOON, StillControl

from syncer.errors import UsageError
from syncer.service.web import Watch, serve_web

Sample = tuple[StillControl, Watch]
#: seconds; only what hangs takes so long
PATIENCE = 30


async def answer(url: str, path: str = "/healthz", host: str | None = None) -> int:
    """Status of an answer, over a real connection."""

    def ask() -> int:
        place = url.removeprefix("http://")
        with closing(http.client.HTTPConnection(place, timeout=PATIENCE)) as connection:
            connection.request("GET", path, headers={"Host": host or place})
            with connection.getresponse() as answered:
                return answered.status

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback(sample: Sample, host: str) -> None:
    """It listens on loopback without a token, answers by its address, and not by a stranger's name."""
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("there is no IPv6 here")

    async def ask() -> None:
        async with serve_web(sample[0], host=host, port=0, token=None, watch=sample[1]) as url:
            assert await answer(url, "/") == 200
            assert await answer(url, "/", "evil.example") == 421
            assert await answer(url, "/", "127.0.0.1:1") == 421

    asyncio.run(asyncio.wait_for(ask(), PATIENCE))


@pytest.mark.parametrize(
    ("host", "hosts", "words"),
    [("0.0.0.0", (), "open to the network on 0.0.0.0"), ("::", (), "open to the network on ::"),
     ("127.0.0.1", ("status.example",), "`serve.hosts`")],
)  # fmt: skip
@pytest.mark.parametrize("token", [None, ""])
def test_others_need_the_token(sample: Sample, host: str, hosts: Sequence[str], words: str, token: str | None) -> None:
    """Without one it refuses before it listens, and says what to configure."""

    async def ask() -> None:
        async with serve_web(sample[0], host=host, port=0, token=token, hosts=hosts, watch=sample[1]):
            raise AssertionError("it listens")

    with pytest.raises(UsageError, match=words) as refused:
        asyncio.run(ask())
    assert "token" in str(refused.value.hint)


def test_a_port_in_use(sample: Sample) -> None:
    """Told with what to do."""

    async def ask(port: int) -> None:
        async with serve_web(sample[0], host="127.0.0.1", port=port, token=None, watch=sample[1]):
            raise AssertionError("it listens")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} on 127.0.0.1 is in use") as refused:
            asyncio.run(ask(port))
    assert "--port" in str(refused.value.hint)


def test_a_place_that_is_none(sample: Sample) -> None:
    """A host nobody knows."""

    async def ask() -> None:
        async with serve_web(sample[0], host="no.such.host.invalid", port=0, token="t", watch=sample[1]):
            raise AssertionError("it listens")

    with pytest.raises(UsageError, match="there is no host"):
        asyncio.run(ask())


def test_it_ends_while_others_hold_on(sample: Sample) -> None:
    """Neither a connection that is kept, nor half a request, nor a run that goes on behind keeps it from ending."""

    class Slow(StillControl):
        async def retry_dead_letters(self, mapping: str, numbers: Sequence[int] | None) -> object:  # type: ignore[override]
            await asyncio.Event().wait()

    control = Slow(config=sample[0].config, store=sample[0].store)

    async def ask() -> None:
        async with serve_web(control, host="127.0.0.1", port=0, token="t", watch=Watch(lambda: NOON)) as url:
            place = url.removeprefix("http://")
            host, _, port = place.partition(":")
            connections = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
            kept, half, acting = (writer for _, writer in connections)
            kept.write(f"GET /healthz HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
            half.write(b"POST /mappings/reviews/run HTTP/1.1\r\nHost: ")
            head = f"POST /mappings/reviews/retry HTTP/1.1\r\nHost: {place}\r\nAuthorization: Bearer t\r\n"
            acting.write(f"{head}Content-Length: 0\r\n\r\n".encode())
            assert b"200" in await connections[0][0].readline()
            assert b"303" in await connections[2][0].readline()
        for _, writer in connections:
            writer.close()

    asyncio.run(asyncio.wait_for(ask(), PATIENCE))
