"""How the state tables came to be, step by step. A released step never changes; a new shape is a new step.

Version N is the state after the first N steps. A step and the record of its version commit together where the
database can. MySQL and others commit every DDL statement by itself: there, steps must bear being begun again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from sqlalchemy import Connection, inspect, select, text

from syncer.errors import StateTooNew, StateUnwritable
from syncer.state.columns import FAMILIES, MYSQL
from syncer.state.database import PATIENCE, Database
from syncer.state.faults import damaged
from syncer.state.sqlite_file import mark_ours
from syncer.state.tables import meta, metadata, spell_for_mysql
from syncer.state.writing import put, put_absent

Step: TypeAlias = Callable[[Connection], None]

#: dialects known to undo DDL with the transaction
_WHOLE: Final = ("sqlite", "postgresql")
_LOCK: Final = 0x53594E43


def create_tables(connection: Connection) -> None:
    """Step 1: every table."""
    if connection.dialect.name not in FAMILIES:
        from syncer.state import portable

        portable.create(connection)
        return
    if connection.dialect.name in MYSQL:
        spell_for_mysql()
    if connection.dialect.name == "sqlite":
        mark_ours(connection)
    # first, because where DDL cannot be rolled back its presence says that a creation was begun
    meta.create(connection, checkfirst=True)
    metadata.create_all(connection, checkfirst=True)


STEPS: Final[tuple[Step, ...]] = (create_tables,)


def migrate(
    database: Database, steps: Sequence[Step] = STEPS, *, back_up: Callable[[int], object] | None = None
) -> None:
    """Bring the tables to the newest version. Processes that do so at once wait for each other.

    Args:
        back_up: called once with the old version, under the lock, before existing tables change.

    Raises:
        StateTooNew: the tables are of a later version than `steps`.
        StateCorrupt: there are state tables, but their version is lost.
    """
    first = version_of(database, steps)
    for _ in range(first, len(steps)):
        _advance(database, steps, back_up)
        back_up = None


def version_of(database: Database, steps: Sequence[Step] = STEPS) -> int:
    """The version of the tables, 0 when there are none. Raises `StateTooNew` and `StateCorrupt`."""
    version = database.read(lambda connection: _recorded(connection, database.place))
    if version > len(steps):
        raise StateTooNew(
            f"the state store {database.place} has version {version}; this syncer knows versions up to {len(steps)}",
            "upgrade syncer (`pip install --upgrade syncer`), or set `state.url` to another place",
        )
    return version


def _advance(database: Database, steps: Sequence[Step], back_up: Callable[[int], object] | None) -> None:
    """Take the next step, unless another process was faster."""

    def work(connection: Connection) -> None:
        with _alone(connection, database.place):
            version = _recorded(connection, database.place)
            if version >= len(steps):
                return
            if version and back_up is not None:
                back_up(version)
            steps[version](connection)
            _record(connection, version + 1)
            connection.commit()

    database.session(work)


def _record(connection: Connection, version: int) -> None:
    row = {"name": "version", "content": str(version)}
    if version == 1:
        # others may have created the tables as well, and gone on since
        put_absent(connection, meta, row)
    else:
        put(connection, meta, [row])


@contextmanager
def _alone(connection: Connection, place: str) -> Iterator[None]:
    """Only one process migrates. SQLite's write transaction sees to that by itself.

    In a database outside `FAMILIES` several may create the tables at once: all but one fail, and find them later.
    """
    name = connection.dialect.name
    if name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if name not in FAMILIES:
        from syncer.state import portable

        portable.take_turn(connection)
    if name not in MYSQL:
        yield
        return
    lock = {"lock": _LOCK, "seconds": PATIENCE}
    taken = connection.execute(text("SELECT GET_LOCK(concat(database(), '/', :lock), :seconds)"), lock).scalar()
    if taken != 1:
        raise StateUnwritable(f"another process is preparing the state store {place}", "wait for it, then run again")
    try:
        yield
    finally:
        connection.execute(text("SELECT RELEASE_LOCK(concat(database(), '/', :lock))"), lock)


def _has_tables(connection: Connection, place: str) -> bool:
    if inspect(connection).has_table(meta.name):
        return True
    if not any(inspect(connection).has_table(name) for name in metadata.tables):
        return False
    # another process may have created them all between the two looks
    if not inspect(connection).has_table(meta.name):
        raise damaged(place)
    return True


def _recorded(connection: Connection, place: str) -> int:
    if not _has_tables(connection, place):
        return 0
    content = connection.execute(select(meta.c.content).where(meta.c.name == "version")).scalar_one_or_none()
    if content is None and connection.dialect.name not in _WHOLE:
        return 0
    if content is None or not content.isdecimal() or content == "0":
        raise damaged(place)
    return int(content)
