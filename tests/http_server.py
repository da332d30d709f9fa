"""A real HTTP server on loopback that answers what a test scripts, down to broken bytes. It runs in a thread."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto

import orjson


@dataclass(frozen=True, kw_only=True)
class Request:
    """What arrived."""

    number: int
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def ids(self) -> list[str]:
        """Ids of the objects in it."""
        return [each["id"] for each in orjson.loads(self.body)["objects"]]


class Then(Enum):
    """What happens to the connection after the bytes of a reply."""

    KEEP = auto()
    #: an orderly end
    CLOSE = auto()
    #: a TCP reset
    RESET = auto()
    #: nothing more until the client goes away
    SILENCE = auto()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Bytes, and what happens then."""

    #: written one after the other, if need be for ever
    parts: Iterable[bytes] = ()
    then: Then = Then.KEEP
    #: seconds before the first part, and between parts
    delay: float = 0.0
    pause: float = 0.0


def answer(status: int, body: bytes = b"", *headers: tuple[str, str], delay: float = 0.0) -> Reply:
    """A well-formed answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers)]
    return Reply(parts=["\r\n".join(lines).encode() + b"\r\n\r\n" + body], delay=delay)


ACCEPTED = answer(200, b'{"success":true}', ("Content-Type", "application/json"))
RESET = Reply(then=Then.RESET)
CLOSED = Reply(then=Then.CLOSE)
SILENT = Reply(then=Then.SILENCE)
GARBAGE = Reply(parts=[b"\x16\x03\x01 this is not HTTP\r\n\r\n"], then=Then.CLOSE)
HALF = Reply(parts=[b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"succ'], then=Then.CLOSE)
HALF_RESET = Reply(parts=[b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"succ'], then=Then.RESET, pause=0.01)
STALLED = Reply(parts=[b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"succ'], then=Then.SILENCE)
#: a whole, good answer, but a byte at a time
DRIPPING = Reply(
    parts=[b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n", *(bytes([byte]) for byte in b'{"success":true}')],
    pause=0.005,
)

Script = Callable[[Request], Reply]


class ScriptedServer:
    """Answers every request as its script says, and remembers them."""

    def __init__(self, script: Script, *, reads: bool = True) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.open_connections = 0
        self.most_at_once = 0
        #: requests whose sender had gone away before the answer was written
        self.cut = 0
        #: replies that were written to their end
        self.answered = 0
        self.port = 0
        self._at_once = 0
        self._script = script
        self._reads = reads
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._shut: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def endpoint(self) -> str:
        """URL without a path."""
        return f"http://127.0.0.1:{self.port}"

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection was made. Known from now on, so that `close` cuts it however soon it comes."""
        self.connections += 1
        self.open_connections += 1
        self._writers.add(writer)
        serving = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                if not self._reads:
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                    await asyncio.Event().wait()
                while await self._exchange(reader, writer):
                    pass
        finally:
            self.open_connections -= 1
            writer.close()

    async def listen(self, tls: ssl.SSLContext | None = None) -> None:
        """Take connections, at the same port as before."""
        if self._shut is not None:
            self._shut.close()
        self._loop = asyncio.get_running_loop()
        place = socket.create_server(("127.0.0.1", self.port))
        if not self._reads:  # keep the kernel from reading in our stead
            place.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener = await asyncio.start_server(self.connected, sock=place, ssl=tls)
        self.port = place.getsockname()[1]

    def listen_again(self) -> None:
        """As `listen`, from another thread, after `shut`."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self.listen(), self._loop).result()

    def shut_now(self) -> None:
        """As `shut`, from another thread."""

        async def shut() -> None:
            self.shut()

        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(shut(), self._loop).result()

    def shut(self) -> None:
        """Refuse new connections, and keep the port and the connections there are. Call it in a script."""
        assert self._listener is not None
        self._listener.close()
        # bound, but not listening: the port stays ours
        self._shut = socket.socket()
        self._shut.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._shut.bind(("127.0.0.1", self.port))

    async def close(self) -> None:
        """Listen no more. Cut every connection, and wait until the loop has let go of it."""
        # connections that were accepted just now are tasks of the loop, which leaks them if the listener closes first
        while coming := asyncio.all_tasks() - self._serving - {asyncio.current_task()}:
            await asyncio.wait(coming)
        if self._listener is not None:
            self._listener.close()
        if self._shut is not None:
            self._shut.close()
        for writer in self._writers:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await self._receive(reader)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            reply = self._script(request)
            await asyncio.sleep(reply.delay)
            self.cut += reader.at_eof() or reader.exception() is not None
            for part in reply.parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(reply.pause)
            self.answered += 1
        finally:
            self._at_once -= 1
        return await _go_on(reply.then, reader, writer)

    async def _receive(self, reader: asyncio.StreamReader) -> Request:
        line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in fields if each)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(number=len(self.requests), line=line, headers=headers, body=body)
        self.requests.append(request)
        return request


async def _go_on(then: Then, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    if then is Then.SILENCE:
        await reader.read()
    if then is Then.RESET:
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    return then is Then.KEEP


@contextmanager
def serving(script: Script, *, reads: bool = True, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """Serve in a thread while the context is open."""
    server = ScriptedServer(script, reads=reads)
    started = threading.Event()
    stopping: list[Callable[[], object]] = []

    async def run() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        # a cancelled connection is how every test with a silent server ends
        loop.set_exception_handler(lambda _loop, _context: None)
        stopping.append(lambda: loop.call_soon_threadsafe(stop.set))
        await server.listen(tls)
        started.set()
        await stop.wait()
        await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="scripted server")
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        stopping[0]()
        thread.join()


def always(reply: Reply) -> Script:
    """The same reply to everything."""
    return lambda _: reply


def in_order(*replies: Reply, then: Reply = ACCEPTED) -> Script:
    """These replies, then another for ever."""
    return lambda request: replies[request.number] if request.number < len(replies) else then


def refusing(guilty: str, reply: Reply) -> Script:
    """This reply to every request with that id, acceptance for all others."""
    return lambda request: reply if guilty in request.ids else ACCEPTED
