"""The sandbox's bulk API when it is slow, full, late or failing: faults, expiry, many at once, overlapping requests."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager

import httpx
import pytest
from bulk_sender import Sender, bulk_sandbox, room, sending

from syncer.sandbox.bulk_rules import BulkLimits
from syncer.sandbox.faults import NO_ANSWER, Fault, Faults, PlannedFault
from syncer.sandbox.warehouse import Warehouse


class Gate:
    """A latency of none, or while it is shut, of as long as it is."""

    def __init__(self) -> None:
        #: released by each request that is held
        self.holds = threading.Semaphore(0)
        self._shut: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def sleep(self, _: float) -> None:
        shut = self._shut
        if shut is not None:
            self._loop = asyncio.get_running_loop()
            self.holds.release()
            await shut.wait()

    def shut(self) -> None:
        """Hold the requests that come from now on."""
        self._shut = asyncio.Event()

    def leave(self) -> Callable[[], object]:
        """Hold no more than are held; returns what lets these go on."""
        shut, self._shut = self._shut, None
        return lambda: self._loop.call_soon_threadsafe(shut.set)


@contextmanager
def write_locked(path) -> Iterator[None]:
    """Meanwhile nobody else writes to this SQLite file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("COMMIT")


def test_a_session_expires_after_ten_idle_minutes():
    """Each request of it starts them anew; what it held is gone, and it stays expired."""
    now = [0.0]
    with bulk_sandbox(monotonic=lambda: now[0]) as (warehouse, sender):
        sync_id = sender.start()
        for ask in (lambda: sender.upload(sync_id, room(1)), lambda: sender.keep_alive(sync_id)) * 2:
            now[0] += 599
            assert ask().is_success
        now[0] += 600
        for answer in (sender.upload(sync_id, room(2)), sender.keep_alive(sync_id), sender.finish(sync_id)):
            assert answer.status_code == 410
            assert answer.json()["error"].startswith("the session expired, nothing of it is stored")
        assert sender.finish(sync_id, "too late").status_code == 410
        assert warehouse.collections() == {}


def test_another_sessions_requests_keep_nothing_alive():
    """Nor do the page, other write keys and requests that failed without effect."""
    now = [0.0]
    failing = PlannedFault(path="/v0/keep-alive", number=2, fault=Fault(status=500, stores=False))
    with bulk_sandbox(Faults(planned=(failing,)), monotonic=lambda: now[0]) as (_, sender):
        sync_id, other = sender.start(), sender.start()
        now[0] = 300
        assert sender.keep_alive(other).status_code == 200
        assert sender.keep_alive(sync_id).status_code == 500
        sender.http.get("/")
        sender.http.post(f"/v0/keep-alive/{sync_id}", auth=httpx.BasicAuth("another", ""))
        now[0] = 600
        assert (sender.finish(sync_id).status_code, sender.finish(other).status_code) == (410, 202)


def test_how_long_sessions_last_can_be_chosen():
    """For tests that wait in real time."""
    now = [0.0]
    with bulk_sandbox(monotonic=lambda: now[0], bulk_limits=BulkLimits(idle=5)) as (_, sender):
        early, late = sender.start(), sender.start()
        now[0] = 4
        assert sender.finish(early).status_code == 202
        now[0] = 5
        assert sender.finish(late).status_code == 410


def test_a_session_does_not_expire_under_a_request():
    """It counts when a request came, not when it is looked at."""
    now, gate = [0.0], Gate()
    with (
        bulk_sandbox(Faults(latency=1), sleep=gate.sleep, monotonic=lambda: now[0]) as (_, sender),
        ThreadPoolExecutor(1) as threads,
    ):
        sync_id = sender.start()
        gate.shut()
        kept = threads.submit(sender.keep_alive, sync_id)
        gate.holds.acquire()
        let_go = gate.leave()
        now[0] = 700
        sender.start()
        let_go()
        assert kept.result().status_code == 200


def test_of_25_requests_at_once_five_are_turned_away():
    """20 of one write key are served; the others get 429 at once, and when to come back."""
    gate = Gate()
    gate.shut()
    with bulk_sandbox(Faults(latency=1), sleep=gate.sleep) as (warehouse, sender), ThreadPoolExecutor(25) as senders:
        asked = [senders.submit(sender.http.post, "/v0/start") for _ in range(25)]
        answered = as_completed(asked)
        turned_away = [next(answered).result() for _ in range(5)]
        assert {(each.status_code, each.headers["retry-after"]) for each in turned_away} == {(429, "1")}
        gate.leave()()
        assert Counter(each.result().status_code for each in asked) == {201: 20, 429: 5}
        assert sender.http.post("/v0/start").status_code == 201
        assert Counter(row["status"] for row in warehouse.requests()) == {201: 21, 429: 5}


def test_requests_at_once_are_limited_by_write_key_and_by_address():
    """Another write key from the same address waits too, as does the same one from another address."""
    gate = Gate()
    gate.shut()
    faults, limits = Faults(latency=1), BulkLimits(at_once=1)
    with bulk_sandbox(faults, sleep=gate.sleep, bulk_limits=limits) as (_, sender), ThreadPoolExecutor(1) as threads:
        held = threads.submit(sender.start)
        gate.holds.acquire()
        let_go = gate.leave()
        for key, address, status in (
            ("key", "127.0.0.2", 429),
            ("other", "127.0.0.1", 429),
            ("other", "127.0.0.2", 201),
        ):
            other = Sender(str(sender.http.base_url), key, address)
            with other.http:
                assert other.http.post("/v0/start").status_code == status
        let_go()
        held.result()


def test_a_part_turned_away_is_read_to_its_end():
    """Its sender gets the 429 and not a broken connection."""
    with bulk_sandbox(bulk_limits=BulkLimits(at_once=0)) as (warehouse, sender):
        assert sender.upload_bytes("1", b"x" * 5_000_000).status_code == 429
        assert warehouse.requests()[0]["bytes"] == 5_000_000


#: by path: what is so once the request took effect
EFFECTS = {
    "/v0/start": lambda warehouse, sender, _: "open" in sender.http.get("/").text,
    "/v0/upload": lambda warehouse, sender, sync_id: f"{sync_id}  open       1 parts" in sender.http.get("/").text,
    "/v0/finish": lambda warehouse, sender, _: warehouse.collections() == {"rooms": 1},
}


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("status", [500, NO_ANSWER])
@pytest.mark.parametrize("path", EFFECTS)
def test_a_chosen_request_fails_before_or_after_it_took_effect(path, status, stores):
    """With a status, or without an answer; the next one is served."""
    fault = PlannedFault(path=path, fault=Fault(status=status, stores=stores))
    with bulk_sandbox(Faults(planned=(fault,))) as (warehouse, sender):
        sync_id = "" if path == "/v0/start" else sender.start()
        if path == "/v0/finish":
            sender.upload(sync_id, room(1))
        ask = {
            "/v0/start": lambda: sender.http.post("/v0/start"),
            "/v0/upload": lambda: sender.upload(sync_id, room(1)),
            "/v0/finish": lambda: sender.finish(sync_id),
        }[path]
        if status == NO_ANSWER:
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                ask()
        else:
            assert ask().status_code == status
        assert EFFECTS[path](warehouse, sender, sync_id) == stores
        assert warehouse.requests()[-1]["status"] == status
        assert ask().is_success


def test_what_is_refused_is_noted_as_refused_although_it_was_to_fail():
    """The list of requests says what was answered."""
    fault = PlannedFault(path="/v0/start", fault=Fault(status=500, stores=True))
    with bulk_sandbox(Faults(planned=(fault,)), write_key="another") as (warehouse, sender):
        assert sender.http.post("/v0/start").status_code == 401
        assert [row["status"] for row in warehouse.requests()] == [401]


def test_a_connection_may_be_lost_on_v1_set_too(caplog):
    """Whether its objects were stored or not; the server has nothing to complain about."""
    lost = [Fault(status=NO_ANSWER, stores=stores) for stores in (True, False)]
    planned = tuple(PlannedFault(path="/v1/set", number=number, fault=each) for number, each in enumerate(lost, 1))
    with bulk_sandbox(Faults(planned=planned)) as (warehouse, sender):
        for number in range(2):
            body = {"collection": "rooms", "objects": [{"id": str(number), "properties": {"n": 1}}]}
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                sender.http.post("/v1/set", json=body)
        assert [row["id"] for row in warehouse.rows("rooms")] == ["0"]
        assert [(row["status"], row["objects"]) for row in warehouse.requests()] == [(0, 1), (0, 0)]
    assert caplog.records == []


def test_random_faults_hit_the_bulk_endpoints():
    """Failed finishes have stored their session or not; asked again, all of them are stored once."""
    with bulk_sandbox(Faults(fail=0.5, seed=3)) as (warehouse, sender):

        def insist(ask) -> list[int]:
            statuses = [ask().status_code]
            while statuses[-1] >= 500:
                statuses.append(ask().status_code)
            return statuses

        seen, stored = Counter(), Counter()
        for number in range(40):
            while (answer := sender.http.post("/v0/start")).status_code != 201:
                pass
            sync_id = answer.json()["sync_id"]
            insist(lambda sync_id=sync_id, number=number: sender.upload(sync_id, room(number)))
            before = warehouse.collections().get("rooms", 0)
            first = sender.finish(sync_id).status_code
            stored[first, warehouse.collections().get("rooms", 0) - before] += 1
            seen.update(insist(lambda sync_id=sync_id: sender.finish(sync_id)))
        assert set(seen) == {202, 500, 502, 503}
        assert stored[202, 0] == 0
        assert min(sum(count for (status, more), count in stored.items() if status >= 500 and more == each)
                   for each in (0, 1)) > 3  # fmt: skip
        assert warehouse.collections() == {"rooms": 40}


def test_latency_and_rate_limit_are_those_of_all_endpoints():
    """Every bulk request waits, and those over the rate get 429."""
    now, waited = [0.0], []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    with bulk_sandbox(Faults(latency=0.25, rate_limit=4), sleep=sleep, monotonic=lambda: now[0]) as (_, sender):
        sync_id = sender.start()
        answers = [sender.upload(sync_id, room(1)), sender.keep_alive(sync_id), sender.finish(sync_id)]
        assert [each.status_code for each in answers] == [201, 200, 202]
        assert sender.finish(sync_id).status_code == 429
    assert waited == [0.25] * 5


def test_an_upload_that_lands_after_the_finish_is_not_stored():
    """Its sender had given up on it; it is told that the session is finished."""
    gate = Gate()
    with (
        bulk_sandbox(Faults(latency=1), sleep=gate.sleep) as (warehouse, sender),
        ThreadPoolExecutor(1) as threads,
    ):
        sync_id = sender.start()
        gate.shut()
        late = threads.submit(sender.upload, sync_id, room(1))
        gate.holds.acquire()
        let_go = gate.leave()
        sender.upload(sync_id, room(2))
        assert sender.finish(sync_id).status_code == 202
        let_go()
        assert late.result().status_code == 410
        assert [row["id"] for row in warehouse.rows("rooms")] == ["2"]


def test_an_upload_overtaken_by_the_finish_is_stored_or_refused():
    """What is accepted is stored, also if the session is finished while the part is looked at."""
    arrived = threading.Semaphore(0)

    async def sleep(_: float) -> None:
        arrived.release()

    with (
        bulk_sandbox(Faults(latency=1), sleep=sleep) as (warehouse, sender),
        ThreadPoolExecutor(1) as threads,
    ):
        sync_id = sender.start()
        arrived.acquire()
        late = threads.submit(sender.upload, sync_id, *map(room, range(20_000)))
        arrived.acquire()
        assert sender.finish(sync_id).status_code == 202
        assert (late.result().status_code, warehouse.collections()) in ((410, {}), (201, {"rooms": 20_000}))


def test_a_sender_that_hangs_up_in_the_middle_of_a_part_leaves_nothing(caplog):
    """Half a part is none; its session goes on."""
    with bulk_sandbox() as (warehouse, sender):
        sync_id = sender.start()

        def broken() -> Iterator[bytes]:
            yield b"x" * 1_000_000
            raise InterruptedError

        with pytest.raises(InterruptedError):
            sender.http.post(f"/v0/upload/{sync_id}", content=broken())
        sender.upload(sync_id, room(1))
        assert sender.finish(sync_id).status_code == 202
        assert [row["path"] for row in warehouse.requests()] == ["/v0/start", "/v0/upload", "/v0/finish"]
        assert warehouse.rows("rooms") == [{"id": "1", "n": 1}]
    assert caplog.records == []


def test_while_a_session_is_merged_the_sandbox_goes_on_listening(tmp_path):
    """A second finish waits for the first one, an upload comes too late, `POST /v1/set` waits, others do not."""
    path, arrived = tmp_path / "warehouse.db", threading.Semaphore(0)

    async def sleep(_: float) -> None:
        arrived.release()

    def under_way(*asked: Future[httpx.Response]) -> None:
        for _ in asked:
            arrived.acquire()
        # answered after all of them had their turn in the event loop
        assert sender.http.get("/nowhere").status_code == 404
        assert not any(each.done() for each in asked)

    with (
        Warehouse(path) as warehouse,
        sending(warehouse, Faults(latency=1), sleep=sleep) as sender,
        ThreadPoolExecutor(4) as threads,
    ):
        sync_id = sender.start()
        sender.upload(sync_id, room(1))
        for _ in range(2):
            arrived.acquire()
        with write_locked(path):
            finished = [threads.submit(sender.finish, sync_id) for _ in range(2)]
            under_way(*finished)
            body = {"collection": "rooms", "objects": [{"id": "2", "properties": {"n": 2}}]}
            set_ = threads.submit(sender.http.post, "/v1/set", json=body)
            too_late = threads.submit(sender.upload, sync_id, room(3))
            under_way(set_, too_late)
            assert not any(each.done() for each in finished)
        assert [each.result().status_code for each in (*finished, set_, too_late)] == [202, 202, 200, 410]
        assert "is being finished" in too_late.result().text
        assert [row["id"] for row in warehouse.rows("rooms")] == ["1", "2"]
        assert warehouse.query("SELECT max(times) AS most FROM _objects") == [{"most": 1}]
