"""`syncer preview`: the exact bodies a mapping would send."""

from __future__ import annotations

from collections.abc import Sequence

import click

from syncer.cli.app import Globals
from syncer.config import Config, select_mappings
from syncer.config.values import DestinationConfig
from syncer.core.batch import Batcher, encoded, encoded_lines
from syncer.core.model import CollectionMapping, Limits, Mode, SegmentObject
from syncer.core.plan import RunPlan
from syncer.core.shape import Shaped
from syncer.run.shaping import shaper_for
from syncer.source import open_source


@click.command(
    epilog="""\b
Examples:
  syncer preview rooms
  syncer preview rooms --limit 1 | jq .
"""
)
@click.argument("mapping")
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="Rows to shape.")
@click.pass_obj
def preview(options: Globals, mapping: str, limit: int) -> int:
    """Print the exact request bodies a mapping would send, one a line. Sends nothing; prints row contents.

    With `api: bulk`, what an upload holds before it is compressed: an object a line.
    """
    config = options.load()
    chosen = select_mappings(config, (mapping,), ())[0]
    shaped = _shaped(config, chosen, limit)
    for line in _bodies(config.destination, chosen.collection, shaped.objects):
        click.echo(line)
    for each in shaped.rejections:
        click.echo(f"Row {each.row + 1} would be refused: {each.code}: {each.reason}", err=True)
    if not shaped.objects and not shaped.rejections:
        click.echo(f"The query of {mapping} returns no rows.", err=True)
    return 0


def _bodies(to: DestinationConfig, collection: str, objects: Sequence[SegmentObject]) -> list[bytes]:
    if to.api == "bulk":
        return [line.rstrip(b"\n") for line in encoded_lines(collection, objects)]
    if to.api == "auto" and to.bulk_endpoint is not None:
        click.echo(f"A run of {to.bulk_threshold:,} objects or more uploads the same objects, one a line.", err=True)
    batcher = Batcher(collection, Limits())
    return [encoded(collection, batch.objects) for batch in (*batcher.add(objects), *batcher.flush())]


def _shaped(config: Config, mapping: CollectionMapping, limit: int) -> Shaped:
    settings = config.sources[mapping.source]
    source = open_source(mapping.source, settings.url, timezone=settings.timezone)
    try:
        described = source.describe(mapping)
        limits = config.destination.limits if config.destination.api == "bulk" else None
        shaper = shaper_for(mapping, described, settings.timezone, limits)
        plan = RunPlan(mapping=mapping, primary_key=described.primary_key, mode=Mode.FULL, limit=limit, saves=False)
        with source.read(plan, described) as chunks:
            rows = [row for chunk in chunks for row in chunk.rows]
        return shaper.shape(rows, 0)
    finally:
        source.close()
