"""The only place that decides how far the watermark may go. A pure state machine: no I/O, no clock.

Rows are counted from 0 in read order. A chunk that was read ends at a row and carries the watermark of its last
row. Objects of it that must be sent stand in batches; all others (unchanged, rejected, skipped) need nothing.
The safe watermark is that of the last chunk before the first row that is not settled: the contiguous prefix.
Because the next run reads from `>=` that watermark, rows that tie with it are read again, never lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from syncer.core.model import Batch, Watermark


class Ledger:
    """Open and settle batches; ask for the safe watermark; ask which ids are in flight."""

    def __init__(self) -> None:
        self._read = 0
        self._chunks: deque[tuple[int, Watermark | None]] = deque()
        self._safe: Watermark | None = None
        self._open: dict[int, int] = {}
        self._in_flight: dict[str, int] = {}
        self._held: int | None = None

    def __repr__(self) -> str:
        return f"<Ledger {self._read} read, {len(self._open)} open, safe {self._safe}>"

    def chunk_read(self, rows: int, watermark: Watermark | None) -> int:
        """Note a chunk of so many rows, the last of them at this watermark. Returns its first row."""
        first = self._read
        self._read += rows
        self._chunks.append((self._read, watermark))
        return first

    def open(self, batch: Batch) -> None:
        """Note a batch that is about to be sent. None of its ids may be in flight."""
        ids = [each.id for each in batch.objects]
        if self.blocked(ids):
            raise ValueError("an id of this batch is in flight")
        self._open[batch.number] = batch.first_row
        self._in_flight.update(dict.fromkeys(ids, batch.number))

    def blocked(self, ids: Iterable[str]) -> bool:
        """Whether one of these ids is in an unfinished request."""
        return any(each in self._in_flight for each in ids)

    def settle(self, batch: Batch) -> None:
        """Every object of the batch was accepted or is about to be stored as a dead letter."""
        del self._open[batch.number]
        self._release(batch)

    def fail(self, batch: Batch) -> None:
        """The batch will not be settled in this run: its first row holds the watermark for good."""
        self.hold(self._open.pop(batch.number))
        self._release(batch)

    def hold(self, row: int) -> None:
        """This row will not be settled in this run: the watermark stays before it for good."""
        self._held = row if self._held is None else min(self._held, row)

    def _release(self, batch: Batch) -> None:
        for each in batch.objects:
            self._in_flight.pop(each.id, None)

    def safe(self, unbatched: int | None = None) -> Watermark | None:
        """The watermark that may be saved now. None: nothing yet.

        Args:
            unbatched: first row of the objects that wait for a batch, if any do.
        """
        firsts = [row for row in (*self._open.values(), self._held, unbatched) if row is not None]
        limit = min(firsts, default=self._read)
        while self._chunks and self._chunks[0][0] <= limit:
            _, watermark = self._chunks.popleft()
            self._safe = watermark or self._safe
        return self._safe
