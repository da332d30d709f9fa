"""A world of memory in which runs happen: a source, a delivery, a store, and a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from syncer.core.events import Event
from syncer.core.model import CollectionMapping, Column, Kind, Mode, Row, RunReport, WatermarkRule
from syncer.core.plan import RunOptions
from syncer.delivery.memory import MemoryDelivery
from syncer.run.executor import execute
from syncer.run.job import Job, Ports
from syncer.run.keeping import Cadence
from syncer.source.memory import MemorySource
from syncer.state import MemoryStore
from syncer.state.base import Store

COLUMNS = (
    Column(name="id", kind=Kind.INTEGER),
    Column(name="city", kind=Kind.TEXT),
    Column(name="version", kind=Kind.INTEGER),
)
ROOMS = CollectionMapping(
    name="rooms", source="app", query="rooms", collection="rooms", primary_key=("id",),
    watermark=WatermarkRule(column="version"),
)  # fmt: skip
FULL = RunOptions(mode=Mode.FULL)


class World:
    """A memory source, delivery and store, and a clock that stands still until it is moved."""

    def __init__(self, rows: Sequence[Row], *, mapping: CollectionMapping = ROOMS, chunk: int = 7) -> None:
        self.mapping = mapping
        self.source = MemorySource(COLUMNS, ("id",), rows, chunk=chunk)
        self.delivery = MemoryDelivery()
        self.store: Store = MemoryStore()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.events: list[Event] = []
        self.stop = False
        #: the monotonic clock moves with every look at it
        self.ticking = False
        #: batches after which the process is suspended for longer than its lease lives
        self.sleeps_after: int | None = None
        self.stopping = asyncio.Event()
        self.cadence = Cadence()
        self._runs = 0
        self._ticks = 0.0

    def run(self, options: RunOptions | None = None) -> RunReport:
        """One run."""
        return asyncio.run(self._run(options or RunOptions()))

    async def _run(self, options: RunOptions) -> RunReport:
        stop = asyncio.Event()
        if self.stop:
            stop.set()
        self.stopping = stop
        self._runs += 1
        ports = Ports(
            source=lambda: self.source, delivery=self.delivery, store=self.store, notice=self.events.append,
            now=lambda: self.now, monotonic=self._monotonic, stop=stop, cadence=self.cadence,
        )  # fmt: skip
        return await execute(
            Job(
                mapping=self.mapping,
                options=options,
                ports=ports,
                timezone="UTC",
                owner="me",
                run_id=f"run-{self._runs}",
            )
        )

    def _monotonic(self) -> float:
        if self.sleeps_after is not None and len(self.delivery.batches) >= self.sleeps_after:
            return 3_600.0
        self._ticks += 0.01 * self.ticking
        return self._ticks

    @property
    def watermark(self) -> str | None:
        """The saved watermark's text."""
        saved = self.store.checkpoint("rooms")
        return saved.watermark.text if saved and saved.watermark else None

    @property
    def cities(self) -> dict[str, object]:
        """What the destination holds."""
        return {key[1]: each["city"] for key, each in self.delivery.objects.items()}


def rooms(count: int) -> list[Row]:
    """Rooms 1 to count, each changed at its own version."""
    return [(number, f"city {number}", number) for number in range(1, count + 1)]
