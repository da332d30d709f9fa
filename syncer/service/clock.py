"""Noticing that the clock was set or the machine slept: wall time and elapsed time drift apart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

#: seconds between two looks
TICK = 30.0
#: a smaller difference is drift and rounding
JUMP = timedelta(seconds=2)


async def watch_clock(
    jumped: Callable[[timedelta], None],
    *,
    now: Callable[[], datetime],
    monotonic: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Call `jumped` with the difference whenever the wall clock moved unlike the elapsed time; never returns.

    APScheduler sleeps until a wall time by counting elapsed time, so it oversleeps after the clock was set
    and after a suspend.
    """
    wall, elapsed = now(), monotonic()
    while True:
        await sleep(TICK)
        before, wall = wall, now()
        start, elapsed = elapsed, monotonic()
        difference = (wall - before) - timedelta(seconds=elapsed - start)
        if abs(difference) > JUMP:
            jumped(difference)
