"""What drivers raise, as errors for people. No statement, no bound value and no password passes here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, SQLAlchemyError

from syncer.errors import QueryError, SourceUnreachable
from syncer.source.dialect_generic import GenericDialect

#: per quote: each quoted part, and all from the first to the last; one without an end reaches to the end
_QUOTED = [
    (re.compile(rf"(?<!\w){mark}(.*?)(?:{mark}(?!\w)|$)"), re.compile(rf"(?<!\w){mark}(?:.*{mark}(?!\w)|.*$)"))
    for mark in "\"'`"
]

_EXTRAS = {
    "postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql", "mssql": "mssql", "oracle": "oracle",
    "snowflake": "snowflake", "bigquery": "bigquery", "duckdb": "duckdb",
}  # fmt: skip


@contextmanager
def loading(name: str, backend: str) -> Iterator[None]:
    """Turn a missing driver, and a URL that cannot be used, into `SourceUnreachable`."""
    try:
        yield
    except (ImportError, NoSuchModuleError) as error:
        extra = _EXTRAS.get(backend)
        raise SourceUnreachable(
            f"source {name}: the driver for {backend} is not installed",
            f"pip install 'syncer[{extra}]'" if extra else f"install SQLAlchemy's dialect for {backend}",
        ) from error
    except (ArgumentError, TypeError, ValueError) as error:
        raise SourceUnreachable(
            f"source {name}: its url cannot be used with {backend}", "check the url's form and options"
        ) from error


@contextmanager
def connecting(name: str, dialect: GenericDialect) -> Iterator[None]:
    """Turn every failure to connect into `SourceUnreachable` with the database's own words."""
    try:
        yield
    except SQLAlchemyError as error:
        place = dialect.url.render_as_string(hide_password=True)
        raise SourceUnreachable(
            f"source {name}: no connection to {_place(dialect.url) or place}: {_words(dialect, error)}",
            "check that the database runs, and the url's host, port, user, password and database",
        ) from None


@contextmanager
def asking(name: str, dialect: GenericDialect) -> Iterator[None]:
    """Turn a refused statement into `QueryError`, and a lost connection into `SourceUnreachable`."""
    try:
        yield
    except DBAPIError as error:
        words = _without_values(_words(dialect, error), f"{error.statement or ''} {_bounds(error)}")
        if error.connection_invalidated or isinstance(error, InterfaceError):
            raise SourceUnreachable(
                f"source {name}: the connection was lost: {words}", "run it again; the checkpoint is safe"
            ) from None
        raise QueryError(f"source {name}: the database refused the query: {words}", _hint(words)) from None
    except SQLAlchemyError as error:
        raise QueryError(f"source {name}: the query cannot be run: {_words(dialect, error)}") from None


def _words(dialect: GenericDialect, error: SQLAlchemyError) -> str:
    original = error.orig if isinstance(error, DBAPIError) else None
    told = " ".join(dialect.words(original if original is not None else error).split())
    secret = dialect.url.password
    for form in (str(secret), quote(str(secret), safe="")) if secret else ():
        told = told.replace(form, "***")
    return told


def _bounds(error: DBAPIError) -> str:
    """What the person wrote: bounds of the watermark are bound values, as keys of rows are, which stay out."""
    binds = error.params if isinstance(error.params, dict) else {}
    return " ".join(str(value) for name, value in binds.items() if not name.startswith("key_"))


def _without_values(words: str, statement: str) -> str:
    """Databases quote names and values alike. What the statement does not say itself comes from a row.

    An apostrophe inside a word quotes nothing. A value may hold quotes itself, so when one part has to go, all goes
    from the first quote to the last.
    """
    for quoted, whole in _QUOTED:
        parts = [part.rpartition(".")[2] for part in quoted.findall(words)]
        if not all(part in statement for part in parts):
            words = whole.sub(lambda match: f"{match[0][0]}…{match[0][0]}", words)
    return words


def _place(url: URL) -> str:
    if not url.host:
        return url.database or ""
    port = f":{url.port}" if url.port else ""
    return f"{url.host}{port}/{url.database or ''}"


def _hint(words: str) -> str | None:
    if "permission denied" in words or "denied to user" in words:
        return "grant the source's user SELECT on what the query reads"
    return "run the query in the database's own shell, and correct it there"
