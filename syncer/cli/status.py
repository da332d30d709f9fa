"""`syncer status` and `syncer runs`: what the state store knows. Reads only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click

from syncer.cli.app import Globals
from syncer.cli.report import as_json, history
from syncer.cli.tables import length, moment, printable, render
from syncer.config import select_mappings
from syncer.observe.metrics import exposition
from syncer.run.standing import Standing, gauges, standings
from syncer.state import open_store


@click.command(
    epilog="\b\nExamples:\n  syncer status\n  syncer status --output json\n"
    "  syncer status --output prometheus > /var/lib/node_exporter/syncer.prom"
)
@click.option("--output", type=click.Choice(["text", "json", "prometheus"]), default="text", show_default=True)
@click.pass_obj
def status(options: Globals, output: str) -> None:
    """Per mapping: last run, outcome, watermark, lag since the last success, next run, dead letters, rows in doubt.

    `bound` is the age of what the last run knew to be committed for certain: an open transaction of the database
    holds it back, and the saved watermark with it. `held`: one that does not tell when it began, or whose end
    is not certain, keeps the watermark where it is.
    """
    config = options.load()
    store = open_store(config.state_url, read_only=True)
    try:
        now = datetime.now(UTC)
        found = standings(config, store, now)
    finally:
        store.close()
    if output == "json":
        click.echo(json.dumps({"mappings": [asdict(each) for each in found]}, default=datetime.isoformat, indent=2))
    elif output == "prometheus":
        click.echo(exposition(gauges(found)), nl=False)
    else:
        _show(found, now)


def _show(found: Sequence[Standing], now: datetime) -> None:
    headers = ["mapping", "last run", "outcome", "watermark", "bound", "lag", "next run", "dead letters", "in doubt"]
    rows = [
        [
            each.mapping, moment(each.last_run), each.outcome, each.watermark, _bound(each, now),
            _age(each.last_success, now), "paused" if each.paused is not None else moment(each.next_run),
            each.dead_letters, each.in_doubt,
        ]
        for each in found
    ]  # fmt: skip
    click.echo(render(headers, rows))
    for each in found:
        if each.held_by is not None:
            click.echo(f"Held: the watermark of {each.mapping}, by {printable(each.held_by)}")
    for each in found:
        if each.paused is not None:
            click.echo(
                f"Paused: {each.mapping}, since {moment(each.paused)}; its schedules begin no run until it is resumed"
            )
    for each in found:
        if each.error:
            click.echo(f"Error: {each.error}", err=True)


def _bound(standing: Standing, now: datetime) -> str | None:
    return "held" if standing.held_by is not None else _age(standing.bound, now)


def _age(at: datetime | None, now: datetime) -> str | None:
    return length(now - at) if at is not None else None


@click.command(epilog="\b\nExamples:\n  syncer runs\n  syncer runs rooms --limit 50\n  syncer runs --output json")
@click.argument("mapping", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, the newest first.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def runs(options: Globals, mapping: str | None, limit: int, output: str) -> None:
    """The history of runs, of all mappings or of one, with counts that add up.

    read = sent + unchanged, and what is told below a run: rejected and skipped. Beside what it read it may have sent
    deleted objects, and retried requests.
    """
    config = options.load()
    if mapping is not None:
        select_mappings(config, (mapping,), ())
    store = open_store(config.state_url, read_only=True)
    try:
        found = store.runs(mapping, limit)
    finally:
        store.close()
    click.echo(as_json(found) if output == "json" else history(found))
