"""Telling systemd how the service is: a datagram to the socket it names. Does nothing where there is none.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

_MICROSECONDS = 1_000_000


class Systemd:
    """Who started us, if that was systemd with `Type=notify`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        place = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte of an abstract socket
        self._place = "\0" + place[1:] if place.startswith("@") else place
        self.watchdog = _watchdog(environ) if self._place else None
        """Seconds between two signs of life that are asked for, at the most; None: none are."""

    def ready(self) -> None:
        """The service has begun, or has read its file again."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The file is being read again; `ready` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The service finishes what is in flight."""
        self._tell("STOPPING=1")

    def lives(self) -> None:
        """A sign of life."""
        self._tell("WATCHDOG=1")

    def _tell(self, what: str) -> None:
        if not self._place:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(what.encode(), self._place)
            except OSError:
                return  # systemd is not listening, and there is nobody else to tell


def _watchdog(environ: Mapping[str, str]) -> float | None:
    length, of = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
    # half of what it waits for, as its manual advises
    return int(length) / _MICROSECONDS / 2 if length.isdecimal() and int(length) and of == str(os.getpid()) else None
