"""What the command line and the daemon run mappings with: sources, delivery and state, opened once and shared."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import TracebackType

from syncer.config import Config
from syncer.core.events import Event
from syncer.core.foresight import Foresight
from syncer.core.model import CollectionMapping, Outcome, RunReport
from syncer.core.plan import RunOptions
from syncer.delivery.base import Delivery
from syncer.run.ends import Outlet, Sources
from syncer.run.executor import execute, exit_code, foresee
from syncer.run.job import Job, Ports
from syncer.run.lasting import lasting
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

    def __init__(
        self,
        config: Config,
        notice: Callable[[Event], None],
        *,
        store: Store | None = None,
        moved: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`moved` is called with the id of a run whenever it came further."""
        self._notice = notice
        self._moved = moved
        self.store = store or open_store(config.state_url)
        self._sources = Sources(config.sources)
        self._outlet = self._outlet_of(config)
        #: how many runs use which ends, and those that no further run will use
        self._uses: Counter[Sources | Outlet] = Counter()
        self._retired: set[Sources | Outlet] = set()
        self._stop = asyncio.Event()
        #: of the runs that can be stopped alone
        self._stops: set[asyncio.Event] = set()

    def _outlet_of(self, config: Config) -> Outlet:
        return Outlet(config.destination, self.store, self._notice, elapsed=elapsed)

    async def __aenter__(self) -> Runner:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._sources, self._outlet, *self._retired):
            await each.close()
        self.store.close()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Stop reading everywhere, finish what is in flight."""
        for stop in (self._stop, *self._stops):
            stop.set()
        for each in (self._outlet, *self._retired):
            if isinstance(each, Outlet):
                each.stop()

    def replace(self, config: Config) -> None:
        """Use another configuration's sources and destination for runs that begin from now on.

        Those that go on end where they began; then `let_go` closes what they used. The state stays.
        """
        if config.sources != self._sources.settings:
            self._retired.add(self._sources)
            self._sources = Sources(config.sources)
        if config.destination != self._outlet.settings:
            self._retired.add(self._outlet)
            self._outlet = self._outlet_of(config)

    async def let_go(self) -> None:
        """Close what belongs to an earlier configuration and is used no more."""
        for each in [each for each in self._retired if not self._uses[each]]:
            self._retired.discard(each)
            del self._uses[each]
            await each.close()

    def source(self, name: str) -> Source:
        """The source of this name, opened at its first use."""
        return self._sources.source(name)

    def delivery(self) -> Delivery:
        """The delivery all mappings share but in large runs, opened at its first use."""
        return self._outlet.delivery()

    def job(self, mapping: CollectionMapping, options: RunOptions, *, run_id: str | None = None) -> Job:
        """All that one run of a mapping needs."""
        sources, outlet, run_id = self._sources, self._outlet, run_id or new_run_id(utc_now())
        bulk, choice = outlet.route()
        ports = Ports(
            source=lambda: sources.source(mapping.source), delivery=outlet.delivery(), store=self.store,
            notice=self._notice, now=utc_now, monotonic=elapsed, stop=self._stop, moved=partial(self._moved, run_id),
            bulk=bulk, choice=choice,
        )  # fmt: skip
        return Job(
            mapping=mapping, options=options, ports=ports, owner=current_owner(), run_id=run_id,
            timezone=sources.settings[mapping.source].timezone, recorded=outlet.recorder is not None,
        )  # fmt: skip

    async def run(
        self,
        mapping: CollectionMapping,
        options: RunOptions,
        *,
        run_id: str | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> RunReport:
        """Run one mapping once, whatever came of the runs before it.

        `wanted` is asked once it has the lease, in a thread; if it is not, the run is `locked`.
        """
        return await self._execute(replace(self.job(mapping, options, run_id=run_id), wanted=wanted), renew=True)

    async def _execute(self, job: Job, *, renew: bool = False) -> RunReport:
        outlet, options = self._outlet, job.options
        ends = (self._sources, outlet)
        alone = not self._uses[outlet]
        self._uses.update(ends)
        try:
            if renew and alone and not self.stopping and await outlet.renew():
                job = replace(job, ports=replace(job.ports, delivery=outlet.delivery()))
            with lasting(job, self._stops) as limited:
                report = await execute(limited)
            if outlet.recorder is not None and not options.dry_run and report.outcome is not Outcome.LOCKED:
                await outlet.recorder.record(report, outlet.delivery())
            return report
        finally:
            self._uses.subtract(ends)
            await self.let_go()

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
            reports.append(await self._execute(self.job(mapping, options)))
            if fail_fast and exit_code(reports[-1:]) in (1, 2, 4):
                break
        return reports


def new_run_id(now: datetime) -> str:
    """An id that sorts by time and is told apart by eight random hex digits."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
