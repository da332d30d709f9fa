"""What the destination must hold after each run, and what the run must have done to get there. No syncer here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reference_rules import Row, Table, Token

#: how far behind its watermark an incremental run reads, where the mapping does not say
LOOKBACK = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One run of one mapping."""

    read: int
    unchanged: int
    rejected: int
    not_finite: int
    #: ids of the objects it sends
    sent: frozenset[str]


@dataclass(slots=True, kw_only=True)
class Model:
    """One collection."""

    watermarked: bool
    held: dict[str, Mapping[str, Token]] = field(default_factory=dict)
    #: how many dead letters of an id and a code
    letters: Counter[tuple[str | None, str]] = field(default_factory=Counter)
    saved: datetime | None = None

    def run(self, table: Table, *, full: bool = False) -> Expected:
        """A run over the table as it is now."""
        since = None if full or self.saved is None else self.saved - LOOKBACK
        seen = [row for row in table.rows if since is None or row.moment is None or row.moment >= since]
        fine = [row for row in seen if row.code is None]
        sent = {identifier(row): row.properties for row in fine if self.held.get(identifier(row)) != row.properties}
        self.held |= sent
        self._bury(seen, complete=since is None)
        if self.watermarked:
            self.saved = max((row.moment for row in table.rows if row.moment is not None), default=None)
        return Expected(
            read=len(seen), unchanged=len(fine) - len(sent), rejected=len(seen) - len(fine),
            not_finite=sum(row.not_finite for row in fine), sent=frozenset(sent),
        )  # fmt: skip

    def _bury(self, seen: list[Row], *, complete: bool) -> None:
        """A refused row has one dead letter while it is refused; those without a key are found anew by a full run."""
        ids = {row.id for row in seen} | ({None} if complete else set())
        kept = {told: count for told, count in self.letters.items() if told[0] not in ids}
        self.letters = Counter(kept) + Counter((row.id, row.code) for row in seen if row.code is not None)


def identifier(row: Row) -> str:
    """The id of a row that has one."""
    assert row.id is not None
    return row.id
