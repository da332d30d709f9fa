"""A syncer process in a world: what it has in memory, and its connections to source, API and state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sim_bulk import BulkClient
from sim_loop import Process
from sim_oracles import MAPPING
from sim_sink import Request, SimClient
from sim_source import SimSource
from sim_store import StoreClient

from syncer.core.fingerprint import destination_of, scope_of
from syncer.core.model import Limits, RunReport
from syncer.core.plan import RunOptions
from syncer.delivery import line
from syncer.delivery.bulk_api import BULK_API, BulkApi
from syncer.delivery.objects_api import OBJECTS_API, ObjectsApi
from syncer.delivery.pacing import Pace
from syncer.run.executor import execute
from syncer.run.job import Job, Ports
from syncer.run.keeping import Cadence

if TYPE_CHECKING:
    from sim_world import World


class Packets(ObjectsApi):
    """The Objects API with batches of another size."""

    batch = 10

    @property
    def limits(self) -> Limits:
        """As many as the seed says."""
        return Limits(objects=self.batch)


class Parcels(BulkApi):
    """The Bulk API with batches of another size, and another number of them in a session."""

    batch = 10
    batches = 8

    @property
    def limits(self) -> Limits:
        """As many as the seed says."""
        return Limits(objects=self.batch, part=1)

    @property
    def max_in_flight(self) -> int:
        """As many as the seed says."""
        return self.batches


class Actor:
    """A syncer process: one source, one delivery, one connection to the state."""

    def __init__(self, world: World, number: int) -> None:
        self.process = Process(f"p{number}")
        self.ended = asyncio.Event()
        self.told_to_stop_at: float | None = None
        #: seconds of grace on top: it was suspended
        self.excused = 0.0
        self.resends = False
        self.epoch = 0
        self.posts_before = self.accepted_before = 0
        self.runs = 0
        self._world = world
        self._sent: dict[str, set[str]] = {}
        self._ordered: dict[str, set[str]] = {}
        self._run_id = ""
        settings, process = world.settings, self.process
        self.owner = f"owner of {process}"
        self.store = StoreClient(
            world.durable, process, settings, world.stream(f"store {number}"), world.loop, world.log, world.fault
        )
        self.source = SimSource(
            world.table, settings, world.stream(f"source {number}"), faulty=world.fault,
            asked_at=lambda: world.loop.asked_at, now=world.loop.time,
        )  # fmt: skip
        client = BulkClient if settings.bulk else SimClient
        self.client = client(world.api, process, lambda: self._run_id, self._check)
        self.stop = asyncio.Event()
        self.delivery = self._deliver()
        self.scope = scope_of(self.delivery.identity, MAPPING)
        process.stilled = lambda: world.api.cut(process)

    def _deliver(self) -> ObjectsApi | BulkApi:
        world, settings = self._world, self._world.settings
        there = line.World(
            clock=world.loop.time, now=world.now, sleep=asyncio.sleep, rng=world.stream(f"jitter {self.process}")
        )
        to = line.Line(
            api=BULK_API if settings.bulk else OBJECTS_API, write_key="simulated", endpoint=world.endpoint,
            max_in_flight=settings.in_flight,
            pace=Pace(requests_per_second=None, clock=there.clock), retry_for=settings.retry_for,
            notice=world.noticed, client=self.client, world=there,
        )  # fmt: skip
        identity = destination_of(world.endpoint, "simulated")
        if settings.bulk:
            parcels = Parcels(line=to, identity=identity, part_size=settings.part)
            parcels.batch, parcels.batches = settings.batch, settings.in_flight
            return parcels
        delivery = Packets(line=to, identity=identity, synchronous="auto", max_in_flight=settings.in_flight)
        delivery.batch = settings.batch
        return delivery

    def _check(self, request: Request, headers: Mapping[str, str], body: bytes, others: list[Request]) -> None:
        self._world.oracles.posted(self, request, headers, body, others)
        self._sent.setdefault(request.run_id, set()).update(request.objects)
        # a session is processed in order, and so are sessions
        if request.synchronous or self._world.settings.bulk:
            self._ordered.setdefault(request.run_id, set()).update(request.objects)

    def sent_by(self, run_id: str) -> set[str]:
        """Ids that a run has sent."""
        return self._sent.get(run_id, set())

    def ordered_by(self, run_id: str) -> set[str]:
        """Ids that a run has sent with `Synchronous: true`."""
        return self._ordered.get(run_id, set())

    async def run(self, options: RunOptions) -> RunReport:
        """One run, as the daemon and the command line do it."""
        world = self._world
        if self.delivery.ended and not self.stop.is_set():
            self.delivery = self._deliver()
        self.runs += 1
        self._run_id = f"{self.process}-{self.runs}"
        self.resends = options.resend
        self.posts_before, self.accepted_before = self.client.posts, self.client.accepted
        rows = world.settings.commit_rows
        ports = Ports(
            source=lambda: self.source, delivery=self.delivery, store=self.store,  # type: ignore[arg-type]
            notice=world.noticed, now=world.now, monotonic=world.loop.time, stop=self.stop,
            cadence=Cadence(rows=rows, seconds=world.settings.commit_seconds, noted=rows),
        )  # fmt: skip
        world.log("run", self._run_id, options.mode, options.limit, options.keys is not None)
        report = await execute(
            Job(
                mapping=world.mapping, options=options, ports=ports, timezone="UTC", owner=self.owner,
                run_id=self._run_id,
            )
        )  # fmt: skip
        world.log("report", self._run_id, report.outcome, report.error, report.counts)
        world.counts["cursors"] += self.source.cursors
        self.source.cursors = 0
        world.oracles.reported(self, report)
        return report

    def tell_to_stop(self) -> None:
        """SIGTERM."""
        self.told_to_stop_at = self._world.loop.time()
        self.stop.set()
        self.delivery.stop()
