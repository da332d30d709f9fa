"""The daemon: scheduler, runner and lookout put together, and what the page may ask of it (`control.Control`)."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]

from syncer.config import Config
from syncer.core.events import Event
from syncer.core.model import CollectionMapping, Mode, RunReport
from syncer.core.plan import RunOptions
from syncer.errors import SyncerError, UsageError
from syncer.run.retrying import retry_of
from syncer.run.runner import Runner, elapsed, new_run_id, utc_now
from syncer.service.control import Reload, Running
from syncer.service.lookout import Lookout
from syncer.service.reloading import not_reloaded, problems_of, reloadable
from syncer.service.scheduler import LOOK, Scheduler
from syncer.state.base import Store

#: seconds without an answer of the state after which the daemon counts as dead
SILENCE = 120.0
_OVERDUE_LOOKS = 5

_log = logging.getLogger("syncer.serve")


class Daemon:
    """Runs a configuration until told to stop; is a `Control`. Use as an async context manager.

    `load` reads the file again, for `reload`.
    """

    def __init__(
        self,
        config: Config,
        *,
        load: Callable[[], Config],
        store: Store | None = None,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        look: float = LOOK,
        timer: AsyncIOScheduler | None = None,
    ) -> None:
        """`look`: seconds between two looks at what others changed. The others are the schedules' clock."""
        self._config = config
        self._load = load
        self._now = now
        self._look = look
        self._observers: list[Callable[[Event], None]] = []
        self._followers: list[Callable[[Config], None]] = []
        self._lookout = Lookout(self._notice, now=utc_now, stuck_after=config.serve.stuck_after)
        self._observers.append(self._lookout.notice)
        self._runner = Runner(config, self._notice, store=store, moved=self._lookout.moved)
        self._scheduler = Scheduler(
            list(config.mappings.values()), self._run, self._runner.store, now=now, notice=self._notice,
            concurrency=config.serve.concurrency, sleep=sleep, look=look, timer=timer,
        )  # fmt: skip
        self._reloading = asyncio.Lock()
        #: by mapping: whose turn it is in this process
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._reload = Reload(at=utc_now(), problem=None)
        self._paused: Mapping[str, datetime] = {}
        self._answered = elapsed()
        #: looks in a row that found a fire long overdue: one alone may come right after a suspend
        self._overdue = 0
        self._errands: set[asyncio.Task[RunReport]] = set()
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Daemon:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.__aexit__(kind, error, trace)

    def observe(self, notice: Callable[[Event], None], use: Callable[[Config], None] | None = None) -> None:
        """Give every event to this observer as well, and every configuration that replaces the one before."""
        self._observers.append(notice)
        if use is not None:
            self._followers.append(use)

    @property
    def planned(self) -> asyncio.Event:
        """Set once the schedules are planned."""
        return self._scheduler.planned

    async def serve(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then finish what is in flight.

        Raises:
            StateError: the recorded fires cannot be read at the start.
        """
        self._looking = asyncio.create_task(self._look_around())
        try:
            await self._scheduler.serve(stop, self._runner.stop)
        finally:
            self._looking.cancel()
            await asyncio.wait([self._looking, *self._errands])

    async def reload(self) -> None:
        """Read the file again. A bad one is told, and leaves everything as it is."""
        async with self._reloading:
            try:
                config = reloadable(self._config, await asyncio.to_thread(self._load))
                await self._scheduler.replace(list(config.mappings.values()), lambda: self._runner.replace(config))
            except SyncerError as error:
                self._reload = Reload(at=utc_now(), problem="; ".join(problems_of(error)))
                _log.error("the configuration read before stays in force; the new one has problems")
                for told in problems_of(error):
                    _log.error("%s", told)
                return
            kept = not_reloaded(self._config, config)
            self._config = replace(config, serve=self._config.serve)
            self._reload = Reload(at=utc_now(), problem=None)
            for use in self._followers:
                use(self._config)
            _log.info("the configuration was read again: %d mappings", len(config.mappings))
            for key in kept:
                _log.warning("%s was changed, which takes effect at the next start only", key)
            await self._runner.let_go()

    # --- Control

    @property
    def config(self) -> Config:
        """See `Control.config`."""
        return self._config

    @property
    def store(self) -> Store:
        """See `Control.store`."""
        return self._runner.store

    def running(self) -> Sequence[Running]:
        """See `Control.running`."""
        return self._lookout.running()

    def waiting(self) -> Sequence[str]:
        """See `Control.waiting`."""
        return self._scheduler.waiting

    def next_fire(self, mapping: str) -> datetime | None:
        """See `Control.next_fire`."""
        return None if mapping in self._paused else self._scheduler.next_fire(mapping)

    def paused(self) -> Mapping[str, datetime]:
        """See `Control.paused`."""
        return dict(self._paused)

    def reloaded(self) -> Reload:
        """See `Control.reloaded`."""
        return self._reload

    def alive(self) -> str | None:
        """See `Control.alive`."""
        if self._looking is not None and self._looking.done() and self.ready() is None:
            return "the daemon does not look after its runs any more"
        if elapsed() - self._answered > SILENCE:
            return f"the state has not answered for more than {SILENCE:.0f} s"
        return "no schedule fires any more, though one is due" if self._overdue >= _OVERDUE_LOOKS else None

    def ready(self) -> str | None:
        """See `Control.ready`."""
        if self._scheduler.ready:
            return None
        return "stopping: runs finish what is in flight" if self.planned.is_set() else "starting"

    def endings(self) -> Mapping[tuple[str, str], int]:
        """See `Control.endings`."""
        return {(mapping, str(ending)): count for (mapping, ending), count in self._scheduler.endings.items()}

    async def run_now(self, mapping: str, mode: Mode) -> bool:
        """See `Control.run_now`."""
        self._known(mapping)
        return self._scheduler.ask(mapping, mode)

    async def pause(self, mapping: str) -> None:
        """See `Control.pause`."""
        self._known(mapping)
        await asyncio.to_thread(self.store.pause, mapping, utc_now())
        await self._learn_pauses()

    async def resume(self, mapping: str) -> None:
        """See `Control.resume`."""
        self._known(mapping)
        await asyncio.to_thread(self.store.resume, mapping)
        await self._learn_pauses()

    async def retry_dead_letters(self, mapping: str, numbers: Sequence[int] | None) -> RunReport:
        """See `Control.retry_dead_letters`."""
        known = self._known(mapping)
        letters = await asyncio.to_thread(self.store.dead_letters, mapping, numbers=numbers)
        asked = retry_of(letters, mapping)
        if asked is None:
            raise UsageError(
                f"mapping {mapping} has no such dead letter whose row can be found",
                "the next full run tells whether its rows are mended",
            )
        self._known(mapping)  # a stop may have come meanwhile
        task = asyncio.create_task(self._run(known, asked))
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
        # whoever asked may be gone before it is done
        return await asyncio.shield(task)

    def _known(self, mapping: str) -> CollectionMapping:
        """The mapping, while anything can be done for it."""
        known = self._config.mappings.get(mapping)
        if known is None:
            raise UsageError(f"there is no mapping `{mapping}`")
        if (why := self.ready()) is not None:
            raise UsageError(f"nothing can be begun now: {why}", "try again in a moment")
        return known

    # --- looking after it all

    async def _run(
        self, mapping: CollectionMapping, options: RunOptions, wanted: Callable[[], bool] = lambda: True
    ) -> RunReport:
        # a retry and a scheduled run would find the lease in this very process's hands
        async with self._turns[mapping.name]:
            run_id = new_run_id(utc_now())
            with self._lookout.watching(run_id, mapping.name, options):
                return await self._runner.run(mapping, options, run_id=run_id, wanted=wanted)

    def _notice(self, event: Event) -> None:
        for notice in self._observers:
            notice(event)

    async def _look_around(self) -> None:
        """Look again and again at what runs do, and at what other instances changed."""
        while True:
            try:
                await self._learn_pauses()
            except SyncerError as error:
                _log.debug("the state does not tell what is paused", exc_info=error)
            self._lookout.look()
            self._overdue = self._overdue + 1 if self._scheduler.overdue is not None else 0
            await asyncio.sleep(self._look)

    async def _learn_pauses(self) -> None:
        paused = await asyncio.to_thread(self.store.pauses)
        self._answered = elapsed()
        if paused != self._paused:
            self._paused = paused
            self._scheduler.look()
