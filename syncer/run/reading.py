"""Blocking questions to a source, asked in threads, and ended when the run is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, TypeVar

from syncer.core.plan import RunPlan
from syncer.core.shape import Shaped, Shaper
from syncer.source.base import Chunk, Described, Source

Answer = TypeVar("Answer")

#: rows read at once by their keys
_KEYS_AT_ONCE = 10
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
    source: Source, plan: RunPlan, described: Described, shaper: Shaper, stop: asyncio.Event
) -> AsyncGenerator[tuple[Chunk, Shaped], None]:
    """The plan's chunks, read and shaped in a thread of their own, one ahead of the one in hand."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix=f"read-{plan.mapping.name}") as thread:
        reading = ExitStack()
        opened = loop.run_in_executor(thread, reading.enter_context, _reading(source, plan, described))
        shaping = _shaping(await _answer(opened, source, stop), shaper)
        ahead = loop.run_in_executor(thread, next, shaping, None)
        try:
            while (found := await _answer(ahead, source, stop)) is not None:
                ahead = loop.run_in_executor(thread, next, shaping, None)
                yield found
        finally:
            await _let_go(ahead, source)
            ahead.exception()  # looked at: whoever left early has no use for it
            await loop.run_in_executor(thread, reading.close)


def _reading(source: Source, plan: RunPlan, described: Described) -> AbstractContextManager[Iterator[Chunk]]:
    if plan.keys is None:
        return source.read(plan, described)
    keys = plan.keys
    portions = (keys[start : start + _KEYS_AT_ONCE] for start in range(0, len(keys), _KEYS_AT_ONCE))
    rows = (source.read_keys(plan.mapping, described, portion) for portion in portions)
    return nullcontext(Chunk(rows=found, watermark=None) for found in rows if found)


def _shaping(chunks: Iterator[Chunk], shaper: Shaper) -> Iterator[tuple[Chunk, Shaped]]:
    first = 0
    for chunk in chunks:
        yield chunk, shaper.shape(chunk.rows, first)
        first += len(chunk.rows)
