"""The transport beneath httpx: HTTP/1.1 over kept connections, one request at a time on each, answers parsed by llhttp.

Chosen by measurement: a request takes a fraction of what it takes through a general client, see docs/performance.md.
What it promises beyond that is what a delivery must know: whether a request can have arrived, that none is ever
cancelled, that no answer is taken from bytes which came before the request, and that nothing waits for ever.
"""

from __future__ import annotations

import asyncio
import select
import socket
from dataclasses import dataclass
from typing import Final, cast

import httpx
from aiohappyeyeballs import start_connection

from syncer.delivery.incoming import Incoming

#: bytes of a request that are written at once, each within the time for writing
_PIECE: Final = 256 * 1024
#: seconds that the next address of a host is not tried yet (RFC 8305)
_HAPPY_EYEBALLS: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds each step of a request may take. No step is cancelled by us: the connection gives up."""

    #: address, connection and TLS session together
    connect: float = 5
    #: until the next quarter of a megabyte of the request is written
    write: float = 30
    #: until the next bytes of the answer
    read: float = 30
    #: everything, also when a server drips
    attempt: float = 90


class Transport(httpx.AsyncBaseTransport):
    """Sends to the host of its first request. Connections belong to the event loop of that request."""

    def __init__(self, *, connections: int, timeouts: Timeouts, encrypted: bool) -> None:
        self._timeouts = timeouts
        self._tls = httpx.create_ssl_context() if encrypted else None
        self._places = asyncio.Semaphore(connections)
        self._idle: list[Connection] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, unless the request's extension `still` says no at the last moment, and read the answer.

        Raises:
            httpx.ConnectError: nothing was sent; also `ConnectTimeout`.
            httpx.TransportError: anything else; the request may have arrived.
        """
        assert isinstance(request.stream, httpx.SyncByteStream)
        body = b"".join(request.stream)
        async with self._places:
            connection = self._kept() or await self._fresh(request.url)
            # connecting may have taken long, and a suspended process longer
            if not request.extensions.get("still", _always)():
                self._idle.append(connection)
                raise httpx.ConnectError("it is not to be sent any more")
            answer = await connection.ask(_head(request, len(body)), body)
            if connection.reusable:
                self._idle.append(connection)
        return answer

    async def aclose(self) -> None:
        """Close the connections."""
        idle, self._idle = self._idle, []
        for each in idle:
            each.abandon()
        await asyncio.sleep(0)  # their sockets are closed in the loop's next round

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.quiet:
                return connection
            connection.abandon()
        return None

    async def _fresh(self, url: httpx.URL) -> Connection:
        connection = await self._connected(url)
        # a server may begin a TLS session with something of its own
        if self._tls is None and not connection.quiet:
            connection.abandon()
            raise httpx.ConnectError("the server spoke, or closed, before it was asked")
        return connection

    async def _connected(self, url: httpx.URL) -> Connection:
        try:
            async with asyncio.timeout(self._timeouts.connect):
                return await self._connect(url.raw_host.decode(), url.port or (443 if self._tls else 80))
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection within the time allowed") from error
        except (OSError, UnicodeError, RuntimeError) as error:  # uvloop's may be of the last kind
            raise httpx.ConnectError(_words_of(error)) from error

    async def _connect(self, host: str, port: int) -> Connection:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        sock = await start_connection(found, happy_eyeballs_delay=_HAPPY_EYEBALLS)
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(loop, self._timeouts), sock=sock, ssl=self._tls,
                server_hostname=host if self._tls else None,
            )  # fmt: skip
        except BaseException:
            sock.close()
            raise
        return connection


class Connection(asyncio.Protocol):
    """One connection. What goes wrong on it is told to whoever waits for the answer, and ends it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeouts: Timeouts) -> None:
        self._loop = loop
        self._timeouts = timeouts
        self._transport: asyncio.Transport
        self._open = False
        self._answer: Incoming | None = None
        self._waiting: asyncio.Future[httpx.Response] | None = None
        self._writing = False
        #: whether more may be written, or writing is of no use any more
        self._writable = asyncio.Event()
        #: by the loop's clock: when the step under way has taken too long, and when everything has
        self._patience_ends = self._deadline = 0.0
        #: what looks at that, and when
        self._look: asyncio.Handle | None = None
        self._look_at = 0.0

    async def ask(self, head: bytes, body: bytes) -> httpx.Response:
        """Send a request and wait for its answer."""
        if not self._open:
            raise httpx.ConnectError("the connection was closed before anything was sent")
        self._waiting = self._loop.create_future()
        self._answer = Incoming()
        self._deadline = self._loop.time() + self._timeouts.attempt
        try:
            self._allow(self._timeouts.read)
            said = await self._say(head, body)
            answer = await self._waiting
            if answer.is_success and (not said or self._writing):
                raise httpx.RemoteProtocolError("the answer came before the request was sent")
            return answer
        except BaseException:
            self._open = False
            raise
        finally:
            self._waiting = self._answer = None
            if not self.reusable:
                self.abandon()

    async def _say(self, head: bytes, body: bytes) -> bool:
        """Hand the request to the kernel, piece by piece. False: it was answered, or broke, in the middle."""
        self._transport.write(head + body[:_PIECE])
        for start in range(_PIECE, len(body), _PIECE):
            if self._writing:
                await self._writable.wait()
            if self._waiting is None or self._waiting.done():
                self._open = False  # the rest would be taken for the beginning of the next request
                return False
            self._transport.write(body[start : start + _PIECE])
        return True

    @property
    def reusable(self) -> bool:
        """Whether another request may follow."""
        return self._open and not self._writing and self._answer is None and not self._transport.is_closing()

    @property
    def quiet(self) -> bool:
        """Whether it is open and nothing arrived that nobody asked for.

        What is there already would be taken for the answer to the next request: a rejected object would count as
        accepted. A connection that the server has closed meanwhile is found as well, before anything is lost on it.
        """
        if not self.reusable:
            return False
        socket = self._transport.get_extra_info("socket")
        if not hasattr(select, "poll"):  # Windows
            return not select.select([socket], [], [], 0)[0]
        arrived = select.poll()
        arrived.register(socket.fileno(), select.POLLIN)
        return not arrived.poll(0)

    def abandon(self) -> None:
        """Close it, whatever is still to be written."""
        self._open = False
        if self._look is not None:
            self._look.cancel()
        self._transport.abort()

    # --- what the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent
        # so that it is known when the last byte was written; with 0, TLS would take an empty buffer for a full one
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._open = True

    def pause_writing(self) -> None:
        """The kernel takes no more of the request for now."""
        self._writing = True
        self._writable.clear()
        self._allow(self._timeouts.write)

    def resume_writing(self) -> None:
        """What was to be written is."""
        self._writing = False
        self._writable.set()
        self._allow(self._timeouts.read)

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer; or of nothing anybody asked for."""
        if self._answer is None or self._waiting is None or self._waiting.done():
            self.abandon()  # nobody asked for it
            return
        if not self._writing:
            self._allow(self._timeouts.read)
        try:
            self._answer.feed(data)
        except ValueError:
            # what comes behind a whole answer spoils the connection only
            self._answer.keeps = False
            if not self._answer.complete:
                self._end(httpx.RemoteProtocolError("the answer is not HTTP, or it is damaged"))
        if self._answer.complete:
            self._finish(keep=self._answer.keeps)
        elif self._loop.time() > self._deadline:
            self._end(httpx.ReadTimeout(f"the answer was not complete after {self._timeouts.attempt:g} s"))

    def eof_received(self) -> None:
        """The server says no more; so it may end a body whose length it did not tell."""
        if self._waiting is not None and not self._waiting.done() and self._answer and self._answer.ended():
            self._finish(keep=False)

    def connection_lost(self, error: Exception | None) -> None:
        """It is closed."""
        self._open = False
        told = _words_of(error) if error is not None else "the connection was closed before the answer was complete"
        self._end(httpx.ReadError(told))

    # --- endings

    def _finish(self, *, keep: bool) -> None:
        assert self._answer is not None
        assert self._waiting is not None
        self._open = self._open and keep
        self._waiting.set_result(self._answer.response())
        self._writable.set()

    def _end(self, error: httpx.TransportError) -> None:
        self._open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
            self._writable.set()
        else:
            self.abandon()

    # --- patience

    def _allow(self, seconds: float) -> None:
        """The step that begins now may take so long. One timer serves many steps: it looks again when it is early."""
        if self._waiting is None:
            return
        self._patience_ends = min(self._loop.time() + seconds, self._deadline)
        if self._look is None or self._look_at > self._patience_ends:
            if self._look is not None:
                self._look.cancel()
            self._look_then()

    def _look_then(self) -> None:
        self._look_at = self._patience_ends
        self._look = self._loop.call_at(self._look_at, self._looked)

    def _looked(self) -> None:
        self._look = None
        if self._waiting is None or self._waiting.done():
            return
        if self._loop.time() < self._patience_ends:
            self._look_then()
        else:
            self._end(httpx.ReadTimeout("no answer within the time allowed"))


def _always() -> bool:
    return True


def _head(request: httpx.Request, size: int) -> bytes:
    lines = [b"%b %b HTTP/1.1\r\nHost: %b" % (request.method.encode(), request.url.raw_path, request.url.netloc)]
    lines += [b"%b: %b" % each for each in request.headers.raw]
    return b"\r\n".join([*lines, b"Content-Length: %d" % size, b"", b""])


def _words_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
