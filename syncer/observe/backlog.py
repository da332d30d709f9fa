"""Values that wait for one task, which takes them one after the other while whoever put them goes on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Backlog(Generic[Value]):
    """Bounded: the oldest give way when there are too many. Used from one event loop; empty, nothing of it runs."""

    def __init__(self, take: Callable[[Value], Awaitable[None]], *, most: int, name: str) -> None:
        """`take` must not raise. `most` that wait. `name` for the task, where tasks are listed."""
        self._take = take
        self._name = name
        self._waiting: deque[Value] = deque(maxlen=most)
        self._taking: asyncio.Task[None] | None = None
        #: whether one is being taken
        self._busy = False

    def __len__(self) -> int:
        """How many wait; the one that is being taken counts too."""
        return len(self._waiting) + self._busy

    def put(self, value: Value) -> bool:
        """Let it wait for its turn. False: another had to give way."""
        fits = len(self._waiting) < (self._waiting.maxlen or 0)
        self._waiting.append(value)
        if self._taking is None or self._taking.done():
            self._taking = asyncio.get_running_loop().create_task(self._take_all(), name=self._name)
        return fits

    async def _take_all(self) -> None:
        while self._waiting:
            value, self._busy = self._waiting.popleft(), True
            try:
                await self._take(value)
            finally:
                self._busy = False

    async def drain(self, seconds: float) -> int:
        """Wait so long until all are taken, then give up the others; returns how many those are."""
        if self._taking is None or self._taking.done():
            return 0
        await asyncio.wait([self._taking], timeout=seconds)
        left = len(self)
        self._waiting.clear()
        if not self._taking.done():
            self._taking.cancel()
            await asyncio.wait([self._taking])
        return left
