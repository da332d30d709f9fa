"""A whole state from one database into another, for `syncer state copy`. Rows are copied; nobody looks into them.

The first state is read as it is at one moment and stays as it is; all of the second is written, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Table, insert, literal, select

from syncer.errors import StateError, UsageError
from syncer.state import leases, portable, tables
from syncer.state.columns import FAMILIES
from syncer.state.numbering import count_on, last_numbers
from syncer.state.open import open_store
from syncer.state.owner import current_owner
from syncer.state.sql import SqlStore

#: rows in memory at once
_AT_ONCE: Final = 5_000
_COPIED: Final = tuple(table for table in tables.metadata.sorted_tables if table is not tables.meta)
#: a lease is the process's, and not the copy's; its epochs go on
_NOBODY: Final = {"owner": None, "since": None, "expires_at": None}


def copy_state(origin: str, target: str, now: datetime) -> Mapping[str, int]:
    """Copy all that is kept at one URL to the other; returns the number of rows by table.

    Raises:
        UsageError: there is no state at the first URL, or the second has one already.
        LeaseHeld: a mapping is being run with the first state.
        StateError: see `open_store`; also when the first was written by an older syncer.
    """
    with closing(_opened(origin, read_only=True)) as old, closing(_opened(target, read_only=False)) as new:
        return old.database.snapshot(
            lambda before: new.database.write(lambda after: _copy(before, after, new.database.place, now))
        )


def _opened(url: str, *, read_only: bool) -> SqlStore:
    store = open_store(url, read_only=read_only)
    if isinstance(store, SqlStore):
        return store
    store.close()
    if read_only:
        raise UsageError("there is no state to copy: nothing is kept at the URL given", "syncer state copy --help")
    raise StateError("`state.url` is a state in memory, which nothing can be copied into", "give it a file or a server")


def _copy(before: Connection, after: Connection, place: str, now: datetime) -> Mapping[str, int]:
    _require_idle(before, now)
    if any(after.execute(select(literal(1)).select_from(table).limit(1)).first() for table in _COPIED):
        hint = "let `state.url` name an empty database or a new file"
        raise UsageError(f"the state store {place} is not empty, and copying would mix two states", hint)
    count_on(after, last_numbers(before))
    return {table.name: sum(_write(after, table, rows) for rows in _rows(before, table)) for table in _COPIED}


def _require_idle(before: Connection, now: datetime) -> None:
    """Raise `LeaseHeld` while a process runs a mapping: what it sends from now on would be missing in the copy."""
    for held in leases.held(before):
        leases.look(before, held.mapping, current_owner(), now, timedelta(0))


def _rows(before: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    result = before.execute(select(table).execution_options(yield_per=_AT_ONCE)).mappings()
    for some in result.partitions():
        yield [dict(row) | _NOBODY if table is tables.leases else dict(row) for row in some]


def _write(after: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
    if after.dialect.name in FAMILIES:
        after.execute(insert(table), rows)
    else:
        portable.add_numbered(after, table, rows)
    return len(rows)
