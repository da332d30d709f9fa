"""The sandbox's HTTP surface: `POST /v1/set`, and a page for people. No rules and no SQL live here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from syncer.errors import UsageError
from syncer.sandbox.faults import Fault, Faults, FaultSequence
from syncer.sandbox.rules import MAX_BODY, Refusal, is_synchronous, read_set, refuse_key
from syncer.sandbox.warehouse import Warehouse

_RETRY_AFTER = {"Retry-After": "1"}
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="sandbox"'}


def create_app(
    warehouse: Warehouse,
    faults: Faults = Faults(),  # noqa: B008  (frozen)
    write_key: str | None = None,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Starlette:
    """The sandbox as an ASGI application. It does not close the warehouse.

    Args:
        write_key: the only one accepted, also by the page; None: any, and only for loopback.

    Raises:
        UsageError: the write key is empty.
    """
    if write_key == "":
        raise UsageError("the sandbox's write key is empty", "choose one, or leave it out to accept any")
    sandbox = _Sandbox(warehouse, faults, write_key, clock, monotonic, sleep)
    app = Starlette(
        routes=[
            Route("/v1/set", sandbox.set, methods=["POST"]),
            Route("/", sandbox.page, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _in_the_manner_of_the_api},
    )
    app.router.redirect_slashes = False
    #: read by `server`: whether strangers are turned away
    app.state.guarded = write_key is not None
    return app


class _Sandbox:
    """The endpoints and what they share."""

    def __init__(
        self,
        warehouse: Warehouse,
        faults: Faults,
        write_key: str | None,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._warehouse = warehouse
        self._latency = faults.latency
        self._faults = FaultSequence(faults)
        self._write_key = write_key
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep

    async def set(self, request: Request) -> Response:
        """`POST /v1/set`: validate, merge, answer; or fail as the faults say."""
        received_at = self._clock()
        fault = self._faults.draw(self._monotonic())
        try:
            body, size = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        if self._latency:
            await self._sleep(self._latency)
        asked = None
        if fault is None or fault.stores:
            asked = read_set(request.headers, body, self._write_key)
        answer = _failure(fault) if fault else _refusal(asked) if isinstance(asked, Refusal) else _success()
        self._warehouse.record(
            None if isinstance(asked, Refusal) else asked,
            received_at=received_at,
            status=answer.status_code,
            synchronous=is_synchronous(request.headers),
            size=size,
        )
        return answer

    async def page(self, request: Request) -> Response:
        """`GET /`: what this is and what it holds."""
        if self._write_key is not None:
            refusal = refuse_key(request.headers, self._write_key)
            if refusal is not None:
                return _refusal(refusal)
        counts = self._warehouse.collections()
        width = max(map(len, counts), default=0)
        held = [f"  {name:<{width}}  {count}" for name, count in counts.items()] or ["  none yet"]
        lines = (
            "syncer sandbox: a local Segment Objects API. Nothing sent here reaches Segment.",
            "",
            "POST /v1/set merges objects by id into the SQLite warehouse",
            f"  {self._warehouse.path}",
            "",
            "Objects per collection:",
            *held,
            "",
        )
        return PlainTextResponse("\n".join(lines))


async def _body(request: Request) -> tuple[bytes, int]:
    """What the rules need of the body, and its size. Read to the end, or senders may miss the answer."""
    kept, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if len(kept) <= MAX_BODY:
            kept += chunk
    return bytes(kept), size


def _success() -> Response:
    return JSONResponse({"success": True})


def _refusal(refusal: Refusal) -> Response:
    headers = _CHALLENGE if refusal.status == 401 else None
    return JSONResponse({"success": False, "error": refusal.text}, refusal.status, headers)


def _failure(fault: Fault) -> Response:
    if fault.status == 429:
        text, headers = "too many requests; wait a second", _RETRY_AFTER
    else:
        text, headers = "the sandbox was told to fail", None
    return JSONResponse({"success": False, "error": text}, fault.status, headers)


async def _in_the_manner_of_the_api(_: Request, error: Exception) -> Response:
    refused = cast("HTTPException", error)
    return JSONResponse({"success": False, "error": refused.detail}, refused.status_code, refused.headers)
