"""One run of one mapping from lease to report. The job boundary: whatever happens inside ends in a run report."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count

from syncer.core.events import Noticed, RunFinished, RunStarted
from syncer.core.model import Checkpoint, CollectionMapping, Counts, Doubt, Mode, Outcome, RunReport
from syncer.core.plan import RunOptions, RunPlan, digest_of, plan_run
from syncer.core.shape import Shaper
from syncer.errors import LeaseHeld, LeaseLost, MappingError, SourceError, Stopped, SyncerError
from syncer.run.leasing import Holding, holding
from syncer.run.pipeline import Pipeline, Ports, null_watermark_error
from syncer.run.reading import asked
from syncer.run.shaping import shaper_for
from syncer.source.base import Described, Source
from syncer.state.base import Commit

_log = logging.getLogger("syncer.run")

#: after so long a request whose answer is missing will not land any more, or has landed
SETTLED_AFTER = timedelta(seconds=30)
#: of a mapping, that are looked at for one that ended without a word
_RUNS_BACK = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A mapping to run and all it needs."""

    mapping: CollectionMapping
    options: RunOptions
    ports: Ports
    #: IANA name of the zone of naive timestamps
    timezone: str
    #: who holds the lease: host, process
    owner: str
    run_id: str


async def execute(job: Job) -> RunReport:
    """Run a mapping once. Never raises for what happens in the run: the report carries outcome, error and hint."""
    ports, mapping = job.ports, job.mapping
    report = RunReport(
        run_id=job.run_id, mapping=mapping.name, collection=mapping.collection, mode=job.options.mode, outcome=None,
        trigger=job.options.trigger, started_at=ports.now(),
    )  # fmt: skip
    if job.options.dry_run:
        report = await _Run(job, report, None).finish()
    else:
        report = await _leased(job, report)
    ports.notice(RunFinished(report=report))
    return report


async def _leased(job: Job, report: RunReport) -> RunReport:
    ports, mapping = job.ports, job.mapping
    try:
        async with holding(
            ports.store, mapping.name, job.owner, now=ports.now, monotonic=ports.monotonic, notice=ports.notice
        ) as held:
            return await _Run(job, report, held).finish()
    except LeaseHeld as error:
        return _ended(job, report, Outcome.LOCKED, error)
    except SyncerError as error:
        return _ended(job, report, Outcome.FAILED, error)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """Everything that is decided before the first row."""

    described: Described
    shaper: Shaper
    plan: RunPlan
    digest: str
    checkpoint: Checkpoint | None
    doubts: Sequence[Doubt]


class _Run:
    """A run under its lease (None: a dry run, which writes nothing)."""

    def __init__(self, job: Job, report: RunReport, held: Holding | None) -> None:
        self._job = job
        self._report = report
        self._held = held
        self._pipeline: Pipeline | None = None
        #: numbers the doubts of this run
        self._parts = count()

    def _forbidden(self) -> LeaseLost | None:
        return self._held.failure if self._held is not None else None

    async def finish(self) -> RunReport:
        """Do it, whatever comes; record how it ended."""
        failure: Exception | None = None
        try:
            prepared = await self._prepared()
            self._pipeline = self._pass(prepared, prepared.plan, self._job.options, self._report, prepared.checkpoint)
            await self._pipeline.flow()
            if self._pipeline.complete and prepared.plan.saves:
                await self._look_back(prepared, self._pipeline)
            if self._pipeline.complete and prepared.plan.saves:
                await self._settle(prepared, self._pipeline)
            failure = self._pipeline.failure
        except Exception as error:  # noqa: BLE001  the job boundary
            failure = error
        report = self._ended(failure)
        try:
            await self._record(report)
        except Exception as error:  # noqa: BLE001  the job boundary
            report = _ended(self._job, report, Outcome.FAILED, failure if isinstance(failure, SyncerError) else error)
        return replace(report, watermark=self._pipeline.run.watermark if self._pipeline else None)

    async def _record(self, report: RunReport) -> None:
        if isinstance(self._pipeline, Pipeline):
            await self._pipeline.finish(report)
        else:
            await asyncio.to_thread(self._commit, Commit(run=report))

    def _commit(self, commit: Commit) -> None:
        if self._held is not None:
            self._job.ports.store.commit(self._held.lease, commit)

    async def _prepared(self) -> _Prepared:
        """Columns, shape, plan, key, and what earlier runs left in doubt."""
        job, ports = self._job, self._job.ports
        _refuse_unbuilt(job.mapping)
        source = await asyncio.to_thread(ports.source)
        described = await asked(source, ports.stop, lambda: source.describe(job.mapping))
        mapping = job.mapping
        shaper = shaper_for(mapping, described, job.timezone, ports.delivery.limits)
        identity = await asked(source, ports.stop, source.identity)
        digest = digest_of(mapping, described.primary_key, identity, ports.delivery.identity)
        checkpoint = await asyncio.to_thread(ports.store.checkpoint, mapping.name)
        plan = plan_run(mapping, described.primary_key, checkpoint, digest, job.options)
        self._report = replace(
            self._report, mode=plan.mode, watermark=checkpoint.watermark if checkpoint is not None else None
        )
        if plan.keys is None and (checkpoint is None or checkpoint.digest != digest):
            await self._verify_key(source, described)
        ports.notice(RunStarted(mapping=mapping.name, run_id=job.run_id, mode=plan.mode))
        doubts = await asyncio.to_thread(self._begin)
        return _Prepared(
            described=described, shaper=shaper, plan=plan, digest=digest, checkpoint=checkpoint, doubts=doubts
        )

    def _begin(self) -> Sequence[Doubt]:
        """Record that the run began, and take over from those that ended without a word. Blocks.

        What was on its way in them is in doubt from now on. Returns all that is in doubt.
        """
        store, mapping, now = self._job.ports.store, self._job.mapping.name, self._job.ports.now()
        for each in store.runs(mapping, _RUNS_BACK):
            if each.outcome is None and each.run_id != self._job.run_id:
                told = "it ended without a word: its process was killed, or its machine stopped"
                self._commit(Commit(run=replace(each, outcome=Outcome.INTERRUPTED, error=told)))
        doubts = [replace(each, since=each.since or now) for each in store.doubts(mapping)]
        self._commit(Commit(run=self._report, doubts=doubts))
        return doubts

    def _pass(
        self,
        prepared: _Prepared,
        plan: RunPlan,
        options: RunOptions,
        report: RunReport,
        checkpoint: Checkpoint | None,
        settles: Sequence[Doubt] = (),
    ) -> Pipeline:
        return Pipeline(
            plan, prepared.described, prepared.shaper, self._job.ports, run=report, digest=prepared.digest,
            checkpoint=checkpoint, options=options, doubts=prepared.doubts, settles=settles, parts=self._parts,
            write=self._commit, forbidden=self._forbidden,
        )  # fmt: skip

    async def _look_back(self, prepared: _Prepared, done: Pipeline) -> None:
        """Read everything when the source went back: not even the row that set the watermark is there any more.

        It was deleted, or the database was restored from an older state: then newer rows carry older watermarks, and
        the saved one has to come down to find them.
        """
        plan, described = prepared.plan, prepared.described
        if done.ahead or plan.watermark is None or plan.limit is not None or described.placed:
            return
        await done.finish(done.run)
        told = "no row is as new as the watermark any more: rows were deleted, or the database went back; reading all"
        self._job.ports.notice(Noticed(mapping=plan.mapping.name, message=told))
        rule = plan.mapping.watermark
        whole = replace(
            plan, mode=Mode.FULL, watermark=None, after=None, start=rule.initial if rule else None, advances=False
        )
        self._pipeline = self._pass(prepared, whole, self._job.options, done.run, done.checkpoint)
        await self._pipeline.flow()

    async def _settle(self, prepared: _Prepared, done: Pipeline) -> None:
        """Send again what has been in doubt for long enough: the rows as they are now, in order by `Synchronous`."""
        ports, mapping = self._job.ports, self._job.mapping
        doubts = await asyncio.to_thread(ports.store.doubts, mapping.name)
        due = [each for each in doubts if each.since is not None and ports.now() - each.since >= SETTLED_AFTER]
        if not due:
            return
        await done.finish(done.run)
        keys = tuple(dict.fromkeys(key for each in due for key in each.keys))
        ports.notice(Noticed(mapping=mapping.name, message=f"{len(keys):,} rows were in doubt and are sent again"))
        options = replace(self._job.options, keys=keys, resend=True)
        plan = plan_run(mapping, prepared.described.primary_key, None, prepared.digest, options)
        self._pipeline = self._pass(prepared, plan, options, done.run, done.checkpoint, due)
        await self._pipeline.flow()

    async def _verify_key(self, source: Source, described: Described) -> None:
        """Once per query: the database counts what would make objects overwrite each other."""
        mapping = self._job.mapping
        faults = await asked(source, self._job.ports.stop, lambda: source.key_faults(mapping, described))
        if faults.duplicates:
            key = ", ".join(described.primary_key)
            raise MappingError(
                f"mapping {mapping.name}: the primary key ({key}) is not unique: {faults.duplicates} "
                f"{'id has' if faults.duplicates == 1 else 'ids have'} more than one row",
                "choose a key that is unique in the query's result, add a column to it, or aggregate in the query",
            )
        if faults.null_watermarks and mapping.watermark is not None and mapping.watermark.nulls == "error":
            raise null_watermark_error(mapping.name, mapping.watermark.column)

    def _ended(self, failure: Exception | None) -> RunReport:
        report = self._pipeline.run if self._pipeline else self._report
        complete = self._pipeline is not None and self._pipeline.complete
        # what a delivery could not finish because it was told to stop is no failure of its own
        stopped = self._job.ports.stop.is_set() and not complete
        if stopped and (failure is None or isinstance(failure, Stopped | SourceError)):
            return _ended(self._job, replace(report, counts=_decided(report.counts)), Outcome.INTERRUPTED)
        if failure is not None:
            return _ended(self._job, report, Outcome.FAILED, failure)
        if not report.counts.balanced:
            error = SyncerError(f"mapping {report.mapping}: the counts do not add up: {report.counts}")
            return _ended(self._job, report, Outcome.FAILED, error)
        buried = report.counts.rejected and not self._job.options.dry_run
        return _ended(self._job, report, Outcome.PARTIAL if buried else Outcome.SUCCEEDED)


def _refuse_unbuilt(mapping: CollectionMapping) -> None:
    """Rather no run than one that leaves out what was asked for."""
    if mapping.deletes == "tombstone":
        raise MappingError(
            f"mapping {mapping.name}: `deletes: tombstone` is not built yet, so deleted rows would stay unmarked",
            f"set mappings.{mapping.name}.deletes to `ignore`",
        )


def _decided(counts: Counts) -> Counts:
    """An interrupted run counts the rows whose fate is known; the others are read again by the next."""
    return replace(counts, read=counts.sent + counts.unchanged + counts.rejected + counts.skipped)


def _ended(job: Job, report: RunReport, outcome: Outcome, error: Exception | None = None) -> RunReport:
    finished = replace(report, outcome=outcome, finished_at=job.ports.now())
    if error is None:
        return finished
    if isinstance(error, SyncerError):
        return replace(finished, error=error.message, hint=error.hint, exit_code=error.exit_code)
    # its text may hold anything, a row's values included, so only its class is told; -v shows the traceback
    _log.debug("unexpected error in a run", exc_info=error)
    told = f"unexpected {type(error).__name__} in mapping {report.mapping}"
    return replace(finished, error=told, hint="run again with -v to see where", exit_code=1)


_OUTCOME_CODES = {Outcome.SUCCEEDED: 0, Outcome.PARTIAL: 3, Outcome.FAILED: 1, Outcome.LOCKED: 4}


def exit_code(reports: Sequence[RunReport], *, signal: int | None = None) -> int:
    """One exit code for several runs: a signal first, then 1, 2, 4, 3, 0. They are the README's."""
    if signal is not None:
        return 128 + signal
    codes = {report.exit_code or _OUTCOME_CODES.get(report.outcome or Outcome.FAILED, 1) for report in reports}
    return next((code for code in (1, 2, 4, 3) if code in codes), 0)
