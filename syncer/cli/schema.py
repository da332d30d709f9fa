"""`syncer schema`: the JSON Schema of the config file."""

from __future__ import annotations

import json

import click

from syncer.config.schema import json_schema


@click.command(
    epilog="""\b
Examples:
  syncer schema > syncer.schema.json
  # then, as the first line of your config, for editors that know the YAML language server:
  # yaml-language-server: $schema=syncer.schema.json
"""
)
def schema() -> None:
    """Print the JSON Schema of the config file, so that editors complete and validate it."""
    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
