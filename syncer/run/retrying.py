"""Retrying dead letters: a run that reads the current rows by their keys. What is stored of them is never sent."""

from __future__ import annotations

from collections.abc import Sequence

from syncer.core.model import DeadLetter
from syncer.core.plan import RunOptions


def row_keys(letters: Sequence[DeadLetter], mapping: str) -> tuple[str, ...]:
    """Keys of the rows to read again; a row has one, however many dead letters it has."""
    keys = (each.rejection.key for each in letters if each.mapping == mapping)
    return tuple(dict.fromkeys(key for key in keys if key is not None))


def retry_of(letters: Sequence[DeadLetter], mapping: str) -> RunOptions | None:
    """What a run of the mapping is to do for its dead letters. None: the row of none of them can be found."""
    keys = row_keys(letters, mapping)
    if not keys:
        return None
    numbers = (each.number for each in letters if each.mapping == mapping and each.rejection.key is not None)
    return RunOptions(keys=keys, resolves=tuple(numbers), resend=True, trigger="dead-letters retry")
