"""The source for every SQL database: one read-only snapshot per question, nothing kept open in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from syncer.core.model import CollectionMapping, Row, Watermark
from syncer.core.plan import RunPlan
from syncer.core.statement import PreparedQuery, prepare
from syncer.core.watermark import encode, encode_key
from syncer.source import statements
from syncer.source.base import Chunk, Described, KeyFaults
from syncer.source.chunks import chunks
from syncer.source.describing import find_table, resolve
from syncer.source.dialect_generic import GenericDialect, Horizon, is_number
from syncer.source.drivers import Sql
from syncer.source.failures import asking, connecting
from syncer.source.stream import Stream

_KEYS_AT_ONCE = 100


class SqlSource:
    """A database read from. See `syncer.source.base.Source`; `open_source` makes one."""

    def __init__(self, name: str, engine: Engine, dialect: GenericDialect) -> None:
        self._name = name
        self._engine = engine
        self._dialect = dialect
        self._connected: dict[int, Connection] = {}

    @property
    def dialect(self) -> GenericDialect:
        """How this database is spoken to."""
        return self._dialect

    def __repr__(self) -> str:
        return f"<SqlSource {self._name}>"

    def identity(self) -> str:
        """What makes this the same database tomorrow; no secret in it."""
        with self.snapshot() as connection:
            return self._dialect.identity(connection)

    def describe(self, mapping: CollectionMapping) -> Described:
        """Columns and key of the mapping's query."""
        with self.snapshot() as connection:
            query, key = self._query(connection, mapping)
            columns = self._dialect.describe(connection, Sql(text=query.render()))
            described = replace(resolve(mapping, columns, key), placed=query.places_watermark)
            statements.check_ties(mapping, query, described)
            return described

    def key_faults(self, mapping: CollectionMapping, described: Described) -> KeyFaults:
        """Count NULL and repeated keys and NULL watermarks, in one snapshot."""
        with self.snapshot() as connection:
            query, own = self._query(connection, mapping)
            inner = statements.placed(self._dialect, query, None, described)
            if self._dialect.enforces_keys and own and own == described.primary_key:
                if described.watermark is None:
                    return KeyFaults()
                _, null_watermarks = self._row(connection, statements.counting_nulls(self._dialect, inner, described))
                return KeyFaults(null_watermarks=null_watermarks)
            nulls, null_watermarks = self._row(connection, statements.counting_nulls(self._dialect, inner, described))
            (duplicates,) = self._row(connection, statements.counting_duplicates(self._dialect, inner, described))
        return KeyFaults(nulls=nulls, duplicates=duplicates, null_watermarks=null_watermarks)

    @contextmanager
    def read(self, plan: RunPlan, described: Described) -> Iterator[Iterator[Chunk]]:
        """Stream the plan's rows from one snapshot. Leaving in the middle closes it without reading the rest."""
        with self._connection() as connection:
            with asking(self._name, self._dialect):
                ceiling, horizon = self._horizon(connection, plan, described)
                self._dialect.begin(connection)
                reading = self._reading(connection, plan, described, ceiling)
            stream = Stream(connection, reading.sql, self._name, self._dialect)
            try:
                yield chunks(stream.fetch, reading, self._dialect, limit=plan.limit, horizon=horizon)
            finally:
                if not stream.drained:
                    self._dialect.abandon(connection)
                stream.close()

    def count(self, plan: RunPlan, described: Described, most: int) -> int:
        """How many rows a plan reads; no more than `most` are looked for, where the database can leave off."""
        with self.snapshot() as connection:
            query, _ = self._query(connection, plan.mapping)
            counting = statements.counting(self._dialect, query, plan, described, connection=connection, most=most)
            (found,) = self._row(connection, counting)
            return min(found, most)

    def horizon(self, *, numbers: bool = False) -> Horizon | None:
        """How far everything that was stamped by the database's clock, or numbered by it, can be seen now."""
        with self._connection() as connection, asking(self._name, self._dialect):
            return self._dialect.outlasted(connection) if numbers else self._dialect.horizon(connection)

    def read_keys(self, mapping: CollectionMapping, described: Described, keys: Sequence[str]) -> list[Row]:
        """The current rows with these keys; absent ones are left out."""
        if not keys:
            return []
        with self.snapshot() as connection:
            query, _ = self._query(connection, mapping)
            inner = statements.placed(self._dialect, query, None, described)
            found: list[Row] = []
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                wanted = keys[start : start + _KEYS_AT_ONCE]
                sql = statements.finding(self._dialect, inner, described, wanted)
                found += _exactly(self._rows(connection, sql), described, frozenset(wanted))
        return found

    def interrupt(self) -> None:
        """End what the database is doing for us now."""
        for connection in list(self._connected.values()):
            if not connection.closed and not connection.invalidated:
                self._dialect.interrupt(connection.connection.dbapi_connection)

    def close(self) -> None:
        """Let go of the connections. Idempotent."""
        self._engine.dispose()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection in a read-only snapshot, for one question. The database's errors become ours."""
        with self._connection() as connection, asking(self._name, self._dialect):
            self._dialect.begin(connection)
            yield connection

    def query(self, connection: Connection, mapping: CollectionMapping) -> Sql:
        """The mapping's query, without a watermark in it."""
        prepared, _ = self._query(connection, mapping)
        return Sql(text=prepared.render())

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with connecting(self._name, self._dialect):
            connection = self._engine.connect()
        self._connected[id(connection)] = connection
        try:
            yield connection
        finally:
            del self._connected[id(connection)]
            try:
                connection.close()
            except DBAPIError:  # It is lost. Nothing was written, so what was read before stays as good as it was.
                if not connection.closed:
                    connection.invalidate()

    def _query(self, connection: Connection, mapping: CollectionMapping) -> tuple[PreparedQuery, tuple[str, ...]]:
        """The mapping's query, and the key that the database itself declares for it."""
        if mapping.table is None:
            return prepare(mapping.query or "", self._dialect.lexis), ()
        schema, table = find_table(connection, mapping.name, mapping.table)
        query = f"SELECT * FROM {self._dialect.path(schema, table)}"  # noqa: S608  quoted names of a table that is there
        return PreparedQuery(parts=(query,)), self._dialect.own_key(connection, schema, table)

    def _horizon(
        self, connection: Connection, plan: RunPlan, described: Described
    ) -> tuple[Watermark | None, Horizon | None]:
        """What no saved watermark may pass, as a watermark and as seen; asked before the snapshot is taken."""
        column = statements.watermark_column(described)
        if column is None or not plan.saves or plan.ceiling is not None:
            return plan.ceiling, None
        if is_number(column):
            return self._outlasted(connection, plan, described)
        horizon = self._dialect.horizon(connection)
        return (None, None) if horizon is None else (self._dialect.mark_of(column, horizon.at), horizon)

    def _outlasted(
        self, connection: Connection, plan: RunPlan, described: Described
    ) -> tuple[Watermark | None, Horizon | None]:
        """The highest number that can be seen, once nobody can commit a lower one any more."""
        column = statements.watermark_column(described)
        if column is None or not self._dialect.awaits_numbers:
            return None, None
        with self.snapshot() as before:
            query, _ = self._query(before, plan.mapping)
            (highest,) = self._rows(before, statements.highest(self._dialect, query, plan, described))[0]
        horizon, mark = self._dialect.outlasted(connection), encode(column.kind, highest)
        if mark is None or (horizon is not None and horizon.pinned):
            mark = plan.watermark or self._dialect.nowhere(column)
        return mark, horizon

    def _reading(
        self, connection: Connection, plan: RunPlan, described: Described, ceiling: Watermark | None
    ) -> statements.Reading:
        query, _ = self._query(connection, plan.mapping)
        column = statements.watermark_column(described)
        if column is not None:
            statements.check_saved(plan.mapping, column, plan.watermark)
        return statements.reading(self._dialect, query, plan, described, connection=connection, horizon=ceiling)

    def _row(self, connection: Connection, sql: Sql) -> tuple[int, ...]:
        (row,) = self._rows(connection, sql)
        return tuple(int(str(value)) for value in row)

    def _rows(self, connection: Connection, sql: Sql) -> list[Row]:
        with connection.execute(text(sql.text), dict(sql.binds)) as result:
            return [tuple(row) for row in result]


def _exactly(rows: Sequence[Row], described: Described, wanted: frozenset[str]) -> list[Row]:
    """Without the rows that only a collation calls equal."""
    kinds = statements.key_kinds(described)
    names = [column.name for column in described.columns]
    places = [names.index(name) for name in described.primary_key]
    return [row for row in rows if encode_key(kinds, [row[place] for place in places]) in wanted]
