"""`syncer dead-letters`: what was refused and why, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from syncer.cli.app import Globals
from syncer.cli.loop import on_signals, run_in_loop
from syncer.cli.report import advice
from syncer.cli.tables import moment, render
from syncer.config import Config, select_mappings
from syncer.core.model import DeadLetter, Outcome, RunReport
from syncer.errors import UsageError
from syncer.observe.logs import LogObserver
from syncer.run.executor import exit_code
from syncer.run.retrying import retry_of, row_keys
from syncer.run.runner import Runner
from syncer.state import open_store


@click.group(
    name="dead-letters",
    epilog="\b\nExamples:\n  syncer dead-letters list\n  syncer dead-letters show 12\n  syncer dead-letters retry",
)
def dead_letters() -> None:
    """What was refused and why: list, show, retry, discard."""


@dead_letters.command(
    name="list",
    epilog="\b\nExamples:\n  syncer dead-letters list\n  syncer dead-letters list rooms --output json",
)
@click.argument("mapping", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def list_(options: Globals, mapping: str | None, limit: int, output: str) -> None:
    """Dead letters, the oldest first."""
    config = options.load()
    _known(config, mapping)
    letters = _read(config, mapping, limit=limit)
    if output == "json":
        click.echo(json.dumps({"dead_letters": [_fields(each) for each in letters]}, ensure_ascii=False, indent=2))
        return
    if not letters:
        click.echo("No dead letters.")
        return
    rows = [
        [
            each.number,
            each.mapping,
            each.rejection.id,
            each.rejection.code,
            each.rejection.reason,
            moment(each.created_at),
        ]
        for each in letters
    ]
    click.echo(render(["number", "mapping", "id", "code", "reason", "since"], rows))
    if len(letters) == limit:
        click.echo(f"\nThe oldest {limit:,}; `--limit` shows more.")
    click.echo("\nTry: syncer dead-letters show NUMBER, or fix the rows and `syncer dead-letters retry`", err=True)


@dead_letters.command(epilog="\b\nExample:\n  syncer dead-letters show 12")
@click.argument("number", type=int)
@click.pass_obj
def show(options: Globals, number: int) -> None:
    """One dead letter whole: reason, the API's answer, and the object. Prints row contents."""
    letters = _numbered(options.load(), (number,))
    click.echo(json.dumps(_fields(letters[0], whole=True), ensure_ascii=False, indent=2))


@dead_letters.command(
    epilog="\b\nExamples:\n  syncer dead-letters discard 12 13\n  syncer dead-letters discard --mapping rooms"
)
@click.argument("numbers", type=int, nargs=-1)
@click.option("--mapping", help="All dead letters of this mapping.")
@click.pass_obj
def discard(options: Globals, numbers: tuple[int, ...], mapping: str | None) -> None:
    """Forget dead letters. Their rows are sent again when they change, or by `run --full --resend`."""
    config = options.load()
    chosen = _chosen(config, numbers, mapping)
    store = open_store(config.state_url)
    try:
        count = store.discard([each.number for each in chosen])
    finally:
        store.close()
    click.echo(f"{count:,} discarded.")


@dead_letters.command(
    epilog="""\b
Examples:
  syncer dead-letters retry
  syncer dead-letters retry 12 13
  syncer dead-letters retry --mapping rooms
"""
)
@click.argument("numbers", type=int, nargs=-1)
@click.option("--mapping", help="Only those of this mapping.")
@click.pass_obj
def retry(options: Globals, numbers: tuple[int, ...], mapping: str | None) -> int:
    """Read the current rows again and send them; the stored objects are never sent."""
    config = options.load()
    letters = _chosen(config, numbers, mapping) if numbers or mapping else _read(config, None)
    if not letters:
        click.echo("No dead letters.")
        return 0
    unknown = sorted({each.mapping for each in letters} - set(config.mappings))
    if unknown:
        raise UsageError(
            f"{', '.join(unknown)}: dead letters of a mapping that the config no longer has",
            "syncer dead-letters discard --mapping NAME, or name the mapping as before",
        )
    reports, number = run_in_loop(_retry(config, letters))
    for report in reports:
        told = f"{report.counts.sent:,} sent, {report.counts.rejected:,} refused again"
        if report.outcome in (Outcome.SUCCEEDED, Outcome.PARTIAL):
            gone = len(row_keys(letters, report.mapping)) - report.counts.read
            told += f", {gone:,} no longer in the source"
        click.echo(f"{report.mapping}: {told}")
    stuck = sum(each.rejection.key is None for each in letters)
    if stuck:
        click.echo(f"{stuck:,} without a key to find their row by: the next full run tells whether they are mended")
    for line in advice(reports):
        click.echo(line, err=True)
    return exit_code(reports, signal=number) or (3 if stuck else 0)


async def _retry(config: Config, letters: Sequence[DeadLetter]) -> tuple[list[RunReport], int | None]:
    """A run per mapping that reads the rows by their keys and sends them, whatever was sent before."""
    reports: list[RunReport] = []
    async with Runner(config, LogObserver().notice) as runner:
        received = on_signals(runner.stop)
        for name in dict.fromkeys(each.mapping for each in letters):
            asked = retry_of(letters, name)
            if asked is not None and not runner.stopping:
                reports.append(await runner.run(config.mappings[name], asked))
    return reports, received[0] if received else None


def _known(config: Config, mapping: str | None) -> None:
    if mapping is not None:
        select_mappings(config, (mapping,), ())


def _read(config: Config, mapping: str | None, limit: int | None = None) -> Sequence[DeadLetter]:
    store = open_store(config.state_url, read_only=True)
    try:
        return store.dead_letters(mapping, limit=limit)
    finally:
        store.close()


def _chosen(config: Config, numbers: tuple[int, ...], mapping: str | None) -> Sequence[DeadLetter]:
    if mapping is not None and not numbers:
        letters = _read(config, mapping)
        if not letters:
            _known(config, mapping)
        return letters
    if mapping is None and numbers:
        return _numbered(config, numbers)
    raise UsageError("say which dead letters: their numbers, or --mapping NAME", "syncer dead-letters list")


def _numbered(config: Config, numbers: tuple[int, ...]) -> Sequence[DeadLetter]:
    store = open_store(config.state_url, read_only=True)
    try:
        letters = store.dead_letters(numbers=numbers)
    finally:
        store.close()
    missing = set(numbers) - {each.number for each in letters}
    if missing:
        raise UsageError(f"there is no dead letter {min(missing)}", "syncer dead-letters list")
    return letters


def _fields(letter: DeadLetter, *, whole: bool = False) -> dict[str, object]:
    refused = letter.rejection
    fields: dict[str, object] = {
        "number": letter.number, "mapping": letter.mapping, "collection": letter.collection, "id": refused.id,
        "code": refused.code, "reason": refused.reason, "status": refused.status,
        "created_at": letter.created_at.isoformat(), "run_id": letter.run_id,
    }  # fmt: skip
    if whole:
        fields["response"] = refused.response
        fields["properties"] = json.loads(refused.properties) if refused.properties else None
    return fields
