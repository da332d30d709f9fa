"""`syncer serve`: the daemon."""

from __future__ import annotations

import asyncio
import logging

import click

from syncer.cli.app import Globals
from syncer.cli.loop import on_signals, run_in_loop
from syncer.cli.tables import moment
from syncer.config import Config
from syncer.core.calendar import next_fires
from syncer.errors import UsageError
from syncer.observe.logs import LogObserver
from syncer.run.runner import Runner, utc_now
from syncer.service.scheduler import Scheduler

_log = logging.getLogger("syncer.serve")


@click.command(
    epilog="""\b
Examples:
  syncer serve
  syncer --log-format json serve

\b
SIGTERM and SIGINT stop it: running mappings finish what is in flight, save their progress and give back
their leases. Runs missed while it was down are caught up once.
"""
)
@click.pass_obj
def serve(options: Globals) -> int:
    """Run mappings on their schedules until stopped."""
    config = options.load()
    if not any(mapping.schedules for mapping in config.mappings.values()):
        hint = "add `schedules: [{every: 1h}]` to a mapping, or use `syncer run`"
        raise UsageError("no mapping has a schedule", hint)
    return run_in_loop(_serve(config))


async def _serve(config: Config) -> int:
    observer = LogObserver()
    async with Runner(config, observer.notice) as runner:
        stop = asyncio.Event()
        received = on_signals(stop.set)
        mappings = list(config.mappings.values())
        scheduler = Scheduler(mappings, runner.run, runner.store, now=utc_now, notice=observer.notice)
        _announce(config)
        await scheduler.serve(stop, runner.stop)
    _log.info("stopped")
    return 128 + received[0] if received else 0


def _announce(config: Config) -> None:
    for mapping in config.mappings.values():
        for schedule in mapping.schedules:
            fires = ", ".join(filter(None, map(moment, next_fires(schedule, utc_now(), 3))))
            _log.info("%s: %s runs next at %s", mapping.name, schedule.mode, fires)
