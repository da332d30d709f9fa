"""Many mappings at a glance: statements whose number does not grow with that of the mappings. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Select, func, select, union_all

from syncer.core.model import Outcome, RunReport
from syncer.state import rows, tables
from syncer.state.base import Cause

#: SELECTs in one statement; SQLite takes 500
_AT_ONCE: Final = 200


def latest_runs(
    connection: Connection,
    mappings: Sequence[str],
    limit: int,
    *,
    outcomes: Sequence[Outcome] | None,
    without: Sequence[str],
) -> Mapping[str, Sequence[RunReport]]:
    """See `Store.latest_runs`. Each SELECT walks the index from its end, however long the history is."""
    found: dict[str, list[RunReport]] = {name: [] for name in mappings}
    for some in _portions(list(found)):
        parts = [select(_latest(name, outcomes, without).limit(limit).subquery()) for name in some]
        for row in connection.execute(union_all(*parts)).mappings():
            found[row["mapping"]].append(rows.run_of(row))
    return found


def _latest(mapping: str, outcomes: Sequence[Outcome] | None, without: Sequence[str]) -> Select[tuple[object, ...]]:
    table = tables.runs
    query = select(table).where(table.c.mapping == mapping)
    if outcomes is not None:
        query = query.where(table.c.outcome.in_([each.value for each in outcomes]))
    if without:
        query = query.where(table.c.trigger.not_in(without))
    return query.order_by(table.c.started_at.desc(), table.c.number.desc())


def last_fires(connection: Connection) -> Mapping[tuple[str, str], datetime]:
    """See `Store.last_fires`."""
    found = connection.execute(select(tables.fires)).all()
    return {(row.mapping, row.schedule): row.fired_at for row in found}


def causes(connection: Connection, mapping: str) -> Sequence[Cause]:
    """See `Store.dead_letter_causes`."""
    table = tables.dead_letters
    first, last = func.min(table.c.created_at), func.max(table.c.created_at)
    query = select(table.c.code, func.count().label("letters"), first.label("first"), last.label("last"))
    query = query.where(table.c.mapping == mapping).group_by(table.c.code)
    found = [
        Cause(code=row.code, count=row.letters, first=row.first, last=row.last) for row in connection.execute(query)
    ]
    return tuple(sorted(found, key=lambda each: (-each.count, each.code)))


def _portions(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]
