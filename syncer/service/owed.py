"""Fires that may not begin yet: they wait until they may. Knows no state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from syncer.service.fires import Fire


class Owed:
    """At most one fire of each mapping waits; further ones are merged into it.

    `ask` is asked about the fire after `pause` seconds; it answers in how many seconds it is to be asked again, at
    the latest, or 0: then the fire is given to `again`.
    """

    def __init__(
        self, ask: Callable[[Fire], Awaitable[float]], again: Callable[[Fire], object], *, pause: float
    ) -> None:
        self._ask = ask
        self._again = again
        self._pause = pause
        self._fires: dict[str, Fire] = {}
        self._waits: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()

    def __contains__(self, mapping: str) -> bool:
        return mapping in self._fires

    @property
    def fires(self) -> Sequence[Fire]:
        """Those that wait."""
        return tuple(self._fires.values())

    def owe(self, fire: Fire, pause: float | None = None) -> None:
        """Let a fire wait, for which none of its mapping waits yet."""
        self._fires[fire.mapping] = fire
        self._waits[fire.mapping] = asyncio.create_task(self._wait(fire.mapping, pause or self._pause))

    def merge(self, fire: Fire) -> bool:
        """Merge it into the one that waits. False: none does."""
        waiting = self._fires.get(fire.mapping)
        if waiting is not None:
            self._fires[fire.mapping] = waiting.with_(fire)
        return waiting is not None

    def take(self, mapping: str) -> Fire | None:
        """Take back the fire that waits for this mapping."""
        wait = self._waits.pop(mapping, None)
        if wait is not None:
            wait.cancel()
        return self._fires.pop(mapping, None)

    def look(self) -> None:
        """Something changed: ask about all of them at once."""
        self._news.set()
        self._news = asyncio.Event()

    def dismiss(self) -> list[Fire]:
        """Take back the fires that wait."""
        found = [self.take(mapping) for mapping in list(self._fires)]
        return [fire for fire in found if fire is not None]

    async def _wait(self, mapping: str, pause: float) -> None:
        """Wait until it may begin. Nothing awaits between giving the fire away and forgetting it."""
        news = self._news
        while pause > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await news.wait()
            news = self._news  # what is new while we ask is asked about again
            pause = await self._ask(self._fires[mapping])
        del self._waits[mapping]
        self._again(self._fires.pop(mapping))
