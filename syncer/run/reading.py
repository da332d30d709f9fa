"""Blocking questions to a source, asked in threads, and ended when the run is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

from syncer.core.model import Row, Watermark
from syncer.core.plan import RunPlan
from syncer.core.shape import Shaped, Shaper
from syncer.source.base import Chunk, Described, Source

Answer = TypeVar("Answer")

#: rows read at once by their keys
_KEYS_AT_ONCE = 100
#: seconds in all that a database is kept waiting with a cursor open: MySQL gives up a slow reader after 60,
#: a PostgreSQL standby after 30, and an open snapshot keeps every database from cleaning up
CURSOR_PATIENCE = 30.0
#: seconds that the database gets to let go before it is told to, and again after each time
_PATIENCE = 1.0


async def asked(source: Source, stop: asyncio.Event, question: Callable[[], Answer]) -> Answer:
    """Ask in a thread. When told to stop, the database is interrupted, and its error comes back."""
    return await _answer(asyncio.get_running_loop().run_in_executor(None, question), source, stop)


async def _answer(waiting: asyncio.Future[Answer], source: Source, stop: asyncio.Event) -> Answer:
    stopping = asyncio.ensure_future(stop.wait())
    either: list[asyncio.Future[Any]] = [waiting, stopping]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    await _let_go(waiting, source)
    return waiting.result()


async def _let_go(waiting: asyncio.Future[Answer], source: Source) -> None:
    """Until it is done, also against the database's will: an interrupt may come before there is anything to end."""
    while not waiting.done():
        await asyncio.wait([waiting], timeout=_PATIENCE)
        if not waiting.done():
            await asyncio.to_thread(source.interrupt)


async def shaped_chunks(
    source: Source,
    plan: RunPlan,
    described: Described,
    shaper: Shaper,
    *,
    stop: asyncio.Event,
    monotonic: Callable[[], float],
) -> AsyncGenerator[tuple[Chunk, Shaped], None]:
    """The plan's chunks, read and shaped in a thread of their own, one ahead of the one in hand."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix=f"read-{plan.mapping.name}") as thread:
        reading = Reading(source, plan, described, monotonic)
        shaping = _shaping(reading, shaper)

        def advance() -> asyncio.Future[tuple[Chunk, Shaped] | None]:
            return loop.run_in_executor(thread, next, shaping, None)

        ahead = advance()
        try:
            while (found := await _answer(ahead, source, stop)) is not None:
                ahead = advance()
                resting = asyncio.create_task(_rest(reading, ahead, thread))
                try:
                    yield found
                finally:
                    await _woken(resting)
        finally:
            await _let_go(ahead, source)
            ahead.exception()  # looked at: whoever left early has no use for it
            await loop.run_in_executor(thread, reading.rest)


async def _rest(reading: Reading, ahead: asyncio.Future[Any], thread: ThreadPoolExecutor) -> None:
    """Give the cursor up when the chunk that was read ahead is not wanted for too long."""
    await asyncio.wait([ahead])
    if reading.patience is not None:
        await asyncio.sleep(reading.patience)
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(thread, reading.rest))


async def _woken(resting: asyncio.Task[None]) -> None:
    resting.cancel()
    await asyncio.wait([resting])
    if not resting.cancelled():
        resting.result()


class Reading:
    """The rows of a plan, leg by leg. The cursor can be given up between chunks; the next chunk opens another.

    Used in one thread, but for `patience`.
    """

    def __init__(self, source: Source, plan: RunPlan, described: Described, monotonic: Callable[[], float]) -> None:
        self._source = source
        self._described = described
        self._monotonic = monotonic
        self._legs = plan.legs
        self._left = plan.limit
        #: the leg under way, which begins where reading would go on
        self._leg = plan
        self._last: Row | None = None
        #: the watermark of the leg under way, and of the one before it, which a circle read from higher up
        self._reached: Watermark | None = None
        self._peak: Watermark | None = None
        self._cursor = ExitStack()
        self._chunks: Iterator[Chunk] | None = None
        #: seconds that the cursor took to open, and that it was kept waiting since
        self._opening = self._waited = 0.0

    @property
    def patience(self) -> float | None:
        """Seconds that the cursor stays open for whoever does not want the next chunk yet; None: for ever.

        Counted over the cursor's life, and longer where it takes long to open another.
        """
        if self._chunks is None or self._leg.after is None:
            return None
        return max(0.0, max(CURSOR_PATIENCE, 4 * self._opening) - self._waited)

    def __iter__(self) -> Iterator[Chunk]:
        for leg in self._legs:
            self._leg, self._last, self._peak = leg, None, self._reached
            while self._left != 0 and (chunk := self._next()) is not None:
                handed_at = self._monotonic()
                yield chunk
                self._waited += self._monotonic() - handed_at
                if self.patience == 0:
                    self.rest()
            self.rest()

    def _next(self) -> Chunk | None:
        began, opens = self._monotonic(), self._chunks is None
        if self._chunks is None:
            leg = replace(self._leg, limit=self._left)
            self._chunks = self._cursor.enter_context(_opened(self._source, leg, self._described))
        chunk = next(self._chunks, None)
        if opens:
            self._opening, self._waited = self._monotonic() - began, 0.0
        if chunk is None:
            return None
        # a cursor that was opened again begins with the row that came last
        again = opens and self._last is not None and chunk.rows[0] == self._last
        self._last = chunk.rows[-1]
        return self._placed(replace(chunk, rows=chunk.rows[1:]) if again else chunk)

    def _placed(self, chunk: Chunk) -> Chunk:
        if chunk.mark.position is not None:
            self._leg = replace(self._leg, after=chunk.mark.position, ceiling=chunk.ceiling)
        if self._left is not None:
            self._left -= len(chunk.rows)
        if self._peak is not None:
            return replace(chunk, mark=replace(chunk.mark, watermark=self._peak))
        self._reached = chunk.mark.watermark or self._reached
        return chunk

    def rest(self) -> None:
        """Give the cursor up; whoever wants the next chunk opens another where this one stood."""
        self._chunks = None
        self._cursor.close()


def _opened(source: Source, plan: RunPlan, described: Described) -> AbstractContextManager[Iterator[Chunk]]:
    if plan.keys is None:
        return source.read(plan, described)
    keys = plan.keys
    portions = (keys[start : start + _KEYS_AT_ONCE] for start in range(0, len(keys), _KEYS_AT_ONCE))
    rows = (source.read_keys(plan.mapping, described, portion) for portion in portions)
    return nullcontext(Chunk(rows=found) for found in rows if found)


def _shaping(chunks: Iterable[Chunk], shaper: Shaper) -> Iterator[tuple[Chunk, Shaped]]:
    first = 0
    for chunk in chunks:
        yield chunk, shaper.shape(chunk.rows, first)
        first += len(chunk.rows)
