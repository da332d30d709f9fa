"""`syncer sandbox`: the local Objects and Bulk API as a command."""

from __future__ import annotations

import click

from syncer.sandbox.app import create_app
from syncer.sandbox.faults import Faults
from syncer.sandbox.server import run_forever
from syncer.sandbox.warehouse import Warehouse


@click.command(
    epilog="""\b
Examples:
  syncer sandbox                                  accept any write key on http://127.0.0.1:8765
  syncer sandbox --db warehouse.db                keep what arrives; query it with sqlite3
  syncer sandbox --fail 0.05 --latency 50         a bad day: 5% errors, 50 ms answers
  syncer sandbox --rate-limit 100                 429 beyond 100 requests a second

\b
In the config:
  destination:
    write_key: anything
    endpoint: http://127.0.0.1:8765
"""
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Off loopback, --write-key is required.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8765, show_default=True, help="0: any free port.")
@click.option(
    "--db",
    default="sandbox.db",
    show_default=True,
    help="SQLite file that plays the warehouse; `:memory:` keeps nothing.",
)
@click.option("--write-key", metavar="KEY", help="Refuse every other write key with 401.")
@click.option(
    "--fail",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="RATE",
    help="Share of requests answered 5xx; half of them take effect all the same.",
)
@click.option(
    "--latency",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="MS",
    help="Milliseconds before every answer.",
)
@click.option(
    "--rate-limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Requests a second before 429 with Retry-After.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Makes --fail repeatable.")
def sandbox(
    host: str,
    port: int,
    db: str,
    write_key: str | None,
    fail: float,
    latency: float,
    rate_limit: float | None,
    seed: int,
) -> None:
    """A local Objects and Bulk API, strict on every documented limit, merging objects into a SQLite warehouse."""
    faults = Faults(fail=fail, latency=latency / 1000, rate_limit=rate_limit, seed=seed)
    with Warehouse(db) as warehouse:
        app = create_app(warehouse, faults, write_key=write_key)
        run_forever(app, host, port, lambda url: click.echo(f"Sandbox on {url}, warehouse in {db}. Stop with Ctrl-C."))
