"""`syncer check`: everything that can be known before the first run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import click

from syncer.cli.app import Globals
from syncer.cli.selection import selecting
from syncer.cli.tables import moment, render
from syncer.config import Config, select_mappings
from syncer.core.blackouts import begins
from syncer.core.calendar import next_fires
from syncer.core.fingerprint import destination_id
from syncer.core.model import CollectionMapping, PropertyType
from syncer.errors import SyncerError, UsageError
from syncer.run.examine import Examined, Finding, Level, examine
from syncer.run.grants import grants
from syncer.run.runner import utc_now
from syncer.source import open_source
from syncer.source.inspection import has_watermark_index
from syncer.source.sql import SqlSource
from syncer.state import open_store

#: property types by mapping
Stored: TypeAlias = Mapping[str, Mapping[str, PropertyType]]


@click.command(
    epilog="""\b
Examples:
  syncer check                      config, databases, keys, types, schedules
  syncer check --offline            the config alone; connects to nothing
  syncer check --select rooms
  syncer check --notify             also sends a test to the webhook, and a ping

\b
Exit codes: 0 nothing to mend, 1 a database cannot be reached, 2 something has to be mended.
"""
)
@selecting
@click.option("--offline", is_flag=True, help="Validate the config and the SQL texts; connect to nothing.")
@click.option("--notify", is_flag=True, help="Send a test to those whom `notifications` names.")
@click.pass_obj
def check(options: Globals, select: tuple[str, ...], exclude: tuple[str, ...], offline: bool, notify: bool) -> int:
    """Validate the config, then look at databases, keys, types, values and schedules. Writes nothing."""
    config = options.load()
    if notify:
        _require_notifications(config, offline=offline)
    mappings = select_mappings(config, select, exclude)
    click.echo(f"{config.path}: valid, {len(mappings)} mapping{'s' if len(mappings) != 1 else ''}")
    to = config.destination
    click.echo(f"destination {destination_id(to.endpoint, to.write_key, to.id)}")
    stored, codes = ({}, []) if offline else _stored_types(config, mappings)
    for name in dict.fromkeys(mapping.source for mapping in mappings):
        chosen = [mapping for mapping in mappings if mapping.source == name]
        codes.append(_check_offline(config, chosen) if offline else _check_source(config, name, chosen, stored))
    if notify:
        codes.append(_notify(config, mappings))
    return max(codes, default=0)


def _require_notifications(config: Config, *, offline: bool) -> None:
    if offline:
        raise UsageError("--notify sends something, and --offline connects to nothing", "syncer check --notify")
    if config.notifications.webhook is None and config.notifications.ping is None:
        hint = "set notifications.webhook.url or notifications.ping.url"
        raise UsageError("--notify has nobody to notify", hint)


def _notify(config: Config, mappings: Sequence[CollectionMapping]) -> int:
    from syncer.cli.loop import run_in_loop
    from syncer.cli.observing import try_out  # brings the HTTP library

    click.echo("\nnotifications")
    found = run_in_loop(try_out(config, mappings))
    for finding in found:
        _say(finding)
    return 1 if any(finding.level is Level.ERROR for finding in found) else 0


def _check_offline(config: Config, mappings: list[CollectionMapping]) -> int:
    from sqlalchemy.engine import make_url

    from syncer.core.statement import lexis_of, prepare

    code = 0
    for mapping in mappings:
        click.echo(f"\n{mapping.name} -> {mapping.collection}")
        if mapping.query is not None:
            backend = make_url(config.sources[mapping.source].url).get_backend_name()
            try:
                prepare(mapping.query, lexis_of(backend))
            except SyncerError as error:
                _say(Finding(level=Level.ERROR, message=error.message, hint=error.hint))
                code = 2
        _fires(mapping)
    return code


def _check_source(config: Config, name: str, mappings: list[CollectionMapping], stored: Stored) -> int:
    from sqlalchemy.engine import make_url

    settings = config.sources[name]
    try:
        source = open_source(name, settings.url, timezone=settings.timezone)
    except SyncerError as error:
        _unreachable(error)
        return error.exit_code
    try:
        examined = [_check_mapping(config, source, each, stored.get(each.name, {})) for each in mappings]
    except SyncerError as error:
        _unreachable(error)
        return error.exit_code
    finally:
        source.close()
    url = make_url(settings.url)
    told = grants(url.get_backend_name(), url.username, mappings)
    if told:
        click.echo(f"\nsource {name} needs no more than:")
        for line in told:
            click.echo(f"  {line}")
    return 0 if all(each.sound for each in examined) else 2


def _stored_types(config: Config, mappings: Sequence[CollectionMapping]) -> tuple[Stored, list[int]]:
    """As what the properties were sent before, and the exit code where the state cannot tell. Makes no state."""
    try:
        store = open_store(config.state_url, read_only=True)
        try:
            return {each.name: store.property_types(each.name) for each in mappings}, []
        finally:
            store.close()
    except SyncerError as error:
        _unreachable(error)
        return {}, [error.exit_code]


def _check_mapping(
    config: Config, source: SqlSource, mapping: CollectionMapping, stored: Mapping[str, PropertyType]
) -> Examined:
    timezone = config.sources[mapping.source].timezone
    examined = examine(mapping, source, timezone, stored, config.destination.limits)
    click.echo(f"\n{mapping.name} -> {mapping.collection}")
    by_column = {each.index: each for each in examined.properties}
    rows = []
    for index, column in enumerate(examined.columns):
        becomes = by_column.get(index)
        unsent = "(the id)" if column.name in examined.key else "(not sent)" if examined.properties else "?"
        rows.append([column.name, column.sql_type or "?", becomes.name if becomes else unsent, column.kind])
    if rows:
        click.echo(_indented(render(["column", "type", "property", "sent as"], rows)))
    for finding in examined.findings:
        _say(finding)
    if examined.sound:
        _index(source, mapping)
    _fires(mapping)
    return examined


def _index(source: SqlSource, mapping: CollectionMapping) -> None:
    if mapping.watermark is None:
        return
    column = mapping.watermark.column
    if has_watermark_index(source, mapping, column) is not False:
        return
    message = f"watermark {column}: no index begins with it, so every incremental run reads the whole table"
    table = str(mapping.table)
    index = f"{table.rpartition('.')[2]}_{column}"
    hint = f"CREATE INDEX {index} ON {table} ({column})"
    _say(Finding(level=Level.WARNING, message=message, hint=hint))


def _fires(mapping: CollectionMapping) -> None:
    for schedule in mapping.schedules:
        coming = next_fires(schedule, utc_now(), 3, mapping=mapping.name)
        fires = ", ".join(filter(None, map(moment, begins(mapping.blackouts, coming))))
        _say(Finding(level=Level.OK, message=f"{schedule.mode} runs next at {fires}"))


def _unreachable(error: SyncerError) -> None:
    click.echo(f"Error: {error.message}", err=True)
    if error.hint:
        click.echo(f"Try: {error.hint}", err=True)


def _say(finding: Finding) -> None:
    click.echo(f"  {finding.level:<8} {finding.message}")
    if finding.hint:
        click.echo(f"           Try: {finding.hint}")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
