"""A destination that trusts nobody's word: it notes which process sent what on which connection, and when."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import orjson

_ACCEPTED = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"success":true}'
_LATER = b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request that was answered with success."""

    process: int
    connection: int
    arrived: float
    answered: float
    objects: dict[str, dict[str, object]]


@dataclass(frozen=True, kw_only=True)
class Span:
    """From the first request of a connection to the last answer on it. A run that sends one request at a time, over
    connections of its own, is busy for at least as long."""

    process: int
    began: float
    ended: float


@dataclass
class Witness:
    """What was seen. Read it when nothing is being sent."""

    #: seconds it takes to answer
    latency: float
    #: asked before each answer: whether to refuse for now, with a 503
    refuses: Callable[[int], bool] = lambda _: False
    endpoint: str = ""
    seen: list[Seen] = field(default_factory=list)
    #: arrivals, also of requests that were refused or never answered: which process, and when
    arrivals: list[tuple[int, float]] = field(default_factory=list)
    #: numbers the connections: a port is used again, also by the same process
    connections: Iterator[int] = field(default_factory=itertools.count)

    @property
    def objects(self) -> dict[str, dict[str, object]]:
        """The objects by id, as the answered requests left them."""
        held: dict[str, dict[str, object]] = {}
        for each in sorted(self.seen, key=lambda seen: seen.answered):
            held.update(each.objects)
        return held

    def spans(self) -> list[Span]:
        """Of every connection, in the order they began."""
        by_connection: dict[tuple[int, int], list[Seen]] = {}
        for each in self.seen:
            by_connection.setdefault((each.process, each.connection), []).append(each)
        spans = (
            Span(process=some[0].process, began=min(s.arrived for s in some), ended=max(s.answered for s in some))
            for some in by_connection.values()
        )
        return sorted(spans, key=lambda span: span.began)

    def overlaps(self) -> list[tuple[Span, Span]]:
        """Pairs of spans that have an instant in common."""
        return [(first, second) for first, second in pairwise(self.spans()) if second.began < first.ended]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        port: int = writer.get_extra_info("peername")[1]
        process, number = process_at(port, writer.get_extra_info("sockname")[1]), next(self.connections)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    await self._exchange(process, number, reader, writer)
        finally:
            writer.close()

    async def _exchange(
        self, process: int, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        body = await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
        arrived = time.monotonic()
        self.arrivals.append((process, arrived))
        await asyncio.sleep(self.latency)
        if self.refuses(process):
            writer.write(_LATER)
            return
        objects = {each["id"]: each["properties"] for each in orjson.loads(body)["objects"]}
        self.seen.append(
            Seen(process=process, connection=connection, arrived=arrived, answered=time.monotonic(), objects=objects)
        )
        writer.write(_ACCEPTED)
        await writer.drain()


def process_at(port: int, to: int) -> int:
    """The process that has a TCP connection from this port of 127.0.0.1 to that one; 0: it is gone by now."""
    ends = [f"0100007F:{end:04X}" for end in (port, to)]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    socket = next((f"socket:[{row[9]}]" for row in rows if row[1:3] == ends), None)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(_target(place) == socket for place in (folder / "fd").iterdir()):
                return int(folder.name)
    return 0


def _target(place: Path) -> str | None:
    with suppress(OSError):
        return os.readlink(place)
    return None


@contextmanager
def witnessing(latency: float, refuses: Callable[[int], bool] = lambda _: False) -> Iterator[Witness]:
    """Serve in a thread while the context is open."""
    witness = Witness(latency=latency, refuses=refuses)
    started = threading.Event()
    stopping: list[Callable[[], object]] = []

    async def run() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        stopping.append(lambda: loop.call_soon_threadsafe(stop.set))
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.add(asyncio.current_task())  # type: ignore[arg-type]
            with suppress(asyncio.CancelledError):
                await witness.serve(reader, writer)

        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            witness.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            started.set()
            await stop.wait()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="witness")
    thread.start()
    started.wait()
    try:
        yield witness
    finally:
        stopping[0]()
        thread.join()
