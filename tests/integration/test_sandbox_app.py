"""The sandbox over real HTTP: answers, faults, the page."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import pytest

from syncer.errors import UsageError
from syncer.sandbox.app import create_app
from syncer.sandbox.faults import Faults
from syncer.sandbox.rules import MAX_BODY
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse

KEY = httpx.BasicAuth("key", "")
NO_FAULTS = Faults()


@contextmanager
def sandbox(faults: Faults = NO_FAULTS, write_key: str | None = None, **rest):
    """A warehouse in memory and a client of a sandbox around it."""
    with (
        Warehouse(":memory:") as warehouse,
        running(create_app(warehouse, faults, write_key, **rest)) as url,
        httpx.Client(base_url=url, auth=KEY, trust_env=False, timeout=30) as client,
    ):
        yield warehouse, client


def room(number: int, **properties: object) -> dict:
    return {"id": str(number), "properties": properties or {"n": number}}


def rooms(*objects: dict) -> dict:
    return {"collection": "rooms", "objects": list(objects)}


def test_objects_are_merged_and_acknowledged():
    """Two requests as in Segment's documentation end in one row."""
    with sandbox() as (warehouse, client):
        for count in (47, 48):
            answer = client.post("/v1/set", json=rooms(room(2561341, name="Beach Room", review_count=count)))
            assert (answer.status_code, answer.json()) == (200, {"success": True})
        assert warehouse.rows("rooms") == [{"id": "2561341", "name": "Beach Room", "review_count": 48}]


def test_numbers_survive_the_wire():
    """What no double can hold arrives as it was sent."""
    body = (
        b'{"collection":"rooms","objects":[{"id":"1","properties":'
        b'{"a":9007199254740993,"b":18446744073709551616,"c":6.000000000000000007,"d":1E+400,"e":0.1}}]}'
    )
    with sandbox() as (warehouse, client):
        client.post("/v1/set", content=body, headers={"Content-Type": "application/json"}).raise_for_status()
        assert warehouse.rows("rooms") == [
            {
                "id": "1",
                "a": 9007199254740993,
                "b": "18446744073709551616",
                "c": "6.000000000000000007",
                "d": "1E+400",
                "e": 0.1,
            }
        ]
        (kept,) = warehouse.query("SELECT properties FROM _objects")
        assert kept["properties"].encode() in body


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"json": rooms(*map(room, range(11)))}, 400, "objects has 11 objects"),
        ({"json": rooms(room(1), room(1))}, 400, "objects[1].id is the same as objects[0].id"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "the body is not JSON"),
        ({"content": b"{}"}, 400, "the Content-Type must be application/json"),
        ({"json": rooms(room(1, text="x" * MAX_BODY))}, 413, "larger than 500000 bytes"),
        ({"json": rooms(room(1)), "auth": httpx.BasicAuth("key", "word")}, 401, "the password must be empty"),
    ],
)
def test_a_refused_request_says_why_and_stores_nothing(changes, status, says):
    """The text is in the JSON answer, the status in `_requests`."""
    with sandbox() as (warehouse, client):
        answer = client.post("/v1/set", **changes)
        assert answer.status_code == status
        assert answer.json()["success"] is False
        assert says in answer.json()["error"]
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert warehouse.collections() == {}
        (noted,) = warehouse.requests()
        assert (noted["status"], noted["objects"]) == (status, 0)


def test_a_body_far_over_the_limit_is_read_to_its_end():
    """The sender of 20 MB gets its 413 and can go on on the same connection."""
    with sandbox() as (warehouse, client):
        huge = b" " * 20_000_000
        answer = client.post("/v1/set", content=huge, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert warehouse.requests()[0]["bytes"] == len(huge)
        assert client.post("/v1/set", json=rooms(room(1))).status_code == 200


def test_requests_are_noted():
    """Time, size, number of objects and the `Synchronous` header are on record."""
    at = datetime(2024, 5, 1, 12, tzinfo=UTC)
    with sandbox(clock=lambda: at) as (warehouse, client):
        asked = client.build_request("POST", "/v1/set", json=rooms(room(1), room(2)), headers={"Synchronous": "true"})
        client.send(asked)
        assert warehouse.requests() == [
            {
                "number": 1,
                "received_at": "2024-05-01T12:00:00+00:00",
                "collection": "rooms",
                "objects": 2,
                "status": 200,
                "synchronous": 1,
                "bytes": len(asked.content),
                "path": "/v1/set",
                "sync_id": None,
                "uploaded": 0,
            }
        ]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/set", 405),
        ("PUT", "/v1/set", 405),
        ("POST", "/", 405),
        ("POST", "/v1/set/", 404),
        ("POST", "/v1/import", 404),
        ("GET", "/favicon.ico", 404),
    ],
)
def test_the_rest_is_refused_in_the_manner_of_the_api(method, path, status):
    """404 and 405 are JSON, and nothing is ever redirected."""
    with sandbox() as (_, client):
        answer = client.request(method, path)
        assert answer.status_code == status
        assert answer.json()["success"] is False
        assert answer.json()["error"]


def test_the_page_says_what_it_is_and_what_it_holds():
    """Plain text, with the objects of each collection counted."""
    with sandbox() as (_, client):
        assert "none yet" in client.get("/").text
        client.post("/v1/set", json=rooms(room(1), room(2)))
        client.post("/v1/set", json={"collection": "hosts", "objects": [room(7)]})
        page = client.get("/")
        assert page.headers["content-type"] == "text/plain; charset=utf-8"
        assert "sandbox" in page.text
        assert "  hosts  1\n  rooms  2\n" in page.text


def test_a_write_key_guards_everything():
    """With a write key only its holder may send or look."""
    with sandbox(write_key="key") as (warehouse, client):
        assert client.post("/v1/set", json=rooms(room(1))).status_code == 200
        assert client.get("/").status_code == 200
        stranger = httpx.BasicAuth("other", "")
        assert client.post("/v1/set", json=rooms(room(2)), auth=stranger).status_code == 401
        assert client.get("/", auth=stranger).status_code == 401
        assert warehouse.collections() == {"rooms": 1}


def test_an_empty_write_key_is_a_mistake():
    """It would lock everybody out."""
    with Warehouse(":memory:") as warehouse, pytest.raises(UsageError, match="write key is empty"):
        create_app(warehouse, write_key="")


def test_half_of_the_failures_have_stored_their_objects():
    """A failed request was stored or not; only the warehouse knows, and it knows exactly."""
    with sandbox(Faults(fail=0.5, seed=7)) as (warehouse, client):
        answered = {number: client.post("/v1/set", json=rooms(room(number))).status_code for number in range(200)}
        stored = {int(row["id"]) for row in warehouse.rows("rooms")}
        failed = {number for number, status in answered.items() if status != 200}
        assert 60 < len(failed) < 140  # 100 +- 5.7 standard deviations
        assert {number for number in answered if number not in failed} <= stored
        assert 0.25 < len(failed & stored) / len(failed) < 0.75
        assert set(Counter(answered.values())) == {200, 500, 502, 503}
        assert [row["status"] for row in warehouse.requests()] == list(answered.values())
        assert sum(row["objects"] for row in warehouse.requests()) == len(stored)


def test_a_failure_may_hide_a_refusal_but_never_stores_it():
    """What breaks a rule is not stored, whatever is answered."""
    with sandbox(Faults(fail=1, seed=1)) as (warehouse, client):
        statuses = {client.post("/v1/set", json=rooms()).status_code for _ in range(20)}
        assert statuses <= {500, 502, 503}
        assert sum(row["objects"] for row in warehouse.requests()) == 0


def test_the_rate_limit_answers_429_with_retry_after():
    """Requests over the limit store nothing and are told when to come back."""
    now = [0.0]
    with sandbox(Faults(rate_limit=2), monotonic=lambda: now[0]) as (warehouse, client):
        answers = [client.post("/v1/set", json=rooms(room(number))) for number in range(4)]
        assert [each.status_code for each in answers] == [200, 200, 429, 429]
        assert answers[2].headers["retry-after"] == "1"
        now[0] = 1.0
        assert client.post("/v1/set", json=rooms(room(9))).status_code == 200
        assert [row["id"] for row in warehouse.rows("rooms")] == ["0", "1", "9"]


def test_latency_delays_the_answer():
    """Every request waits as long as it was told to."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    with sandbox(Faults(latency=0.25), sleep=sleep) as (_, client):
        client.post("/v1/set", json=rooms(room(1)))
        client.get("/")
    assert waited == [0.25]


def test_a_request_given_up_by_its_sender_lands_later():
    """The sandbox stores what it received although nobody waits for the answer any more."""
    may_go_on = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def sleep(_: float) -> None:
        loops.append(asyncio.get_running_loop())
        await may_go_on.wait()

    with sandbox(Faults(latency=1), sleep=sleep) as (warehouse, client):
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/set", json=rooms(room(1)), timeout=0.2)
        assert warehouse.collections() == {}
        loops[0].call_soon_threadsafe(may_go_on.set)
        client.post("/v1/set", json=rooms(room(2)))
        assert warehouse.collections() == {"rooms": 2}


def test_a_sender_that_hangs_up_in_the_middle_of_a_body_stores_nothing(caplog):
    """Half a request is none, and is nothing to complain about."""
    with sandbox() as (warehouse, client):
        with socket.create_connection((client.base_url.host, client.base_url.port)) as raw:
            raw.sendall(b'POST /v1/set HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"collection":')
        client.post("/v1/set", json=rooms(room(1)))
        assert len(warehouse.requests()) == 1
    assert caplog.records == []


def test_senders_at_once_lose_nothing():
    """Sixteen senders of ten objects each time end with every object stored once."""
    with sandbox() as (warehouse, client):

        def send(first: int) -> int:
            objects = [room(number) for number in range(first, first + 10)]
            return client.post("/v1/set", json=rooms(*objects)).status_code

        with ThreadPoolExecutor(16) as senders:
            statuses = list(senders.map(send, range(0, 2000, 10)))
        assert statuses == [200] * 200
        assert warehouse.collections() == {"rooms": 2000}
        (times,) = warehouse.query("SELECT min(times) AS least, max(times) AS most FROM _objects")
        assert times == {"least": 1, "most": 1}


def test_a_read_of_the_warehouse_sees_what_was_acknowledged():
    """An acknowledged object is there at once: the sandbox is not asynchronous."""
    with sandbox() as (warehouse, client):
        for number in range(20):
            client.post("/v1/set", json=rooms(room(number)))
            (found,) = warehouse.query("SELECT properties FROM _objects WHERE id = ?", str(number))
            assert json.loads(found["properties"]) == {"n": number}
