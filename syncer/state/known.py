"""The statements on fingerprints: what is known of the objects of a mapping, and from which query they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, ScalarSelect, delete, func, select, update

from syncer.core.tombstone import GONE
from syncer.state.base import Commit, Fingerprint
from syncer.state.columns import FAMILIES, Words, instant
from syncer.state.faults import damaged
from syncer.state.ids import packed, unpacked
from syncer.state.tables import fingerprints, mappings
from syncer.state.writing import put

#: values in one IN list; SQLite before 3.32 takes 999 variables
_AT_ONCE: Final = 500
#: the type of `syncer_mappings.mapping`
_NAME: Final = Words(1)

#: how the drivers of known databases write a place for a value
_MARKS: Final = {"qmark": "?", "format": "%s", "pyformat": "%s"}


def find(connection: Connection, mapping: str, ids: Sequence[str]) -> Mapping[str, Fingerprint]:
    """What is known of these ids."""
    by_key = {packed(each): each for each in ids}
    keys = sorted(by_key)
    known: dict[str, Fingerprint] = {}
    for start in range(0, len(keys), _AT_ONCE):
        for key, digest, sent_at in _rows_of(connection, mapping, keys[start : start + _AT_ONCE]):
            if key not in by_key or type(digest) is not bytes:
                raise damaged()
            known[by_key[key]] = Fingerprint(digest, sent_at if isinstance(sent_at, datetime) else instant(sent_at))
    return known


def _rows_of(connection: Connection, mapping: str, keys: Sequence[bytes]) -> Iterable[Sequence[Any]]:
    """Key, digest and moment of these keys. Asked for millions of times, so plainly where the driver is known."""
    mark = _MARKS.get(connection.dialect.paramstyle) if connection.dialect.name in FAMILIES else None
    if mark is None:
        columns = (fingerprints.c.object, fingerprints.c.digest, fingerprints.c.sent_at)
        return connection.execute(select(*columns).where(_of(mapping), fingerprints.c.object.in_(keys)))
    sql = (
        "SELECT object, digest, sent_at FROM syncer_fingerprints"  # noqa: S608  marks only
        f" WHERE mapping = (SELECT number FROM syncer_mappings WHERE mapping = {mark})"
        f" AND object IN ({', '.join([mark] * len(keys))})"
    )
    return connection.exec_driver_sql(sql, (_NAME.process_bind_param(mapping, connection.dialect), *keys)).all()


def living(connection: Connection, mapping: str, after: str | None, limit: int) -> Sequence[str]:
    """See `Store.living`."""
    column = fingerprints.c.object
    query = select(column).where(_of(mapping), fingerprints.c.digest != GONE).order_by(column).limit(limit)
    if after is not None:
        query = query.where(column > packed(after))
    return [unpacked(key) for key in connection.execute(query).scalars()]


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
    if commit.fingerprints:
        number = _number(connection, mapping)
        put(connection, fingerprints, list(_accepted(number, commit.fingerprints)))
    if commit.outdated is not None:
        connection.execute(delete(fingerprints).where(_of(mapping), _before(commit.outdated)))


def forget(connection: Connection, mapping: str) -> None:
    """Everything that is known."""
    connection.execute(delete(fingerprints).where(_of(mapping)))
    connection.execute(update(mappings).where(mappings.c.mapping == mapping).values(basis=None))


def _accepted(number: int, accepted: Mapping[str, Fingerprint]) -> Iterator[dict[str, Any]]:
    # in the order in which they are stored: neighbours are written together
    for key, found in sorted(((packed(id), found) for id, found in accepted.items()), key=itemgetter(0)):
        yield {"mapping": number, "object": key, "digest": found.digest, "sent_at": found.sent_at}


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
