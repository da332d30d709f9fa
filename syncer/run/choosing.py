"""Which delivery a run uses, from its first object to its last: chosen once, before anything is sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from syncer.core.choice import Choice, Expected, choose, last_like
from syncer.core.foresight import Foresight
from syncer.run.job import Job
from syncer.run.preparing import Prepared
from syncer.run.reading import asked

#: of a mapping, that are looked at for one of the same mode
_RUNS_BACK = 20


async def choice_of(job: Job, prepared: Prepared, foreseen: Foresight | None) -> Choice | None:
    """The API of a run, and why. None: there is no choice, and nothing to say of it."""
    large = job.ports.bulk
    if large is None:
        return job.ports.choice
    if foreseen is not None:
        return planned(foreseen.objects, large.threshold)
    return choose(await _expected(job, prepared, large.threshold), large.threshold)


def planned(objects: int, threshold: int) -> Choice:
    """The same, of a run that has looked ahead."""
    return choose(Expected(objects=objects, told="{} objects planned"), threshold)


async def _expected(job: Job, prepared: Prepared, threshold: int) -> Expected:
    """How many objects it will send.

    1. Single rows: that many. 2. Everything is new or is sent again: the rows that it reads. 3. As many as the last
    run of its mode; where there is none, the rows that it reads.
    """
    options, ports, mapping = job.options, job.ports, job.mapping
    if options.keys is not None:
        return Expected(objects=len(options.keys), told="{} rows asked for")
    anew = options.resend or mapping.send == "all" or prepared.first or prepared.edited
    runs = [] if anew else await asyncio.to_thread(ports.store.runs, mapping.name, _RUNS_BACK)
    expected = last_like(prepared.plan.mode, runs)
    if expected is None:
        expected = await _counted(job, prepared, threshold)
    if prepared.plan.limit is not None:
        expected = replace(expected, objects=min(expected.objects, prepared.plan.limit))
    return expected


async def _counted(job: Job, prepared: Prepared, threshold: int) -> Expected:
    """The rows that it reads, counted by the database, and only as far as it matters."""
    source = await asyncio.to_thread(job.ports.source)
    everything = replace(prepared.plan, after=None, until=None)
    most = min(threshold, prepared.plan.limit or threshold)
    rows = await asked(source, job.ports.stop, lambda: source.count(everything, prepared.described, most))
    return Expected(objects=rows, told="at least {} rows to read" if rows >= threshold else "{} rows to read")
