"""How many requests of a line are in flight: as many as allowed, and fewer while the API is crowded. No HTTP here.

Crowding is what the API says of itself: 429, or errors and silence of several requests among the latest. Then a third
of the places goes at once. They come back one per round of answers up to near where it was crowded, and from there one
in ten seconds, so that the edge is touched rarely: every touch may cost a pause of everyone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

#: what is left of the places when it is crowded
_LEFT: Final = 0.7
#: share of the places at which it was crowded that come back fast
_NEAR: Final = 0.9
#: seconds for each further place
_SLOW: Final = 10.0
#: one in so many answers of a round may be trouble; a few errors among many come from elsewhere
_TROUBLED: Final = 3
#: answers that make a round, at least
_ROUND: Final = 10


class Places:
    """Gives out places in turn: `async with` one for each request."""

    def __init__(self, most: int, *, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        #: requests at once, now
        self.limit = most
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        #: how many there were when it was crowded; None: nobody knows
        self._edge: int | None = None
        self._changed_at = self._shrunk_at = clock()
        self._answers = self._trouble = 0

    async def __aenter__(self) -> None:
        if self._taken < self.limit and not self._waiting:
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._taken -= 1
        while self._waiting and self._taken < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)

    def answered(self, began: float, *, crowded: bool, troubled: bool) -> None:
        """Learn from a request that began at this time by the clock: was it told to slow down, or in trouble?"""
        if crowded and began > self._shrunk_at:
            self._shrink()
        elif began > self._changed_at:  # those before were among more, or fewer
            self._answers += 1
            self._trouble += troubled
            if self._answers >= max(self.limit, _ROUND):
                self._end_round()

    def _end_round(self) -> None:
        if self._trouble * _TROUBLED >= self._answers:
            self._shrink()
            return
        self._answers = self._trouble = 0
        if self.limit < self._most and not self._near_the_edge:
            self.limit += 1
            self._changed_at = self._clock()

    @property
    def _near_the_edge(self) -> bool:
        """Whether the next place has to wait."""
        if self._edge is None or self.limit + 1 <= _NEAR * self._edge:
            return False
        if self.limit > self._edge:
            self._edge = None  # it is no edge any more
            return False
        return self._clock() - self._changed_at < _SLOW

    def _shrink(self) -> None:
        self._edge = self.limit
        self.limit = max(1, int(self.limit * _LEFT))
        self._answers = self._trouble = 0
        self._changed_at = self._shrunk_at = self._clock()
