"""The seam to a database: what a source promises to the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from syncer.core.model import CollectionMapping, Column, Mark, Row, Watermark
from syncer.core.plan import RunPlan
from syncer.source.dialect_generic import Horizon


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Rows read together, in order."""

    rows: Sequence[Row]
    #: where they end: the watermark that may be saved after them, and the last place where reading can go on
    mark: Mark = field(default_factory=Mark)
    #: no watermark beyond it may be saved: as a watermark, and as an instant of the source's clock
    ceiling: Watermark | None = None
    bound: datetime | None = None
    #: what keeps every watermark from moving; there is no bound then
    held_by: str | None = None
    #: whether any row so far stands at or above the saved watermark
    ahead: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a mapping's query returns, learned without reading rows."""

    columns: tuple[Column, ...]
    #: the key columns, spelled as the result has them; from the mapping, or the table's own key
    primary_key: tuple[str, ...]
    #: the watermark column, spelled as the result has it
    watermark: str | None = None
    #: the query places the watermark itself
    placed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFaults:
    """What is wrong with a mapping's key in the data, counted by the database."""

    nulls: int = 0
    #: ids that more than one row has
    duplicates: int = 0
    #: rows whose watermark is NULL
    null_watermarks: int = 0


class Source(Protocol):
    """A database read from. Methods block; the pipeline calls them in a reader thread. Nothing is ever written.

    Errors: `SourceUnreachable`, `QueryError` with the database's own words, `MappingError` for a missing or
    unfit column, several statements, or a LIMIT.
    """

    def identity(self) -> str:
        """What makes this the same database tomorrow; no secret in it."""

    def describe(self, mapping: CollectionMapping) -> Described:
        """Columns and key of the mapping's query."""

    def key_faults(self, mapping: CollectionMapping, described: Described) -> KeyFaults:
        """Count NULL and repeated keys and NULL watermarks. Reads the whole query once, in the database."""

    def read(self, plan: RunPlan, described: Described) -> AbstractContextManager[Iterator[Chunk]]:
        """Stream one leg of a plan from one read-only snapshot; memory does not grow with the table.

        Leaving the context closes the cursor and the snapshot, also in the middle.
        """

    def count(self, plan: RunPlan, described: Described, most: int) -> int:
        """How many rows a plan reads; from `most` on it is `most`, and a database that can leave off there does."""

    def horizon(self, *, numbers: bool = False) -> Horizon | None:
        """How far everything that was stamped by the database's clock can be seen now. None: unknown.

        With `numbers`: numbered by the database instead, as by a sequence.
        """

    def read_keys(self, mapping: CollectionMapping, described: Described, keys: Sequence[str]) -> list[Row]:
        """The current rows with these keys (as `core.watermark.encode_key` wrote them); absent ones are left out."""

    def interrupt(self) -> None:
        """End what the database is doing for us now; called from another thread. What was asked fails with an error.

        Does nothing when nothing is asked; questions asked later are answered.
        """

    def close(self) -> None:
        """Let go of the connections. Idempotent."""
