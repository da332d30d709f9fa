"""Where the page listens: in the daemon's own event loop, without signal handlers. No routes live here."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Final

import uvicorn
from starlette.applications import Starlette

from syncer.errors import UsageError
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
    family, address = _resolve(host, port)
    loopback = ipaddress.ip_address(address[0]).is_loopback
    names = tuple(each.lower() for each in hosts)
    _require_token(host, token, loopback=loopback, names=names)
    with _listen(host, family, address) as listener:
        place = Place(host=host, port=listener.getsockname()[1], loopback=loopback, names=names)
        desk = Desk(control, watch, now=now, monotonic=time.monotonic)
        server = _server(create_app(desk, Door(place, Sessions(token, time.monotonic))))
        served = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield _url(listener)
        finally:
            server.should_exit = True
            await served


class _Server(uvicorn.Server):
    """Leaves signals alone: they belong to the daemon."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: Starlette) -> _Server:
    return _Server(
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


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError) as error:
        told = f"the status page cannot listen on {host!r} and port {port}: there is no such place"
        raise UsageError(told, "syncer serve --host 127.0.0.1 --port 8080") from error
    family, _, _, _, address = found[0]
    return family, (str(address[0]), port)


def _listen(host: str, family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    """A socket that listens."""
    # asyncio sets TCP_NODELAY only where the protocol is named; without it each answer waits 40 ms
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        why = "another process has it" if taken else (error.strerror or "refused")
        hint = "stop what listens there, or choose another with --port" if taken else "choose another --host or --port"
        raise UsageError(f"the status page cannot listen on port {address[1]} of {host}: {why}", hint) from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"
