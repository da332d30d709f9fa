"""The only place that decides how far the watermark may go, and which batch may go out. Pure: no I/O, no clock.

Rows are counted from 0 in read order. A chunk that was read ends at a row and carries the watermark of its last
row. Objects of it that must be sent stand in batches; all others (unchanged, rejected, skipped) need nothing.

A batch:    waiting --take--> open --settle--> settled        every object accepted or a dead letter
               |                |
               +----abandon-----+----fail----> held           the watermark stays before its first row

The safe watermark is that of the last chunk before the first row that is not settled: the contiguous prefix.
Because the next run reads from `>=` that watermark, rows that tie with it are read again, never lost.
"""

from __future__ import annotations

from collections import Counter, deque

from syncer.core.model import Batch, Watermark


class Ledger:
    """Queue, open and settle batches; ask for the safe watermark. No id is ever in two open batches."""

    def __init__(self) -> None:
        self._read = 0
        self._chunks: deque[tuple[int, Watermark | None]] = deque()
        self._safe: Watermark | None = None
        self._waiting: deque[Batch] = deque()
        self._open: dict[int, Batch] = {}
        #: ids of waiting and open batches, and of the open ones alone
        self._pending: Counter[str] = Counter()
        self._in_flight: set[str] = set()
        self._held: int | None = None

    def __repr__(self) -> str:
        waiting, opened = len(self._waiting), len(self._open)
        return f"<Ledger {self._read} read, {waiting} waiting, {opened} open, safe {self._safe}>"

    @property
    def waiting(self) -> int:
        """How many batches wait to be sent."""
        return len(self._waiting)

    def chunk_read(self, rows: int, watermark: Watermark | None) -> int:
        """Note a chunk of so many rows, the last of them at this watermark. Returns its first row."""
        first = self._read
        self._read += rows
        self._chunks.append((self._read, watermark))
        return first

    def queue(self, batch: Batch) -> None:
        """A batch that is to be sent after those that wait already."""
        self._waiting.append(batch)
        self._pending.update(each.id for each in batch.objects)

    def take(self) -> Batch | None:
        """Open the next batch. None: none waits, or one of its ids is in flight and the newer version has to wait."""
        if not self._waiting:
            return None
        batch = self._waiting[0]
        ids = [each.id for each in batch.objects]
        if not self._in_flight.isdisjoint(ids):
            return None
        self._in_flight.update(ids)
        self._open[batch.number] = self._waiting.popleft()
        return batch

    def pending(self, identifier: str) -> bool:
        """Whether an object of this id waits or is in flight: what the API holds of it is not known."""
        return self._pending[identifier] > 0

    def settle(self, batch: Batch) -> None:
        """Every object of the batch was accepted or is about to be stored as a dead letter."""
        del self._open[batch.number]
        self._in_flight.difference_update(each.id for each in batch.objects)
        self._forget(batch)

    def fail(self, batch: Batch) -> None:
        """The batch will not be settled in this run."""
        self.hold(batch.first_row)
        self.settle(batch)

    def abandon(self) -> None:
        """Nothing that waits will be sent in this run."""
        while self._waiting:
            batch = self._waiting.popleft()
            self.hold(batch.first_row)
            self._forget(batch)

    def hold(self, row: int) -> None:
        """This row will not be settled in this run: the watermark stays before it for good."""
        self._held = row if self._held is None else min(self._held, row)

    def _forget(self, batch: Batch) -> None:
        for each in batch.objects:
            self._pending[each.id] -= 1
            if not self._pending[each.id]:
                del self._pending[each.id]

    def safe(self, unbatched: int | None = None) -> Watermark | None:
        """The watermark that may be saved now. None: nothing yet.

        Args:
            unbatched: first row of the objects that are in no batch yet, if there are any.
        """
        unsettled = [batch.first_row for batch in self._open.values()]
        unsettled += [batch.first_row for batch in list(self._waiting)[:1]]
        unsettled += [row for row in (self._held, unbatched) if row is not None]
        limit = min(unsettled, default=self._read)
        while self._chunks and self._chunks[0][0] <= limit:
            _, watermark = self._chunks.popleft()
            self._safe = watermark or self._safe
        return self._safe
