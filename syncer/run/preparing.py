"""What a run does before its first row: columns, shape, plan, key, and what earlier runs left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from syncer.core.events import RunStarted
from syncer.core.model import Checkpoint, CollectionMapping, Doubt, Limits, Outcome, RunReport
from syncer.core.plan import RunPlan, digest_of, plan_run
from syncer.core.shape import Shaper
from syncer.errors import MappingError
from syncer.run.contradicting import reconciled
from syncer.run.job import Job
from syncer.run.pipeline import null_watermark_error
from syncer.run.reading import asked
from syncer.run.shaping import shaper_for
from syncer.source.base import Described, Source
from syncer.state.base import Commit

#: of a mapping, that are looked at for one that ended without a word
_RUNS_BACK = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything that is decided before the first row."""

    report: RunReport
    described: Described
    shaper: Shaper
    plan: RunPlan
    digest: str
    checkpoint: Checkpoint | None
    doubts: Sequence[Doubt]
    #: whether the known objects come from another query, key or destination
    edited: bool
    #: whether nothing was ever known of the mapping
    first: bool

    def limited_by(self, job: Job, limits: Limits) -> Prepared:
        """The same for a delivery with these limits."""
        return replace(self, shaper=shaper_for(job.mapping, self.described, job.timezone, limits))

    def reads_again(self, *, ahead: bool) -> bool:
        """Whether everything has to be read, because no row stood at the saved watermark or above it."""
        plan = self.plan
        return not ahead and plan.watermark is not None and plan.limit is None and not self.described.placed


async def prepare(job: Job, report: RunReport, commit: Callable[[Commit], None]) -> Prepared:
    """Everything before the first row.

    Raises:
        SyncerError: the source, the mapping and the checkpoint do not fit.
    """
    ports, mapping = job.ports, job.mapping
    source = await asyncio.to_thread(ports.source)
    described = await asked(source, ports.stop, lambda: source.describe(mapping))
    shaper = shaper_for(mapping, described, job.timezone, ports.delivery.limits)
    identity = await asked(source, ports.stop, source.identity)
    digest = digest_of(mapping, described.primary_key, identity, ports.delivery.identity)
    checkpoint = await asyncio.to_thread(ports.store.checkpoint, mapping.name)
    plan = plan_run(mapping, described.primary_key, checkpoint, digest, job.options)
    watermark = checkpoint.watermark if checkpoint is not None else None
    report = replace(report, mode=plan.mode, watermark=watermark)
    stored = await asyncio.to_thread(ports.store.property_types, mapping.name)
    types = reconciled(mapping, shaper.properties, stored, ports.now(), ports.notice)
    if plan.keys is None and (checkpoint is None or checkpoint.digest != digest):
        await _verify_key(job, source, described)
    ports.notice(RunStarted(mapping=mapping.name, run_id=job.run_id, mode=plan.mode))
    basis = await asyncio.to_thread(ports.store.basis, mapping.name)
    begun = Commit(run=report, basis=digest if basis is None else None, property_types=types)
    doubts = await asyncio.to_thread(_begin, job, begun, commit)
    return Prepared(
        report=report, described=described, shaper=shaper, plan=plan, digest=digest, checkpoint=checkpoint,
        doubts=doubts, edited=basis not in (None, digest), first=basis is None,
    )  # fmt: skip


def _begin(job: Job, begun: Commit, commit: Callable[[Commit], None]) -> Sequence[Doubt]:
    """Record that the run began, and take over from those that ended without a word. Blocks.

    What was on its way in them is in doubt from now on. Returns all that is in doubt.
    """
    store, mapping, now = job.ports.store, job.mapping.name, job.ports.now()
    for each in store.runs(mapping, _RUNS_BACK):
        if each.outcome is None and each.run_id != job.run_id:
            told = "it ended without a word: its process was killed, or its machine stopped"
            commit(Commit(run=replace(each, outcome=Outcome.INTERRUPTED, error=told)))
    doubts = [replace(each, since=each.since or now) for each in store.doubts(mapping)]
    commit(replace(begun, doubts=doubts))
    return doubts


async def _verify_key(job: Job, source: Source, described: Described) -> None:
    """Once per query: the database counts what would make objects overwrite each other."""
    mapping: CollectionMapping = job.mapping
    faults = await asked(source, job.ports.stop, lambda: source.key_faults(mapping, described))
    if faults.duplicates:
        key = ", ".join(described.primary_key)
        raise MappingError(
            f"mapping {mapping.name}: the primary key ({key}) is not unique: {faults.duplicates} "
            f"{'id has' if faults.duplicates == 1 else 'ids have'} more than one row",
            "choose a key that is unique in the query's result, add a column to it, or aggregate in the query",
        )
    if faults.null_watermarks and mapping.watermark is not None and mapping.watermark.nulls == "error":
        raise null_watermark_error(mapping.name, mapping.watermark.column)
