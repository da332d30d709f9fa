"""The options that choose mappings, the same for every command that takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])


def selecting(command: Command) -> Command:
    """Add `--select` and `--exclude`."""
    chosen = click.option(
        "-s", "--select", multiple=True, metavar="NAME|tag:T", help="Only these mappings; repeatable."
    )
    left_out = click.option("--exclude", multiple=True, metavar="NAME|tag:T", help="All but these; repeatable.")
    return chosen(left_out(command))
