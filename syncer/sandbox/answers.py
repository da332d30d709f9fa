"""What all endpoints share: the world around them, how a body is read, what answers look like. No rules here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from syncer.sandbox.faults import Fault, FaultSequence
from syncer.sandbox.rules import MAX_BODY, Refusal
from syncer.sandbox.warehouse import Warehouse

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="sandbox"'}
_LATER = {"Retry-After": "1"}

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class World:
    """What the endpoints act on, and what they are told of time and of faults."""

    warehouse: Warehouse
    faults: FaultSequence
    #: seconds between receiving a request and looking at it
    latency: float
    #: the only one accepted; None: any
    write_key: str | None
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    #: long merges under way, each in a thread that has the warehouse for itself
    merges: int = 0

    async def pause(self) -> None:
        """The latency."""
        if self.latency:
            await self.sleep(self.latency)

    async def in_turn(self, work: Callable[[], T]) -> T:
        """Use the warehouse; during a merge from a thread, so that waiting for it does not hold up the others."""
        return await asyncio.to_thread(work) if self.merges else work()

    async def merge(self, work: Callable[[], T]) -> T:
        """Use the warehouse for long."""
        self.merges += 1
        try:
            return await asyncio.to_thread(work)
        finally:
            self.merges -= 1


async def read_body(request: Request) -> tuple[bytes, int]:
    """What the rules need of the body, and its size. Read to the end, or senders may miss the answer."""
    kept, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if len(kept) <= MAX_BODY:
            kept += chunk
    return bytes(kept), size


async def hang_up(request: Request) -> None:
    """End the connection of a request whose body was read; whatever is answered afterwards is lost."""
    request.scope["hang_up"]()
    await request.receive()  # there is nothing to receive but the end


def refused(refusal: Refusal) -> Response:
    """The answer to a request that breaks a rule."""
    headers = _CHALLENGE if refusal.status == 401 else _LATER if refusal.status == 429 else None
    return JSONResponse({"success": False, "error": refusal.text}, refusal.status, headers)


def failed(fault: Fault) -> Response:
    """The answer to a request that was to fail; for one that gets none, anything."""
    if fault.status == 429:
        return refused(Refusal(status=429, text="too many requests; wait a second"))
    return refused(Refusal(status=fault.status or 500, text="the sandbox was told to fail"))
