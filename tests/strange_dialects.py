"""PostgreSQL and MariaDB under names that syncer does not know, to see what it does with any other server. No tests.

Importing this makes their URLs known to SQLAlchemy:

- `strangepg`: serializable transactions, in which a conflict is an error,
- `strangemaria`: MariaDB's own REPEATABLE READ, in which a conflict is a wait, and names that ignore case,
- `autocommitpg` and `keylesspg`: two that cannot keep state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import URL
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import make_url

_NAMES = {"postgresql+psycopg": "strangepg", "mysql+pymysql": "strangemaria"}


class StrangePostgres(PGDialect_psycopg):
    """PostgreSQL in transactions that fail rather than wait."""

    name = "strangepg"
    supports_statement_cache = True

    def create_connect_args(self, url: URL) -> Any:
        """Ask for serializable transactions."""
        arguments, options = super().create_connect_args(url)
        return arguments, {**options, "options": "-c default_transaction_isolation=serializable"}


class StrangeMariaDB(MySQLDialect_pymysql):
    """MariaDB, whose tables then get the server's collation."""

    name = "strangemaria"
    supports_statement_cache = True


class AutocommitPostgres(PGDialect_psycopg):
    """Every statement stays, whatever becomes of its transaction."""

    name = "autocommitpg"
    supports_statement_cache = True

    def on_connect(self) -> Callable[[Any], None]:
        """Make every statement a transaction."""

        def prepare(connection: Any) -> None:
            connection.autocommit = True

        return prepare


class KeylessCompiler(PGDDLCompiler):
    """Forgets primary keys."""

    def visit_primary_key_constraint(self, constraint: Any, **_: Any) -> Any:
        """Nothing."""


class KeylessPostgres(PGDialect_psycopg):
    """Primary keys may be written and mean nothing."""

    name = "keylesspg"
    supports_statement_cache = True
    ddl_compiler = KeylessCompiler


def strange(url: str, name: str | None = None) -> str:
    """The URL of a PostgreSQL or MariaDB database as one of a database nobody knows."""
    known = make_url(url)
    return known.set(drivername=name or _NAMES[known.drivername]).render_as_string(hide_password=False)


registry.register("strangepg", __name__, "StrangePostgres")
registry.register("strangemaria", __name__, "StrangeMariaDB")
registry.register("autocommitpg", __name__, "AutocommitPostgres")
registry.register("keylesspg", __name__, "KeylessPostgres")
