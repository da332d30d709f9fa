"""What the command line and the daemon run mappings with: sources, delivery and state, opened once and shared."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType

from syncer.config import Config
from syncer.core.choice import Choice
from syncer.core.events import Event
from syncer.core.foresight import Foresight
from syncer.core.model import CollectionMapping, Outcome, RunReport
from syncer.core.plan import RunOptions
from syncer.delivery import BulkAt, Pace, open_delivery
from syncer.delivery.base import Delivery
from syncer.run.executor import execute, exit_code, foresee
from syncer.run.job import Job, Large, Ports
from syncer.run.records import Recorder
from syncer.source import open_source
from syncer.source.base import Source
from syncer.state import open_store
from syncer.state.base import Store
from syncer.state.owner import current_owner


def elapsed() -> float:
    """Seconds that only go forward, those included in which the machine was suspended, where the system tells."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def utc_now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


class Runner:
    """Runs mappings of one configuration. Use as an async context manager."""

    def __init__(self, config: Config, notice: Callable[[Event], None], *, store: Store | None = None) -> None:
        self._config = config
        self._notice = notice
        self.store = store or open_store(config.state_url)
        self._sources: dict[str, Source] = {}
        #: by whether it is the Bulk API's
        self._deliveries: dict[bool, Delivery] = {}
        ceiling = config.destination.requests_per_second
        self._pace = Pace(requests_per_second=ceiling, clock=time.monotonic)
        records = config.destination.run_records
        self._recorder = Recorder(records, self.store, notice, elapsed) if records is not None else None
        self._stop = asyncio.Event()
        self._running = 0

    async def __aenter__(self) -> Runner:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for source in self._sources.values():
            source.close()
        for delivery in self._deliveries.values():
            await delivery.close()
        self.store.close()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Stop reading everywhere, finish what is in flight."""
        self._stop.set()
        for delivery in self._deliveries.values():
            delivery.stop()

    def source(self, name: str) -> Source:
        """The source of this name, opened at its first use."""
        if name not in self._sources:
            settings = self._config.sources[name]
            self._sources[name] = open_source(name, settings.url, timezone=settings.timezone)
        return self._sources[name]

    def delivery(self) -> Delivery:
        """The delivery all mappings share but in large runs, opened at its first use."""
        return self._opened(bulk=self._config.destination.api == "bulk")

    def _opened(self, *, bulk: bool) -> Delivery:
        if bulk not in self._deliveries:
            to = self._config.destination
            at = BulkAt(endpoint=to.bulk_endpoint or "", part_size=to.bulk_part_size) if bulk else None
            self._deliveries[bulk] = open_delivery(
                write_key=to.write_key, endpoint=to.endpoint, bulk=at, synchronous=to.synchronous,
                max_in_flight=to.max_in_flight, retry_for=to.retry_for, notice=self._notice, pace=self._pace,
            )  # fmt: skip
            if self.stopping:
                self._deliveries[bulk].stop()
        return self._deliveries[bulk]

    def _route(self) -> tuple[Large | None, Choice | None]:
        """What large runs use, if anything else than `delivery`; where nothing does, which API that is, and why."""
        to = self._config.destination
        if to.api != "auto":
            return None, Choice(api=to.api, reason=f"destination.api is `{to.api}`")
        if to.bulk_endpoint is None:
            unknown = "no address of the Bulk API is known for the region; destination.bulk.endpoint would tell"
            return None, Choice(api="objects", reason=unknown)
        return Large(delivery=lambda: self._opened(bulk=True), threshold=to.bulk_threshold), None

    def job(self, mapping: CollectionMapping, options: RunOptions) -> Job:
        """All that one run of a mapping needs."""
        bulk, choice = self._route()
        ports = Ports(
            source=lambda: self.source(mapping.source), delivery=self.delivery(), store=self.store,
            notice=self._notice, now=utc_now, monotonic=elapsed, stop=self._stop, bulk=bulk, choice=choice,
        )  # fmt: skip
        return Job(
            mapping=mapping, options=options, ports=ports, owner=current_owner(), run_id=new_run_id(utc_now()),
            timezone=self._config.sources[mapping.source].timezone, recorded=self._recorder is not None,
        )  # fmt: skip

    async def run(self, mapping: CollectionMapping, options: RunOptions) -> RunReport:
        """Run one mapping once, whatever came of the runs before it."""
        await self._renew_delivery()
        return await self._execute(mapping, options)

    async def _execute(self, mapping: CollectionMapping, options: RunOptions) -> RunReport:
        self._running += 1
        try:
            report = await execute(self.job(mapping, options))
            if self._recorder is not None and not options.dry_run and report.outcome is not Outcome.LOCKED:
                await self._recorder.record(report, self.delivery())
            return report
        finally:
            self._running -= 1

    async def _renew_delivery(self) -> None:
        """What was refused for good in one run may be mended by the next: begin it with a delivery of its own."""
        if self._running or self.stopping:
            return
        for bulk, delivery in list(self._deliveries.items()):
            if delivery.ended:
                del self._deliveries[bulk]
                await delivery.close()

    async def foresee_all(self, mappings: Sequence[CollectionMapping], options: RunOptions) -> list[Foresight]:
        """What `run_all` would do, mapping after mapping, until told to stop. Sends and writes nothing."""
        found: list[Foresight] = []
        for mapping in mappings:
            if self.stopping:
                break
            found.append(await foresee(self.job(mapping, options)))
        return found

    async def run_all(
        self, mappings: Sequence[CollectionMapping], options: RunOptions, *, fail_fast: bool = False
    ) -> list[RunReport]:
        """Run mappings one after the other, until told to stop; with `fail_fast`, until one fails.

        What the delivery refuses for good, such as the write key, it refuses all of them.
        """
        reports: list[RunReport] = []
        for mapping in mappings:
            if self.stopping:
                break
            reports.append(await self._execute(mapping, options))
            if fail_fast and exit_code(reports[-1:]) in (1, 2, 4):
                break
        return reports


def new_run_id(now: datetime) -> str:
    """An id that sorts by time and is told apart by eight random hex digits."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
