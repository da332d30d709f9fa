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
    by_key = {each.rejection.key: each for each in letters if each.rejection.key is not None}
    source = await asyncio.to_thread(ports.source)
    described = await asyncio.to_thread(source.describe, mapping)
    shaper = shaper_for(mapping, described, job.timezone, ports.delivery.limits)
    rows = await asyncio.to_thread(source.read_keys, mapping, described, list(by_key))
    shaped = shaper.shape(rows, 0)
    receipts = await _sent(job, shaped.objects)
    rejections = [*shaped.rejections, *(each for receipt in receipts for each in receipt.rejections)]
    accepted = [each for receipt in receipts for each in receipt.accepted]
    found = {each.key for each in shaped.objects} | {each.key for each in shaped.rejections}
    gone = [letter.number for key, letter in by_key.items() if key not in found]
    await asyncio.to_thread(store_outcome, job, lease, accepted, rejections, gone, len(rows))
    failures = [receipt.failure for receipt in receipts if receipt.failure is not None]
    return Replay(
        sent=len(accepted), gone=len(gone), rejected=len(rejections), unreachable=len(letters) - len(by_key),
        failure=failures[0] if failures and isinstance(failures[0], SyncerError) else None,
    )  # fmt: skip


async def _sent(job: Job, objects: Sequence[SegmentObject]) -> list[Receipt]:
    batcher = Batcher(job.mapping.collection, job.ports.delivery.limits)
    batches = [*batcher.add(objects), *batcher.flush()]
    # one after the other and synchronous: an earlier version of these objects may still be on its way
    return [await job.ports.delivery.send(batch, synchronous=True) for batch in batches]


def store_outcome(
    job: Job,
    lease: Lease,
    accepted: Sequence[SegmentObject],
    rejections: Sequence[Rejection],
    gone: Sequence[int],
    read: int,
) -> None:
    """Record it as a run of its own: accepted ids lose their dead letter, refused ones get the newer reason."""
    mapping, now = job.mapping, job.ports.now()
    run = RunReport(
        run_id=job.run_id, mapping=mapping.name, collection=mapping.collection, mode=Mode.INCREMENTAL,
        outcome=Outcome.PARTIAL if rejections else Outcome.SUCCEEDED, trigger="dead-letters retry", started_at=now,
        finished_at=now, counts=Counts(read=read, sent=len(accepted), rejected=len(rejections)),
    )  # fmt: skip
    if run.counts.read != run.counts.sent + run.counts.rejected:
        run = replace(run, outcome=Outcome.FAILED, exit_code=1)
    letters = [
        DeadLetter(
            mapping=mapping.name,
            collection=mapping.collection,
            run_id=job.run_id,
            created_at=now,
            rejection=each,
        )
        for each in rejections
    ]
    known = {each.id: Fingerprint(digest=fingerprint(each), sent_at=now) for each in accepted}
    job.ports.store.commit(lease, Commit(run=run, fingerprints=known, dead_letters=letters, resolved=gone))
