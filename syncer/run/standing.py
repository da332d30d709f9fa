"""How every mapping stands, told from the state alone: for `syncer status` and for metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from syncer.config import Config
from syncer.core.blackouts import blackout_end
from syncer.core.calendar import next_fires, schedule_key
from syncer.core.model import Checkpoint, CollectionMapping, Outcome, RunReport
from syncer.observe.metrics import Labels, Metric
from syncer.state.base import Store

#: what makes a run that reads single rows or none, and so says nothing of how far behind the collection is
_PARTIAL = ("dead-letters retry", "state set")
_RUNS_BACK = 30
_GOOD = (Outcome.SUCCEEDED, Outcome.PARTIAL)


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
    next_run: datetime | None = None
    dead_letters: int = 0
    #: rows of which it is not known which version the API holds
    in_doubt: int = 0
    #: by the source's clock: what was committed before it was seen by the last run that looked
    bound: datetime | None = None
    #: what kept the watermark from moving in that run, as the source told it; there is no bound then
    held_by: str | None = None
    #: since when its schedules begin no run
    paused: datetime | None = None


def standings(config: Config, store: Store, now: datetime) -> list[Standing]:
    """Every mapping of the configuration, in its order. A few statements, however many mappings there are."""
    return [each.standing for each in survey(config, store, now)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """How a mapping stands, and what that was told from."""

    standing: Standing
    #: newest first
    runs: Sequence[RunReport]


def survey(config: Config, store: Store, now: datetime) -> list[Surveyed]:
    """As `standings`, each with the latest runs of its mapping. Blocks."""
    names = list(config.mappings)
    latest = store.latest_runs(names, _RUNS_BACK)
    # a mapping that has failed for longer than that still has a last success
    lost = [name for name in names if len(latest[name]) == _RUNS_BACK and _last_success(latest[name]) is None]
    earlier = store.latest_runs(lost, 1, outcomes=_GOOD, without=_PARTIAL) if lost else {}
    checkpoints = {each.mapping: each for each in store.checkpoints()}
    letters, doubts, fires = store.dead_letter_counts(), store.doubt_counts(), store.last_fires()
    pauses = store.pauses()
    found = []
    for mapping in config.mappings.values():
        name, runs = mapping.name, latest[mapping.name]
        standing = _standing(mapping, runs, checkpoints.get(name), [*runs, *earlier.get(name, ())])
        standing = replace(
            standing, next_run=None if name in pauses else _next_run(mapping, fires, now),
            dead_letters=letters.get(name, 0), in_doubt=doubts.get(name, 0), paused=pauses.get(name),
        )  # fmt: skip
        found.append(Surveyed(standing=standing, runs=runs))
    return found


def _last_success(runs: Sequence[RunReport]) -> datetime | None:
    good = (run.started_at for run in runs if run.outcome in _GOOD and run.trigger not in _PARTIAL)
    return next(good, None)


def _standing(
    mapping: CollectionMapping,
    latest: Sequence[RunReport],
    checkpoint: Checkpoint | None,
    with_earlier: Sequence[RunReport],
) -> Standing:
    last = latest[0] if latest else None
    looked = next((run for run in latest if run.bound is not None or run.held_by is not None), None)
    return Standing(
        mapping=mapping.name,
        collection=mapping.collection,
        last_run=last.started_at if last else None,
        outcome=(str(last.outcome) if last.outcome else "unfinished") if last else None,
        error=last.error if last else None,
        watermark=checkpoint.watermark.text if checkpoint and checkpoint.watermark else None,
        last_success=_last_success(with_earlier),
        bound=looked.bound if looked else None,
        held_by=looked.held_by if looked else None,
    )


def _next_run(mapping: CollectionMapping, fires: Mapping[tuple[str, str], datetime], now: datetime) -> datetime | None:
    found = [
        fire
        for each in mapping.schedules
        for fire in next_fires(each, now, 1, mapping=mapping.name, last=fires.get((mapping.name, schedule_key(each))))
    ]
    following = min(found, default=None)
    return following and (blackout_end(mapping.blackouts, following) or following)


def gauges(found: Sequence[Standing]) -> list[Metric]:
    """The metrics of how mappings stand. Times are seconds since 1970, so that an age is `time() - x`."""

    def of(name: str, told: str, value: Callable[[Standing], float | datetime | None]) -> Metric:
        values = {each.mapping: _number(value(each)) for each in found}
        known: dict[Labels, float] = {(name,): number for name, number in values.items() if number is not None}
        return Metric(name=f"syncer_{name}", help=told, values=known)

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
