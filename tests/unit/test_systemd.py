"""What systemd is told, at a real socket of its kind."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncer.service.systemd import Systemd


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd has it, and its name for NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@syncer-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind("\0" + name[1:] if name.startswith("@") else name)
        opened.settimeout(5)
        yield opened, name


def test_each_word(listener: tuple[socket.socket, str]) -> None:
    """Begun, reading the file again with the time of that, finishing, and signs of life."""
    heard, name = listener
    systemd = Systemd({"NOTIFY_SOCKET": name})
    for tell in (systemd.ready, systemd.reloading, systemd.stopping, systemd.lives):
        tell()
    said = [heard.recv(200).decode() for _ in range(4)]
    assert (said[0], said[2], said[3]) == ("READY=1", "STOPPING=1", "WATCHDOG=1")
    reloading, _, since = said[1].partition("\nMONOTONIC_USEC=")
    assert reloading == "RELOADING=1"
    assert since.isdecimal()


def test_without_systemd(tmp_path: Path) -> None:
    """Nobody is told anything, and a socket that is gone stops nothing."""
    Systemd({}).ready()
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_bites(environ: dict[str, str], expected: float | None) -> None:
    """Half of the time it waits; not where another process is meant, or none."""
    assert Systemd(environ | {"NOTIFY_SOCKET": "/nowhere"}).watchdog == expected
    assert Systemd(environ).watchdog is None
