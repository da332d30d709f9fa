"""The only place that decides how far the watermark may go, and which batch may go out. Pure: no I/O, no clock.

Rows are counted from 0 in read order. A chunk that was read ends at a row and carries the watermark of its last
row. Objects of it that must be sent stand in batches; all others (unchanged, rejected, skipped) need nothing.

A batch:    waiting --take--> open --settle--> settled        every object accepted or a dead letter
               |                |
               +----abandon-----+----fail----> held           the watermark stays before its first row

The safe mark is that of the last chunk before the first row that is not settled: the contiguous prefix.
Because the next run reads from `>=` its watermark, rows that tie with it are read again, never lost.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Set

from syncer.core.model import Batch, Mark


class Ledger:
    """Queue, open and settle batches; ask for the safe mark. No id is ever in two open batches."""

    def __init__(self) -> None:
        self._read = 0
        #: rows before this one stand in batches, or need nothing
        self._decided = 0
        self._chunks: deque[tuple[int, Mark]] = deque()
        self._safe = Mark()
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

    @property
    def read(self) -> int:
        """How many rows were read."""
        return self._read

    def chunk_read(self, rows: int, mark: Mark) -> int:
        """Note a chunk of so many rows, of which nothing is decided yet, and where it ends. Returns its first row."""
        first = self._read
        self._read += rows
        self._chunks.append((self._read, mark))
        return first

    def decided(self, row: int | None = None) -> None:
        """All rows before this one (None: all that were read) stand in batches, or need nothing."""
        self._decided = self._read if row is None else row

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

    def pending(self, ids: Set[str]) -> Set[str]:
        """Those of which an object waits or is in flight: what the API holds of them is not known."""
        return self._pending.keys() & ids

    def overtaken(self, batch: Batch) -> Set[str]:
        """Ids of an open batch of which another version waits."""
        return {each.id for each in batch.objects if self._pending[each.id] > 1}

    def settle(self, batch: Batch) -> None:
        """Every object of the batch was accepted or is about to be stored as a dead letter."""
        del self._open[batch.number]
        self._in_flight.difference_update(each.id for each in batch.objects)
        self._forget(batch)

    def fail(self, batch: Batch) -> None:
        """The batch will not be settled in this run."""
        self._hold(batch.first_row)
        self.settle(batch)

    def abandon(self) -> None:
        """Nothing that waits will be sent in this run."""
        while self._waiting:
            batch = self._waiting.popleft()
            self._hold(batch.first_row)
            self._forget(batch)

    def _hold(self, row: int) -> None:
        self._held = row if self._held is None else min(self._held, row)

    def _forget(self, batch: Batch) -> None:
        for each in batch.objects:
            self._pending[each.id] -= 1
            if not self._pending[each.id]:
                del self._pending[each.id]

    @property
    def settled(self) -> int:
        """So many rows from the first on are settled."""
        unsettled = [batch.first_row for batch in self._open.values()]
        unsettled += [batch.first_row for batch in list(self._waiting)[:1]]
        unsettled += [self._held] if self._held is not None else []
        return min([self._decided, *unsettled])

    @property
    def safe(self) -> Mark:
        """How far everything is settled: what may be saved now."""
        while self._chunks and self._chunks[0][0] <= self.settled:
            _, mark = self._chunks.popleft()
            self._safe = Mark(
                watermark=mark.watermark or self._safe.watermark, position=mark.position or self._safe.position
            )
        return self._safe
