"""An API that takes everything at once: as fast as Python can, so that what is measured is whoever sends.

sink.py [SECONDS]       answers after so long; prints its port; GET tells requests and bytes so far, as JSON
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
import threading
import time
from typing import cast

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n" + b'{"success": true}'
_LENGTH = b"ontent-length:"
#: of the Bulk API, by the beginning of the request; one session is as good as another here
_BULK = {
    b"POST /v0/start": (201, b'{"sync_id":"any"}'), b"POST /v0/upload": (201, b'{"part_id":"any"}'),
    b"POST /v0/keep-alive": (200, b"{}"), b"POST /v0/finish": (202, b"{}"),
}  # fmt: skip


#: what is to be answered, when and with what; all wait as long, so they are in order
_DUE: queue.SimpleQueue[tuple[float, asyncio.Transport, bytes]] = queue.SimpleQueue()


def _delay(loop: asyncio.AbstractEventLoop) -> None:
    """Answer when it is due. The loop's own timers know whole milliseconds only: one or two in fifty too many."""
    while True:
        due, transport, answer = _DUE.get()
        time.sleep(max(0.0, due - time.monotonic()))
        loop.call_soon_threadsafe(_write, transport, answer)


def _write(transport: asyncio.Transport, answer: bytes) -> None:
    if not transport.is_closing():
        transport.write(answer)


class Sink(asyncio.Protocol):
    """One connection. Requests come one after the other, each with a Content-Length."""

    requests = 0
    bytes = 0
    latency = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Someone is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent
        self._held = b""

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            size = end + 4 + _length(self._held[:end])
            if len(self._held) < size:
                return
            request, self._held = self._held[:size], self._held[size:]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"GET"):
            told = json.dumps({"requests": Sink.requests, "bytes": Sink.bytes}).encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(told)
            self._transport.write(head + told)
            return
        Sink.requests += 1
        Sink.bytes += len(request)
        answer = _bulk(request) if request.startswith(b"POST /v0/") else _OK
        if Sink.latency:
            _DUE.put((time.monotonic() + Sink.latency, self._transport, answer))
        else:
            self._transport.write(answer)


def _bulk(request: bytes) -> bytes:
    status, body = next(answer for begins, answer in _BULK.items() if request.startswith(begins))
    return b"HTTP/1.1 %d Done\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def _length(head: bytes) -> int:
    start = head.lower().find(_LENGTH)
    return int(head[start + len(_LENGTH) :].split(b"\r\n", 1)[0]) if start >= 0 else 0


async def _serve() -> None:
    Sink.latency = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    loop = asyncio.get_running_loop()
    threading.Thread(target=_delay, args=(loop,), daemon=True).start()
    server = await loop.create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve())
    else:
        uvloop.run(_serve())
