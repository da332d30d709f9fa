"""Small requests to an address that answers well, badly, late or never; over real HTTP."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import chain, repeat
from pathlib import Path

import http_server
import pytest
from http_server import Reply, Request, answer, in_order, serving

from syncer.observe.webhook import LONGEST_PAUSE, MOST, Message, Outbox

OK = answer(200, b"ok")
#: a byte of a header every now and then, for ever
DRIPPING = Reply(parts=chain([b"HTTP/1.1 200 OK\r\nX: "], repeat(b"y")), pause=0.1)
SECRET = "T0S3cr3tB0"
CERTIFICATE = Path(__file__).parent.parent / "certificates" / "localhost.pem"


class Clockless:
    """Sleeps not at all, and remembers how long it should have."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Go on at once."""
        self.slept.append(seconds)
        await asyncio.sleep(0)


def tried(
    script: Callable[[Request], Reply], *, patience: float = 10.0
) -> tuple[str | None, list[Request], list[float]]:
    """What becomes of one message: the problem, the requests that came, the pauses between them."""
    clock = Clockless()

    async def send(endpoint: str) -> str | None:
        outbox = Outbox("the webhook", patience=patience, sleep=clock)
        try:
            return await outbox.send(Message(url=f"{endpoint}/services/{SECRET}?a=b", body=b'{"text":"hi"}'))
        finally:
            await outbox.close(1)

    with serving(script) as server:
        return asyncio.run(send(server.endpoint)), server.requests, clock.slept


def test_what_arrives() -> None:
    """JSON, posted to the whole address; an address alone is got."""
    problem, requests, _ = tried(http_server.always(OK))
    assert problem is None
    assert [each.line for each in requests] == [f"POST /services/{SECRET}?a=b HTTP/1.1"]
    assert requests[0].body == b'{"text":"hi"}'
    assert requests[0].headers["content-type"] == "application/json"
    assert requests[0].headers["user-agent"].startswith("syncer/")


@pytest.mark.parametrize(
    ("reply", "requests", "problem"),
    [
        (answer(204), 1, None),
        (answer(500), 3, "HTTP 500"),
        (answer(408), 3, "HTTP 408"),
        (answer(429), 3, "HTTP 429"),
        (answer(404), 1, "HTTP 404"),
        (answer(400, b"invalid_payload " + SECRET.encode()), 1, "HTTP 400"),
        (answer(302, b"", ("Location", "http://127.0.0.1:9/")), 1, "HTTP 302: it is elsewhere now"),
        (http_server.RESET, 3, "there is no connection to it"),
        (http_server.GARBAGE, 3, "it breaks off, or does not speak HTTP"),
        (http_server.SILENT, 3, "no answer within 0.2 seconds"),
        (DRIPPING, 3, "no answer within 0.2 seconds"),
    ],
    ids=["204", "500", "408", "429", "404", "400", "302", "reset", "no HTTP", "silent", "dripping"],
)  # fmt: skip
def test_three_tries_where_another_may_help(reply: Reply, requests: int, problem: str | None) -> None:
    """And one where it does not; the problem says why, and nothing of the address."""
    told, came, slept = tried(http_server.always(reply), patience=0.2)
    assert (told is None) == (problem is None)
    assert (problem or "") in (told or "")
    assert len(came) == requests
    assert slept == [1.0, 3.0][: requests - 1]
    assert SECRET not in (told or "")


def test_the_second_try_may_do() -> None:
    """Then nothing is wrong."""
    problem, requests, slept = tried(in_order(answer(503), then=OK))
    assert (problem, len(requests), slept) == (None, 2, [1.0])


@pytest.mark.parametrize(
    ("asked", "slept"),
    [("7", 7.0), ("0", 1.0), ("99999", LONGEST_PAUSE), ("nonsense", 1.0)],
)
def test_retry_after_is_obeyed(asked: str, slept: float) -> None:
    """Seconds, never fewer than the pause that would be made anyway, and not for ever."""
    assert tried(in_order(answer(429, b"", ("Retry-After", asked)), then=OK))[2] == [slept]


def test_retry_after_may_be_a_date() -> None:
    """Half a minute from now, to the second."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    (slept,) = tried(in_order(answer(503, b"", ("Retry-After", date)), then=OK))[2]
    assert 1.0 < slept <= 30.0


@pytest.mark.parametrize(
    ("url", "problem", "slept"),
    [
        ("http://127.0.0.1:{port}/" + SECRET, "there is no connection to it", [1.0, 3.0]),
        (f"http://{SECRET}\u2603.\u0000/", "its address is none that can be sent to", []),
    ],
    ids=["nobody listens", "no address"],
)
def test_nobody_is_there(url: str, problem: str, slept: list[float]) -> None:
    """A refused connection is tried again, an address that is none is not; neither is told."""
    clock = Clockless()

    async def send(port: int) -> str | None:
        outbox = Outbox("the webhook", sleep=clock)
        try:
            return await outbox.send(Message(url=url.format(port=port)))
        finally:
            await outbox.close(1)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert asyncio.run(send(taken.getsockname()[1])) == problem
    assert clock.slept == slept


def over_tls(host: str) -> tuple[str | None, int]:
    """The problem of a message by TLS, and how many requests came."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)

    async def send(port: int) -> str | None:
        outbox = Outbox("the webhook", sleep=Clockless())
        try:
            return await outbox.send(Message(url=f"https://{host}:{port}/{SECRET}"))
        finally:
            await outbox.close(1)

    with serving(http_server.always(OK), tls=tls) as server:
        return asyncio.run(send(server.port)), len(server.requests)


def test_a_certificate_that_nobody_vouches_for() -> None:
    """Nothing is sent."""
    assert over_tls("localhost") == ("its certificate is not trusted", 0)


def test_a_certificate_of_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, though somebody vouches for it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    assert over_tls("localhost") == (None, 1)
    assert over_tls("127.0.0.1") == ("its certificate is not trusted", 0)


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in all that syncer sends."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert tried(http_server.always(OK))[0] is None


def put_all(script: Callable[[Request], Reply], count: int, seconds: float) -> list[str]:
    """Put messages, numbered, and close; what arrived."""

    async def put(endpoint: str) -> None:
        outbox = Outbox("the webhook", sleep=Clockless())
        for number in range(count):
            outbox.put(Message(url=f"{endpoint}/{SECRET}", body=str(number).encode()))
        await outbox.close(seconds)
        await outbox.close(seconds)

    with serving(script) as server:
        asyncio.run(put(server.endpoint))
        return [each.body.decode() for each in server.requests]


def test_messages_arrive_in_order_before_it_closes() -> None:
    """Each once."""
    assert put_all(http_server.always(OK), 10, 30) == [str(number) for number in range(10)]


def test_the_oldest_give_way(caplog: pytest.LogCaptureFixture) -> None:
    """Of two more than are kept, the first two: nothing was begun before all were put."""
    assert put_all(http_server.always(OK), MOST + 2, 30) == [str(number) for number in range(2, MOST + 2)]
    assert [each.levelname for each in caplog.records if each.name == "syncer.notifications"].count("WARNING") == 1


def test_closing_waits_no_longer_than_it_may(caplog: pytest.LogCaptureFixture) -> None:
    """What a silent receiver has not taken is given up, and counted: the one on its way, and two behind it."""
    put_all(http_server.always(http_server.SILENT), 3, 0.2)
    assert "there was no time left for 3" in caplog.text


def test_what_fails_again_and_again_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Until it works again; never with the address."""
    caplog.set_level(logging.DEBUG)
    put_all(in_order(answer(404), answer(410), OK, answer(403), then=answer(400)), 6, 30)
    told = [(each.levelname, each.getMessage()) for each in caplog.records if each.name == "syncer.notifications"]
    lost = "the webhook did not take a notification: HTTP"
    assert told == [
        ("WARNING", f"{lost} 404"), ("DEBUG", f"{lost} 410"), ("WARNING", f"{lost} 403"), ("DEBUG", f"{lost} 400"),
        ("DEBUG", f"{lost} 400"),
    ]  # fmt: skip
    assert SECRET not in "".join(each.getMessage() for each in caplog.records if each.name.startswith("syncer"))
    assert SECRET not in repr(Message(url=SECRET, body=SECRET.encode()))
