"""The sandbox's warehouse: one SQLite file that merges objects by id. All its I/O, and no HTTP, lives here.

A collection is a table with a column per property. `_objects` holds each object's properties as exact JSON
text, nulls included, and how often and when it was received; `_requests` holds what was asked and answered.
What bulk sessions upload waits in a spool beside the file until it is merged.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Self, cast

from syncer.errors import UsageError
from syncer.sandbox import tables
from syncer.sandbox.exact import Value, decode, encode
from syncer.sandbox.rules import SetObject, SetRequest
from syncer.sandbox.spool import Spool
from syncer.sandbox.tables import Layout

#: layouts remembered; senders have a few, so more means they are generated
_MAX_LAYOUTS = 1000
#: objects of a bulk session merged by one statement
_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkNote:
    """What is noted of a request to the bulk API."""

    received_at: datetime
    #: without the session's id, such as "/v0/upload"
    path: str
    #: as in the request, whether there is such a session or not
    sync_id: str | None
    #: what it is answered; 0: nothing
    status: int
    #: bytes of its body
    size: int
    #: of its objects, if they are of one
    collection: str | None = None
    #: objects its part adds to the session
    uploaded: int = 0
    #: objects merged by it
    objects: int = 0


class Warehouse:
    """A SQLite warehouse. Safe to use from several threads; other processes may read the file meanwhile.

    Properties of a request replace those of the same id, absent ones keep their value, null clears. Numbers
    that SQLite cannot hold exactly are stored as the text of the number, booleans as 1 and 0.
    """

    def __init__(self, path: str | Path) -> None:
        """Open or create it; ":memory:" keeps it in memory.

        Raises:
            UsageError: the file cannot be opened, or is something else.
        """
        self.path = str(path)
        self._lock = threading.RLock()
        self._connection = _open(self.path)
        #: parts of bulk sessions
        self.spool = Spool()
        # SQLite's counter of schema changes as of our last look: other programs may drop or alter tables
        self._schema_version: int | None = None
        # by collection: its columns by their folded names
        self._columns: dict[str, dict[str, str]] = {}
        self._layouts: dict[tuple[str, tuple[str, ...]], Layout] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Idempotent."""
        self.spool.close()
        with self._lock:
            self._connection.close()

    def record(
        self, request: SetRequest | None, *, received_at: datetime, status: int, synchronous: bool, size: int
    ) -> None:
        """Merge a request's objects and note the request, in one transaction.

        Args:
            request: None for one that stores nothing.
            status: what it is answered.
            size: bytes of its body.
        """
        at = received_at.isoformat()
        collection, objects = (request.collection, request.objects) if request else (None, ())
        with self._transaction() as connection:
            if collection is not None:
                self._merge_rows(collection, objects)
                self._merge_objects(collection, objects, at)
            entry = (at, collection, len(objects), status, synchronous, size, "/v1/set", None, 0)
            connection.execute(tables.INSERT_REQUEST, entry)

    def record_bulk(self, note: BulkNote, objects: Iterable[tuple[str, SetObject]] = ()) -> None:
        """Merge the objects, each with its collection and in their order, and note the request: one transaction."""
        at = note.received_at.isoformat()
        with self._transaction() as connection:
            for collection, alike in _alike(objects):
                self._merge_rows(collection, alike)
                self._merge_objects(collection, alike, at)
            connection.execute(
                tables.INSERT_REQUEST,
                (at, note.collection, note.objects, note.status, 0, note.size, note.path, note.sync_id, note.uploaded),
            )

    def collections(self) -> dict[str, int]:
        """The collections by name, and how many objects each has."""
        with self._transaction():
            return {name: self._count(name) for name in sorted(self._columns)}

    def rows(self, collection: str) -> list[dict[str, object]]:
        """A collection's rows ordered by id; none for one that was never sent."""
        with self._transaction():
            if collection not in self._columns:
                return []
            return self._fetch(f"SELECT * FROM {tables.quoted(tables.table_of(collection))} ORDER BY id")  # noqa: S608

    def requests(self) -> list[dict[str, object]]:
        """Every request received, oldest first; `objects` says how many it stored, whatever was answered.

        Of a bulk session that is its finish; `uploaded` says how many objects an upload added to it.
        """
        return self.query("SELECT * FROM _requests ORDER BY number")

    def query(self, sql: str, *parameters: object) -> list[dict[str, object]]:
        """The result of one statement that reads.

        Raises:
            sqlite3.Error: SQLite refuses it, or it would write.
        """
        with self._lock:
            self._connection.execute("PRAGMA query_only = ON")
            try:
                return self._fetch(sql, *parameters)
            finally:
                self._connection.execute("PRAGMA query_only = OFF")

    def _fetch(self, sql: str, *parameters: object) -> list[dict[str, object]]:
        found = self._connection.execute(sql, parameters)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found]

    def _count(self, collection: str) -> int:
        table = tables.quoted(tables.table_of(collection))
        (count,) = self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
        return int(count)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._look_at_schema()
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite itself gives up some, such as on a full disk
                    connection.execute("ROLLBACK")
                # columns added meanwhile are gone again
                self._schema_version = None
                raise

    def _look_at_schema(self) -> None:
        (version,) = self._connection.execute("PRAGMA schema_version").fetchone()
        if version == self._schema_version:
            return
        self._schema_version = version
        self._columns.clear()
        self._layouts.clear()
        found = self._connection.execute(
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'"
        )
        for table, column in found:
            collection = tables.collection_of(table)
            if collection is not None:
                self._columns.setdefault(collection, {})[tables.folded(column)] = column

    def _merge_rows(self, collection: str, objects: tuple[SetObject, ...]) -> None:
        for names, alike in groupby(objects, key=lambda each: tuple(each.properties)):
            layout = self._layout(collection, names)
            rows = [_row(each, layout.names) for each in alike]
            self._connection.executemany(layout.statement, rows)

    def _layout(self, collection: str, names: tuple[str, ...]) -> Layout:
        known = self._layouts.get((collection, names))
        if known is not None:
            return known
        self._add_columns(collection, names)
        if len(self._layouts) >= _MAX_LAYOUTS:
            self._layouts.clear()
        layout = tables.layout(collection, names, self._columns[collection])
        self._layouts[collection, names] = layout
        return layout

    def _add_columns(self, collection: str, names: tuple[str, ...]) -> None:
        columns = self._columns.get(collection)
        wanted = {tables.folded(name): name for name in names if tables.has_column(name)}
        if columns is None:
            fresh = dict(list(wanted.items())[: tables.MAX_COLUMNS])
            self._connection.execute(tables.create_table(collection, fresh.values()))
            self._columns[collection] = {"id": "id", **fresh}
            return
        for key, name in wanted.items():
            if key not in columns and len(columns) <= tables.MAX_COLUMNS:
                self._connection.execute(tables.add_column(collection, name))
                columns[key] = name

    def _merge_objects(self, collection: str, objects: tuple[SetObject, ...], at: str) -> None:
        select = tables.select_objects(len(objects))
        known = dict(self._connection.execute(select, (collection, *(each.id for each in objects))).fetchall())
        self._connection.executemany(
            tables.UPSERT_OBJECT,
            [(collection, each.id, _merged(known.get(each.id), each), at, at) for each in objects],
        )


def _alike(objects: Iterable[tuple[str, SetObject]]) -> Iterator[tuple[str, tuple[SetObject, ...]]]:
    """Neighbours of one collection with different ids, as a `POST /v1/set` has them."""
    name, alike = "", dict[str, SetObject]()
    for collection, each in objects:
        if alike and (collection != name or each.id in alike or len(alike) == _AT_ONCE):
            yield name, tuple(alike.values())
            alike = {}
        name = collection
        alike[each.id] = each
    if alike:
        yield name, tuple(alike.values())


def _row(each: SetObject, names: tuple[str, ...]) -> list[str | int | float | None]:
    properties = each.properties
    return [each.id, *(tables.stored(properties[name]) for name in names)]


def _merged(known: str | None, each: SetObject) -> str:
    if known is None:
        return encode(each.properties)
    return encode({**cast("dict[str, Value]", decode(known)), **each.properties})


def _open(path: str) -> sqlite3.Connection:
    try:
        # the lock, not sqlite3, keeps threads apart; transactions are begun and ended here
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    except sqlite3.Error as error:
        raise _unusable(path, str(error)) from error
    try:
        existing = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if existing and "_objects" not in existing:
            raise _unusable(path, "it is a database of something else")
        # WAL lets other processes read while we write; a power cut may cost a sandbox its file
        connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; {tables.SCHEMA}")
        _add_later_columns(connection)
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, str(error)) from error
    except UsageError:
        connection.close()
        raise
    return connection


def _add_later_columns(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")  # another sandbox may be opening the same file
    present = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info('_requests')")}
    for name, definition in tables.LATER_COLUMNS.items():
        if name not in present:
            connection.execute(f"ALTER TABLE _requests ADD COLUMN {definition}")
    connection.execute("COMMIT")


def _unusable(path: str, why: str) -> UsageError:
    return UsageError(
        f"{path} cannot be the warehouse: {why}", "name a file that does not exist yet, or one a sandbox made"
    )
