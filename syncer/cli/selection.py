"""The options that choose mappings, and what of them is read: the same for every command that takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from syncer.core.model import Mode
from syncer.core.plan import RunOptions
from syncer.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., object])


def selecting(command: Command) -> Command:
    """Add `--select` and `--exclude`."""
    chosen = click.option(
        "-s", "--select", multiple=True, metavar="NAME|tag:T", help="Only these mappings; repeatable."
    )
    left_out = click.option("--exclude", multiple=True, metavar="NAME|tag:T", help="All but these; repeatable.")
    return chosen(left_out(command))


def reading(command: Command) -> Command:
    """Add what `wanted` takes."""
    for option in reversed(_READING):
        command = option(command)
    return command


_READING = (
    click.option("--full", is_flag=True, help="Read everything, whatever the watermark says."),
    click.option("--resend", is_flag=True, help="Send unchanged objects too; without --from and --to, everything."),
    click.option("--from", "start", metavar="X", help="Only rows whose watermark is at least X; saves no checkpoint."),
    click.option("--to", "end", metavar="Y", help="Only rows whose watermark is below Y; saves no checkpoint."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read at most N rows of each mapping."),
    click.option("--allow-deletes", is_flag=True, help="Mark vanished rows as deleted, however many they are."),
)


def wanted(
    *, full: bool, resend: bool, start: str | None, end: str | None, limit: int | None, allow_deletes: bool
) -> RunOptions:
    """What the options of `reading` ask for.

    Raises:
        UsageError: a range and everything.
    """
    ranged = start is not None or end is not None
    if ranged and full:
        command = click.get_current_context().command_path
        raise UsageError("--from and --to do not go with --full", f"{command} --help")
    everything = full or (resend and not ranged)
    return RunOptions(
        mode=Mode.FULL if everything else Mode.INCREMENTAL, start=start, end=end, limit=limit, resend=resend,
        allow_deletes=allow_deletes,
    )  # fmt: skip
