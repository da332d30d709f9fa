"""Time that does not pass: a loop that jumps, for tests without real I/O; sleep that takes none, for the others."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Never waits: when nothing is ready, time passes instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits for ever")
        if not ready:
            self.now += timeout or 0.0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds."""
        return self._jumping.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """What a thread would do is done at once."""
        done = self.create_future()
        done.set_result(func(*args))
        return done


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end, in no time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def clock() -> float:
    """Virtual seconds of the running loop."""
    return asyncio.get_running_loop().time()


class Hurry:
    """Time that passes only when somebody sleeps, and then at once."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self._sleeps = 0
        self._dues: dict[int, Callable[[], object]] = {}

    def at_sleep(self, number: int, due: Callable[[], object]) -> None:
        """Do something when the n-th sleep from now begins; the next is the first."""
        self._dues[self._sleeps + number] = due

    def clock(self) -> float:
        """Seconds."""
        return self.seconds

    def now(self) -> datetime:
        """The same as a wall clock."""
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Let them pass, counted from the call: who sleeps together wakes together."""
        return self._until(self.seconds + seconds)

    async def _until(self, wake: float) -> None:
        self._sleeps += 1
        if (due := self._dues.pop(self._sleeps, None)) is not None:
            due()
        await asyncio.sleep(0)
        self.seconds = max(self.seconds, wake)
