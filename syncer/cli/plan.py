"""`syncer plan`: what a run would send, how long it would take, and what it would cost. Sends and writes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from syncer.cli.app import Globals
from syncer.cli.loop import on_signals, run_in_loop
from syncer.cli.outlook import Plan, Plans, advice, as_json, as_text
from syncer.cli.selection import reading, selecting, wanted
from syncer.config import Config, select_mappings
from syncer.core.estimate import RUNS_BACK, Budget, month_of, rate_of
from syncer.core.events import Event, Noticed
from syncer.core.model import CollectionMapping
from syncer.core.plan import RunOptions
from syncer.observe.logs import LogObserver
from syncer.observe.progress import ProgressObserver
from syncer.run.executor import exit_code
from syncer.run.runner import Runner, utc_now
from syncer.state import open_store
from syncer.state.base import Store


@click.command(
    epilog="""\b
Examples:
  syncer plan                                   what `syncer run` would do now
  syncer plan --full --select rooms             what the nightly reload would
  syncer plan --output json | jq '.plans[] | {mapping, objects, seconds}'

\b
Exit codes: 0 it is known what a run would do, 1 reading failed, 2 configuration or usage, 130 or 143
interrupted. Rows that would be refused, guards that would stop the run, and a budget that would be
exceeded are told, but are no failure of the plan: it is the run that ends with 3 or 1.
"""
)
@selecting
@reading
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def plan(
    options: Globals,
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    full: bool,
    resend: bool,
    start: str | None,
    end: str | None,
    limit: int | None,
    allow_deletes: bool,
    output: str,
) -> int:
    """What a run with the same options would do now: read and compare, send and write nothing.

    `time` is that of sending at `requests_per_second`, or at the speed of recent runs, but not less than reading
    takes. Every object added, changed or deleted is billed.
    """
    asked = wanted(full=full, resend=resend, start=start, end=end, limit=limit, allow_deletes=allow_deletes)
    config = options.load()
    mappings = select_mappings(config, select, exclude)
    with _noticing(options) as notice:
        found, number = run_in_loop(_planned(config, mappings, asked, notice))
    click.echo(as_json(found) if output == "json" else as_text(found))
    for line in advice(found):
        click.echo(line, err=True)
    return exit_code([each.found.report for each in found.plans], signal=number)


@contextmanager
def _noticing(options: Globals) -> Iterator[Callable[[Event], None]]:
    """A person at a terminal sees how far it is; a log gets what is worth knowing, and no runs, for there are none."""
    if options.log_format == "text" and sys.stderr.isatty():
        with ProgressObserver() as progress:
            yield progress.notice
    else:
        log = LogObserver()
        yield lambda event: log.notice(event) if isinstance(event, Noticed) else None


async def _planned(
    config: Config, mappings: Sequence[CollectionMapping], asked: RunOptions, notice: Callable[[Event], None]
) -> tuple[Plans, int | None]:
    store, ceiling = open_store(config.state_url, read_only=True), config.destination.requests_per_second
    async with Runner(config, notice, store=store) as runner:
        received = on_signals(runner.stop)
        found = await runner.foresee_all(mappings, asked)
        # fewer when interrupted
        plans = [
            Plan(
                mapping=mapping, found=each, rate=rate_of(ceiling, store.runs(mapping.name, RUNS_BACK), each.report.api)
            )
            for mapping, each in zip(mappings, found, strict=False)
        ]
        budget = _budget(config.destination.budget, store, plans)
    return Plans(plans=plans, budget=budget), received[0] if received else None


def _budget(limit: int | None, store: Store, plans: Sequence[Plan]) -> Budget | None:
    if limit is None:
        return None
    month = month_of(utc_now())
    planned = sum(each.found.objects for each in plans if each.known)
    return Budget(limit=limit, month=month, used=store.sent_since(month), planned=planned)
