"""`syncer trace`: why a row is not, or differently, in the warehouse. Reads only; prints row contents."""

from __future__ import annotations

from datetime import datetime

import click
import orjson

from syncer.cli.app import Globals
from syncer.cli.tables import moment, printable
from syncer.config import Config, select_mappings
from syncer.core.model import CollectionMapping, DeadLetter, RunReport
from syncer.errors import UsageError
from syncer.run.runner import utc_now
from syncer.run.tracing import Conclusion, Trace
from syncer.run.tracing import trace as traced
from syncer.source import open_source
from syncer.state import open_store


@click.command(
    epilog="""\b
Examples:
  syncer trace rooms 42
  syncer trace reviews '42:7' --output json | jq .conclusion
  syncer trace rooms -- -5      an id that begins with a dash

\b
ID is the object's id, as `syncer preview` and the warehouse show it; the parts of a composite key stand with
`:` between them. Exit codes: 0 the state or the source knows it, 1 nobody does.
"""
)
@click.argument("mapping")
@click.argument("identifier", metavar="ID")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def trace(options: Globals, mapping: str, identifier: str, output: str) -> int:
    """What was sent of an object and when, what the query holds of it now, and what follows.

    Sends and writes nothing. Prints row contents.
    """
    config = options.load()
    chosen = select_mappings(config, (mapping,), ())[0]
    found = _traced(config, chosen, _readable(identifier))
    if output == "json":
        click.echo(orjson.dumps(_document(found), option=orjson.OPT_INDENT_2))
    else:
        _show(found)
    return 1 if found.conclusion is Conclusion.UNKNOWN else 0


def _readable(identifier: str) -> str:
    try:
        identifier.encode()
    except UnicodeEncodeError:
        raise UsageError("ID is not valid Unicode, so it is no object's id", "syncer trace --help") from None
    return identifier


def _traced(config: Config, mapping: CollectionMapping, identifier: str) -> Trace:
    settings, to = config.sources[mapping.source], config.destination
    store = open_store(config.state_url, read_only=True)
    try:
        source = open_source(mapping.source, settings.url, timezone=settings.timezone)
        try:
            return traced(
                mapping, identifier, store=store, source=source, timezone=settings.timezone, now=utc_now(),
                destination=to.identity, limits=to.limits if to.api == "bulk" else None,
                tell=lambda told: click.echo(told, err=True),
            )  # fmt: skip
        finally:
            source.close()
    finally:
        store.close()


def _show(found: Trace) -> None:
    click.echo(f"{found.mapping.name} {found.id} -> {found.mapping.collection}\n")
    for name, told in [*_sent(found), *_row(found), *_checkpoint(found), *_troubles(found)]:
        click.echo(f"  {name:<17} {told}")
    click.echo(f"\nIn short: {found.told}.")
    if found.hint:
        click.echo(f"Try: {found.hint}", err=True)


def _sent(found: Trace) -> list[tuple[str, object]]:
    if found.uncertain_since is not None:
        return [
            ("last sent", f"not certain: a version was on its way at {moment(found.uncertain_since)}, or was refused")
        ]
    if found.known is None:
        return [("last sent", "never, or that is forgotten")]
    at = moment(found.known.sent_at)
    if found.deleted or found.unsure:
        told = f"downstream at {at}" if found.deleted else f"perhaps: a tombstone was on its way at {at}"
        return [("deleted", told), *_runs(found)]
    return [("last sent", at), *_runs(found), ("fingerprint", found.known.digest.hex())]


def _runs(found: Trace) -> list[tuple[str, object]]:
    return [
        ("in run", f"{run.run_id} ({run.mode}, {run.trigger}, {run.outcome or 'unfinished'})") for run in found.runs
    ]


def _row(found: Trace) -> list[tuple[str, object]]:
    row = found.row
    if row is None:
        return [("row now", "the query does not return it")]
    told: list[tuple[str, object]] = []
    if row.rows > 1:
        told += [("row now", f"{row.rows:,} rows have this id; the last one read wins")]
    if row.rejection is not None:
        told += [("row now", f"refused: {row.rejection.code}: {row.rejection.reason}")]
    if row.object is not None:
        told += [("row now", row.object.properties.decode())]
    if row.fingerprint is not None:
        told += [("fingerprint now", row.fingerprint.hex())]
    if row.unmarked or row.watermark is not None:
        told += [("watermark now", printable(row.watermark.text) if row.watermark else "NULL")]
    return told


def _checkpoint(found: Trace) -> list[tuple[str, object]]:
    saved = found.checkpoint
    if saved is None:
        return [("checkpoint", "none yet")]
    text = printable(saved.watermark.text) if saved.watermark else "no watermark"
    return [("checkpoint", f"{text}, saved {moment(saved.updated_at)}")]


def _troubles(found: Trace) -> list[tuple[str, object]]:
    told: list[tuple[str, object]] = []
    for each in found.dead_letters:
        refused = each.rejection
        answered = f", HTTP {refused.status}" if refused.status else ""
        told += [
            ("dead letter", f"{refused.code}: {refused.reason}, since {moment(each.created_at)}{answered}"),
            ("", f"syncer dead-letters show {each.number}"),
        ]
    if found.doubt is not None:
        since = moment(found.doubt.since)
        told += [("in doubt", f"since {since}" if since else f"on its way since run {found.doubt.run_id}")]
    return told


def _document(found: Trace) -> dict[str, object]:
    return {
        "mapping": found.mapping.name,
        "collection": found.mapping.collection,
        "id": found.id,
        "conclusion": str(found.conclusion),
        "told": found.told,
        "hint": found.hint,
        "sent": _sent_document(found),
        "uncertain_since": _iso(found.uncertain_since),
        "row": _row_document(found),
        "checkpoint": _checkpoint_document(found),
        "dead_letters": [_letter_document(each) for each in found.dead_letters],
        "in_doubt": None if found.doubt is None else {"run_id": found.doubt.run_id, "since": _iso(found.doubt.since)},
    }


def _sent_document(found: Trace) -> dict[str, object] | None:
    known = found.known
    if known is None:
        return None
    return {
        "at": _iso(known.sent_at),
        # null: a tombstone was on its way
        "deleted": None if found.unsure else found.deleted,
        "fingerprint": None if found.deleted or found.unsure else known.digest.hex(),
        "runs": [_run_document(run) for run in found.runs],
    }


def _run_document(run: RunReport) -> dict[str, object]:
    outcome = None if run.outcome is None else str(run.outcome)
    return {"run_id": run.run_id, "mode": str(run.mode), "trigger": run.trigger, "outcome": outcome}


def _row_document(found: Trace) -> dict[str, object] | None:
    row = found.row
    if row is None:
        return None
    refused = row.rejection
    return {
        "rows": row.rows,
        # exactly as it goes on the wire
        "properties": None if row.object is None else orjson.Fragment(row.object.properties),
        "fingerprint": None if row.fingerprint is None else row.fingerprint.hex(),
        "watermark": None if row.watermark is None else row.watermark.text,
        "rejection": None if refused is None else {"code": refused.code, "reason": refused.reason},
    }


def _checkpoint_document(found: Trace) -> dict[str, object] | None:
    saved = found.checkpoint
    if saved is None:
        return None
    return {"watermark": saved.watermark.text if saved.watermark else None, "saved_at": _iso(saved.updated_at)}


def _letter_document(letter: DeadLetter) -> dict[str, object]:
    refused = letter.rejection
    return {
        "number": letter.number, "code": refused.code, "reason": refused.reason, "status": refused.status,
        "created_at": _iso(letter.created_at), "run_id": letter.run_id,
    }  # fmt: skip


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
