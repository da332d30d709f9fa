"""The main path of one run: read, shape, compare, send, settle, commit. Acts; every decision is made in the core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import datetime

from syncer.core.batch import Batcher
from syncer.core.events import Event, RunProgressed
from syncer.core.fingerprint import changed
from syncer.core.fuse import blown
from syncer.core.ledger import Ledger
from syncer.core.model import Batch, Checkpoint, Counts, Receipt, RunReport, SegmentObject
from syncer.core.plan import RunOptions, RunPlan
from syncer.core.shape import Shaped, Shaper
from syncer.delivery.base import Delivery
from syncer.errors import MappingError, NearlyAllRejected
from syncer.run.keeping import Keeping, with_watermark
from syncer.run.sending import Sending
from syncer.source.base import Chunk, Described, Source
from syncer.state.base import Commit, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What a run touches of the world."""

    #: opened at its first use, so that a source that cannot be opened fails its own run only
    source: Callable[[], Source]
    delivery: Delivery
    store: Store
    notice: Callable[[Event], None]
    now: Callable[[], datetime]
    #: seconds of a clock that only goes forward
    monotonic: Callable[[], float]
    #: set: stop reading, finish what is in flight
    stop: asyncio.Event


class Pipeline:
    """One pass over a plan. `write` records one transaction."""

    def __init__(
        self,
        plan: RunPlan,
        described: Described,
        shaper: Shaper,
        ports: Ports,
        *,
        run: RunReport,
        digest: str,
        checkpoint: Checkpoint | None,
        options: RunOptions,
        write: Callable[[Commit], None],
    ) -> None:
        self.run = with_watermark(run, checkpoint)
        self.failure: Exception | None = None
        #: whether the source was read to its end and everything settled
        self.complete = False
        self._plan = plan
        self._described = described
        self._shaper = shaper
        self._ports = ports
        self._digest = digest
        self._checkpoint = checkpoint
        self._options = options
        self._compares = plan.mapping.send == "changed" and not options.resend
        self._ledger = Ledger()
        self._batcher = Batcher(plan.mapping.collection, ports.delivery.limits)
        self._sending = Sending(
            ports.delivery, self._ledger, settled=self._settle, halted=lambda: self._halted
        )  # fmt: skip
        self._keeping = Keeping(
            plan.mapping, run.run_id, ports.store, write, now=ports.now, monotonic=ports.monotonic
        )  # fmt: skip
        self._committing: asyncio.Task[None] | None = None
        self._shaped = self._refused = self._api_refused = 0
        #: first row of the chunk whose objects are not all in batches yet
        self._taking: int | None = None

    @property
    def counts(self) -> Counts:
        """Where the rows went so far."""
        return self.run.counts

    def _count(self, **more: int) -> None:
        self.run = replace(self.run, counts=self.run.counts + Counts(**more))

    @property
    def _halted(self) -> bool:
        return self.failure is not None or self._ports.stop.is_set()

    async def flow(self) -> None:
        """Run to the end of the plan, to a failure, or until told to stop; then settle what is in flight."""
        try:
            self.complete = await self._pass() and not self._halted
        finally:
            await self._sending.drain()
            if self._committing is not None:
                await asyncio.wait([self._committing])
        if self._halted:
            self.complete = False

    async def _pass(self) -> bool:
        async with aclosing(self._chunks()) as chunks:
            async for chunk, shaped in chunks:
                if not await self._take(chunk, shaped):
                    return False
                self._commit_when_due()
                if self._committing is not None and self._keeping.behind:
                    await asyncio.wait([self._committing])
        for batch in self._batcher.flush():
            if not await self._sending.put(batch):
                return False
        await self._sending.drain()
        return True

    # --- reading

    async def _chunks(self) -> AsyncGenerator[tuple[Chunk, Shaped], None]:
        """Chunks, read and shaped in a thread of their own, one ahead of the one in hand."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix=f"read-{self._plan.mapping.name}") as thread:
            stack = ExitStack()
            reading = self._ports.source().read(self._plan, self._described)
            chunks = await loop.run_in_executor(thread, stack.enter_context, reading)
            shaping = self._shaping(chunks)
            ahead = loop.run_in_executor(thread, next, shaping, None)
            try:
                while (found := await ahead) is not None:
                    ahead = loop.run_in_executor(thread, next, shaping, None)
                    yield found
            finally:
                await asyncio.wait([ahead])
                ahead.exception()  # looked at: whoever left early has no use for it
                await loop.run_in_executor(thread, stack.close)

    def _shaping(self, chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, Shaped]]:
        first = 0
        for chunk in chunks:
            yield chunk, self._shaper.shape(chunk.rows, first)
            first += len(chunk.rows)

    async def _take(self, chunk: Chunk, shaped: Shaped) -> bool:
        """Account for a chunk and pass on what must be sent. False: halted on the way."""
        rejected = len(shaped.rejections)
        self._taking = self._ledger.chunk_read(len(chunk.rows), chunk.watermark)
        self._count(read=len(chunk.rows), skipped=shaped.skipped, non_finite=shaped.non_finite, rejected=rejected)
        self._shaped += len(shaped.objects)
        self._refused += rejected
        self._keeping.bury(shaped.rejections)
        self._keeping.decide(shaped.skipped)
        rule = self._plan.mapping.watermark
        if shaped.null_watermarks and rule is not None and rule.nulls == "error":
            self.failure = null_watermark_error(self._plan.mapping.name, rule.column)
        elif blown(self._refused, self._shaped):
            self._blow(self._refused, self._refused + self._shaped)
        if self._halted or not await self._pass_on(shaped.objects):
            return False
        self._taking = None
        return True

    async def _pass_on(self, objects: list[SegmentObject]) -> bool:
        fresh = await self._changed(objects) if self._compares else objects
        sent = {each.row for each in fresh}
        self._count(unchanged=len(objects) - len(fresh))
        self._keeping.unchanged([each.id for each in objects if each.row not in sent])
        if self._options.dry_run:
            self._count(skipped=len(fresh))
            return True
        for batch in self._batcher.add(fresh):
            if not await self._sending.put(batch):
                return False
        return True

    async def _changed(self, objects: list[SegmentObject]) -> list[SegmentObject]:
        """What must be sent. Of an id that is on its way nothing is certain, so its next version goes as well."""
        known = dict(await self._keeping.known([each.id for each in objects]))
        for each in objects:
            if self._ledger.pending(each.id) or self._batcher.holds(each.id):
                known.pop(each.id, None)
        return changed(objects, known, self._ports.now(), self._plan.mapping.refresh_after)

    # --- settling

    def _settle(self, batch: Batch, receipt: Receipt) -> None:
        self._count(
            sent=len(receipt.accepted), requests=receipt.requests, retried=receipt.retried, bytes=receipt.bytes
        )  # fmt: skip
        self._keeping.accepted(receipt.accepted)
        if receipt.failure is not None:
            # the batch holds the watermark; its rejections will be found again with it
            self._ledger.fail(batch)
            self.failure = self.failure or receipt.failure
            self._keeping.doubt(receipt.in_doubt)
            return
        self._ledger.settle(batch)
        self._count(rejected=len(receipt.rejections))
        self._keeping.bury(receipt.rejections)
        self._api_refused += len(receipt.rejections)
        fine = self.counts.sent + self.counts.unchanged
        if blown(self._api_refused, fine):
            self._blow(self._api_refused, self._api_refused + fine)
        self._commit_when_due()

    def _blow(self, rejected: int, of: int) -> None:
        codes = self._keeping.codes
        usual = max(set(codes), key=codes.count) if codes else "unknown"
        self._keeping.exhume()
        self.failure = self.failure or NearlyAllRejected(
            f"mapping {self._plan.mapping.name}: {rejected} of {of} objects were rejected, mostly {usual}; stopped "
            "before they fill the dead letters",
            f"look at the objects: syncer preview {self._plan.mapping.name}",
        )

    # --- keeping

    def _commit_when_due(self) -> None:
        """Commit beside the reading and sending; one at a time."""
        if self._committing is None and self._keeping.due and not self._halted:
            self._committing = asyncio.create_task(self._commit(self.run))
            self._committing.add_done_callback(self._committed)

    def _committed(self, task: asyncio.Task[None]) -> None:
        self._committing = None
        error = task.exception()
        if isinstance(error, Exception):
            self.failure = self.failure or error
        else:
            self._ports.notice(RunProgressed(mapping=self.run.mapping, run_id=self.run.run_id, counts=self.counts))

    async def finish(self, run: RunReport) -> None:
        """The last commit, with the report as it stands at the end."""
        await self._commit(run)

    async def _commit(self, run: RunReport) -> None:
        checkpoint = self._next_checkpoint()
        self._checkpoint = checkpoint or self._checkpoint
        saved = with_watermark(run, self._checkpoint)
        swept = self.complete and self._plan.whole
        await self._keeping.commit(saved, checkpoint, swept=swept)
        self.run = with_watermark(self.run, self._checkpoint)

    def _next_checkpoint(self) -> Checkpoint | None:
        """The checkpoint to save now; None: it stays as it is. See `RunPlan.advances` and `.saves`."""
        if not self._plan.saves or not (self._plan.advances or self.complete):
            return None
        if isinstance(self.failure, NearlyAllRejected):
            return None
        waiting = [row for row in (self._taking, self._batcher.first_row) if row is not None]
        safe = self._ledger.safe(min(waiting, default=None))
        if safe is None and (self._plan.rule is not None or not self.complete or not self.counts.read):
            return None
        before = self._checkpoint
        if before is not None and before.digest == self._digest and before.watermark == safe:
            return None
        return Checkpoint(
            mapping=self._plan.mapping.name, digest=self._digest, watermark=safe, updated_at=self._ports.now()
        )


def null_watermark_error(mapping: str, column: str) -> MappingError:
    """A NULL watermark under `nulls: error`."""
    return MappingError(
        f"mapping {mapping}: the query returns rows whose watermark {column} is NULL",
        f"fill the column, or choose `nulls: include` or `nulls: skip` in mappings.{mapping}.watermark",
    )
