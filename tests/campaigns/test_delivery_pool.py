"""The connections of a delivery over a long time: none leaked, none too many, no request cut off, also at a stop."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from datetime import timedelta

import http_server
from campaign import rounds
from delivery_bench import BATCH, PATIENT, Api, Bench, benched
from http_server import Reply, Request, ScriptedServer, answer
from virtual_time import Hurry

from syncer.core.model import Batch, Outcome, Receipt, RunReport, SegmentObject
from syncer.delivery import Delivery, open_delivery
from syncer.delivery.client import Timeouts
from syncer.delivery.line import World

#: requests in flight at most, and as many connections
PLACES = 16
#: what one request in five meets
FAULTS = (http_server.RESET, http_server.CLOSED, http_server.SILENT, http_server.STALLED, http_server.HALF_RESET)


def opened(server: ScriptedServer, read: float, hurry: Hurry | None = None) -> Delivery:
    """A delivery that waits so many seconds for an answer, and never gives up."""
    hurry = hurry or Hurry()
    return open_delivery(
        write_key="a-write-key", endpoint=server.endpoint, notice=lambda _: None, retry_for=timedelta(days=9),
        timeouts=Timeouts(connect=60, write=60, read=read, attempt=60), max_in_flight=PLACES,
        world=World(clock=hurry.clock, now=hurry.now, sleep=hurry.sleep, rng=random.Random(5)),
    )  # fmt: skip


def batch(number: int) -> Batch:
    """One room."""
    one = SegmentObject(id=str(number), properties=b'{"city":"Oslo"}', row=number, key=f"k{number}")
    return Batch(number=number, collection="rooms", objects=(one,))


async def through(delivery: Delivery, batches: range) -> list[Receipt]:
    """Send them all, as many at once as the delivery takes."""
    numbers = iter(batches)

    async def one_place() -> list[Receipt]:
        return [await delivery.send(batch(number)) for number in numbers]

    receipts = await asyncio.gather(*(one_place() for _ in range(2 * PLACES)))
    return list(itertools.chain.from_iterable(receipts))


async def closed(server: ScriptedServer) -> int:
    """Connections that are still open at the server when it has had time to notice."""
    deadline = time.monotonic() + 60
    while server.open_connections and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return server.open_connections


def test_pool_soak() -> None:
    """Of many requests a fifth stall or break: no place in the pool is lost by it, and no connection is left."""
    count, rng, trouble, met = rounds(2_000, 100_000), random.Random(11), [True], [0]
    landed: set[str] = set()

    def script(request: Request) -> Reply:
        if trouble[0] and rng.random() < 0.2:
            met[0] += 1
            return rng.choice(FAULTS)
        landed.update(request.ids)
        return http_server.ACCEPTED if trouble[0] else answer(200, b"{}", delay=0.005)

    async def main(server: ScriptedServer) -> None:
        delivery = opened(server, read=0.1)
        receipts = await through(delivery, range(count))
        assert {str(number) for number in range(count)} == {each.accepted[0].id for each in receipts} == landed
        assert server.most_at_once <= PLACES
        # a fault costs its connection and no other
        assert server.connections <= PLACES + sum(each.retried for each in receipts)
        assert met[0] <= sum(each.retried for each in receipts)
        await delivery.close()
        assert 0 == await closed(server)

    with http_server.serving(script) as server:
        asyncio.run(main(server))
    assert count / 10 < met[0] < count / 2


def test_pool_after_trouble() -> None:
    """When the faults stop, every place comes back, one by one: as many requests go at once as before."""
    trouble, faults = [True], itertools.cycle(FAULTS)

    def script(_: Request) -> Reply:
        return next(faults) if trouble[0] else answer(200, b"{}", delay=0.02)

    async def main(server: ScriptedServer) -> None:
        hurry = Hurry()
        delivery = opened(server, read=0.5, hurry=hurry)
        broken = asyncio.create_task(through(delivery, range(2 * PLACES)))
        while len(server.requests) < 4 * PLACES:
            await asyncio.sleep(0.01)
        trouble[0] = False
        await broken
        for start in range(2 * PLACES):
            hurry.seconds += 20
            await through(delivery, range(start, start + 2 * PLACES))
        server.most_at_once = 0
        await through(delivery, range(20 * PLACES))
        assert PLACES == server.most_at_once
        assert server.open_connections <= PLACES
        await delivery.close()
        assert 0 == await closed(server)

    with http_server.serving(script) as server:
        asyncio.run(main(server))


def test_connections_are_used_again() -> None:
    """A run of many batches takes as many connections as it has requests in flight, and closes them."""
    api = Api()
    with benched(api, 100, max_in_flight=4) as (server, bench):
        assert Outcome.SUCCEEDED is bench.run().outcome
        assert 100 == len(server.requests)
        assert 1 <= server.connections <= 4
        assert 0 == asyncio.run(closed(server))


# --- stopping


class Stopper:
    """An API that takes its time, fails now and then, and tells a run to stop when so many requests have come."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._left = self._rng.randrange(1, 60)
        self.api = Api(self.trouble)
        self.tell = lambda: None

    def trouble(self, request: Request) -> Reply | None:
        """Slowness, 503 and 429 before the stop, and what was in flight when it came."""
        self._left -= 1
        if not self._left:
            self.tell()
        delay = self._rng.choice((0, 0.001, 0.005, 0.02))
        if self._rng.random() < 0.2:
            return answer(self._rng.choice((503, 429, 500)), delay=delay)
        self.api.take(request)
        return answer(200, b"{}", delay=delay)


async def stopped(bench: Bench, stopper: Stopper) -> RunReport:
    """A run that is told to stop as the command line does it."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        bench.stop.set()
        bench.sent.stop()

    stopper.tell = lambda: loop.call_soon_threadsafe(stop) and None
    return await bench.going()


def test_stops() -> None:
    """However a run is stopped, every request is finished, every answer counted, and the next run mends the rest."""
    interrupted, count = 0, rounds(25, 1_000)
    for seed in range(count):
        stopper = Stopper(seed)
        with benched(stopper.api, 40, timeouts=PATIENT, max_in_flight=8) as (server, bench):
            report = asyncio.run(stopped(bench, stopper))
            interrupted += report.outcome is Outcome.INTERRUPTED
            judge_stopped(report, bench, stopper.api, server, seed)
            stopper.api.trouble = lambda _: None
            assert Outcome.SUCCEEDED is bench.run().outcome, seed
            assert stopper.api.holds(bench.source.rows), seed
            assert (40 * BATCH, 0) == (bench.watermark, bench.doubted), seed
    # most stops come before the end
    assert interrupted > count / 3


def judge_stopped(report: RunReport, bench: Bench, api: Api, server: ScriptedServer, seed: int) -> None:
    """What holds after a stop: the server's record and ours are one."""
    assert report.outcome in (Outcome.INTERRUPTED, Outcome.SUCCEEDED), (seed, report)
    assert 0 == asyncio.run(closed(server)), seed
    assert (0, len(server.requests)) == (server.cut, server.answered), seed
    assert bench.sent.accepted == api.objects.keys(), seed
    assert len(bench.sent.accepted) == report.counts.sent, seed
    missing = set(range(1, 40 * BATCH + 1)).difference(map(int, api.objects))
    assert bench.watermark < min(missing, default=40 * BATCH + 1), seed
