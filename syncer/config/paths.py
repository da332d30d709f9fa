"""Key paths: where in the file a value stands, and how that is written for people."""

from __future__ import annotations

from typing import TypeAlias

from syncer.config.nearest import is_name

#: keys and list positions from the top
KeyPath: TypeAlias = tuple[str | int, ...]


def shown(path: KeyPath) -> str:
    """Key path for people: `mappings.rooms.schedules[0].cron`.

    A key that is no plain name is left out: in `{write_key:SECRET}`, without the blank, the secret is the key.
    """
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step if is_name(step) else '…'}" for step in path)
    return text.removeprefix(".")
