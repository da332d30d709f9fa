"""Where the sandbox listens: in the event loop, in a thread, as a process."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import httpx
import pytest

from syncer.errors import UsageError
from syncer.sandbox.app import create_app
from syncer.sandbox.server import running, serving
from syncer.sandbox.warehouse import Warehouse

ROOM = {"collection": "rooms", "objects": [{"id": "1", "properties": {"city": "Austin"}}]}
KEY = httpx.BasicAuth("key", "")
PROCESS = """
import asyncio
import sys
from syncer.sandbox.app import create_app
from syncer.sandbox.faults import Faults
from syncer.sandbox.server import run_forever
from syncer.sandbox.warehouse import Warehouse

async def sleep(seconds):
    print("arrived", flush=True)
    await asyncio.sleep(seconds)

with Warehouse(sys.argv[1]) as warehouse:
    app = create_app(warehouse, Faults(latency=0.5), sleep=sleep)
    run_forever(app, "127.0.0.1", 0, lambda url: print(url, flush=True))
print("stopped")
"""


@pytest.fixture
def warehouse():
    with Warehouse(":memory:") as opened:
        yield opened


@pytest.fixture
def app(warehouse):
    return create_app(warehouse)


def is_listening(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname, parts.port)) == 0


def handlers() -> list[object]:
    return [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]


def test_serving_shares_the_event_loop(app, warehouse):
    """Client and sandbox live in one loop; afterwards the port is closed."""

    async def main() -> str:
        async with serving(app) as url:
            async with httpx.AsyncClient(base_url=url, auth=KEY, trust_env=False) as client:
                answers = await asyncio.gather(*(client.post("/v1/set", json=ROOM) for _ in range(20)))
            assert [each.status_code for each in answers] == [200] * 20
            return url

    url = asyncio.run(main())
    assert warehouse.rows("rooms") == [{"id": "1", "city": "Austin"}]
    assert not is_listening(url)


def test_running_serves_from_a_thread(app, warehouse):
    """A test without an event loop can talk to it; afterwards port and thread are gone."""
    threads = threading.active_count()
    with running(app) as url:
        answer = httpx.post(f"{url}/v1/set", json=ROOM, auth=KEY, trust_env=False)
        assert answer.json() == {"success": True}
    assert not is_listening(url)
    assert threading.active_count() == threads
    assert warehouse.collections() == {"rooms": 1}


def test_connections_that_are_kept_alive_do_not_hold_it_up(app):
    """An idle connection of a sender is closed when the sandbox stops."""
    with httpx.Client(auth=KEY, trust_env=False) as client:
        with running(app) as url:
            client.post(f"{url}/v1/set", json=ROOM).raise_for_status()
        with pytest.raises(httpx.ConnectError):
            client.post(f"{url}/v1/set", json=ROOM)


def test_an_app_can_be_served_again(app, warehouse):
    """The warehouse outlives the server."""
    for _ in range(2):
        with running(app) as url:
            httpx.post(f"{url}/v1/set", json=ROOM, auth=KEY, trust_env=False).raise_for_status()
    assert len(warehouse.requests()) == 2


@pytest.mark.parametrize("stop_at_once", [True, False])
def test_an_error_inside_stops_it_and_comes_out(app, stop_at_once):
    """Also when the server had no time to start."""
    seen: list[str] = []

    async def main() -> None:
        async with serving(app) as url:
            seen.append(url)
            if not stop_at_once:
                await asyncio.sleep(0.01)
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        asyncio.run(main())
    with pytest.raises(LookupError, match="mine"), running(app) as url:
        raise LookupError("mine")
    assert not is_listening(seen[0])
    assert not is_listening(url)


def test_signals_are_left_to_the_owner_of_the_process(app):
    """Neither mode touches the handlers of SIGINT and SIGTERM."""
    before = handlers()

    async def main() -> list[object]:
        default = handlers()
        async with serving(app) as url:
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get(url)
            assert handlers() == default
        return handlers()

    asyncio.run(main())
    with running(app) as url:
        httpx.get(url, trust_env=False)
        assert handlers() == before
    assert handlers() == before


def test_an_answer_is_sent_without_delay(app):
    """Connections have TCP_NODELAY: an answer is two writes, and the second must not wait for the sender."""
    delays: list[int] = []

    async def spying(scope, receive, send):
        connection = receive.__self__.transport.get_extra_info("socket")
        delays.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await app(scope, receive, send)

    spying.state = app.state
    with running(spying) as url:
        httpx.get(url, trust_env=False)
    assert len(delays) == 1
    assert delays[0] != 0


def test_a_port_in_use_is_a_usage_error(app):
    """The message names the port, the hint what to do."""
    with running(app) as url:
        port = urlsplit(url).port
        with (
            pytest.raises(UsageError, match=f"port {port} on 127.0.0.1 is in use") as caught,
            running(app, port=port),
        ):
            raise AssertionError("unreachable")
    assert "another port" in caught.value.hint
    with running(app, port=port) as again:
        assert again == url


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_it_does_not_listen_off_loopback_without_a_write_key(app, host):
    """Strangers must not be able to write into it."""
    with pytest.raises(UsageError, match="open to the network") as caught, running(app, host=host):
        raise AssertionError("unreachable")
    assert "write key" in caught.value.hint


def test_with_a_write_key_it_may_listen_anywhere(warehouse):
    """The write key is the token."""
    with running(create_app(warehouse, write_key="key"), host="0.0.0.0") as url:
        here = f"http://127.0.0.1:{urlsplit(url).port}"
        assert httpx.get(here, trust_env=False).status_code == 401
        assert httpx.get(here, auth=KEY, trust_env=False).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
def test_other_names_of_loopback_are_loopback(app, host):
    """Names are resolved before they are judged."""
    with running(app, host=host) as url:
        assert httpx.get(url, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("host", "port", "says"),
    [
        ("127.0.0.1", 65536, "there is no port 65536"),
        ("127.0.0.1", -1, "there is no port -1"),
        ("no such host", 0, "there is no host 'no such host'"),
        ("", 0, "there is no host ''"),
    ],
)
def test_impossible_addresses_are_usage_errors(app, host, port, says):
    """With a hint, not a traceback."""
    with pytest.raises(UsageError, match=says) as caught, running(app, host=host, port=port):
        raise AssertionError("unreachable")
    assert caught.value.hint


def test_an_address_of_another_machine_cannot_be_listened_on(warehouse):
    """What the system says is passed on."""
    guarded = create_app(warehouse, write_key="key")
    with (
        pytest.raises(UsageError, match=r"cannot listen on port 0 of 192\.0\.2\.1"),
        running(guarded, host="192.0.2.1"),
    ):
        raise AssertionError("unreachable")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_stops_on_a_signal_and_finishes_what_is_in_flight(tmp_path, number):
    """The request under way is answered and stored, then the process ends by itself."""
    path = tmp_path / "warehouse.db"
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        url = process.stdout.readline().strip()
        answers: list[httpx.Response] = []
        sender = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}/v1/set", json=ROOM, auth=KEY, trust_env=False))
        )
        sender.start()
        assert process.stdout.readline() == "arrived\n"
        process.send_signal(number)
        sender.join()
        out, errors = process.communicate(timeout=30)
    assert (out, errors, process.returncode) == ("stopped\n", "", 0)
    assert answers[0].json() == {"success": True}
    with Warehouse(path) as warehouse:
        assert warehouse.rows("rooms") == [{"id": "1", "city": "Austin"}]
