"""From a URL to a source: which driver, which dialect."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from syncer.errors import SourceUnreachable
from syncer.source.dialect_generic import GenericDialect
from syncer.source.failures import loading
from syncer.source.sql import SqlSource

#: the drivers whose ways we know; what a URL says about the driver of these databases does not matter
_DRIVERS = {
    "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql", "oracle": "oracle+oracledb", "sqlite": "sqlite",
}  # fmt: skip


def open_source(name: str, url: str, timezone: str = "UTC") -> SqlSource:
    """A source by its URL. Nothing is connected yet.

    Args:
        name: of the source in the configuration, for messages.
        timezone: IANA name of the zone that naive timestamps are in.

    Raises:
        SourceUnreachable: the URL cannot be read or its driver is not installed.
    """
    parsed = _parsed(name, url)
    backend = parsed.get_backend_name()
    zone = ZoneInfo(timezone)
    with loading(name, backend):
        dialect = _dialect(backend)(parsed, zone)
        return SqlSource(name, dialect.engine(), dialect)


def _parsed(name: str, url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SourceUnreachable(
            f"source {name}: its url cannot be read", "write it like postgresql://user:password@host:5432/database"
        ) from None
    driver = _DRIVERS.get(parsed.drivername.partition("+")[0])
    return parsed.set(drivername=driver) if driver else parsed


def _dialect(backend: str) -> type[GenericDialect]:
    """Imported when asked for, because their drivers may not be installed."""
    match backend:
        case "postgresql":
            from syncer.source.dialect_postgresql import PostgresDialect

            return PostgresDialect
        case "mysql" | "mariadb":
            from syncer.source.dialect_mysql import MysqlDialect

            return MysqlDialect
        case "sqlite":
            from syncer.source.dialect_sqlite import SqliteDialect

            return SqliteDialect
    return GenericDialect
