"""Where a sandbox listens: in the current event loop, a thread, or the whole process. No rules live here."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from syncer.errors import UsageError
from syncer.listening import Server, address_of, url_of

LOOPBACK = "127.0.0.1"
_BACKLOG = 2048
#: seconds; longer than senders keep an idle connection, so that it is never we who close one under them
_KEEP_ALIVE = 75
#: seconds for requests in flight once told to stop
_GRACE = 10


@asynccontextmanager
async def serving(app: Starlette, host: str = LOOPBACK, port: int = 0) -> AsyncIterator[str]:
    """Serve in the current event loop while the context is open; gives the url. Port 0: any free one.

    Raises:
        UsageError: the port cannot be had, or `host` is not loopback and the app has no write key.
    """
    with _listen(app, host, port) as listener:
        server = _server(app)
        served = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            await served


@contextmanager
def running(app: Starlette, host: str = LOOPBACK, port: int = 0) -> Iterator[str]:
    """Serve in a thread of its own while the context is open; gives the url. Raises as `serving` does."""
    with _listen(app, host, port) as listener, ThreadPoolExecutor(1, thread_name_prefix="sandbox") as threads:
        server = _server(app)
        served = threads.submit(asyncio.run, server.serve(sockets=[listener]))
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            served.result()


def run_forever(app: Starlette, host: str, port: int, announce: Callable[[str], object]) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is in flight and return. For the main thread only.

    Args:
        announce: called with the url once it can be connected to.

    Raises:
        UsageError: as `serving`.
    """
    with _listen(app, host, port) as listener:
        server = _server(app)
        with _stopped_by_signals(server):
            announce(url_of(listener))
            asyncio.run(server.serve(sockets=[listener]))


class _Protocol(H11Protocol):
    """Gives requests a way to end their connection without an answer: `scope["hang_up"]`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        answering = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["hang_up"] = self.transport.abort
            await answering(scope, receive, send)

        self.app = app


def _server(app: Starlette) -> Server:
    return Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_GRACE,
        )
    )


@contextmanager
def _stopped_by_signals(server: Server) -> Iterator[None]:
    before = {each: signal.signal(each, server.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _listen(app: Starlette, host: str, port: int) -> socket.socket:
    address = address_of(host, port)
    if not app.state.guarded and not address.loopback:
        raise UsageError(
            f"the sandbox would be open to the network on {host}",
            f"give it a write key, which senders then must use, or bind it to {LOOPBACK}",
        )
    return address.listen(_BACKLOG)
