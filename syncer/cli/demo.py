"""`syncer demo`: the whole of syncer in a minute, without an account or a database server."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from syncer.cli.app import Globals
from syncer.cli.run import run_mappings
from syncer.cli.tables import render
from syncer.config import load_config
from syncer.core.plan import RunOptions
from syncer.errors import UsageError
from syncer.sandbox.app import create_app
from syncer.sandbox.faults import Faults
from syncer.sandbox.sample import change_sample, create_sample
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse

CONFIG = """\
# A whole syncer config. Every other key: config.example.yaml
version: 1

sources:
  app:
    url: sqlite:///app.db                 # any SQLAlchemy URL

destination:
  write_key: ${SEGMENT_WRITE_KEY:-demo}
  endpoint: http://127.0.0.1:8765         # the local sandbox; leave it out to send to Segment

state:
  url: sqlite:///syncer.db

defaults:
  source: app

mappings:
  hosts:
    table: hosts                          # its own primary key is the object id
    watermark: updatedAt
  rooms:
    query: |
      SELECT r.id, r.name, r.location, r.nightlyPrice, r.rating, r.reviewCount, h.fullName AS hostName, r.updatedAt
      FROM rooms r JOIN hosts h ON h.id = r.hostID
    primary_key: id
    watermark: updatedAt
    schedules:
      - {every: 1h}
      - {cron: "0 2 * * *", mode: full, timezone: America/New_York}
  reviews:
    table: reviews
    watermark: updatedAt
"""

_MARK = ".syncer-demo"
_PORT = 8765
_ELSEWHERE = "syncer demo --dir ANOTHER_FOLDER"

_LOOKS = (
    (
        "SELECT id, name, location, nightly_price, host_name FROM rooms WHERE id % 80 = 0 ORDER BY id + 0",
        "prices that moved",
    ),
    ("SELECT id, full_name, email, is_superhost, joined_on FROM hosts WHERE id IN (6, 7, 8)", "host 7 lost its e-mail"),
    ("SELECT id, author, stars, body, updated_at FROM reviews ORDER BY updated_at DESC LIMIT 4", "a composite key"),
)


@click.command(epilog="\b\nExamples:\n  syncer demo\n  syncer demo --dir /tmp/syncer-demo")
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path("syncer-demo"), show_default=True,
              help="Where the demo keeps its databases and its config.")  # fmt: skip
@click.pass_obj
def demo(options: Globals, folder: Path) -> int:
    """See it work: a sample database, a local sandbox, a full and an incremental sync, and the tables they fill."""
    began = time.monotonic()
    options.set_up_logging()
    _empty(folder)
    create_sample(folder / "app.db")
    with Warehouse(folder / "warehouse.db") as warehouse:
        with _sandbox(warehouse) as port:
            config = CONFIG.replace(str(_PORT), str(port))
            (folder / "syncer.yaml").write_text(config, encoding="utf-8")
            code = _two_runs(options, folder)
        _show(warehouse)
    click.echo(f"\nDone in {time.monotonic() - began:.1f} s. Now try it yourself:\n{_next_steps(folder, port)}")
    return code


@contextmanager
def _sandbox(warehouse: Warehouse) -> Iterator[int]:
    """A sandbox on the usual port, or on a free one where that is taken."""
    app = create_app(warehouse, Faults())
    with ExitStack() as stack:
        try:
            url = stack.enter_context(running(app, port=_PORT))
        except UsageError:
            url = stack.enter_context(running(app))
        yield int(url.rpartition(":")[2])


def _empty(folder: Path) -> None:
    """A fresh folder; only one that an earlier demo made is replaced."""
    try:
        if folder.exists():
            if any(folder.iterdir()) and not (folder / _MARK).exists():
                raise UsageError(f"{folder} exists and is not from a demo", _ELSEWHERE)
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        (folder / _MARK).touch()
    except OSError as error:
        raise UsageError(f"{folder} cannot be the demo's folder: {error.strerror}", _ELSEWHERE) from None


def _two_runs(options: Globals, folder: Path) -> int:
    config = load_config(folder / "syncer.yaml", {})
    mappings = list(config.mappings.values())
    click.echo("1. First run: everything\n")
    first = run_mappings(options, config, mappings, RunOptions(trigger="demo"), fail_fast=False, output="text")
    changed = change_sample(folder / "app.db")
    click.echo(f"\n2. {changed} rows change, then an incremental run: only those are sent\n")
    second = run_mappings(options, config, mappings, RunOptions(trigger="demo"), fail_fast=False, output="text")
    return max(first, second)


def _show(warehouse: Warehouse) -> None:
    click.echo("\n3. What the warehouse holds")
    for sql, about in _LOOKS:
        rows = warehouse.query(sql)
        click.echo(f"\n-- {about}\n{sql};")
        click.echo(render(list(rows[0]), [list(row.values()) for row in rows], most=34))


def _next_steps(folder: Path, port: int) -> str:
    # installed in an environment that is not active, as `make demo` does
    activate = "" if shutil.which("syncer") else f"  . {Path(sys.prefix) / 'bin' / 'activate'}\n"
    sandbox = f"syncer sandbox --db warehouse.db{'' if port == _PORT else f' --port {port}'} &"
    return (
        f"{activate}  cd {folder}\n"
        f"  {sandbox:<40} # the local Objects API\n"
        "  syncer check                             # what syncer thinks of the config\n"
        "  syncer preview rooms --limit 1           # the exact request\n"
        "  syncer run --full                        # nothing changed, nothing is sent\n"
        "  syncer status"
    )
