"""Where the page listens: in the daemon's own event loop, without signal handlers. No routes live here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import uvicorn
from starlette.applications import Starlette

from syncer.errors import UsageError
from syncer.listening import Server, address_of, url_of
from syncer.service.control import Control
from syncer.service.web.app import create_app
from syncer.service.web.desk import Desk
from syncer.service.web.door import Door, Place
from syncer.service.web.sessions import Sessions
from syncer.service.web.watch import Watch

_BACKLOG: Final = 128
#: requests at once; more are told to come back
_MOST: Final = 200
#: seconds that an idle connection is kept, and that requests in flight may take once told to stop
_KEEP_ALIVE: Final = 15
_GRACE: Final = 1


def _utc_now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def serve_web(
    control: Control,
    *,
    host: str,
    port: int,
    token: str | None,
    watch: Watch,
    hosts: Sequence[str] = (),
    now: Callable[[], datetime] = _utc_now,
) -> AsyncIterator[str]:
    """Serve the page in this event loop while the context is open; gives the url. Leaving takes two seconds at most.

    Args:
        host: name or address to listen on.
        port: 0: any free one.
        token: what acting takes, and reading too where the page is not for this machine alone.
        watch: gets every event of the runs from the caller.
        hosts: further names under which the page is reached, `name` or `name:port`, such as a proxy's.

    Raises:
        UsageError: the port cannot be had; or others could reach the page and there is no token.
    """
    address = address_of(host, port)
    names = tuple(each.lower() for each in hosts)
    _require_token(host, token, loopback=address.loopback, names=names)
    with address.listen(_BACKLOG) as listener:
        place = Place(host=host, port=listener.getsockname()[1], loopback=address.loopback, names=names)
        desk = Desk(control, watch, now=now, monotonic=time.monotonic)
        server = _server(create_app(desk, Door(place, Sessions(token, time.monotonic))))
        served = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            await served


def _server(app: Starlette) -> Server:
    return Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_MOST,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_GRACE,
        )
    )


def _require_token(host: str, token: str | None, *, loopback: bool, names: Sequence[str]) -> None:
    if token:
        return
    if not loopback:
        raise UsageError(
            f"the status page would be open to the network on {host}",
            "set `serve: {token: ${SYNCER_TOKEN}}`, or bind it to 127.0.0.1",
        )
    if names:
        raise UsageError(
            "the status page would be open to whoever reaches it as one of `serve.hosts`",
            "set `serve: {token: ${SYNCER_TOKEN}}`, or leave `serve.hosts` out",
        )
