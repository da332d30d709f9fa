"""What the pages ask the daemon and the state. Reads of the state block, so they happen in threads, and are shared."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from syncer.core.model import DeadLetter, RunReport
from syncer.errors import SyncerError
from syncer.run.standing import Surveyed, survey
from syncer.service.control import Control, Running
from syncer.service.web.views import Known
from syncer.service.web.watch import Watch
from syncer.state.base import Cause

#: seconds that what was read serves everybody who asks
SHARED: Final = 1.0


class Desk:
    """Asks for pages. However many look at them, the state is surveyed once a second at most."""

    def __init__(
        self, control: Control, watch: Watch, *, now: Callable[[], datetime], monotonic: Callable[[], float]
    ) -> None:
        self.control = control
        self.watch = watch
        self.now = now
        self._monotonic = monotonic
        self._surveying = asyncio.Lock()
        self._surveyed: tuple[Mapping[str, Surveyed], Known] | None = None
        self._until = 0.0
        self._errands: set[asyncio.Task[None]] = set()
        #: by mapping: what became of the last thing that was asked for and failed
        self.troubles: dict[str, tuple[datetime, SyncerError]] = {}

    async def survey(self) -> tuple[Mapping[str, Surveyed], Known]:
        """How every mapping stands, by its name, and what the daemon does. Raises `StateError`."""
        async with self._surveying:
            if self._surveyed is None or self._monotonic() >= self._until:
                self._surveyed = await self._look()
                self._until = self._monotonic() + SHARED
            return self._surveyed

    def forget(self) -> None:
        """Something was changed: the next survey is a new one."""
        self._until = 0.0

    async def _look(self) -> tuple[Mapping[str, Surveyed], Known]:
        control, now = self.control, self.now()
        config = control.config
        running: dict[str, Running] = {each.mapping: each for each in control.running()}
        found = await asyncio.to_thread(survey, config, control.store, now)
        leases = await asyncio.to_thread(control.store.leases)
        held = {each.mapping for each in leases if each.expires_at > now}
        known = Known(
            now=now,
            running=running,
            waiting=frozenset(control.waiting()),
            paused=dict(control.paused()),
            # one of ours that ended in between is nobody else's
            elsewhere=held - running.keys() - {each.mapping for each in control.running()},
            next_fires={name: control.next_fire(name) for name in config.mappings},
        )
        return {each.standing.mapping: each for each in found}, known

    async def run(self, run_id: str) -> RunReport | None:
        """A run of the history."""
        return await asyncio.to_thread(self.control.store.run, run_id)

    async def causes(self, mapping: str) -> Sequence[Cause]:
        """A mapping's dead letters by their cause."""
        return await asyncio.to_thread(self.control.store.dead_letter_causes, mapping)

    async def letters(self, mapping: str, code: str, *, limit: int, after: int = 0) -> Sequence[DeadLetter]:
        """Dead letters of a cause, oldest first."""
        store = self.control.store
        return await asyncio.to_thread(store.dead_letters, mapping, code=code, limit=limit, after=after)

    def send_for(self, mapping: str, work: Callable[[], Awaitable[object]]) -> None:
        """Have something done that takes longer than a page may; what fails is told on the mapping's page."""
        self.troubles.pop(mapping, None)
        task = asyncio.create_task(self._errand(mapping, work))
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _errand(self, mapping: str, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except SyncerError as error:
            self.troubles[mapping] = (self.now(), error)
        self.forget()

    async def finish(self) -> None:
        """Wait for what was sent for: the daemon, stopping, has told it to end."""
        if self._errands:
            await asyncio.wait(self._errands)
