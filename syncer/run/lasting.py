"""How long a run may last: a mapping's `timeout` stops it in order, as a person's stop would, but for itself alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from syncer.config.units import duration_text
from syncer.errors import RunTimedOut
from syncer.run.job import Job


@contextmanager
def lasting(job: Job, stops: set[asyncio.Event]) -> Iterator[Job]:
    """The job with a stop of its own, which the mapping's `timeout` sets, and whoever sets all `stops`."""
    span = job.mapping.timeout
    if span is None:
        yield job
        return
    stop, over = asyncio.Event(), list[RunTimedOut]()
    if job.ports.stop.is_set():
        stop.set()

    def end() -> None:
        # a stop that came before is what ended the run
        if not stop.is_set():
            over.append(_timed_out(job.mapping.name, duration_text(span)))
            stop.set()

    stops.add(stop)
    timer = asyncio.get_running_loop().call_later(span.total_seconds(), end)
    try:
        yield replace(job, ports=replace(job.ports, stop=stop, overdue=lambda: over[0] if over else None))
    finally:
        timer.cancel()
        stops.discard(stop)


def _timed_out(mapping: str, span: str) -> RunTimedOut:
    return RunTimedOut(
        f"mapping {mapping}: the run took longer than its timeout of {span} and was stopped; its progress is saved",
        f"raise `timeout` in mappings.{mapping}, or look for what holds it up: syncer plan --select {mapping}",
    )
