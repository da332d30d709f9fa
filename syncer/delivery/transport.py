"""The transport beneath httpx: HTTP/1.1 over kept connections, one request at a time on each, answers parsed by llhttp.

Chosen by measurement: a request takes a fraction of what it takes through a general client, see docs/performance.md.
What it promises beyond that is what a delivery must know: whether a request can have arrived, that none is ever
cancelled, that no answer is taken from bytes which came before the request, and that nothing waits for ever.
"""

from __future__ import annotations

import asyncio
import select
import socket
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import httptools
import httpx
from aiohappyeyeballs import start_connection

from syncer.core.verdict import LARGEST_ANSWER

#: bytes of all headers of an answer
_MOST_HEADERS: Final = 32 * 1024
#: bytes of one answer with all that is around its body, after which it is no answer any more
_MOST_BYTES: Final = 4 * LARGEST_ANSWER
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
            connection = self._kept() or await self._connected(request.url)
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

    async def _connected(self, url: httpx.URL) -> Connection:
        try:
            async with asyncio.timeout(self._timeouts.connect):
                return await self._connect(url.raw_host.decode(), url.port or (443 if self._tls else 80))
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection within the time allowed") from error
        except (OSError, UnicodeError) as error:
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
        self._answer: _Answer | None = None
        self._waiting: asyncio.Future[httpx.Response] | None = None
        self._writing = False
        #: whether more may be written, or writing is of no use any more
        self._writable = asyncio.Event()
        #: by the loop's clock: when the step under way has taken too long, and when everything has
        self._patience_ends = self._deadline = 0.0
        #: when that is looked at
        self._look: asyncio.TimerHandle | None = None

    async def ask(self, head: bytes, body: bytes) -> httpx.Response:
        """Send a request and wait for its answer."""
        if not self._open:
            raise httpx.ReadError("the connection was closed")
        self._waiting = self._loop.create_future()
        self._answer = _Answer()
        self._deadline = self._loop.time() + self._timeouts.attempt
        self._allow(self._timeouts.read)
        try:
            self._transport.write(head + body[:_PIECE])
            for start in range(_PIECE, len(body), _PIECE):
                if self._writing:
                    await self._writable.wait()
                if self._waiting.done():
                    break  # answered, or broken, before all was said
                self._transport.write(body[start : start + _PIECE])
            return await self._waiting
        except BaseException:
            self._open = False
            raise
        finally:
            self._waiting = self._answer = None
            if not self.reusable:
                self.abandon()

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
        arrived = select.poll()
        arrived.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
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
        # so that it is known when the last byte was written
        self._transport.set_write_buffer_limits(high=0)
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
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError):
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
        if self._waiting is not None and not self._waiting.done() and self._answer and self._answer.ends_with_it:
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
        self._patience_ends = min(self._loop.time() + seconds, self._deadline)
        if self._look is None or self._look.when() > self._patience_ends:
            if self._look is not None:
                self._look.cancel()
            self._look = self._loop.call_at(self._patience_ends, self._looked)

    def _looked(self) -> None:
        self._look = None
        if self._waiting is None or self._waiting.done():
            return
        if self._loop.time() < self._patience_ends:
            self._look = self._loop.call_at(self._patience_ends, self._looked)
        else:
            self._end(httpx.ReadTimeout("no answer within the time allowed"))


class _Answer:
    """What has arrived of one answer."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._status = 0
        self._body = bytearray()
        self._unpack: Callable[[bytes], bytes] | None = None
        self._size = self._head_size = 0
        self._headed = False
        self.complete = False
        #: whether the connection may carry another request
        self.keeps = False
        #: whether only the connection's end tells where the body ends
        self.ends_with_it = False

    def feed(self, data: bytes) -> None:
        """Raises `HttpParserError`, `HttpParserUpgrade` or `ValueError` for what is no answer, or behind one."""
        self._size += len(data)
        self._parser.feed_data(data)
        if not self.complete and len(self._body) > LARGEST_ANSWER:
            self.complete, self.keeps = True, False
        elif not self.complete and self._size > _MOST_BYTES:
            raise ValueError("the answer has no end")

    def response(self) -> httpx.Response:
        """The answer, its body unpacked and cut one byte after the largest."""
        body = bytes(self._body[: LARGEST_ANSWER + 1])
        headers = [each for each in self._headers if each[0] != b"content-encoding"]
        return httpx.Response(self._status, headers=headers, stream=httpx.ByteStream(body))

    # --- what the parser tells

    def on_message_begin(self) -> None:
        """A first line."""
        if self.complete:
            raise ValueError("an answer that nobody asked for")
        self._headers, self._headed = [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, of which nothing is known."""
        if self._headed:
            return
        self._headers.append((name.lower(), value))
        self._head_size += len(name) + len(value)
        if self._head_size > _MOST_HEADERS:
            raise ValueError("headers without an end")

    def on_headers_complete(self) -> None:
        """All that comes before the body."""
        self._status = self._parser.get_status_code()
        if 100 <= self._status < 200:
            return
        self._headed = True
        codings = self._values(b"transfer-encoding")
        if codings not in ([], [b"chunked"]):
            # none was asked for, and where its body would end is anybody's guess
            raise ValueError("the answer is in a transfer coding that was not asked for")
        if codings and self._status == 204:
            raise ValueError("the answer has a body that it must not have")  # RFC 9112, section 6.1
        self.ends_with_it = not codings and not self._values(b"content-length")
        self._unpack = _unpacking(self._values(b"content-encoding"))

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        self._body += self._unpack(data) if self._unpack is not None else data

    def on_message_complete(self) -> None:
        """The end, unless it was only an announcement."""
        if self._headed:
            self.complete, self.keeps = True, self._parser.should_keep_alive() and not self.ends_with_it

    def _values(self, name: bytes) -> list[bytes]:
        return [value.strip().lower() for each, value in self._headers if each == name]


def _unpacking(codings: Sequence[bytes]) -> Callable[[bytes], bytes] | None:
    """A proxy may compress what nobody asked to be compressed. At most what is looked at is unpacked."""
    if codings in ([], [b"identity"], [b""]):
        return None
    windows = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
    if len(codings) != 1 or codings[0] not in windows:
        raise ValueError("the answer is in a content coding that was not asked for")
    unpacker = zlib.decompressobj(windows[codings[0]])
    return lambda data: unpacker.decompress(data, LARGEST_ANSWER + 1)


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
