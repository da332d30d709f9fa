"""Dead letters, tried again: the current row is read by its key, so newer data is never overwritten."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from syncer.core.batch import Batcher
from syncer.core.fingerprint import fingerprint
from syncer.core.model import (
    Counts,
    DeadLetter,
    Lease,
    Mode,
    Outcome,
    Receipt,
    Rejection,
    RunReport,
    SegmentObject,
)
from syncer.core.shape import Shaped
from syncer.errors import SyncerError
from syncer.run.executor import LEASE_TTL, Job
from syncer.run.shaping import shaper_for
from syncer.state.base import Commit, Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What became of the dead letters that were tried again."""

    #: accepted now
    sent: int
    #: the row is no longer in the query's result: the dead letter is dropped
    gone: int
    #: refused again
    rejected: int
    #: without a key to find the row by; fix the row, the next run that reads it sends it
    unreachable: int
    failure: SyncerError | None = None


async def replay(job: Job, letters: Sequence[DeadLetter]) -> Replay:
    """Read the rows of these dead letters of one mapping again and send them, ordered, under the mapping's lease.

    Raises:
        LeaseHeld, SourceError, MappingError, StateError.
    """
    store = job.ports.store
    lease = await asyncio.to_thread(store.acquire, job.mapping.name, job.owner, job.ports.now(), LEASE_TTL)
    try:
        return await _replay(job, lease, letters)
    finally:
        await asyncio.to_thread(store.release, lease)


async def _replay(job: Job, lease: Lease, letters: Sequence[DeadLetter]) -> Replay:
    mapping, ports = job.mapping, job.ports
    # a row that several runs refused has several dead letters
    keys = list(dict.fromkeys(each.rejection.key for each in letters if each.rejection.key is not None))
    source = await asyncio.to_thread(ports.source)
    described = await asyncio.to_thread(source.describe, mapping)
    shaper = shaper_for(mapping, described, job.timezone, ports.delivery.limits)
    rows = await asyncio.to_thread(source.read_keys, mapping, described, keys)
    shaped = shaper.shape(rows, 0)
    receipts = await _sent(job, shaped.objects)
    tried = _Tried(read=len(rows), shaped=shaped, receipts=receipts)
    await asyncio.to_thread(ports.store.commit, lease, _outcome(job, letters, tried))
    found = {each.key for each in shaped.objects} | {each.key for each in shaped.rejections}
    return Replay(
        sent=len(tried.accepted), gone=len([key for key in keys if key not in found]), rejected=len(tried.rejections),
        unreachable=sum(each.rejection.key is None for each in letters), failure=tried.failure,
    )  # fmt: skip


async def _sent(job: Job, objects: Sequence[SegmentObject]) -> list[Receipt]:
    batcher = Batcher(job.mapping.collection, job.ports.delivery.limits)
    batches = [*batcher.add(objects), *batcher.flush()]
    # one after the other and synchronous: an earlier version of these objects may still be on its way
    return [await job.ports.delivery.send(batch, synchronous=True) for batch in batches]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """The rows that were found, and what became of them."""

    read: int
    shaped: Shaped
    receipts: Sequence[Receipt]

    @property
    def accepted(self) -> list[SegmentObject]:
        return [each for receipt in self.receipts for each in receipt.accepted]

    @property
    def rejections(self) -> list[Rejection]:
        return [*self.shaped.rejections, *(each for receipt in self.receipts for each in receipt.rejections)]

    @property
    def unsettled(self) -> set[str]:
        """Keys of the rows whose fate is not known: their dead letters stay."""
        return {each.key for receipt in self.receipts for each in receipt.unsettled}

    @property
    def uncertain(self) -> list[str]:
        """Ids of which nobody knows any more what the API holds."""
        refused = [each.id for receipt in self.receipts for each in receipt.rejections if each.id is not None]
        return [*refused, *(each for receipt in self.receipts for each in receipt.in_doubt)]

    @property
    def failure(self) -> SyncerError | None:
        failures = (receipt.failure for receipt in self.receipts)
        return next((each for each in failures if isinstance(each, SyncerError)), None)


def _outcome(job: Job, letters: Sequence[DeadLetter], tried: _Tried) -> Commit:
    """A run of its own: whatever was decided takes the old dead letters away, a new refusal leaves a new one."""
    mapping, now = job.mapping, job.ports.now()
    resolved = [
        each.number for each in letters if each.rejection.key is not None and each.rejection.key not in tried.unsettled
    ]
    fresh = [
        DeadLetter(
            mapping=mapping.name, collection=mapping.collection, run_id=job.run_id, created_at=now, rejection=each
        )
        for each in tried.rejections
    ]
    known = {each.id: Fingerprint(digest=fingerprint(each), sent_at=now) for each in tried.accepted}
    return Commit(
        run=_report(job, tried), dead_letters=fresh, fingerprints=known, forget=tried.uncertain, resolved=resolved
    )


def _report(job: Job, tried: _Tried) -> RunReport:
    now, failure = job.ports.now(), tried.failure
    counts = Counts(
        read=tried.read, sent=len(tried.accepted), rejected=len(tried.rejections), skipped=tried.shaped.skipped,
        requests=sum(each.requests for each in tried.receipts), retried=sum(each.retried for each in tried.receipts),
        bytes=sum(each.bytes for each in tried.receipts),
    )  # fmt: skip
    run = RunReport(
        run_id=job.run_id, mapping=job.mapping.name, collection=job.mapping.collection, mode=Mode.INCREMENTAL,
        outcome=Outcome.PARTIAL if tried.rejections else Outcome.SUCCEEDED, trigger=job.options.trigger,
        started_at=now, finished_at=now, counts=counts,
    )  # fmt: skip
    if failure is None:
        return run
    return replace(run, outcome=Outcome.FAILED, error=failure.message, hint=failure.hint, exit_code=failure.exit_code)
