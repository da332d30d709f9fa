"""The main path of one run: read, shape, compare, send, settle, commit. Acts; every decision is made in the core."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import aclosing
from dataclasses import asdict, replace
from datetime import timedelta

from syncer.core.batch import Batcher
from syncer.core.events import RunProgressed
from syncer.core.fingerprint import changed, scope_of
from syncer.core.fuse import blown, judgeable
from syncer.core.ledger import Ledger
from syncer.core.model import Batch, Checkpoint, Counts, Doubt, Receipt, RunReport, SegmentObject
from syncer.core.plan import RunOptions, RunPlan
from syncer.core.progress import Stage, next_checkpoint
from syncer.core.shape import Shaped, Shaper
from syncer.core.tombstone import OPEN, UNSURE
from syncer.errors import MappingError, NearlyAllRejected, SyncerError
from syncer.run.gathering import Gathering
from syncer.run.job import Ports
from syncer.run.keeping import Keeping, with_watermark
from syncer.run.outlay import Outlay
from syncer.run.reading import shaped_chunks
from syncer.run.seen import Seen
from syncer.run.sending import Sending
from syncer.source.base import Chunk, Described
from syncer.state.base import Fingerprint

#: versions of an object that follow each other within this time are sent with `Synchronous: true`: "if object updates
#: are processed close together, they can be processed out of order" (the Objects API's page, Synchronous mode)
CLOSE = timedelta(seconds=30)


class Pipeline:
    """One pass over a plan. `forbidden` says why nothing more may be sent.

    `doubts` are those that are known when it begins; those in `settles` are settled when it is complete.
    """

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
        doubts: Sequence[Doubt],
        settles: Sequence[Doubt],
        seen: Seen | None,
        keeping: Keeping,
        forbidden: Callable[[], SyncerError | None],
        outlays: Sequence[Outlay] = (),
    ) -> None:
        self._run = run
        #: the counts of its report so far: one place to add to, as every batch does
        self._tally: dict[str, int] = asdict(run.counts)
        self.failure: Exception | None = None
        #: whether the source was read to its end and everything settled
        self.complete = False
        #: whether any row stood at or above the saved watermark
        self.ahead = False
        #: what is to be sent: objects that were not known, and others
        self.added = self.changed = 0
        #: rejections by code
        self.refused: Counter[str] = Counter()
        self._plan, self._described, self._shaper = plan, described, shaper
        self._ports, self._digest, self._options, self._settles = ports, digest, options, settles
        self.checkpoint = checkpoint
        #: ids of which an older version went out only just now, or waits to
        self._close: set[str] = set()
        #: ids whose tombstone may land yet
        self._shadowed: set[str] = set()
        #: keys of rows of which another version may land yet, also when all here is done
        ends = {(each.run_id, each.part) for each in settles}
        self._doubted = {key for each in doubts if (each.run_id, each.part) not in ends for key in each.keys}
        self._compares = plan.mapping.send == "changed" and not options.resend
        self._scope = scope_of(ports.delivery.identity, plan.mapping.collection)
        self._ledger = Ledger()
        wait = ports.cadence
        self._gathering = Gathering(most=wait.noted, seconds=wait.seconds, monotonic=ports.monotonic)
        self._batcher = Batcher(plan.mapping.collection, ports.delivery.limits)
        self._sending = Sending(
            ports.delivery, self._ledger, synchronous=self._follows, forbidden=forbidden, settled=self._settle,
            halted=lambda: self._halted,
        )  # fmt: skip
        self._keeping = keeping
        #: of a dry run: count what sending would take
        self._outlays = outlays
        #: gets the ids that were read; None: nobody wants to know
        self._seen = seen
        self._committing: asyncio.Task[None] | None = None
        #: the fuse: the dead letters of this run are not to be stored, so the watermark stays
        self._blown = False
        #: rejections of the API, which come as late as acceptance does
        self._refused = 0

    @property
    def run(self) -> RunReport:
        """The report as it stands."""
        return replace(self._run, counts=self.counts)

    @property
    def counts(self) -> Counts:
        """Where the rows went so far."""
        return Counts(**self._tally)

    @property
    def returned(self) -> int:
        """How many objects that were marked as deleted are known as living again, because their rows returned."""
        return self._keeping.returned

    def _count(self, **more: int) -> None:
        self._ports.moved()
        for name, times in more.items():
            self._tally[name] += times

    @property
    def _fine(self) -> int:
        return self._tally["sent"] + self._tally["unchanged"] + self._tally["skipped"]

    @property
    def _halted(self) -> bool:
        self.failure = self.failure or self._sending.failure
        return self.failure is not None or self._ports.stop.is_set()

    async def flow(self) -> None:
        """Run to the end of the plan, to a failure, or until told to stop; then settle what is in flight."""
        read = False
        try:
            read = await self._pass()
        finally:
            await self._sending.drain(self._ports.stop)
            if self._committing is not None:
                await asyncio.wait([self._committing])
        self._judge()
        self.complete = read and not self._halted

    async def _pass(self) -> bool:
        source, stop, clock = self._ports.source(), self._ports.stop, self._ports.monotonic
        reading = shaped_chunks(source, self._plan, self._described, self._shaper, stop=stop, monotonic=clock)
        async with aclosing(reading) as chunks:
            async for chunk, shaped in chunks:
                if not await self._take(chunk, shaped):
                    return False
                self._commit_when_due()
                if self._committing is not None and self._keeping.behind:
                    await asyncio.wait([self._committing])
        if not (await self._send_gathered() and await self._put(self._batcher.flush())):
            return False
        self._ledger.decided()
        return True

    async def _put(self, batches: Iterator[Batch]) -> bool:
        for batch in batches:
            if not self._options.dry_run and not await self._sending.put(batch):
                self._ledger.decided(batch.first_row)
                return False
        return True

    # --- reading

    async def _take(self, chunk: Chunk, shaped: Shaped) -> bool:
        """Account for a chunk and pass on what must be sent. False: halted on the way."""
        self._ledger.chunk_read(len(chunk.rows), chunk.mark)
        self.ahead = self.ahead or chunk.ahead
        if self._run.bound is None and self._run.held_by is None:
            self._run = replace(self._run, bound=chunk.bound, held_by=chunk.held_by)
        self._count(
            read=len(chunk.rows), skipped=shaped.skipped, non_finite=shaped.non_finite, rejected=len(shaped.rejections)
        )
        self.refused.update(each.code for each in shaped.rejections)
        self._keeping.bury(shaped.rejections)
        self._keeping.skipped(shaped.skipped)
        rule = self._plan.mapping.watermark
        if shaped.null_watermarks and rule is not None and rule.nulls == "error":
            self.failure = null_watermark_error(self._plan.mapping.name, rule.column)
        if self._seen is not None:
            await asyncio.to_thread(self._seen.add, shaped.ids)
        if self._halted or not await self._pass_on(shaped.objects):
            return False
        unbatched = self._batcher.first_row
        self._ledger.decided(self._gathering.first_row if unbatched is None else unbatched)
        return True

    async def _pass_on(self, objects: list[SegmentObject]) -> bool:
        fresh, before = await self._changed(objects)
        sent = {each.row for each in fresh}
        self._count(unchanged=len(objects) - len(fresh))
        self._keeping.unchanged([each.id for each in objects if each.row not in sent])
        if self._options.dry_run:
            self._count(skipped=len(fresh))
            await self._keeping.promise(fresh)
            for each in self._outlays:
                await asyncio.to_thread(each.add, fresh)
        else:
            self._gathering.add(fresh, before)
        return not self._gathering.enough or await self._send_gathered()

    async def _send_gathered(self) -> bool:
        objects, before = self._gathering.take()
        if objects:
            await self._keeping.note(self.run, objects, before)
        return await self._put(self._batcher.add(self._gathering.handing_on(objects)))

    async def _changed(self, objects: list[SegmentObject]) -> tuple[list[SegmentObject], dict[str, Fingerprint | None]]:
        """What must be sent, and by id what was accepted before (None: nothing), where that must be remembered.

        Of what is in doubt or on its way nothing is certain, so its next version goes as well.
        """
        known, now = await self._keeping.known([each.id for each in objects]), self._ports.now()
        lately = now - CLOSE
        close = {each for each, (_, sent_at) in known.items() if sent_at > lately}
        self._shadowed.update(each for each, (digest, _) in known.items() if digest == UNSURE)
        out = self._out({each.id for each in objects})
        strangers = list(dict.fromkeys(each.id for each in objects if each.id not in known and each.id not in out))
        close |= out
        doubted = {each.id for each in objects if each.key in self._doubted} if self._doubted else set()
        before = {each: known.pop(each) for each in out | doubted if each in known}
        fresh = objects
        if self._compares:
            fresh = changed(objects, known, self._scope, now, self._plan.mapping.refresh_after)
        self.added += len(strangers)
        self.changed += len(fresh) - len(strangers)
        ids = {each.id for each in fresh}
        self._close.update(close & ids)
        before.update((each, known[each]) for each in ids if each in known)
        certain = {each: found for each, found in before.items() if each in ids and found.digest != OPEN}
        return fresh, {**certain, **(dict.fromkeys(strangers) if self._plan.mapping.deletes is not None else {})}

    def _out(self, ids: Set[str]) -> Set[str]:
        """Those of which a version is on its way, or is going to be."""
        return self._ledger.pending(ids) | self._batcher.holds(ids) | self._gathering.holds(ids)

    def _follows(self, batch: Batch) -> bool:
        """Whether the API might process it before an older version, unless it is told to keep the order."""
        return self._options.keys is not None or not self._close.isdisjoint(each.id for each in batch.objects)

    # --- settling

    def _settle(self, batch: Batch, receipt: Receipt) -> None:
        self._count(sent=len(receipt.accepted), requests=receipt.requests, retried=receipt.retried, bytes=receipt.bytes)
        doubted = [each for each in batch.objects if each.id in receipt.in_doubt or each.id in self._shadowed]
        if doubted:
            self._keeping.doubted(doubted)
            self._doubted.update(each.key for each in doubted)
        ids = {each.id for each in batch.objects}
        newer = self._ledger.overtaken(batch) | self._batcher.holds(ids) | self._gathering.holds(ids)
        unsure = {each.id for each in receipt.accepted if each.key in self._doubted} if self._doubted else set()
        self._keeping.accepted(receipt.accepted, newer | unsure)
        if receipt.failure is not None:
            # the batch holds the watermark; its rejections will be found again with it
            self._ledger.fail(batch)
            self.failure = self.failure or receipt.failure
            return
        self._refused += len(receipt.rejections)
        self._count(rejected=len(receipt.rejections))
        self._keeping.bury(receipt.rejections)
        self._keeping.restore({each.id for each in receipt.rejections if each.id is not None} - newer)
        self._ledger.settle(batch)
        self._commit_when_due()

    def _judge(self, under_way: int = 0) -> None:
        """Blow the fuse when nearly everything is rejected.

        Shaping rejects at once, and what it let pass may be `under_way` for long: beside its rejections it is fine.
        """
        rejected, fine = self._tally["rejected"], self._fine
        nearly_all = blown(rejected, fine + under_way) or blown(self._refused, fine)
        if self._blown or self._options.dry_run or not nearly_all:
            return
        self._blown = True
        codes = self._keeping.codes
        usual = max(set(codes), key=codes.count) if codes else "unknown"
        self.failure = self.failure or NearlyAllRejected(
            f"mapping {self._plan.mapping.name}: {rejected} of {rejected + fine} objects were rejected, mostly "
            f"{usual}; stopped before they fill the dead letters",
            f"look at the objects: syncer preview {self._plan.mapping.name}",
        )

    # --- keeping

    def _commit_when_due(self) -> None:
        """Commit beside the reading and sending, one at a time, once it is known that the fuse holds."""
        rejected, fine = self._tally["rejected"], self._fine
        if not judgeable(rejected, fine):
            return
        self._judge(self._tally["read"] - rejected - fine)
        if self._committing is None and self._keeping.due and not self._halted:
            self._committing = asyncio.create_task(self._commit(self.run))
            self._committing.add_done_callback(self._committed)

    def _committed(self, task: asyncio.Task[None]) -> None:
        self._committing = None
        error = task.exception()
        if isinstance(error, Exception):
            self.failure = self.failure or error
        else:
            self._ports.moved()
            self._ports.notice(RunProgressed(mapping=self._run.mapping, run_id=self._run.run_id, counts=self.counts))

    async def finish(self, run: RunReport) -> None:
        """The last commit, with the report as it stands at the end."""
        if self._blown:
            self._keeping.exhume()
        await self._commit(run, self._last_stage())

    def _last_stage(self) -> Stage:
        if self.failure is not None:
            return Stage.FAILED
        limit = self._plan.limit
        limited = limit is not None and self._ledger.read >= limit
        return Stage.WHOLE if self.complete and not limited else Stage.CUT

    async def _commit(self, run: RunReport, stage: Stage = Stage.GOING) -> None:
        # a batch that broke has no receipt: it stays in doubt
        known = stage is not Stage.GOING and self._sending.heard_of_all
        if known:
            self._keeping.restore(self._keeping.uncertain)  # what is left was never sent
        swept, mapping = self.complete and self._plan.whole, self._plan.mapping
        # where rows that are gone become tombstones, that decides what is forgotten
        forgets = swept and mapping.deletes is None
        saved = await self._keeping.commit(
            run, lambda: self._next_checkpoint(stage), settled=None if known else self._ledger.settled, swept=swept,
            resolved=self._options.resolves if self.complete else (),
            assured=[(each.run_id, each.part) for each in self._settles] if self.complete else (),
            basis=self._digest if forgets else None,
            outdated=run.started_at - mapping.refresh_after if forgets else None,
        )  # fmt: skip
        self.checkpoint = saved or self.checkpoint
        self._run = with_watermark(self._run, saved)

    def _next_checkpoint(self, stage: Stage) -> Checkpoint | None:
        if self._blown:
            return None
        safe, read, now = self._ledger.safe, self._ledger.read, self._ports.now()
        return next_checkpoint(self._plan, self.checkpoint, self._digest, safe, stage=stage, read=read, now=now)


def null_watermark_error(mapping: str, column: str) -> MappingError:
    """A NULL watermark under `nulls: error`."""
    return MappingError(
        f"mapping {mapping}: the query returns rows whose watermark {column} is NULL",
        f"fill the column, or choose `nulls: include` or `nulls: skip` in mappings.{mapping}.watermark",
    )
