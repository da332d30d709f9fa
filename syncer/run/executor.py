"""One run of one mapping from lease to report. The job boundary: whatever happens inside ends in a run report."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count

from syncer.core.events import BulkChosen, Noticed, RunFinished
from syncer.core.fingerprint import scope_of
from syncer.core.foresight import Foresight, withheld
from syncer.core.model import Checkpoint, CollectionMapping, Counts, Doubt, Mode, Outcome, RunReport
from syncer.core.plan import RunOptions, RunPlan, plan_run
from syncer.core.tombstone import guard
from syncer.delivery.base import Delivery
from syncer.errors import LeaseHeld, RunTimedOut, SourceError, Stopped, SyncerError
from syncer.run.burying import Burial, dig
from syncer.run.choosing import choice_of, planned
from syncer.run.job import Job
from syncer.run.keeping import SETTLED_AFTER, Keeping
from syncer.run.leasing import Holding, holding
from syncer.run.outlay import Outlay
from syncer.run.pipeline import Pipeline
from syncer.run.preparing import Prepared, prepare
from syncer.run.promised import Promised
from syncer.run.seen import Seen
from syncer.state.base import Commit

_log = logging.getLogger("syncer.run")


async def execute(job: Job) -> RunReport:
    """Run a mapping once. Never raises for what happens in the run: the report carries outcome, error and hint."""
    report = await _Run(job, _report(job), None).finish() if job.options.dry_run else await _leased(job, _report(job))
    job.ports.notice(RunFinished(report=report))
    return report


async def foresee(job: Job) -> Foresight:
    """What the run would do: reads and compares, sends and writes nothing. Never raises, as `execute`."""
    run = _Run(replace(job, options=replace(job.options, dry_run=True)), _report(job), None)
    return run.foresight(await run.finish())


def _report(job: Job) -> RunReport:
    mapping, options = job.mapping, job.options
    return RunReport(
        run_id=job.run_id, mapping=mapping.name, collection=mapping.collection, mode=options.mode, outcome=None,
        trigger=options.trigger, started_at=job.ports.now(),
    )  # fmt: skip


async def _leased(job: Job, report: RunReport) -> RunReport:
    ports, mapping = job.ports, job.mapping
    try:
        async with holding(
            ports.store, mapping.name, job.owner, now=ports.now, monotonic=ports.monotonic, notice=ports.notice
        ) as held:
            if not await asyncio.to_thread(job.wanted):
                told = f"mapping {mapping.name} was run by another process a moment ago"
                return finished(job, report, Outcome.LOCKED, LeaseHeld(told))
            return await _Run(job, report, held).finish()
    except LeaseHeld as error:
        return finished(job, report, Outcome.LOCKED, error)
    except SyncerError as error:
        return finished(job, report, Outcome.FAILED, error)


class _Run:
    """A run under its lease (None: a dry run, which writes nothing)."""

    def __init__(self, job: Job, report: RunReport, held: Holding | None) -> None:
        self._job = job
        self._report = report
        self._held = held
        #: what is going on, or was last
        self._part: Pipeline | Burial | None = None
        #: numbers the doubts of this run
        self._parts = count()
        #: passes over the source, and what the last of them saw
        self._passes: list[Pipeline] = []
        self._seen: Seen | None = None
        #: of a dry run: what it would have sent
        self._promised: Promised | None = None
        #: and by the deliveries that come into question, what sending each of its parts would take
        self._candidates: tuple[Delivery, ...] = ()
        self._outlays: list[tuple[Outlay, ...]] = []
        #: why the tombstones are held back, and what ended the run early
        self._withheld: SyncerError | None = None
        self._known = 0
        self._failure: Exception | None = None

    def _forbidden(self) -> SyncerError | None:
        lost = self._held.failure if self._held is not None else None
        return lost or self._job.ports.overdue()

    async def finish(self) -> RunReport:
        """Do it, whatever comes; record how it ended."""
        failure: Exception | None = None
        with ExitStack() as ended:
            try:
                failure = await self._flow(ended)
            except Exception as error:  # noqa: BLE001  the job boundary
                failure = error
            self._failure = failure
            report = self._ended(failure)
            try:
                await self._record(report)
            except Exception as error:  # noqa: BLE001  the job boundary
                shown = failure if isinstance(failure, SyncerError) else error
                report = finished(self._job, report, Outcome.FAILED, shown)
        return replace(report, watermark=self._part.run.watermark if self._part else None)

    async def _flow(self, ended: ExitStack) -> Exception | None:
        """Everything that a run does, part after part; each begins when the one before it is complete."""
        prepared = await prepare(self._job, self._report, self._commit)
        self._report = prepared.report
        sends = self._limited and not self._job.options.dry_run
        prepared = await self._choose(prepared, await self._stay_within_limits() if sends else None)
        self._report = prepared.report
        # in a circle, or when it reads everything after all, a row is met twice
        if self._job.options.dry_run and (prepared.plan.after or prepared.plan.watermark):
            self._promised = Promised()
            ended.callback(self._promised.close)
        done = await self._read(prepared, prepared.plan, prepared.report, prepared.checkpoint, ended)
        if done.complete and prepared.reads_again(ahead=done.ahead):
            await done.finish(done.run)
            # what the first pass left in doubt is in doubt in the second
            doubts = await asyncio.to_thread(self._job.ports.store.doubts, self._job.mapping.name)
            prepared = replace(prepared, doubts=doubts)
            done = await self._look_back(prepared, done, ended)
        if done.complete and self._seen is not None:
            await self._bury(prepared, done, self._seen)
        refused = self._part.failure if isinstance(self._part, Burial) and self._part.refused else None
        if self._part is not None and (self._part.complete or refused is not None) and self._settles:
            await self._settle(prepared, self._part)
        if self._job.options.dry_run and self._job.mapping.max_change_ratio is not None:
            self._known = await asyncio.to_thread(self._job.ports.store.living_count, self._job.mapping.name)
        return refused or (self._part.failure if self._part is not None else None)

    async def _choose(self, prepared: Prepared, foreseen: Foresight | None) -> Prepared:
        """Settle which API the run uses, from beginning to end, where there is a choice."""
        ports = self._job.ports
        self._candidates = (ports.delivery,)
        if ports.bulk is not None and self._limited and foreseen is None:
            # the run will look ahead first, so this one only knows when it has
            self._candidates = (ports.delivery, ports.bulk.delivery())
            return prepared
        choice = await choice_of(self._job, prepared, foreseen)
        if choice is None:
            return prepared
        if ports.bulk is not None and choice.api == "bulk":
            ports.notice(BulkChosen(mapping=prepared.plan.mapping.name, reason=choice.reason))
            delivery = ports.bulk.delivery()
            self._job = replace(self._job, ports=replace(ports, delivery=delivery))
            self._candidates = (delivery,)
            prepared = prepared.limited_by(self._job, delivery.limits)
        return replace(prepared, report=replace(prepared.report, api=choice.api, api_reason=choice.reason))

    async def _record(self, report: RunReport) -> None:
        if self._part is not None:
            await self._part.finish(report)
        else:
            await asyncio.to_thread(self._commit, Commit(run=report))

    def _commit(self, commit: Commit) -> None:
        if self._held is not None:
            self._job.ports.store.commit(self._held.lease, replace(commit, recorded=self._job.recorded))

    async def _read(
        self,
        prepared: Prepared,
        plan: RunPlan,
        report: RunReport,
        checkpoint: Checkpoint | None,
        ended: ExitStack,
    ) -> Pipeline:
        if plan.whole and plan.mapping.deletes is not None:
            self._seen = Seen()
            ended.callback(self._seen.close)
        return await self._pass(prepared, plan, self._job.options, report, checkpoint, seen=self._seen)

    async def _pass(
        self,
        prepared: Prepared,
        plan: RunPlan,
        options: RunOptions,
        report: RunReport,
        checkpoint: Checkpoint | None,
        *,
        settles: Sequence[Doubt] = (),
        seen: Seen | None = None,
    ) -> Pipeline:
        done = Pipeline(
            plan, prepared.described, prepared.shaper, self._job.ports, run=report, digest=prepared.digest,
            checkpoint=checkpoint, options=options, doubts=prepared.doubts, settles=settles, seen=seen,
            keeping=self._keeping(), forbidden=self._forbidden, outlays=self._new_outlays(plan.mapping),
        )  # fmt: skip
        self._part = done
        self._passes.append(done)
        await done.flow()
        for each in self._outlays[-1] if options.dry_run else ():
            await asyncio.to_thread(each.end)
        return done

    def _new_outlays(self, mapping: CollectionMapping) -> tuple[Outlay, ...]:
        if not self._job.options.dry_run:
            return ()
        self._outlays.append(tuple(Outlay(mapping.collection, each) for each in self._candidates))
        return self._outlays[-1]

    def _keeping(self) -> Keeping:
        ports, mapping = self._job.ports, self._job.mapping
        return Keeping(
            mapping, self._job.run_id, scope_of(ports.delivery.identity, mapping.collection), ports.store,
            self._commit, parts=self._parts, cadence=ports.cadence, now=ports.now, monotonic=ports.monotonic,
            promised=self._promised,
        )  # fmt: skip

    @property
    def _limited(self) -> bool:
        mapping, options = self._job.mapping, self._job.options
        given = mapping.max_objects_per_run is not None or mapping.max_change_ratio is not None
        return given and not options.allow_changes and options.keys is None

    async def _stay_within_limits(self) -> Foresight:
        """Look ahead, and send nothing when it would be more than the mapping allows."""
        quiet = replace(self._job.ports, notice=lambda _: None)
        foresight = await foresee(replace(self._job, ports=quiet))
        error = foresight.failure or withheld(self._job.mapping, foresight)
        if error is not None:
            raise error
        return foresight

    def foresight(self, report: RunReport) -> Foresight:
        """What a dry run found."""
        found = Foresight(
            report=report,
            added=sum(each.added for each in self._passes),
            changed=sum(each.changed for each in self._passes),
            deleted=self._seen.vanished if self._seen is not None and self._withheld is None else 0,
            refused=sum((each.refused for each in self._passes), Counter[str]()),
            requests=0,
            bytes=0,
            known=self._known,
            withheld=self._withheld,
            failure=self._failure,
        )
        large, taken = self._job.ports.bulk, 0
        if large is not None and len(self._candidates) > 1:
            choice = planned(found.objects, large.threshold)
            found = replace(found, report=replace(report, api=choice.api, api_reason=choice.reason))
            taken = int(choice.api == "bulk")
        outlays = [each[taken] for each in self._outlays]
        return replace(
            found, requests=sum(each.requests for each in outlays), uploads=sum(each.uploads for each in outlays),
            bytes=sum(each.bytes for each in outlays),
        )  # fmt: skip

    async def _look_back(self, prepared: Prepared, done: Pipeline, ended: ExitStack) -> Pipeline:
        """Read everything, because the source went back: not even the row that set the watermark is there any more.

        It was deleted, or the database was restored from an older state: then newer rows carry older watermarks, and
        the saved one has to come down to find them.
        """
        plan = prepared.plan
        told = "no row is as new as the watermark any more: rows were deleted, or the database went back; reading all"
        self._job.ports.notice(Noticed(mapping=plan.mapping.name, message=told))
        rule = plan.mapping.watermark
        whole = replace(
            plan, mode=Mode.FULL, watermark=None, after=None, start=rule.initial if rule else None, advances=False
        )
        return await self._read(prepared, whole, done.run, done.checkpoint, ended)

    async def _bury(self, prepared: Prepared, done: Pipeline, seen: Seen) -> None:
        """Mark as deleted what is known and was not read."""
        mapping, job, read = self._job.mapping, self._job, done.run.counts.read
        if not job.options.dry_run:
            await done.finish(done.run)  # first: what was refused is no living object for that
        await asyncio.to_thread(seen.compare, job.ports.store, mapping.name)
        # what is new is known too by now, and must not make what vanished look small
        new = 0 if job.options.dry_run else sum(each.added + each.returned for each in self._passes)
        if not job.options.allow_deletes:
            self._withheld = guard(
                mapping, known=seen.known - new - seen.marked, vanished=seen.vanished - seen.marked, read=read,
                edited=prepared.edited,
            )  # fmt: skip
        if job.options.dry_run:
            if self._withheld is None:
                await asyncio.to_thread(dig, mapping, seen, done.run.started_at, self._new_outlays(mapping))
            return
        self._part = Burial(
            mapping, seen, job.ports, self._keeping(), run=done.run, checkpoint=done.checkpoint,
            digest=prepared.digest, forbidden=self._forbidden, withheld=self._withheld, doubts=prepared.doubts,
        )  # fmt: skip
        await self._part.flow()

    @property
    def _settles(self) -> bool:
        """Whether the run looks after what earlier ones left in doubt; not one of single rows or of a range."""
        options = self._job.options
        return options.keys is None and options.start is None and options.end is None and self._withheld is None

    async def _settle(self, prepared: Prepared, done: Pipeline | Burial) -> None:
        """Send again what has been in doubt for long enough: the rows as they are now, in order by `Synchronous`."""
        ports, mapping = self._job.ports, self._job.mapping
        stored = await asyncio.to_thread(ports.store.doubts, mapping.name)
        # what this run noted has settled, though the commit that says so is yet to come
        doubts = [each for each in stored if each.since is not None]
        due = [each for each in doubts if each.since is not None and ports.now() - each.since >= SETTLED_AFTER]
        if not due:
            return
        await done.finish(done.run)
        # with those of this very run, which are written only now
        stored = await asyncio.to_thread(ports.store.doubts, mapping.name)
        doubts = [each for each in stored if each.since is not None]
        keys = tuple(dict.fromkeys(key for each in due for key in each.keys))
        if keys and not self._job.options.dry_run:
            ports.notice(Noticed(mapping=mapping.name, message=f"{len(keys):,} rows were in doubt and are sent again"))
        options = replace(self._job.options, keys=keys, resend=True)
        plan = plan_run(mapping, prepared.described.primary_key, None, prepared.digest, options)
        await self._pass(replace(prepared, doubts=doubts), plan, options, done.run, done.checkpoint, settles=due)

    def _ended(self, failure: Exception | None) -> RunReport:
        report = self._part.run if self._part else self._report
        complete = self._part is not None and self._part.complete
        # what a delivery could not finish because it was told to stop is no failure of its own
        stopped = self._job.ports.stop.is_set() and not complete
        if stopped and (failure is None or isinstance(failure, Stopped | SourceError | RunTimedOut)):
            report = replace(report, counts=_decided(report.counts))
            overdue = self._job.ports.overdue()
            return finished(self._job, report, Outcome.FAILED if overdue else Outcome.INTERRUPTED, overdue)
        if failure is not None:
            return finished(self._job, report, Outcome.FAILED, failure)
        if not report.counts.balanced:
            error = SyncerError(f"mapping {report.mapping}: the counts do not add up: {report.counts}")
            return finished(self._job, report, Outcome.FAILED, error)
        buried = report.counts.rejected and not self._job.options.dry_run
        return finished(self._job, report, Outcome.PARTIAL if buried else Outcome.SUCCEEDED)


def _decided(counts: Counts) -> Counts:
    """An interrupted run counts the rows whose fate is known; the others are read again by the next."""
    return replace(counts, read=counts.sent + counts.unchanged + counts.rejected + counts.skipped)


def finished(job: Job, report: RunReport, outcome: Outcome, error: Exception | None = None) -> RunReport:
    """The report of a run that is over."""
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
