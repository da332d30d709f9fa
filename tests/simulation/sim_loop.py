"""A seeded event loop: virtual time, a random choice among what is ready, threads that are none, processes that crash.

Whatever runs with the same `PROCESS` in its context is one process: it can crash between two callbacks (everything it
has in memory is gone, nothing of it runs again) and be suspended. What has no process is the world and never dies.

What asyncio promises is kept: the callbacks that one callback makes ready run in the order in which it did.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any

#: callbacks after which a world is said to turn in circles
MOST_STEPS = 100_000
#: rounds of cancelling in which whatever a crash leaves behind has to end
_BURIAL = 60


class Crashed(BaseException):
    """The process that asked is no more."""


class Stuck(AssertionError):
    """Everything waits for ever, or nothing ever ends."""


class Process:
    """What dies together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.suspended = False
        #: callbacks until it crashes; None: it does not
        self.countdown: int | None = None
        #: called when it dies or is suspended: its connections are cut
        self.stilled: Callable[[], None] = lambda: None
        self.tasks: list[asyncio.Task[Any]] = []
        self.parked: list[events.Handle] = []

    def __repr__(self) -> str:
        return self.name


PROCESS: ContextVar[Process | None] = ContextVar("PROCESS", default=None)


class _Lane:
    """A thread: one job after the other."""

    def __init__(self) -> None:
        self.jobs: deque[tuple[asyncio.Future[Any], Callable[[], Any], float]] = deque()
        self.busy = False


class SimLoop(asyncio.BaseEventLoop):
    """See the module."""

    def __init__(self, rng: random.Random, *, shuffled: bool, work: Callable[[], float]) -> None:
        super().__init__()
        #: what stops the world
        self.failure: BaseException | None = None
        #: when the job that a thread does now was asked for
        self.asked_at = 0.0
        self.steps = 0
        self._rng = rng
        self._shuffled = shuffled
        #: seconds that a thread takes to begin, and again to tell that it is done
        self._work = work
        self._now = 1_000.0
        self._groups: list[deque[events.Handle]] = []
        self._alarms: list[tuple[float, int, events.TimerHandle]] = []
        self._alarm_number = 0
        self.set_exception_handler(lambda *_: None)

    # --- time and choice

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        """See asyncio."""
        timer = events.TimerHandle(when, callback, args, self, context)
        self._alarm_number += 1
        heapq.heappush(self._alarms, (when, self._alarm_number, timer))
        return timer

    def _run_once(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Stuck(f"nothing ends within {MOST_STEPS} steps")
        self._gather()
        while not self._groups:
            self._advance()
        handle = self._choose()
        if handle.cancelled():
            return
        process = _process_of(handle)
        if process is not None and not self._lives(process, handle):
            return
        handle._run()

    def _lives(self, process: Process, handle: events.Handle) -> bool:
        if process.dead:
            return False
        if process.suspended:
            process.parked.append(handle)
            return False
        if process.countdown is not None:
            process.countdown -= 1
            if process.countdown <= 0:
                process.parked.append(handle)
                self.crash(process)
                return False
        return True

    def _gather(self) -> None:
        """What the last callback made ready stays in its order, and mixes with everything else."""
        if self._ready:
            self._groups.append(deque(self._ready))
            self._ready.clear()

    def _choose(self) -> events.Handle:
        groups = self._groups
        place = self._rng.randrange(len(groups)) if self._shuffled and len(groups) > 1 else 0
        handle = groups[place].popleft()
        if not groups[place]:
            del groups[place]
        return handle

    def _advance(self) -> None:
        alarms = self._alarms
        while alarms and _is_void(alarms[0][2]):
            heapq.heappop(alarms)
        if not alarms:
            raise Stuck("everything waits for ever")
        self._now = max(self._now, alarms[0][0])
        while alarms and alarms[0][0] <= self._now:
            self._groups.append(deque([heapq.heappop(alarms)[2]]))

    # --- threads

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """The work is done on the loop, at a later instant, and heard of later still."""
        future = self.create_future()
        process = PROCESS.get()
        if process is not None and process.dead:
            future.set_exception(Crashed())
            return future
        lane = _Lane() if executor is None else executor.__dict__.setdefault("sim_lane", _Lane())
        lane.jobs.append((future, lambda: func(*args), self._now))
        if not lane.busy:
            self._next_job(lane)
        return future

    def _next_job(self, lane: _Lane) -> None:
        lane.busy = bool(lane.jobs)
        if lane.busy:
            self.call_later(self._work(), self._do, lane)

    def _do(self, lane: _Lane) -> None:
        future, func, self.asked_at = lane.jobs.popleft()
        if future.cancelled():
            self._next_job(lane)
            return
        result, error = None, None
        try:
            result = func()
        except Crashed:
            process = PROCESS.get()
            if process is not None:
                process.countdown = 0
        except BaseException as raised:  # noqa: BLE001  as a thread pool does
            error = raised
        self.call_later(self._work(), self._hand_over, lane, future, result, error)

    def _hand_over(self, lane: _Lane, future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
        if not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
        self._next_job(lane)

    # --- processes

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """See asyncio."""
        task = super().create_task(coro, name=name, context=context)
        process = context.get(PROCESS) if context is not None else PROCESS.get()
        if process is not None:
            process.tasks.append(task)
        return task

    def crash(self, process: Process) -> None:
        """Nothing of it runs again. Its coroutines are wound up without any effect on the world."""
        process.dead = True
        process.stilled()
        for _ in range(_BURIAL):
            left = [task for task in process.tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            self._exorcise(process)
        process.parked.clear()

    def _exorcise(self, process: Process) -> None:
        while True:
            self._gather()
            mine = [each for group in self._groups for each in group if _process_of(each) is process]
            mine += list(process.parked)
            process.parked = []
            if not mine:
                return
            self._groups = [
                deque(kept) for group in self._groups if (kept := [e for e in group if _process_of(e) is not process])
            ]
            for handle in mine:
                if not handle.cancelled():
                    handle._run()

    def suspend(self, process: Process) -> None:
        """It does nothing until it is resumed."""
        process.suspended = True
        process.stilled()

    def resume(self, process: Process) -> None:
        """It goes on where it was."""
        process.suspended = False
        parked, process.parked = process.parked, []
        if parked:
            self._groups.append(deque(parked))

    # --- what a loop without a selector has to do without

    def _write_to_self(self) -> None:
        pass

    def _process_events(self, event_list: object) -> None:
        pass


def _process_of(handle: events.Handle) -> Process | None:
    context: Context = handle._context  # type: ignore[attr-defined]
    return context.get(PROCESS)


def _is_void(handle: events.Handle) -> bool:
    process = _process_of(handle)
    return handle.cancelled() or (process is not None and process.dead)
