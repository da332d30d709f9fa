"""The event loop that a command's work runs in, and the signals that end it."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

T = TypeVar("T")


def run_in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, in the fastest loop there is for this system."""
    gc.freeze()  # what is loaded stays: there is nothing to find in it
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop  # not on Windows

    return uvloop.run(work)


def on_signals(stop: Callable[[], None]) -> list[int]:
    """Call `stop` at SIGINT or SIGTERM; the list returned fills with what came. A second signal ends at once."""
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def take(number: int) -> None:
        received.append(number)
        stop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        # said last: whoever reads it may send the second signal at once
        click.echo("Stopping: finishing what is in flight. Once more to quit at once.", err=True)

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, take, each)
    return received
