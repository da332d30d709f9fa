"""Fires that found their mapping running in another process: they wait until it is free. Knows no state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from syncer.service.fires import Fire


class Owed:
    """At most one fire of each mapping waits; further ones are merged into it.

    `is_free` is asked about the mapping every `pause` seconds; once it is, the fire is given to `again`.
    """

    def __init__(
        self, is_free: Callable[[str], Awaitable[bool]], again: Callable[[Fire], None], *, pause: float
    ) -> None:
        self._is_free = is_free
        self._again = again
        self._pause = pause
        self._fires: dict[str, Fire] = {}
        self._waits: dict[str, asyncio.Task[None]] = {}

    def owe(self, fire: Fire) -> None:
        """Let a fire wait for its mapping, for which none waits yet."""
        self._fires[fire.mapping] = fire
        self._waits[fire.mapping] = asyncio.create_task(self._wait(fire.mapping))

    def merge(self, fire: Fire) -> bool:
        """Merge it into the one that waits. False: none does."""
        waiting = self._fires.get(fire.mapping)
        if waiting is not None:
            self._fires[fire.mapping] = waiting.with_(fire)
        return waiting is not None

    def dismiss(self) -> list[Fire]:
        """Take back the fires that wait."""
        for wait in self._waits.values():
            wait.cancel()
        self._waits.clear()
        fires = list(self._fires.values())
        self._fires.clear()
        return fires

    async def _wait(self, mapping: str) -> None:
        """Wait until the mapping is free. Nothing awaits between giving the fire away and forgetting it."""
        while True:
            await asyncio.sleep(self._pause)
            if await self._is_free(mapping):
                break
        del self._waits[mapping]
        self._again(self._fires.pop(mapping))
