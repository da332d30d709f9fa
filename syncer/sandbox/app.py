"""The sandbox's HTTP surface: `POST /v1/set`, and a page for people. No rules and no SQL live here.

The bulk API's endpoints are in `bulk`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from syncer.errors import UsageError
from syncer.sandbox.answers import World, failed, hang_up, read_body, refused
from syncer.sandbox.bulk import Bulk
from syncer.sandbox.bulk_rules import BulkLimits
from syncer.sandbox.faults import NO_ANSWER, Faults, FaultSequence
from syncer.sandbox.rules import Refusal, is_synchronous, read_set, refuse_key
from syncer.sandbox.warehouse import Warehouse


def create_app(
    warehouse: Warehouse,
    faults: Faults = Faults(),  # noqa: B008  (frozen)
    write_key: str | None = None,
    *,
    bulk_limits: BulkLimits = BulkLimits(),  # noqa: B008  (frozen)
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
    world = World(
        warehouse=warehouse,
        faults=FaultSequence(faults),
        latency=faults.latency,
        write_key=write_key,
        clock=clock,
        monotonic=monotonic,
        sleep=sleep,
    )
    bulk = Bulk(world, bulk_limits)
    sandbox = _Sandbox(world, bulk)
    app = Starlette(
        routes=[
            Route("/v1/set", sandbox.set, methods=["POST"]),
            *bulk.routes(),
            Route("/", sandbox.page, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _in_the_manner_of_the_api, sqlite3.Error: _not_stored},
    )
    app.router.redirect_slashes = False
    #: read by `server`: whether strangers are turned away
    app.state.guarded = write_key is not None
    return app


class _Sandbox:
    """`POST /v1/set` and the page."""

    def __init__(self, world: World, bulk: Bulk) -> None:
        self._world = world
        self._bulk = bulk

    async def set(self, request: Request) -> Response:
        """`POST /v1/set`: validate, merge, answer; or fail as the faults say."""
        world = self._world
        received_at = world.clock()
        fault = world.faults.draw(world.monotonic())
        try:
            body, size = await read_body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        await world.pause()
        asked = None
        if fault is None or fault.stores:
            asked = read_set(request.headers, body, world.write_key)
        answer = failed(fault) if fault else refused(asked) if isinstance(asked, Refusal) else _success()
        record = partial(
            world.warehouse.record,
            None if isinstance(asked, Refusal) else asked,
            received_at=received_at,
            status=fault.status if fault else answer.status_code,
            synchronous=is_synchronous(request.headers),
            size=size,
        )
        await world.in_turn(record)
        if fault is not None and fault.status == NO_ANSWER:
            await hang_up(request)
        return answer

    async def page(self, request: Request) -> Response:
        """`GET /`: what this is and what it holds."""
        world = self._world
        if world.write_key is not None:
            refusal = refuse_key(request.headers, world.write_key)
            if refusal is not None:
                return refused(refusal)
        counts = await world.in_turn(world.warehouse.collections)
        width = max(map(len, counts), default=0)
        held = [f"{name:<{width}}  {count}" for name, count in counts.items()]
        lines = (
            "syncer sandbox: a local Segment Objects API. Nothing sent here reaches Segment.",
            "",
            "POST /v1/set merges objects by id into the SQLite warehouse",
            f"  {world.warehouse.path}",
            "as does, at its end, a bulk session: POST /v0/start, then with its sync_id",
            "  /v0/upload/<sync_id>, /v0/keep-alive/<sync_id>, /v0/finish/<sync_id>",
            "",
            "Objects per collection:",
            *_listed(held),
            "",
            "Bulk sessions:",
            *_listed(self._bulk.lines()),
            "",
        )
        return PlainTextResponse("\n".join(lines))


def _listed(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines or ["none yet"]]


def _success() -> Response:
    return JSONResponse({"success": True})


async def _in_the_manner_of_the_api(_: Request, error: Exception) -> Response:
    turned_away = cast("HTTPException", error)
    answer = {"success": False, "error": turned_away.detail}
    return JSONResponse(answer, turned_away.status_code, turned_away.headers)


async def _not_stored(_: Request, error: Exception) -> Response:
    """Answered here: after an error that gets as far as the server, it closes the connection under the sender."""
    return refused(Refusal(status=500, text=f"the warehouse could not be used: {error}"))
