"""Where the sandbox and the status page listen, and the server both run: one that leaves signals to the process."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from syncer.errors import UsageError


class Server(uvicorn.Server):
    """Leaves signals alone: they belong to whoever owns the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None of them."""
        yield


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen on, its name looked up. Port 0: any free one."""

    host: str
    port: int
    family: socket.AddressFamily
    number: str

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.number).is_loopback

    def listen(self, backlog: int) -> socket.socket:
        """A socket that already listens: connections wait in its queue until the server is up.

        Raises:
            UsageError: the place cannot be had.
        """
        # asyncio sets TCP_NODELAY only where the protocol is named; without it each answer waits 40 ms
        listener = socket.socket(self.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            if os.name == "posix":  # elsewhere it would let two servers share the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.number, self.port))
            listener.listen(backlog)
        except OSError as error:
            listener.close()
            raise self._unavailable(error) from error
        return listener

    def _unavailable(self, error: OSError) -> UsageError:
        if error.errno == errno.EADDRINUSE:
            return UsageError(
                f"port {self.port} on {self.host} is in use",
                "stop what listens there, or choose another port with --port (0: any free one)",
            )
        told = f"cannot listen on port {self.port} of {self.host}: {error.strerror}"
        return UsageError(told, "choose another --host or --port")


def address_of(host: str, port: int) -> Address:
    """Look the host up.

    Raises:
        UsageError: there is no such host or port.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"there is no port {port}", "choose one from 1 to 65535, or 0 for any free one")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"there is no host {host!r} to listen on", "bind it to 127.0.0.1") from error
    family, _, _, _, place = found[0]
    return Address(host, port, family, str(place[0]))


def url_of(listener: socket.socket) -> str:
    """Under which it is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"
