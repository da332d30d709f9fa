"""`syncer serve`: the daemon."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import click

from syncer.cli.app import Globals
from syncer.cli.loop import on_signals, run_in_loop
from syncer.cli.tables import moment
from syncer.config import Config
from syncer.core.blackouts import begins
from syncer.core.calendar import next_fires
from syncer.errors import UsageError
from syncer.observe.logs import LogObserver
from syncer.observe.notifications import Notifier
from syncer.observe.traces import open_traces
from syncer.run.runner import utc_now
from syncer.service.daemon import Daemon
from syncer.service.systemd import Systemd
from syncer.service.web import Watch, serve_web

#: seconds between two looks who is behind
MINUTE = 60.0

_log = logging.getLogger("syncer.serve")


@click.command(
    epilog="""\b
Examples:
  syncer serve
  syncer serve --port 9090
  syncer --log-format json serve

\b
SIGTERM and SIGINT stop it: running mappings finish what is in flight, save their progress and give back
their leases. Runs missed while it was down are caught up once. SIGHUP reads the file again: a good one
is used for the runs that begin from then on, a bad one is told in the log and changes nothing.
"""
)
@click.option("--host", metavar="ADDRESS", help="Address of the status page. [serve.host, 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port of the status page. [serve.port, 8080]")
@click.pass_obj
def serve(options: Globals, host: str | None, port: int | None) -> int:
    """Run mappings on their schedules until stopped, and show how they stand on a page."""

    def load() -> Config:
        return _wanted(options.load(), host, port)

    if sys.platform != "win32":
        # until there is someone to take it: the file is about to be read anyway
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return run_in_loop(_serve(load(), load))


def _wanted(config: Config, host: str | None, port: int | None) -> Config:
    """The configuration with what the command line says instead. Raises `UsageError` where nothing would ever run."""
    if not any(mapping.schedules for mapping in config.mappings.values()):
        hint = "add `schedules: [{every: 1h}]` to a mapping, or use `syncer run`"
        raise UsageError("no mapping has a schedule", hint)
    at = config.serve
    return replace(config, serve=replace(at, host=host or at.host, port=at.port if port is None else port))


async def _serve(config: Config, load: Callable[[], Config]) -> int:
    systemd, stop = Systemd(os.environ), asyncio.Event()

    def end() -> None:
        systemd.stopping()
        stop.set()

    received = on_signals(end)
    async with Daemon(config, load=load) as daemon:
        daemon.observe(LogObserver().notice)
        watch, at = Watch(utc_now), config.serve
        daemon.observe(watch.notice)
        async with (
            _others_told(daemon),
            serve_web(daemon, host=at.host, port=at.port, token=at.token, hosts=at.hosts, watch=watch) as url,
            _reloading(daemon, systemd),
            _reporting(daemon, systemd),
        ):
            _announce(config, url)
            await daemon.serve(stop)
    _log.info("stopped")
    return 128 + received[0] if received else 0


@asynccontextmanager
async def _others_told(daemon: Daemon) -> AsyncIterator[None]:
    """Tell those whom `notifications` names, and a collector of traces, while the context is open."""
    notifier, traces = Notifier(daemon.config, daemon.store), open_traces(os.environ)
    daemon.observe(notifier.notice, use=notifier.use)
    if traces is not None:
        daemon.observe(traces.notice)

    async def look() -> None:
        while True:
            await asyncio.sleep(MINUTE)
            await notifier.look(utc_now())

    try:
        async with _beside(look()):
            yield
    finally:
        await asyncio.gather(notifier.close(), *([traces.close()] if traces is not None else []))


@asynccontextmanager
async def _reloading(daemon: Daemon, systemd: Systemd) -> AsyncIterator[None]:
    """Read the file again at SIGHUP, where there is such a signal, while the context is open."""
    asked = asyncio.Event()

    async def reload() -> None:
        while True:
            await asked.wait()
            asked.clear()
            systemd.reloading()
            await daemon.reload()
            systemd.ready()

    async with _beside(reload()):
        if sys.platform != "win32":
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
        yield


@asynccontextmanager
async def _reporting(daemon: Daemon, systemd: Systemd) -> AsyncIterator[None]:
    """Tell systemd when the daemon has begun, and that it lives, while the context is open."""

    async def report() -> None:
        await daemon.planned.wait()
        systemd.ready()
        while systemd.watchdog is not None:
            if daemon.alive() is None:
                systemd.lives()
            await asyncio.sleep(systemd.watchdog)

    async with _beside(report()):
        yield


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have it done while the context is open, and no longer. What it fails for is raised at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


def _announce(config: Config, url: str) -> None:
    _log.info("the status page is at %s", url, extra={"fields": {"event": "page_served", "url": url}})
    for mapping in config.mappings.values():
        for schedule in mapping.schedules:
            coming = next_fires(schedule, utc_now(), 3, mapping=mapping.name)
            fires = ", ".join(filter(None, map(moment, begins(mapping.blackouts, coming))))
            _log.info("%s: %s runs next at %s", mapping.name, schedule.mode, fires)
