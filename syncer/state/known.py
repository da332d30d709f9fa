"""The statements on fingerprints: what is known of the objects of a mapping, and from which query they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from operator import gt, itemgetter
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Connection, ScalarSelect, delete, func, select, update

from syncer.core.tombstone import GONE
from syncer.state.base import Commit, Fingerprint
from syncer.state.columns import FAMILIES, Words, instant, microseconds
from syncer.state.faults import damaged
from syncer.state.ids import packed, unpacked
from syncer.state.tables import fingerprints, mappings
from syncer.state.writing import put, put_plainly

#: values in one IN list; SQLite before 3.32 takes 999 variables
_AT_ONCE: Final = 500
#: the type of `syncer_mappings.mapping`
_NAME: Final = Words(1)

#: a tuple made without the detour over its own constructor
_fingerprint = partial(tuple.__new__, Fingerprint)

#: how the drivers of known databases write a place for a value
_MARKS: Final = {"qmark": "?", "format": "%s", "pyformat": "%s"}
_QUERY: Final = (
    "SELECT {} FROM syncer_fingerprints WHERE mapping = (SELECT number FROM syncer_mappings WHERE mapping = {})"
)
_ROW: Final = "object, digest, sent_at"
#: so many ids in order are taken for neighbours
_NEIGHBOURS: Final = 20


def find(connection: Connection, mapping: str, ids: Sequence[str]) -> Mapping[str, Fingerprint]:
    """What is known of these ids."""
    by_key = dict(zip(map(packed, ids), ids, strict=True))
    rows = _rows_between(connection, mapping, list(by_key))
    if rows is None:
        keys = sorted(by_key)
        portions = (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))
        rows = [row for some in portions for row in _rows_of(connection, mapping, some)]
    if not rows:
        return {}
    found, digests, times = zip(*rows, strict=True)
    if set(map(type, digests)) != {bytes}:
        raise damaged()
    # many were written at the same moment
    moments = {at: at if isinstance(at, datetime) else instant(at) for at in set(times)}
    each = map(_fingerprint, zip(digests, map(moments.__getitem__, times), strict=True))
    known = dict(zip(map(by_key.get, found), each, strict=True))
    known.pop(None, None)  # a neighbour that was not asked for
    return cast("dict[str, Fingerprint]", known)


def _rows_between(connection: Connection, mapping: str, keys: Sequence[bytes]) -> Sequence[Sequence[Any]] | None:
    """Key, digest and moment of all keys from the first to the last; None: better ask for each of them.

    Who reads a table by its key asks for neighbours. Then a range takes a third of the time that so many places take.
    """
    mark = _mark(connection)
    if mark is None or len(keys) < _NEIGHBOURS or any(map(gt, keys, keys[1:])):
        return None
    most = 2 * len(keys)
    query = f"{_QUERY.format(_ROW, mark)} AND object BETWEEN {mark} AND {mark} LIMIT {most}"
    rows = _asked(connection, query, mapping, (keys[0], keys[-1]))
    return rows if len(rows) < most else None


def _rows_of(connection: Connection, mapping: str, keys: Sequence[bytes]) -> Iterable[Sequence[Any]]:
    """Key, digest and moment of these keys. Asked for millions of times, so plainly where the driver is known."""
    mark = _mark(connection)
    if mark is None:
        columns = (fingerprints.c.object, fingerprints.c.digest, fingerprints.c.sent_at)
        return connection.execute(select(*columns).where(_of(mapping), fingerprints.c.object.in_(keys)))
    query = f"{_QUERY.format(_ROW, mark)} AND object IN ({', '.join([mark] * len(keys))})"
    return _asked(connection, query, mapping, keys)


def _asked(connection: Connection, query: str, mapping: str, values: Sequence[bytes]) -> list[Sequence[Any]]:
    """The driver's own rows: SQLAlchemy's would take twice the time of the query."""
    result = connection.exec_driver_sql(query, (_NAME.process_bind_param(mapping, connection.dialect), *values))
    try:
        rows = list(result.cursor.fetchall()) if result.cursor is not None else []
    finally:
        result.close()
    if rows and any(isinstance(each, memoryview) for each in rows[0]):  # psycopg2's bytes
        return [[bytes(each) if isinstance(each, memoryview) else each for each in row] for row in rows]
    return rows


def _mark(connection: Connection) -> str | None:
    """How the driver writes a place for a value; None: it is not one of the known."""
    dialect = connection.dialect
    return _MARKS.get(dialect.paramstyle) if dialect.name in FAMILIES else None


def living(connection: Connection, mapping: str, after: str | None, limit: int) -> Sequence[str]:
    """See `Store.living`."""
    last, mark = b"" if after is None else packed(after), _mark(connection)
    if mark is not None:
        query = (
            f"{_QUERY.format('object', mark)} AND digest <> {mark} AND object > {mark} ORDER BY object LIMIT {limit}"
        )
        return [unpacked(key) for (key,) in _asked(connection, query, mapping, (GONE, last))]
    column = fingerprints.c.object
    ordered = select(column).where(_of(mapping), fingerprints.c.digest != GONE).order_by(column).limit(limit)
    return [unpacked(key) for key in connection.execute(ordered.where(column > last) if last else ordered).scalars()]


def living_count(connection: Connection, mapping: str) -> int:
    """See `Store.living_count`."""
    query = select(func.count()).select_from(fingerprints).where(_of(mapping), fingerprints.c.digest != GONE)
    return connection.execute(query).scalar_one()


def basis(connection: Connection, mapping: str) -> str | None:
    """See `Store.basis`."""
    return connection.execute(select(mappings.c.basis).where(mappings.c.mapping == mapping)).scalar_one_or_none()


def record(connection: Connection, mapping: str, commit: Commit) -> None:
    """What a commit says of fingerprints."""
    if commit.basis is not None:
        _based(connection, mapping, commit.basis)
    if commit.fingerprints or commit.restored:
        _accept(connection, _number(connection, mapping), {**commit.restored, **commit.fingerprints})
    if commit.outdated is not None:
        connection.execute(delete(fingerprints).where(_of(mapping), _before(commit.outdated)))
    if commit.buried_before is not None:
        graves = (fingerprints.c.digest == GONE, _before(commit.buried_before))
        connection.execute(delete(fingerprints).where(_of(mapping), *graves))


def forget(connection: Connection, mapping: str) -> None:
    """Everything that is known."""
    connection.execute(delete(fingerprints).where(_of(mapping)))
    connection.execute(update(mappings).where(mappings.c.mapping == mapping).values(basis=None))


def _accept(connection: Connection, number: int, accepted: Mapping[str, Fingerprint]) -> None:
    # in the order in which they are stored: neighbours are written together
    found = sorted(zip(map(packed, accepted), accepted.values(), strict=True), key=itemgetter(0))
    if _mark(connection) is None:
        names = fingerprints.columns.keys()
        rows = (dict(zip(names, (number, key, *each), strict=True)) for key, each in found)
        put(connection, fingerprints, list(rows))
        return
    moments = {at: microseconds(at) for at in {at for _, at in accepted.values()}}
    put_plainly(connection, fingerprints, [(number, key, digest, moments[at]) for key, (digest, at) in found])


def _based(connection: Connection, mapping: str, digest: str) -> None:
    put(connection, mappings, [{"mapping": mapping, "basis": digest}], "mapping")


def _number(connection: Connection, mapping: str) -> int:
    query = select(mappings.c.number).where(mappings.c.mapping == mapping)
    found = connection.execute(query).scalar_one_or_none()
    if found is None:
        put(connection, mappings, [{"mapping": mapping, "basis": None}], "mapping")
        found = connection.execute(query).scalar_one()
    return int(found)


def _of(mapping: str) -> ColumnElement[bool]:
    number: ScalarSelect[int] = select(mappings.c.number).where(mappings.c.mapping == mapping).scalar_subquery()
    return fingerprints.c.mapping == number


def _before(moment: datetime) -> ColumnElement[bool]:
    return fingerprints.c.sent_at < moment
