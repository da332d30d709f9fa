"""`syncer preview`: the exact bodies a mapping would send."""

from __future__ import annotations

import click

from syncer.cli.app import Globals
from syncer.config import Config, select_mappings
from syncer.core.batch import Batcher, encoded
from syncer.core.model import CollectionMapping, Limits, Mode
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
    """Print the exact request bodies a mapping would send, one a line. Sends nothing; prints row contents."""
    config = options.load()
    chosen = select_mappings(config, (mapping,), ())[0]
    shaped = _shaped(config, chosen, limit)
    batcher = Batcher(chosen.collection, Limits())
    for batch in (*batcher.add(shaped.objects), *batcher.flush()):
        click.echo(encoded(batch.collection, batch.objects))
    for each in shaped.rejections:
        click.echo(f"Row {each.row + 1} would be refused: {each.code}: {each.reason}", err=True)
    if not shaped.objects and not shaped.rejections:
        click.echo(f"The query of {mapping} returns no rows.", err=True)
    return 0


def _shaped(config: Config, mapping: CollectionMapping, limit: int) -> Shaped:
    settings = config.sources[mapping.source]
    source = open_source(mapping.source, settings.url, timezone=settings.timezone)
    try:
        described = source.describe(mapping)
        shaper = shaper_for(mapping, described, settings.timezone)
        plan = RunPlan(mapping=mapping, primary_key=described.primary_key, mode=Mode.FULL, limit=limit, saves=False)
        with source.read(plan, described) as chunks:
            rows = [row for chunk in chunks for row in chunk.rows]
        return shaper.shape(rows, 0)
    finally:
        source.close()
