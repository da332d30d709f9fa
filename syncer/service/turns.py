"""Whose turn it is: one run per mapping, a bounded number in all, one waiting fire each. Knows no time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from syncer.service.fires import Fire


class Turns:
    """Carries out fires so that a mapping's runs never overlap.

    A mapping is idle, or has a worker that carries out its fires one after another; while it has, at most one
    more fire waits, and further ones are merged into that.
    """

    def __init__(self, carry_out: Callable[[Fire], Awaitable[None]], *, concurrency: int) -> None:
        self._carry_out = carry_out
        self._slots = asyncio.Semaphore(concurrency)
        self._waiting: dict[str, Fire] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Turns busy={sorted(self._workers)} waiting={sorted(self._waiting)}>"

    def offer(self, fire: Fire) -> bool:
        """Queue a fire. False: it was merged into the one that waits."""
        waiting = self._waiting.get(fire.mapping)
        self._waiting[fire.mapping] = waiting.with_(fire) if waiting else fire
        if fire.mapping not in self._workers:
            self._workers[fire.mapping] = asyncio.create_task(self._work(fire.mapping))
        return waiting is None

    @property
    def waiting(self) -> Sequence[Fire]:
        """Fires whose turn has not come."""
        return tuple(self._waiting.values())

    def dismiss(self) -> list[Fire]:
        """Take back the fires that wait."""
        fires = list(self._waiting.values())
        self._waiting.clear()
        return fires

    async def idle(self) -> None:
        """Return when nothing runs or waits."""
        while self._workers:
            await asyncio.gather(*self._workers.values())

    async def _work(self, mapping: str) -> None:
        """Carry out a mapping's fires until none waits. Nothing awaits between the last look and leaving."""
        try:
            while mapping in self._waiting:
                async with self._slots:
                    fire = self._waiting.pop(mapping, None)
                    if fire is not None:
                        await self._carry_out(fire)
        finally:
            del self._workers[mapping]
