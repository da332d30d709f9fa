"""`syncer init`: from a database to a config that works."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click
from sqlalchemy.engine import make_url

from syncer.cli.app import Globals
from syncer.config.resolve import beside
from syncer.config.starter import Starter, starter
from syncer.config.surveyed import Survey
from syncer.errors import UsageError
from syncer.source import open_source
from syncer.source.survey import survey

_USUAL = "syncer.yaml"
_VARIABLE = "APP_DATABASE_URL"


@click.command(
    epilog="""\b
Examples:
  syncer init --source sqlite:///app.db
  syncer init --source postgresql://reader@db/app --schema sales --output sales.yaml
  APP_DATABASE_URL=... syncer init --output -     keeps the password out of the list of processes
"""
)
@click.option("--source", "url", metavar="URL", envvar=_VARIABLE, required=True,
              help="Database to look at, as a SQLAlchemy URL.  [$APP_DATABASE_URL]")  # fmt: skip
@click.option("--output", metavar="FILE", help="Where to write the config; `-` for standard output.  [-c, syncer.yaml]")
@click.option("--schema", metavar="NAME", help="Schema to look at, rather than the one the database looks into first.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.pass_obj
def init(options: Globals, url: str, output: str | None, schema: str | None, force: bool) -> int:
    """Look at a database, read-only, and write a commented config: tables, keys, watermarks, schedules."""
    options.set_up_logging()
    target = None if output == "-" else Path(output or options.config_file or _USUAL)
    if target is not None and target.exists() and not force:
        raise _taken(target)
    url = _from(url, target)
    written = starter(_survey(url, schema))
    if target is None:
        click.echo(written.text, nl=False)
        click.echo(_told("standard output", written), err=True)
        return 0
    _write(target, written.text, force=force)
    click.echo(f"{_told(str(target), written)}\n\n{_next_steps(url, target)}")
    return 0


def _from(url: str, target: Path | None) -> str:
    """The URL as the config would have it: a file's relative path there is relative to the config's folder."""
    elsewhere = target is not None and target.resolve().parent != Path.cwd()
    return beside(url, Path.cwd()) if elsewhere else url


def _survey(url: str, schema: str | None) -> Survey:
    source = open_source("app", url)
    try:
        return survey(source, schema)
    finally:
        source.close()


def _taken(target: Path) -> UsageError:
    return UsageError(f"{target} is there already", "--force to replace it, or --output with another name")


def _write(target: Path, text: str, *, force: bool) -> None:
    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise _taken(target) from None
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}", "--output with another name") from None


def _told(place: str, written: Starter) -> str:
    count = len(written.mapped)
    told = f"Wrote {count:,} mapping{'s' if count != 1 else ''} to {place}"
    if written.left_out:
        are = "is" if written.left_out == 1 else "are"
        told += f"; {written.left_out:,} more {are} commented out, with the reason"
    if not count:
        told += ".\nNo table can be mapped as it is: mend one in the file first"
    return f"{told}."


def _next_steps(url: str, target: Path) -> str:
    named = "" if _is_found(target) else f" -c {shlex.quote(str(target))}"
    return (
        "Next:\n"
        f"  export {_VARIABLE}={_without_secret(url)}\n"
        "  export SEGMENT_WRITE_KEY=...    # Settings > API Keys of the Segment source\n"
        f"  syncer{named} check\n"
        f"  syncer{named} run --dry-run\n\n"
        "Without a Segment account:\n"
        "  syncer sandbox --db warehouse.db &\n"
        "  export SEGMENT_WRITE_KEY=any SEGMENT_ENDPOINT=http://127.0.0.1:8765\n"
        f"  syncer{named} run"
    )


def _without_secret(url: str) -> str:
    """As the shell takes it; only a hint where it holds a password, or options that may be one."""
    parsed = make_url(url)
    return "...    # as for --source" if parsed.password or parsed.query else shlex.quote(url)


def _is_found(target: Path) -> bool:
    """Whether commands find the file without `-c`."""
    return "SYNCER_CONFIG" not in os.environ and target.resolve() == Path.cwd() / _USUAL
