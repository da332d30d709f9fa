"""The main path of one run: read, shape, compare, send, settle, commit. Acts; every decision is made in the core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import datetime

from syncer.core.batch import Batcher
from syncer.core.events import Event, RunProgressed
from syncer.core.fingerprint import changed, fingerprint
from syncer.core.fuse import blown
from syncer.core.ledger import Ledger
from syncer.core.model import (
    Batch,
    Checkpoint,
    Counts,
    DeadLetter,
    Receipt,
    Rejection,
    RunReport,
    SegmentObject,
    Watermark,
)
from syncer.core.plan import RunOptions, RunPlan
from syncer.core.shape import Shaper
from syncer.delivery.base import Delivery
from syncer.errors import MappingError, NearlyAllRejected
from syncer.source.base import Chunk, Described, Source
from syncer.state.base import Commit, Fingerprint, Store

#: a commit is due after so many decided objects or seconds, whichever comes first
COMMIT_OBJECTS = 2_000
COMMIT_SECONDS = 1.0


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
    """One pass over a plan. `commit` is called with everything that one transaction must record."""

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
        commit: Callable[[Commit], None],
    ) -> None:
        self.run = run
        self.failure: Exception | None = None
        #: whether the source was read to its end
        self.complete = False
        self._plan = plan
        self._described = described
        self._shaper = shaper
        self._ports = ports
        self._digest = digest
        self._checkpoint = checkpoint
        self._compares = plan.mapping.send == "changed" and not options.resend
        self._dry = options.dry_run
        self._write = commit
        self._ledger = Ledger()
        self._batcher = Batcher(plan.mapping.collection, ports.delivery.limits)
        self._sending: dict[asyncio.Task[Receipt], Batch] = {}
        self._fingerprints: dict[str, Fingerprint] = {}
        self._forget: list[str] = []
        self._dead_letters: list[DeadLetter] = []
        self._shaped = self._refused = self._api_refused = 0
        self._decided = 0
        #: first row of the chunk whose objects are not all in batches yet
        self._taking: int | None = None
        self._committed_at = ports.monotonic()

    @property
    def counts(self) -> Counts:
        """Where the rows went so far."""
        return self.run.counts

    def _count(self, **more: int) -> None:
        self.run = replace(self.run, counts=self.run.counts + Counts(**more))

    async def flow(self) -> None:
        """Run to the end of the plan, to a failure, or until told to stop; then settle what is in flight."""
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                await self._take(chunk)
                if self._halted:
                    break
                if self._commit_due:
                    await self.commit()
            else:
                self.complete = True
        if not self._halted:
            for batch in self._batcher.flush():
                await self._send(batch)
        while self._sending:
            await self._settle_some()
        if self._halted:
            self.complete = False

    @property
    def _halted(self) -> bool:
        return self.failure is not None or self._ports.stop.is_set()

    # --- reading

    async def _chunks(self) -> AsyncGenerator[Chunk, None]:
        """Chunks from a reader thread, one ahead of the one being shaped."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix=f"read-{self._plan.mapping.name}") as thread:
            stack = ExitStack()
            reading = self._ports.source().read(self._plan, self._described)
            chunks = await loop.run_in_executor(thread, stack.enter_context, reading)
            try:
                ahead = loop.run_in_executor(thread, next, chunks, None)
                while (chunk := await ahead) is not None:
                    ahead = loop.run_in_executor(thread, next, chunks, None)
                    yield chunk
            finally:
                await asyncio.wait([ahead])
                ahead.exception()  # looked at: whoever left early has no use for it
                await loop.run_in_executor(thread, stack.close)

    async def _take(self, chunk: Chunk) -> None:
        first = self._ledger.chunk_read(len(chunk.rows), chunk.watermark)
        shaped = self._shaper.shape(chunk.rows, first)
        self._count(
            read=len(chunk.rows),
            skipped=shaped.skipped,
            non_finite=shaped.non_finite,
            rejected=len(shaped.rejections),
        )
        self._shaped += len(shaped.objects)
        self._refused += len(shaped.rejections)
        self._bury(shaped.rejections)
        rule = self._plan.mapping.watermark
        if shaped.null_watermarks and rule is not None and rule.nulls == "error":
            self.failure = null_watermark_error(self._plan.mapping.name, rule.column)
        elif blown(self._refused, self._shaped):
            self._blow(self._refused, self._refused + self._shaped)
        self._taking = first
        if not self._halted and await self._pass_on(shaped.objects):
            self._taking = None

    async def _pass_on(self, objects: list[SegmentObject]) -> bool:
        """Put what must be sent into batches and send those that are full. False: halted on the way."""
        fresh = await self._changed(objects) if self._compares else objects
        self._count(unchanged=len(objects) - len(fresh))
        self._decided += len(objects) - len(fresh)
        if self._dry:
            self._count(skipped=len(fresh))
            return True
        for batch in self._batcher.add(fresh):
            if not await self._send(batch):
                return False
        return True

    async def _changed(self, objects: list[SegmentObject]) -> list[SegmentObject]:
        """What must be sent. Of an id that is on its way nothing is certain, so its next version goes as well."""
        ids = [each.id for each in objects]
        known = dict(await asyncio.to_thread(self._ports.store.fingerprints, self._plan.mapping.name, ids))
        for each in ids:
            if self._ledger.blocked((each,)) or self._batcher.holds(each):
                known.pop(each, None)
            elif each in self._fingerprints:
                known[each] = self._fingerprints[each]
        return changed(objects, known, self._ports.now(), self._plan.mapping.refresh_after)

    # --- sending

    async def _send(self, batch: Batch) -> bool:
        """Send a batch as soon as there is room and none of its ids is in flight. False: halted before that."""
        ids = [each.id for each in batch.objects]
        while len(self._sending) >= self._ports.delivery.max_in_flight or self._ledger.blocked(ids):
            await self._settle_some()
        if self._halted:
            self._ledger.hold(batch.first_row)
            return False
        self._ledger.open(batch)
        self._sending[asyncio.create_task(self._ports.delivery.send(batch))] = batch
        return True

    async def _settle_some(self) -> None:
        """Wait for at least one receipt. Requests are never cancelled; a stop only ends their retries."""
        done, _ = await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            self._settle(self._sending.pop(task), task.result())
        if self._commit_due:
            await self.commit()

    def _settle(self, batch: Batch, receipt: Receipt) -> None:
        self._count(
            sent=len(receipt.accepted),
            requests=receipt.requests,
            retried=receipt.retried,
            bytes=receipt.bytes,
        )
        now = self._ports.now()
        for each in receipt.accepted:
            self._fingerprints[each.id] = Fingerprint(digest=fingerprint(each), sent_at=now)
        if receipt.failure is not None:
            self._fail(batch, receipt)
            return
        self._ledger.settle(batch)
        self._decided += len(batch.objects)
        self._count(rejected=len(receipt.rejections))
        self._bury(receipt.rejections)
        # what went out under an id that was then refused is no longer known
        self._forget.extend(each.id for each in receipt.rejections if each.id is not None)
        self._api_refused += len(receipt.rejections)
        if blown(self._api_refused, self.counts.sent + self.counts.unchanged):
            self._blow(self._api_refused, self._api_refused + self.counts.sent + self.counts.unchanged)

    def _fail(self, batch: Batch, receipt: Receipt) -> None:
        """The batch holds the watermark; its rejections will be found again with it."""
        self._ledger.fail(batch)
        self.failure = self.failure or receipt.failure
        for identifier in receipt.in_doubt:
            self._fingerprints.pop(identifier, None)
            self._forget.append(identifier)

    # --- keeping

    def _bury(self, rejections: Iterable[Rejection]) -> None:
        mapping, now = self._plan.mapping, self._ports.now()
        self._dead_letters.extend(
            DeadLetter(
                mapping=mapping.name, collection=mapping.collection, run_id=self.run.run_id, created_at=now,
                rejection=each,
            )
            for each in rejections
        )  # fmt: skip

    def _blow(self, rejected: int, of: int) -> None:
        codes = [each.rejection.code for each in self._dead_letters]
        usual = max(set(codes), key=codes.count) if codes else "none"
        self._dead_letters.clear()
        self.failure = NearlyAllRejected(
            f"mapping {self._plan.mapping.name}: {rejected} of {of} objects were rejected, mostly {usual}; stopped "
            "before they fill the dead letters",
            f"look at the objects: `syncer preview {self._plan.mapping.name}`",
        )

    @property
    def _commit_due(self) -> bool:
        waiting = self._decided + len(self._dead_letters)
        if not waiting:
            return False
        return waiting >= COMMIT_OBJECTS or self._ports.monotonic() - self._committed_at >= COMMIT_SECONDS

    async def commit(self, run: RunReport | None = None) -> None:
        """One transaction with everything decided since the last. `run`: the report as it stands at the end."""
        checkpoint = self._next_checkpoint()
        self.run = replace(run or self.run, watermark=checkpoint.watermark if checkpoint else self._saved)
        commit = Commit(
            run=self.run, checkpoint=checkpoint, dead_letters=self._dead_letters, fingerprints=self._fingerprints,
            forget=[each for each in self._forget if each not in self._fingerprints],
        )  # fmt: skip
        self._dead_letters, self._fingerprints, self._forget, self._decided = [], {}, [], 0
        await asyncio.to_thread(self._write, commit)
        self._checkpoint = checkpoint or self._checkpoint
        self._committed_at = self._ports.monotonic()
        self._ports.notice(RunProgressed(mapping=self.run.mapping, run_id=self.run.run_id, counts=self.counts))

    @property
    def _saved(self) -> Watermark | None:
        return self._checkpoint.watermark if self._checkpoint else None

    def _next_checkpoint(self) -> Checkpoint | None:
        """The checkpoint to save now; None: it stays as it is. See `RunPlan.advances` and `.saves`."""
        if not self._plan.saves or not (self._plan.advances or self.complete):
            return None
        if isinstance(self.failure, NearlyAllRejected):
            return None
        waiting = [row for row in (self._taking, self._batcher.first_row) if row is not None]
        safe = self._ledger.safe(min(waiting, default=None))
        watermarked = self._plan.rule is not None
        if safe is None and (watermarked or not self.complete or not self.counts.read):
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
