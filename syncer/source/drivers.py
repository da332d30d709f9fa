"""Statements for drivers, and cursors of theirs that rows are read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection, text
from sqlalchemy.sql.compiler import SQLCompiler


@dataclass(frozen=True, slots=True, kw_only=True)
class Sql:
    """A piece of SQL for `sqlalchemy.text`, and the values of the binds in it."""

    text: str
    binds: Mapping[str, object] = field(default_factory=dict)


class Rows(Protocol):
    """What rows are read from: SQLAlchemy's result, or a cursor of the driver."""

    def fetchmany(self, size: int, /) -> Sequence[Any]:
        """The next rows, so many at most; none at the end."""

    def close(self) -> None:
        """Leave the rest."""


def in_drivers_words(connection: Connection, sql: Sql) -> tuple[str, Any]:
    """A statement and its bound values as the driver takes them.

    Rows are read with the driver's own cursor where it is known: SQLAlchemy makes an object of every row, which takes
    longer than reading it.
    """
    compiled = text(sql.text).compile(dialect=connection.dialect)
    assert isinstance(compiled, SQLCompiler)
    values = compiled.construct_params(dict(sql.binds))
    return compiled.string, [values[name] for name in compiled.positiontup] if compiled.positiontup else values
