"""`syncer run`: sync once, now."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import click

from syncer.cli.app import Globals
from syncer.cli.loop import on_signals, run_in_loop
from syncer.cli.observing import observed
from syncer.cli.report import advice, as_json, table
from syncer.cli.selection import reading, selecting, wanted
from syncer.config import Config, select_mappings
from syncer.core.events import Noticed
from syncer.core.model import CollectionMapping, RunReport
from syncer.core.order import in_order
from syncer.core.plan import RunOptions
from syncer.observe.logs import LogObserver
from syncer.observe.progress import ProgressObserver
from syncer.run.executor import exit_code
from syncer.run.runner import Runner
from syncer.state import open_store


@click.command(
    epilog="""\b
Examples:
  syncer run                                    every mapping, incremental where a checkpoint exists
  syncer run --full                             the nightly reload
  syncer run --select rooms --select tag:core   some of them
  syncer run --select rooms --from 2026-01-01 --to 2026-02-01
  syncer run --dry-run                          read and compare, send nothing
  syncer run --output json | jq '.runs[] | .outcome'

\b
Exit codes: 0 all succeeded, 1 a run failed (nothing lost), 2 configuration or usage, 3 finished with dead
letters, 4 another process runs the mapping, 130 or 143 interrupted with progress saved.
"""
)
@selecting
@reading
@click.option("--allow-changes", is_flag=True, help="Send, whatever max_objects_per_run and max_change_ratio say.")
@click.option("--dry-run", is_flag=True, help="Read and compare, but send and write nothing.")
@click.option("--fail-fast", is_flag=True, help="Stop after the first mapping that fails.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def run(
    options: Globals,
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    full: bool,
    resend: bool,
    start: str | None,
    end: str | None,
    limit: int | None,
    allow_deletes: bool,
    allow_changes: bool,
    dry_run: bool,
    fail_fast: bool,
    output: str,
) -> int:
    """Sync mappings once, now."""
    asked = wanted(full=full, resend=resend, start=start, end=end, limit=limit, allow_deletes=allow_deletes)
    asked = replace(asked, allow_changes=allow_changes, dry_run=dry_run)
    config = options.load()
    mappings = _ordered(config, select_mappings(config, select, exclude))
    return run_mappings(options, config, mappings, asked, fail_fast=fail_fast, output=output)


def run_mappings(
    options: Globals,
    config: Config,
    mappings: Sequence[CollectionMapping],
    asked: RunOptions,
    *,
    fail_fast: bool,
    output: str,
) -> int:
    """Run, show progress on standard error and the result on standard output; returns the exit code."""
    if options.log_format == "text" and sys.stderr.isatty():
        with ProgressObserver() as progress:
            reports, number = run_in_loop(_all(config, mappings, asked, fail_fast, progress.notice))
    else:
        reports, number = run_in_loop(_all(config, mappings, asked, fail_fast, LogObserver().notice))
    click.echo(as_json(reports) if output == "json" else table(reports))
    for line in advice(reports, dry_run=asked.dry_run):
        click.echo(line, err=True)
    return exit_code(reports, signal=number)


async def _all(
    config: Config,
    mappings: Sequence[CollectionMapping],
    asked: RunOptions,
    fail_fast: bool,
    notice: Callable[..., None],
) -> tuple[list[RunReport], int | None]:
    store = open_store(config.state_url, read_only=asked.dry_run)
    async with (
        Runner(config, lambda event: tell(event), store=store) as runner,
        # within the runner, because the last of it is told while the store is still open
        observed(config, store, notice, asked) as tell,
    ):
        received = on_signals(runner.stop)
        paused = await asyncio.to_thread(store.pauses)
        for each in mappings:
            if each.name in paused:
                notice(Noticed(mapping=each.name, message="it is paused, which holds for its schedules only"))
        reports = await runner.run_all(mappings, asked, fail_fast=fail_fast)
    return reports, received[0] if received else None


def _ordered(config: Config, chosen: Sequence[CollectionMapping]) -> Sequence[CollectionMapping]:
    """The chosen mappings, each after those that go before it by their `after`, also by way of others."""
    return [each for each in in_order(config.mappings.values()) if each in chosen]
