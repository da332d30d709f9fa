"""When requests may go out: rate and pauses of one write key, and how long to keep trying. No HTTP here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from syncer.core.verdict import LONGEST_WAIT

#: times `retry_for` that one batch is tried at most, while others are accepted
_LONGEST = 4
#: seconds to try an endpoint that never answered anything: a wrong name should not cost five minutes
UNHEARD_PATIENCE = 15.0
#: seconds by which a pause must grow to be news
_NEWS = 1.0


class Rest:
    """Sleep that can be ended for good."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._sleep = sleep
        self._ended = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether nobody sleeps any more."""
        return self._ended.is_set()

    def end(self) -> None:
        """Wake everyone, now and for ever."""
        self._ended.set()

    async def wait(self, seconds: float, *, stirred: asyncio.Event | None = None) -> None:
        """Sleep, or return early when it was ended, or something stirred."""
        waking = [asyncio.ensure_future(each.wait()) for each in (self._ended, stirred) if each is not None]
        waiting = [asyncio.ensure_future(self._sleep(seconds)), *waking]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


class Pace:
    """Gives out turns, evenly under a rate, none while paused. One for all that sends under a write key."""

    def __init__(self, *, requests_per_second: float | None, clock: Callable[[], float]) -> None:
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._clock = clock
        self._next = self._resumes = clock()

    @property
    def pause_left(self) -> float:
        """Seconds until requests may go out again."""
        return max(0.0, self._resumes - self._clock())

    async def turn(self, rest: Rest) -> None:
        """Wait for one request's turn, or until the rest is ended."""
        while not rest.ended:
            if wait := self.pause_left:
                await rest.wait(wait)
                continue
            if wait := self._rate_left():
                await rest.wait(wait)
            if not self.pause_left:
                return

    def _rate_left(self) -> float:
        now = self._clock()
        turn = max(self._next, now)
        self._next = turn + self._interval
        return turn - now

    def pause(self, seconds: float) -> bool:
        """Let nothing out for so long. Returns whether that is news to a person."""
        before, until = self._resumes, self._clock() + seconds
        self._resumes = max(before, until)
        return before <= self._clock() or until - before >= _NEWS


class Patience:
    """How long to keep trying: `retry_for` seconds since something was accepted, or since a batch was first tried."""

    def __init__(self, *, retry_for: float, clock: Callable[[], float]) -> None:
        self.retry_for = retry_for
        #: anything was ever heard from the endpoint
        self.heard = False
        self._clock = clock
        self._accepted_at = clock()
        self._paused = 0.0

    def accepted(self, pause_left: float) -> None:
        """Something was accepted just now, and the pause that is on lasts so long."""
        self._accepted_at = self._clock()
        self._paused = pause_left

    def paused(self, seconds: float) -> None:
        """A pause the server asked for does not use patience up, unless it asks for ever."""
        self._paused = min(self._paused + seconds, LONGEST_WAIT)

    def left(self, first_tried: float) -> float:
        """Seconds left for a batch first tried at that time; 0 or less: give it up."""
        limit = self.retry_for if self.heard else min(self.retry_for, UNHEARD_PATIENCE)
        # others being accepted says that the endpoint lives, not that it will ever take this batch
        last = first_tried + _LONGEST * self.retry_for
        return min(max(first_tried, self._accepted_at) + limit, last) + self._paused - self._clock()
