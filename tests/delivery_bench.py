"""Real runs over memory that deliver over real HTTP to a scripted API, which records what it took. No fixtures."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import http_server
import orjson
from http_server import Reply, Request, ScriptedServer
from virtual_time import Hurry

from syncer.core.model import (
    Batch,
    CollectionMapping,
    Column,
    Kind,
    Limits,
    Mode,
    Receipt,
    Row,
    RunReport,
    WatermarkRule,
)
from syncer.core.plan import RunOptions
from syncer.delivery import Delivery, open_delivery
from syncer.delivery.client import Timeouts
from syncer.delivery.line import World
from syncer.run.executor import execute
from syncer.run.job import Job, Ports
from syncer.source.memory import MemorySource
from syncer.state import MemoryStore

#: rows of a batch, and of a chunk
BATCH = 10
_COLUMNS = (
    Column(name="id", kind=Kind.INTEGER), Column(name="city", kind=Kind.TEXT), Column(name="version", kind=Kind.INTEGER)
)  # fmt: skip
ROOMS = CollectionMapping(
    name="rooms", source="app", query="rooms", collection="rooms", primary_key=("id",),
    watermark=WatermarkRule(column="version"),
)  # fmt: skip
#: timeouts that a silent server meets soon, and those that an answer never does
QUICK = Timeouts(connect=10, write=10, read=0.05, attempt=30)
PATIENT = Timeouts()


def rooms(batches: int) -> list[Row]:
    """Rooms from 1, each changed at its own version."""
    return [(number, f"city {number}", number) for number in range(1, batches * BATCH + 1)]


class Api:
    """The Objects API as its page describes it, in a few lines. `trouble` may answer instead of it."""

    def __init__(self, trouble: Callable[[Request], Reply | None] = lambda _: None) -> None:
        self.trouble = trouble
        #: by id: the properties as merged
        self.objects: dict[str, dict[str, object]] = {}
        #: ids of the requests that asked to be carried out in order
        self.ordered: set[str] = set()
        #: how often each id came
        self.received: dict[str, int] = {}

    def script(self, request: Request) -> Reply:
        """One answer."""
        for each in request.ids:
            self.received[each] = self.received.get(each, 0) + 1
        if request.headers.get("synchronous") == "true":
            self.ordered.update(request.ids)
        reply = self.trouble(request)
        if reply is not None:
            return reply
        self.take(request)
        return http_server.ACCEPTED

    def take(self, request: Request) -> None:
        """Merge the objects of a request."""
        for each in orjson.loads(request.body)["objects"]:
            self.objects.setdefault(each["id"], {}).update(each["properties"])

    def holds(self, rows: Sequence[Row]) -> bool:
        """Whether it is what the rows are, no more and no less."""
        return self.objects == {str(number): {"city": city, "version": version} for number, city, version in rows}


class Watched:
    """A delivery that keeps the receipts of another, by the first row of their batches."""

    def __init__(self, delivery: Delivery) -> None:
        self.receipts: list[tuple[Batch, Receipt]] = []
        self._delivery = delivery

    @property
    def identity(self) -> str:
        """The other's."""
        return self._delivery.identity

    @property
    def ended(self) -> bool:
        """The other's."""
        return self._delivery.ended

    @property
    def limits(self) -> Limits:
        """The other's."""
        return self._delivery.limits

    @property
    def max_in_flight(self) -> int:
        """The other's."""
        return self._delivery.max_in_flight

    async def send(self, batch: Batch, **how: Any) -> Receipt:
        """As the other does."""
        receipt = await self._delivery.send(batch, **how)
        self.receipts.append((batch, receipt))
        return receipt

    def flush(self, collection: str) -> None:
        """As the other does."""
        self._delivery.flush(collection)

    def stop(self) -> None:
        """As the other does."""
        self._delivery.stop()

    async def close(self) -> None:
        """As the other does."""
        await self._delivery.close()

    def of(self, batch: int) -> Receipt | None:
        """The receipt of the batch that holds these rooms, counted from 0."""
        found = (receipt for each, receipt in self.receipts if (int(each.objects[0].id) - 1) // BATCH == batch)
        return next(found, None)

    @property
    def accepted(self) -> set[str]:
        """Ids that any receipt calls accepted."""
        return {each.id for _, receipt in self.receipts for each in receipt.accepted}

    @property
    def in_doubt(self) -> set[str]:
        """Ids that any receipt calls in doubt."""
        return {each for _, receipt in self.receipts for each in receipt.in_doubt}


class Bench:
    """Rooms, a state and an endpoint. Every run has a delivery of its own; back-off takes no time."""

    def __init__(self, endpoint: str, batches: int, *, timeouts: Timeouts = PATIENT, max_in_flight: int = 1) -> None:
        self.source = MemorySource(_COLUMNS, ("id",), rooms(batches), chunk=BATCH)
        self.store = MemoryStore()
        self.endpoint = endpoint
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.hurry = Hurry()
        #: of the latest run
        self.sent = Watched(self._opened(endpoint, timeouts, max_in_flight))
        self.stop = asyncio.Event()
        self._timeouts = timeouts
        self._max_in_flight = max_in_flight
        self._runs = 0

    def run(self, mode: Mode = Mode.INCREMENTAL) -> RunReport:
        """One run, a minute after the one before."""
        return asyncio.run(self.going(mode))

    async def going(self, mode: Mode = Mode.INCREMENTAL) -> RunReport:
        """The same, in a loop that is there."""
        self._runs += 1
        self.now += timedelta(minutes=1)
        self.stop = asyncio.Event()
        self.sent = Watched(self._opened(self.endpoint, self._timeouts, self._max_in_flight))
        ports = Ports(
            source=lambda: self.source, delivery=self.sent, store=self.store, notice=lambda _: None,
            now=lambda: self.now, monotonic=lambda: 0.0, stop=self.stop,
        )  # fmt: skip
        job = Job(
            mapping=ROOMS, options=RunOptions(mode=mode), ports=ports, timezone="UTC", owner="me",
            run_id=f"run-{self._runs}",
        )  # fmt: skip
        try:
            return await execute(job)
        finally:
            await self.sent.close()

    def _opened(self, endpoint: str, timeouts: Timeouts, max_in_flight: int) -> Delivery:
        hurry = self.hurry
        return open_delivery(
            write_key="a-write-key", endpoint=endpoint, notice=lambda _: None, retry_for=timedelta(seconds=5),
            timeouts=timeouts, max_in_flight=max_in_flight,
            world=World(clock=hurry.clock, now=hurry.now, sleep=hurry.sleep, rng=random.Random(7)),
        )  # fmt: skip

    @property
    def watermark(self) -> int:
        """The saved watermark; 0: none."""
        saved = self.store.checkpoint("rooms")
        return int(saved.watermark.text) if saved and saved.watermark else 0

    @property
    def buried(self) -> set[str | None]:
        """Ids with a dead letter."""
        return {each.rejection.id for each in self.store.dead_letters("rooms")}

    @property
    def doubted(self) -> int:
        """How many rows the state holds as in doubt."""
        return sum(len(each.keys) for each in self.store.doubts("rooms"))


@contextmanager
def benched(
    api: Api, batches: int, *, timeouts: Timeouts = PATIENT, max_in_flight: int = 1
) -> Iterator[tuple[ScriptedServer, Bench]]:
    """An API that listens, and what runs against it."""
    with http_server.serving(api.script) as server:
        yield server, Bench(server.endpoint, batches, timeouts=timeouts, max_in_flight=max_in_flight)
