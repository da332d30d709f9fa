"""`syncer state`: inspect and edit checkpoints. Every change is made under the mapping's lease."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import click

from syncer.cli.app import Globals
from syncer.cli.tables import moment, render
from syncer.config import Config, select_mappings
from syncer.core.model import (
    Checkpoint,
    CollectionMapping,
    Kind,
    Lease,
    Mode,
    Outcome,
    PropertyType,
    RunReport,
    Watermark,
)
from syncer.core.plan import RunPlan, digest_of
from syncer.core.properties import Property, properties_of
from syncer.core.watermark import encode
from syncer.errors import UsageError
from syncer.run.contradicting import adopted, contradicting
from syncer.run.leasing import LEASE_TTL
from syncer.run.runner import new_run_id, utc_now
from syncer.source import open_source
from syncer.source.base import Described
from syncer.source.describing import column_named
from syncer.state import open_store
from syncer.state.base import Commit, Store
from syncer.state.export import export_state
from syncer.state.owner import current_owner

#: what a copy tells of, by table
_TOLD = {"checkpoints": "checkpoints", "fingerprints": "fingerprints", "dead_letters": "dead letters", "runs": "runs"}


@click.group(
    epilog="\b\nExamples:\n  syncer state show\n  syncer state reset rooms\n  syncer state export > state.json"
)
def state() -> None:
    """Inspect and edit checkpoints: show, set, reset, export, copy."""


@state.command(epilog="\b\nExamples:\n  syncer state show\n  syncer state show rooms")
@click.argument("mapping", required=False)
@click.pass_obj
def show(options: Globals, mapping: str | None) -> None:
    """The saved checkpoints: watermark, its kind, where the next run begins, and when it was saved.

    A run that was cut short leaves the place where the next one goes on.
    """
    config = options.load()
    if mapping is not None:
        _mapping(config, mapping)
    store = open_store(config.state_url, read_only=True)
    try:
        found = [each for each in store.checkpoints() if mapping in (None, each.mapping)]
    finally:
        store.close()
    if not found:
        click.echo("No checkpoint yet." if mapping is None else f"No checkpoint for {mapping} yet.")
        return
    rows = [
        [
            each.mapping, each.watermark.text if each.watermark else None,
            each.watermark.kind if each.watermark else None, "in the middle" if each.position else "at the beginning",
            moment(each.updated_at), each.digest[:12],
        ]
        for each in found
    ]  # fmt: skip
    click.echo(render(["mapping", "watermark", "kind", "next run begins", "saved", "digest"], rows))


@state.command(
    name="set",
    epilog="""\b
Examples:
  syncer state set rooms --watermark '2026-01-01 00:00:00+00'   the next run reads from there
  syncer state set rooms --adopt                                keep the watermark after editing the query
""",
)
@click.argument("mapping")
@click.option("--watermark", "text", metavar="VALUE", help="In the database's own format.")
@click.option("--adopt", is_flag=True, help="Say that watermark and property types hold for the query as it is now.")
@click.pass_obj
def set_(options: Globals, mapping: str, text: str | None, adopt: bool) -> None:
    """Set a mapping's watermark, or adopt the saved one and the property types for a changed query."""
    if (text is None) == (not adopt):
        raise UsageError("give either --watermark VALUE or --adopt", "syncer state set --help")
    config = options.load()
    chosen = _mapping(config, mapping)
    with _leased(config, mapping) as (store, lease):
        before, stored = store.checkpoint(mapping), store.property_types(mapping)
        if adopt and before is None and not stored:
            raise UsageError(f"mapping {mapping} has no checkpoint to adopt", f"syncer run --select {mapping}")
        after, properties = _tried(config, chosen, text, before)
        types = adopted(chosen, properties, stored, after.updated_at) if adopt else None
        # without a checkpoint the next run still is the first one, with its questions
        _write(store, lease, chosen, None if adopt and before is None else after, types)
    told = after.watermark.text if after.watermark else "none"
    click.echo(f"{mapping}: watermark {told}")
    if adopt:
        for each in contradicting(chosen, properties, stored):
            click.echo(f"{mapping}: adopted: {each.brief}")


@state.command(epilog="\b\nExamples:\n  syncer state reset rooms\n  syncer state reset rooms --fingerprints")
@click.argument("mapping")
@click.option("--fingerprints", is_flag=True, help="Also forget what was sent, so that everything is sent again.")
@click.pass_obj
def reset(options: Globals, mapping: str, fingerprints: bool) -> None:
    """Forget a mapping's checkpoint: its next run is a first run."""
    config = options.load()
    _mapping(config, mapping)
    with _leased(config, mapping) as (store, lease):
        store.reset(lease, fingerprints=fingerprints)
    click.echo(f"{mapping}: reset; the next run reads everything")


@state.command(epilog="\b\nExample:\n  syncer state export > state.json")
@click.pass_obj
def export(options: Globals) -> None:
    """All checkpoints and counts as JSON."""
    config = options.load()
    store = open_store(config.state_url, read_only=True)
    try:
        click.echo(json.dumps(export_state(store), indent=2, ensure_ascii=False))
    finally:
        store.close()


@state.command(epilog="\b\nExample:\n  syncer state copy --from sqlite:////var/lib/syncer/syncer.db")
@click.option("--from", "origin", required=True, metavar="URL", help="Where the state was kept until now.")
@click.pass_obj
def copy(options: Globals, origin: str) -> None:
    """Copy a whole state into the config's `state.url`, which must be empty.

    For moving from one database to another: with checkpoints, fingerprints, dead letters and history, so that nothing
    is sent again. Stop what uses the first state before: it stays as it is, and the two know nothing of each other.
    """
    # imported where it is used: it brings SQLAlchemy, and few move their state
    from syncer.state.copying import copy_state

    config = options.load()
    copied = copy_state(origin, config.state_url, utc_now())
    told = ", ".join(f"{copied[f'syncer_{name}']:,} {words}" for name, words in _TOLD.items())
    click.echo(f"Copied: {told}.")


def _mapping(config: Config, name: str) -> CollectionMapping:
    return select_mappings(config, (name,), ())[0]


@contextmanager
def _leased(config: Config, mapping: str) -> Iterator[tuple[Store, Lease]]:
    store = open_store(config.state_url)
    try:
        lease = store.acquire(mapping, current_owner(), utc_now(), LEASE_TTL)
        try:
            yield store, lease
        finally:
            store.release(lease)
    finally:
        store.close()


def _tried(
    config: Config, mapping: CollectionMapping, text: str | None, before: Checkpoint | None
) -> tuple[Checkpoint, Sequence[Property]]:
    """The new checkpoint, tried on the database: a value it cannot read as its column's type is refused there.

    With the properties that the query has now.
    """
    settings = config.sources[mapping.source]
    source = open_source(mapping.source, settings.url, timezone=settings.timezone)
    try:
        described = source.describe(mapping)
        properties = properties_of(mapping, described.columns, described.primary_key)
        watermark = _watermark(mapping, described, text, before)
        plan = RunPlan(
            mapping=mapping,
            primary_key=described.primary_key,
            mode=Mode.INCREMENTAL,
            watermark=watermark,
            # as a bound the database also reads it, and so refuses what is no value of the column
            start=text,
            limit=1,
        )
        with source.read(plan, described) as chunks:
            next(chunks, None)
        digest = digest_of(mapping, described.primary_key, source.identity(), config.destination.identity)
    finally:
        source.close()
    return Checkpoint(mapping=mapping.name, digest=digest, watermark=watermark, updated_at=utc_now()), properties


def _watermark(
    mapping: CollectionMapping, described: Described, text: str | None, before: Checkpoint | None
) -> Watermark | None:
    if text is None:
        return before.watermark if before else None
    if described.watermark is None:
        raise UsageError(
            f"mapping {mapping.name} has no watermark", f"add `watermark: COLUMN` to mappings.{mapping.name}"
        )
    kind = column_named(described.columns, described.watermark).kind
    # a column without a declared type goes by the value, as it does in a run
    found = encode(kind, int(text) if kind is Kind.ANY and text.isdecimal() else text)
    if found is None:
        raise UsageError(f"{text!r} cannot be a watermark", "write it like 2026-01-31 13:45")
    return found


def _write(
    store: Store,
    lease: Lease,
    mapping: CollectionMapping,
    checkpoint: Checkpoint | None,
    types: Mapping[str, PropertyType] | None,
) -> None:
    now = utc_now()
    run = RunReport(
        run_id=new_run_id(now), mapping=mapping.name, collection=mapping.collection, mode=Mode.INCREMENTAL,
        outcome=Outcome.SUCCEEDED, trigger="state set", started_at=now, finished_at=now,
        watermark=checkpoint.watermark if checkpoint is not None else None,
    )  # fmt: skip
    store.commit(lease, Commit(run=run, checkpoint=checkpoint, property_types=types))
