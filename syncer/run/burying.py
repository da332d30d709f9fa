"""The last part of a complete full run: objects whose rows are gone are marked as deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from syncer.core.batch import Batcher
from syncer.core.events import RunProgressed
from syncer.core.ledger import Ledger
from syncer.core.model import Batch, Checkpoint, CollectionMapping, Counts, Doubt, Mark, Receipt, RunReport
from syncer.core.tombstone import HELD_BACK, OPEN, UNSURE, tombstone
from syncer.errors import DeliveryError, SyncerError, Withheld
from syncer.run.job import Ports
from syncer.run.keeping import SETTLED_AFTER, Keeping
from syncer.run.outlay import Outlay
from syncer.run.pipeline import CLOSE
from syncer.run.seen import Seen
from syncer.run.sending import Sending


def dig(mapping: CollectionMapping, seen: Seen, at: datetime, outlays: Sequence[Outlay]) -> None:
    """Count what sending the tombstones would take. Blocks."""
    for page in seen.pages():
        objects = [tombstone(mapping, each, 0, at) for each in page]
        for outlay in outlays:
            outlay.add(objects)
            outlay.cut()
    for outlay in outlays:
        outlay.end()


class Burial:
    """Sends the tombstones of one run, after everything that the run read is settled.

    Before a tombstone goes out it is written down that nobody knows which version the API holds: a row that returns is
    sent then, whatever became of the tombstone. It stays written down where an older version may land after it: the
    next full run marks the object once more.
    """

    def __init__(
        self,
        mapping: CollectionMapping,
        seen: Seen,
        ports: Ports,
        keeping: Keeping,
        *,
        run: RunReport,
        checkpoint: Checkpoint | None,
        digest: str,
        forbidden: Callable[[], SyncerError | None],
        withheld: SyncerError | None,
        doubts: Sequence[Doubt],
    ) -> None:
        self.run = run
        self.failure: Exception | None = withheld
        #: the API refused tombstones; what else there is to do goes on
        self.refused = False
        #: whether every vanished object is marked
        self.complete = False
        self.checkpoint = checkpoint
        self._mapping = mapping
        self._seen = seen
        self._ports = ports
        self._keeping = keeping
        self._digest = digest
        #: ids of which a version went out only just now, and those of which one may land yet
        self._close: set[str] = set()
        self._open: set[str] = set()
        #: whether anything was in doubt when the rows were read that may land yet, and whether a tombstone is now
        now = ports.now()
        self._doubts = any(each.since is None or now - each.since < SETTLED_AFTER for each in doubts)
        self._late = False
        self._ledger = Ledger()
        self._batcher = Batcher(mapping.collection, ports.delivery.limits)
        self._sending = Sending(
            ports.delivery, self._ledger, synchronous=self._follows, forbidden=forbidden, settled=self._settle,
            halted=lambda: self._halted,
        )  # fmt: skip

    @property
    def _halted(self) -> bool:
        self.failure = self.failure or self._sending.failure
        return self.failure is not None or self._ports.stop.is_set()

    async def flow(self) -> None:
        """Mark them all, or none when a guard speaks against it."""
        if self._halted:
            return
        try:
            sent = await self._send()
        finally:
            await self._sending.drain(self._ports.stop)
        self.complete = sent and not self._halted

    async def _send(self) -> bool:
        pages = self._seen.pages()
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            first = self._ledger.chunk_read(len(page), Mark())
            objects = [tombstone(self._mapping, each, row, self.run.started_at) for row, each in enumerate(page, first)]
            await self._look_up(page)
            self._keeping.unsure(page)
            await self._commit(self.run)
            for batch in (*self._batcher.add(objects), *self._batcher.flush()):
                if not await self._sending.put(batch):
                    return False
        return True

    async def _look_up(self, page: Sequence[str]) -> None:
        """Find out what may get in the way of their tombstones."""
        known, lately = await self._keeping.known(page), self._ports.now() - CLOSE
        unsure = {each for each, (digest, _) in known.items() if digest in (OPEN, UNSURE)}
        # what was given up may have landed only just now
        self._close |= unsure.union(each for each, (_, sent_at) in known.items() if sent_at > lately)
        if self._doubts:
            self._open |= unsure

    def _follows(self, batch: Batch) -> bool:
        """Whether the API might process it before an older version, unless it is told to keep the order."""
        return not self._close.isdisjoint(each.id for each in batch.objects)

    def _settle(self, batch: Batch, receipt: Receipt) -> None:
        more = Counts(
            deleted=len(receipt.accepted), requests=receipt.requests, retried=receipt.retried, bytes=receipt.bytes
        )
        self.run = replace(self.run, counts=self.run.counts + more)
        self._ports.moved()
        ids = {each.id for each in batch.objects}
        self._late |= bool(receipt.in_doubt)
        self._keeping.gone([each.id for each in receipt.accepted if each.id not in receipt.in_doubt | self._open])
        self._close -= ids
        self._open -= ids
        if receipt.failure is not None:
            self._ledger.fail(batch)
            self.failure = self.failure or receipt.failure
            return
        self._ledger.settle(batch)
        if receipt.rejections:
            self.refused |= self.failure is None
            self.failure = self.failure or DeliveryError(
                f"mapping {self._mapping.name}: the API refused tombstones: {receipt.rejections[0].code}",
                "the next full run sends them again",
            )
        self._ports.notice(RunProgressed(mapping=self.run.mapping, run_id=self.run.run_id, counts=self.run.counts))

    async def finish(self, run: RunReport) -> None:
        """The last commit. When all are marked, what is known comes from this query, and what is long gone may go.

        When a guard held them back, the runs to come are held back too, until a person says that it is meant.
        """
        if self._late:
            self._keeping.doubted(())
        if isinstance(self.failure, Withheld):
            await self._commit(run, basis=HELD_BACK, ends=True)
        elif self.complete:
            before = run.started_at - self._mapping.refresh_after
            await self._commit(run, basis=self._digest, buried_before=before, ends=True)
        else:
            await self._commit(run, ends=True)

    async def _commit(
        self, run: RunReport, *, basis: str | None = None, buried_before: datetime | None = None, ends: bool = False
    ) -> None:
        await self._keeping.commit(
            run, lambda: None, settled=None if ends and self._sending.heard_of_all else 0, swept=False, basis=basis,
            buried_before=buried_before,
        )  # fmt: skip
