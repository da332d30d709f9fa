"""How every mapping stands, told from the state alone: for `syncer status` and for metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from syncer.config import Config
from syncer.core.calendar import next_fires, schedule_key
from syncer.core.model import CollectionMapping, Outcome
from syncer.observe.metrics import Gauge
from syncer.state.base import Store

#: what starts a run that reads the query, and so says how far behind the collection is
_READING = ("cli", "schedule", "catch-up", "demo")
_RUNS_BACK = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What there is to say of one mapping."""

    mapping: str
    collection: str
    last_run: datetime | None
    outcome: str | None
    error: str | None
    watermark: str | None
    last_success: datetime | None
    next_run: datetime | None
    dead_letters: int
    #: rows of which it is not known which version the API holds
    in_doubt: int
    #: by the source's clock: what was committed before it was seen by the last run that looked
    bound: datetime | None
    #: what kept the watermark from moving in that run, as the source told it; there is no bound then
    held_by: str | None


def standings(config: Config, store: Store, now: datetime) -> list[Standing]:
    """Every mapping of the configuration, in its order."""
    letters, doubts = store.dead_letter_counts(), store.doubt_counts()
    return [_standing(mapping, store, letters, doubts, now) for mapping in config.mappings.values()]


def _standing(
    mapping: CollectionMapping, store: Store, letters: Mapping[str, int], doubts: Mapping[str, int], now: datetime
) -> Standing:
    latest = store.runs(mapping.name, _RUNS_BACK)
    checkpoint = store.checkpoint(mapping.name)
    good = [run for run in latest if run.outcome in (Outcome.SUCCEEDED, Outcome.PARTIAL) and run.trigger in _READING]
    last = latest[0] if latest else None
    looked = next((run for run in latest if run.bound is not None or run.held_by is not None), None)
    return Standing(
        mapping=mapping.name,
        collection=mapping.collection,
        last_run=last.started_at if last else None,
        outcome=(str(last.outcome) if last.outcome else "unfinished") if last else None,
        error=last.error if last else None,
        watermark=checkpoint.watermark.text if checkpoint and checkpoint.watermark else None,
        last_success=good[0].started_at if good else None,
        next_run=_next_run(mapping, store, now),
        dead_letters=letters.get(mapping.name, 0),
        in_doubt=doubts.get(mapping.name, 0),
        bound=looked.bound if looked else None,
        held_by=looked.held_by if looked else None,
    )


def _next_run(mapping: CollectionMapping, store: Store, now: datetime) -> datetime | None:
    found = [
        fire
        for each in mapping.schedules
        for fire in next_fires(each, now, 1, last=store.last_fire(mapping.name, schedule_key(each)))
    ]
    return min(found, default=None)


def gauges(found: Sequence[Standing]) -> list[Gauge]:
    """The metrics of how mappings stand. Times are seconds since 1970, so that an age is `time() - x`."""

    def of(name: str, told: str, value: Callable[[Standing], float | datetime | None]) -> Gauge:
        values = {each.mapping: _number(value(each)) for each in found}
        known = {mapping: number for mapping, number in values.items() if number is not None}
        return Gauge(name=f"syncer_{name}", help=told, values=known)

    return [
        of("last_run_timestamp_seconds", "When the last run began.", lambda each: each.last_run),
        of("last_success_timestamp_seconds", "When the last run that succeeded began.", lambda each: each.last_success),
        of("next_run_timestamp_seconds", "When the next run is due.", lambda each: each.next_run),
        of(
            "bound_timestamp_seconds",
            "Everything committed before this instant of the source's clock was seen; the watermark stays behind it.",
            lambda each: each.bound,
        ),
        of(
            "bound_held",
            "1 while an open transaction of the source keeps the watermark from moving at all, else 0.",
            _held,
        ),
        of("dead_letters", "Objects that were refused and are kept.", lambda each: each.dead_letters),
        of(
            "in_doubt_rows",
            "Rows of which it is not known which version the API holds.",
            lambda each: each.in_doubt,
        ),
    ]


def _held(standing: Standing) -> float | None:
    known = standing.bound is not None or standing.held_by is not None
    return float(standing.held_by is not None) if known else None


def _number(value: float | datetime | None) -> float | None:
    return value.timestamp() if isinstance(value, datetime) else value
