"""A query's rows as they come, from a cursor in the server. Chunks are made of them elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from syncer.core.model import Row
from syncer.source.dialect_generic import GenericDialect
from syncer.source.drivers import Sql
from syncer.source.failures import asking


class Stream:
    """The rows of a query, and whether they came to their end."""

    def __init__(self, connection: Connection, sql: Sql, name: str, dialect: GenericDialect) -> None:
        self._connection = connection
        self._sql = sql
        self._name = name
        self._dialect = dialect
        self.drained = False
        with self._asking():
            self._rows = dialect.rows(connection, sql)

    def fetch(self, size: int) -> Sequence[Row]:
        """The next rows; none at the end."""
        with self._asking():
            rows = self._rows.fetchmany(size)
        self.drained = self.drained or len(rows) < size
        return rows

    def close(self) -> None:
        """Leave the rest where it is; of a connection that is lost there is none."""
        try:
            self._rows.close()
        except self._connection.dialect.loaded_dbapi.Error as error:
            self._connection.invalidate(error)
            self._rows.close()  # without the server

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with asking(self._name, self._dialect), self._told():
            yield

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the driver itself raises, as SQLAlchemy would say it."""
        dialect = self._connection.dialect
        driver = dialect.loaded_dbapi.Error
        wire = self._connection.connection.dbapi_connection
        try:
            yield
        except driver as error:
            lost = dialect.is_disconnect(error, wire, None)
            if lost:
                self._connection.invalidate(error)
            raise DBAPIError.instance(
                self._sql.text, dict(self._sql.binds), error, driver, dialect=dialect, connection_invalidated=lost
            ) from error
