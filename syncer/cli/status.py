"""`syncer status` and `syncer runs`: what the state store knows. Reads only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import click

from syncer.cli.app import Globals
from syncer.cli.report import as_json, table
from syncer.cli.tables import length, moment, render
from syncer.config import select_mappings
from syncer.core.calendar import next_fires, schedule_key
from syncer.core.model import CollectionMapping, Outcome
from syncer.state import open_store
from syncer.state.base import Store


@click.command(epilog="\b\nExamples:\n  syncer status\n  syncer status --output json")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def status(options: Globals, output: str) -> None:
    """Per mapping: last run, outcome, watermark, lag since the last success, next run, dead letters, rows in doubt.

    `bound` is the age of what the last run knew to be committed for certain: an open transaction of the database
    holds it back, and the saved watermark with it.
    """
    config = options.load()
    store = open_store(config.state_url, read_only=True)
    try:
        now = datetime.now(UTC)
        counts = store.dead_letter_counts(), store.doubt_counts()
        lines = [_line(mapping, store, counts, now) for mapping in config.mappings.values()]
    finally:
        store.close()
    if output == "json":
        click.echo(json.dumps({"mappings": [asdict(line) for line in lines]}, default=datetime.isoformat, indent=2))
        return
    headers = ["mapping", "last run", "outcome", "watermark", "bound", "lag", "next run", "dead letters", "in doubt"]
    rows = [
        [
            line.mapping, moment(line.last_run), line.outcome, line.watermark,
            length(now - line.bound) if line.bound else None,
            length(now - line.last_success) if line.last_success else None, moment(line.next_run), line.dead_letters,
            line.in_doubt,
        ]
        for line in lines
    ]  # fmt: skip
    click.echo(render(headers, rows))
    for line in lines:
        if line.error:
            click.echo(f"Error: {line.error}", err=True)


#: what starts a run that reads the query, and so says how far behind the collection is
_READING = ("cli", "schedule", "catch-up", "demo")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """What there is to say of one mapping."""

    mapping: str
    collection: str
    last_run: datetime | None
    outcome: str | None
    error: str | None
    watermark: str | None
    last_success: datetime | None
    next_run: datetime | None
    dead_letters: int
    #: rows of which it is not known which version the API holds
    in_doubt: int
    #: what was committed before it was seen by the last run that looked
    bound: datetime | None


def _line(
    mapping: CollectionMapping, store: Store, counts: tuple[Mapping[str, int], Mapping[str, int]], now: datetime
) -> _Line:
    letters, doubts = counts
    latest = store.runs(mapping.name, 50)
    checkpoint = store.checkpoint(mapping.name)
    good = [run for run in latest if run.outcome in (Outcome.SUCCEEDED, Outcome.PARTIAL) and run.trigger in _READING]
    last = latest[0] if latest else None
    return _Line(
        mapping=mapping.name,
        collection=mapping.collection,
        last_run=last.started_at if last else None,
        outcome=(str(last.outcome) if last.outcome else "unfinished") if last else None,
        error=last.error if last else None,
        watermark=checkpoint.watermark.text if checkpoint and checkpoint.watermark else None,
        last_success=good[0].started_at if good else None,
        next_run=_next_run(mapping, store, now),
        dead_letters=letters.get(mapping.name, 0),
        in_doubt=doubts.get(mapping.name, 0),
        bound=next((run.bound for run in latest if run.bound is not None), None),
    )


def _next_run(mapping: CollectionMapping, store: Store, now: datetime) -> datetime | None:
    found = [
        fire
        for each in mapping.schedules
        for fire in next_fires(each, now, 1, last=store.last_fire(mapping.name, schedule_key(each)))
    ]
    return min(found, default=None)


@click.command(epilog="\b\nExamples:\n  syncer runs\n  syncer runs rooms --limit 50\n  syncer runs --output json")
@click.argument("mapping", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, the newest first.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def runs(options: Globals, mapping: str | None, limit: int, output: str) -> None:
    """The history of runs, of all mappings or of one, with counts that add up."""
    config = options.load()
    if mapping is not None:
        select_mappings(config, (mapping,), ())
    store = open_store(config.state_url, read_only=True)
    try:
        found = store.runs(mapping, limit)
    finally:
        store.close()
    click.echo(as_json(found) if output == "json" else table(found, history=True))
