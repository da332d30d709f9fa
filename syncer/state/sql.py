"""The store in any database that SQLAlchemy speaks to. A method is a transaction (`acquire`: several).

Which statements run, in which order. How they are spoken is in `writing`, how values look in `rows`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy import Connection, and_, bindparam, delete, func, select

from syncer.core.model import Checkpoint, DeadLetter, Doubt, Lease, Outcome, PropertyType, RunReport
from syncer.errors import StateUnwritable
from syncer.state import glance, known, leases, rows, tables
from syncer.state.base import Cause, Commit, Fingerprint, latest_letters, outdated_ids, require_fit
from syncer.state.clocks import ahead, utc_now
from syncer.state.database import Database
from syncer.state.writing import add, put, put_absent

#: values in one IN list; SQLite before 3.32 takes 999 variables
_AT_ONCE: Final = 500

T = TypeVar("T")


class SqlStore:
    """A `Store` over any of the databases above. Safe for several threads, processes and hosts."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        #: this host's, which callers tell their instants by
        self._clock = clock

    def __repr__(self) -> str:
        return f"SqlStore({self._database.place})"

    @property
    def database(self) -> Database:
        """Where it keeps its tables."""
        return self._database

    def acquire(self, mapping: str, owner: str, now: datetime, ttl: timedelta) -> Lease:
        """See `Store.acquire`."""

        def look(connection: Connection) -> bool:
            return leases.look(connection, mapping, owner, now, ttl, clock=self._clock)

        # many that cannot have it must not keep each other, and its holder, waiting for the right to write
        has_row = self._database.read(look)
        try:
            if not has_row:
                self._database.write(lambda connection: leases.prepare(connection, mapping))
            return self._database.write(
                lambda connection: leases.take(connection, mapping, owner, now, ttl, clock=self._clock)
            )
        except StateUnwritable:
            self._database.read(look)  # it may have been taken by one of those that were waited for
            raise

    def renew(self, lease: Lease, now: datetime, ttl: timedelta) -> Lease:
        """See `Store.renew`."""
        return self._database.write(lambda connection: leases.prolong(connection, lease, now, ttl, clock=self._clock))

    def release(self, lease: Lease) -> None:
        """See `Store.release`."""
        self._database.write(lambda connection: leases.give_back(connection, lease))

    def leases(self) -> Sequence[Lease]:
        """See `Store.leases`."""
        return self._database.read(leases.held)

    def commit(self, lease: Lease, commit: Commit) -> None:
        """See `Store.commit`."""
        require_fit(lease, commit)
        self._database.write(lambda connection: _record(connection, lease, commit, self._clock))

    def checkpoint(self, mapping: str) -> Checkpoint | None:
        """See `Store.checkpoint`."""
        query = select(tables.checkpoints).where(tables.checkpoints.c.mapping == mapping)
        found = self._database.read(lambda connection: connection.execute(query).mappings().one_or_none())
        return None if found is None else rows.checkpoint_of(found)

    def checkpoints(self) -> Sequence[Checkpoint]:
        """See `Store.checkpoints`."""
        query = select(tables.checkpoints)
        found = self._database.read(lambda connection: connection.execute(query).mappings().all())
        return tuple(sorted(map(rows.checkpoint_of, found), key=lambda checkpoint: checkpoint.mapping))

    def reset(self, lease: Lease, *, fingerprints: bool) -> None:
        """See `Store.reset`."""
        forgotten = (tables.checkpoints, tables.properties) if fingerprints else (tables.checkpoints,)

        def work(connection: Connection) -> None:
            leases.require(connection, lease)
            for table in forgotten:
                connection.execute(delete(table).where(table.c.mapping == lease.mapping))
            if fingerprints:
                known.forget(connection, lease.mapping)

        self._database.write(work)

    def fingerprints(self, mapping: str, ids: Sequence[str]) -> Mapping[str, Fingerprint]:
        """See `Store.fingerprints`."""
        return self._database.read(lambda connection: known.find(connection, mapping, ids))

    def living(self, mapping: str, after: str | None, limit: int) -> Sequence[str]:
        """See `Store.living`."""
        return self._database.read(lambda connection: known.living(connection, mapping, after, limit))

    def living_count(self, mapping: str) -> int:
        """See `Store.living_count`."""
        return self._database.read(lambda connection: known.living_count(connection, mapping))

    def basis(self, mapping: str) -> str | None:
        """See `Store.basis`."""
        return self._database.read(lambda connection: known.basis(connection, mapping))

    def property_types(self, mapping: str) -> Mapping[str, PropertyType]:
        """See `Store.property_types`."""
        table = tables.properties
        query = select(table).where(table.c.mapping == mapping).order_by(table.c.number)
        found = self._database.read(lambda connection: connection.execute(query).mappings().all())
        return dict(map(rows.property_of, found))

    def doubts(self, mapping: str) -> Sequence[Doubt]:
        """See `Store.doubts`."""
        table = tables.doubts
        query = select(table).where(table.c.mapping == mapping)

        def work(connection: Connection) -> list[Doubt]:
            found = [rows.doubt_of(row) for row in connection.execute(query).mappings()]
            return _moved(found, -ahead(connection, self._clock)) if found else []

        # sorted here: each database has an order of its own for text
        return tuple(sorted(self._database.read(work), key=lambda each: (each.run_id, each.part)))

    def doubt_counts(self) -> Mapping[str, int]:
        """See `Store.doubt_counts`."""
        table = tables.doubts
        query = select(table.c.mapping, table.c.size).where(table.c.since.is_not(None))
        counts: Counter[str] = Counter()
        for mapping, size in self._database.read(lambda connection: connection.execute(query).all()):
            counts[mapping] += size
        return {mapping: size for mapping, size in counts.items() if size}

    def runs(
        self, mapping: str | None = None, limit: int = 20, *, until: datetime | None = None
    ) -> Sequence[RunReport]:
        """See `Store.runs`."""
        table = tables.runs
        query = select(table).order_by(table.c.started_at.desc(), table.c.number.desc()).limit(limit)
        if mapping is not None:
            query = query.where(table.c.mapping == mapping)
        if until is not None:
            query = query.where(table.c.started_at <= until)
        found = self._database.read(lambda connection: connection.execute(query).mappings().all())
        return tuple(map(rows.run_of, found))

    def run(self, run_id: str) -> RunReport | None:
        """See `Store.run`."""
        query = select(tables.runs).where(tables.runs.c.run_id == run_id)
        found = self._database.read(lambda connection: connection.execute(query).mappings().one_or_none())
        return None if found is None else rows.run_of(found)

    def latest_runs(
        self,
        mappings: Sequence[str],
        limit: int,
        *,
        outcomes: Sequence[Outcome] | None = None,
        without: Sequence[str] = (),
    ) -> Mapping[str, Sequence[RunReport]]:
        """See `Store.latest_runs`."""
        return self._database.read(
            lambda connection: glance.latest_runs(connection, mappings, limit, outcomes=outcomes, without=without)
        )

    def sent_since(self, moment: datetime) -> int:
        """See `Store.sent_since`."""
        table = tables.runs
        query = select(func.sum(table.c.sent + table.c.deleted)).where(table.c.started_at >= moment)
        # NULL without runs; some databases sum integers to decimals
        return int(self._database.read(lambda connection: connection.execute(query).scalar_one()) or 0)

    def unrecorded(self, limit: int) -> Sequence[RunReport]:
        """See `Store.unrecorded`."""
        table, owed = tables.runs, tables.unrecorded
        query = select(table).join(owed, owed.c.run_id == table.c.run_id)
        query = query.where(table.c.outcome.is_not(None)).order_by(table.c.number).limit(limit)
        found = self._database.read(lambda connection: connection.execute(query).mappings().all())
        return tuple(map(rows.run_of, found))

    def recorded(self, run_ids: Sequence[str]) -> None:
        """See `Store.recorded`."""
        table = tables.unrecorded

        def work(connection: Connection) -> None:
            for some in _portions(run_ids):
                connection.execute(delete(table).where(table.c.run_id.in_(some)))

        self._database.write(work)

    def dead_letters(
        self,
        mapping: str | None = None,
        *,
        numbers: Sequence[int] | None = None,
        ids: Sequence[str] | None = None,
        limit: int | None = None,
        code: str | None = None,
        after: int = 0,
    ) -> Sequence[DeadLetter]:
        """See `Store.dead_letters`."""
        table = tables.dead_letters
        query = select(table).where(table.c.number > after).order_by(table.c.number).limit(limit)
        if mapping is not None:
            query = query.where(table.c.mapping == mapping)
        if code is not None:
            query = query.where(table.c.code == code)
        if ids is not None:
            query = query.where(table.c.object.in_([rows.id_digest(each) for each in ids]))
        queries = [query]
        if numbers is not None:
            queries = [query.where(table.c.number.in_(some)) for some in _portions(sorted(set(numbers)))]

        def work(connection: Connection) -> list[DeadLetter]:
            return [rows.dead_letter_of(row) for each in queries for row in connection.execute(each).mappings()]

        return tuple(self._database.read(work)[:limit])

    def dead_letter_counts(self) -> Mapping[str, int]:
        """See `Store.dead_letter_counts`."""
        table = tables.dead_letters
        query = select(table.c.mapping, func.count().label("letters")).group_by(table.c.mapping)
        found = self._database.read(lambda connection: connection.execute(query).all())
        return {row.mapping: row.letters for row in found}

    def dead_letter_causes(self, mapping: str) -> Sequence[Cause]:
        """See `Store.dead_letter_causes`."""
        return self._database.read(lambda connection: glance.causes(connection, mapping))

    def discard(self, numbers: Sequence[int]) -> int:
        """See `Store.discard`."""
        return self._database.write(lambda connection: _remove(connection, numbers))

    def last_fire(self, mapping: str, schedule: str) -> datetime | None:
        """See `Store.last_fire`."""
        table = tables.fires
        query = select(table.c.fired_at).where(table.c.mapping == mapping, table.c.schedule == schedule)
        return self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())

    def last_fires(self) -> Mapping[tuple[str, str], datetime]:
        """See `Store.last_fires`."""
        return self._database.read(glance.last_fires)

    def record_fire(self, mapping: str, schedule: str, at: datetime) -> None:
        """See `Store.record_fire`."""
        row = {"mapping": mapping, "schedule": schedule, "fired_at": at}
        self._database.write(lambda connection: put(connection, tables.fires, [row]))

    def pauses(self) -> Mapping[str, datetime]:
        """See `Store.pauses`."""
        found = self._database.read(lambda connection: connection.execute(select(tables.pauses)).all())
        return {row.mapping: row.since for row in found}

    def pause(self, mapping: str, at: datetime) -> None:
        """See `Store.pause`."""
        row = {"mapping": mapping, "since": at}
        self._database.write(lambda connection: put_absent(connection, tables.pauses, row))

    def resume(self, mapping: str) -> None:
        """See `Store.resume`."""
        table = tables.pauses
        self._database.write(lambda connection: connection.execute(delete(table).where(table.c.mapping == mapping)))

    def close(self) -> None:
        """See `Store.close`."""
        self._database.close()


def _record(connection: Connection, lease: Lease, commit: Commit, clock: Callable[[], datetime]) -> None:
    """Everything in a commit. The lease comes first: its row stays locked, nobody takes over in between."""
    leases.require(connection, lease)
    put(connection, tables.runs, [rows.run_row(commit.run)], "run_id")
    if commit.recorded:
        put_absent(connection, tables.unrecorded, {"run_id": commit.run.run_id})
    if commit.checkpoint is not None:
        put(connection, tables.checkpoints, [rows.checkpoint_row(commit.checkpoint)])
    known.record(connection, lease.mapping, commit)
    if commit.doubts:
        doubted = _moved(commit.doubts, ahead(connection, clock))
        put(connection, tables.doubts, [rows.doubt_row(lease.mapping, each) for each in doubted])
    if commit.property_types is not None:
        _retype(connection, lease.mapping, commit.property_types)
    if commit.assured:
        _assure(connection, lease.mapping, commit.assured)
    _remove(connection, commit.resolved, lease.mapping)
    _replace_letters(connection, lease.mapping, commit)


def _replace_letters(connection: Connection, mapping: str, commit: Commit) -> None:
    table = tables.dead_letters
    has_some = connection.execute(select(table.c.number).where(table.c.mapping == mapping).limit(1)).first()
    if has_some is not None:
        for keys in _portions(map(rows.id_digest, outdated_ids(commit))):
            connection.execute(delete(table).where(table.c.mapping == mapping, table.c.object.in_(keys)))
        if commit.swept:
            nameless = (table.c.mapping == mapping, table.c.object.is_(None), table.c.run_id != commit.run.run_id)
            connection.execute(delete(table).where(*nameless))
    if commit.dead_letters:
        letters = [rows.dead_letter_row(letter) for letter in latest_letters(commit.dead_letters)]
        add(connection, table, letters)


def _retype(connection: Connection, mapping: str, types: Mapping[str, PropertyType]) -> None:
    table = tables.properties
    connection.execute(delete(table).where(table.c.mapping == mapping))
    if types:
        add(connection, table, rows.property_rows(mapping, types))


def _moved(doubts: Iterable[Doubt], by: timedelta) -> list[Doubt]:
    """From one clock to another: stored are instants of the server's, so that all hosts see the same age."""
    return [replace(each, since=each.since + by) if each.since is not None else each for each in doubts]


def _assure(connection: Connection, mapping: str, assured: Sequence[tuple[str, int]]) -> None:
    table = tables.doubts
    condition = and_(
        table.c.mapping == mapping, table.c.run_id == bindparam("run"), table.c.number == bindparam("part")
    )
    connection.execute(delete(table).where(condition), [{"run": run, "part": part} for run, part in assured])


def _remove(connection: Connection, numbers: Iterable[int], mapping: str | None = None) -> int:
    """Delete dead letters, of one mapping or of all; returns how many there were."""
    table = tables.dead_letters
    removed = 0
    for some in _portions(numbers):
        chosen = and_(table.c.number.in_(some))
        if mapping is not None:
            chosen = and_(chosen, table.c.mapping == mapping)
        # counted before, because not every driver tells how many it deleted
        removed += connection.execute(select(func.count()).select_from(table).where(chosen)).scalar_one()
        connection.execute(delete(table).where(chosen))
    return removed


def _portions(values: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
