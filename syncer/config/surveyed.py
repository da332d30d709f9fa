"""What `syncer init` saw in a database: frozen values between survey and starter config. Nothing is decided here."""

from __future__ import annotations

from dataclasses import dataclass

from syncer.core.model import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyedColumn:
    """One column of a table, as far as the catalogue tells."""

    name: str
    #: `Kind.ANY` for types that nobody knows
    kind: Kind
    nullable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyedTable:
    """One table or view."""

    name: str
    #: None: the one in which the database looks for names without a schema
    schema: str | None = None
    #: as `SELECT *` returns them; none of a view, which is not looked into
    columns: tuple[SurveyedColumn, ...] = ()
    primary_key: tuple[str, ...] = ()
    #: the columns of each unique index or constraint
    unique: tuple[tuple[str, ...], ...] = ()
    #: columns that an index begins with; None: the database does not tell
    indexed: frozenset[str] | None = None
    #: about how many rows; None: the catalogue does not tell
    rows: int | None = None
    view: bool = False
    #: whether the source's user may select from it
    readable: bool = True

    @property
    def path(self) -> str:
        """As a mapping's `table` takes it."""
        return self.name if self.schema is None else f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Tables and views of some schemas, by name."""

    #: of the database, with neither password nor options
    url: str
    tables: tuple[SurveyedTable, ...]
    #: schemas that were not looked at
    other_schemas: tuple[str, ...] = ()
    #: columns hold values of their declared type only; not so in SQLite, where times are kept as text
    typed: bool = True
