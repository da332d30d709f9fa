"""What the state remembers of fires, and what follows from it. Everything here that takes `fires` blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from syncer.core.calendar import believed, fire_after, first_seen, schedule_key
from syncer.core.model import CollectionMapping, Mode, RunReport, Schedule
from syncer.service.fires import Fire, Fires, Trigger, well

_RUNS_BACK = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A schedule and the fire it counts from."""

    mapping: str
    schedule: Schedule
    last: datetime
    #: what a fire is called that is due by now
    trigger: Trigger


def recall(fires: Fires, schedules: Iterable[tuple[str, Schedule]], now: datetime) -> list[Recalled]:
    """The last fires of schedules; what was never seen is remembered as of now."""
    found: list[Recalled] = []
    for name, schedule in schedules:
        last = fires.last_fire(name, schedule_key(schedule))
        trigger: Trigger = "catch-up"
        if last is None:
            last, trigger = first_seen(schedule, now), "schedule"
            fires.record_fire(name, schedule_key(schedule), last)
        found.append(Recalled(mapping=name, schedule=schedule, last=believed(last, now), trigger=trigger))
    return found


def follows(mapping: CollectionMapping) -> bool:
    """Whether it has no time of its own: it runs after runs of the mappings it names."""
    return bool(mapping.after) and not mapping.schedules


def following(mapping: CollectionMapping, run: RunReport, trigger: Trigger, due: datetime) -> Fire:
    """The fire of a mapping that follows a run, and was `due` when that was."""
    at = run.finished_at or run.started_at
    return Fire(mapping=mapping.name, mode=run.mode, trigger=trigger, at={follow_key(run.mapping): at}, due=due)


def follow_key(other: str) -> str:
    """Under what it is remembered which run of another mapping was followed last."""
    return f"after:{other}"


def recall_followed(fires: Fires, mappings: Iterable[CollectionMapping], now: datetime) -> list[Fire]:
    """Fires of mappings that were to follow a run and did not: the daemon ended in between."""
    return [fire for each in mappings for fire in _unfollowed(fires, each, now)]


def _unfollowed(fires: Fires, mapping: CollectionMapping, now: datetime) -> Iterator[Fire]:
    for other in mapping.after:
        last = fires.last_fire(mapping.name, follow_key(other))
        if last is None:
            fires.record_fire(mapping.name, follow_key(other), now)
            continue
        good = [run for run in fires.runs(other, _RUNS_BACK) if well(run) and (run.finished_at or last) > last]
        for run in good[:1]:
            fire = following(mapping, run, "catch-up", run.started_at)
            yield fire.in_mode(Mode.FULL) if any(each.mode is Mode.FULL for each in good) else fire


def taken_since(mapping: CollectionMapping, fire: Fire, before: Mapping[str, datetime]) -> Mapping[str, datetime]:
    """By schedule: a run that began since then has done what a fire asks for. Of a person's wish: since it was told.

    `before`: what was recorded of the schedules. Another process that shares the state may have had a fire in their
    place, at the same time (`cron`) or a little earlier (`every`): then it is not due again yet.
    """
    schedules = {schedule_key(each): each for each in mapping.schedules}
    since = {"": fire.last} if fire.wished else {}
    for key, at in fire.at.items():
        schedule, last = schedules.get(key), before.get(key)
        taken = schedule is not None and last is not None and last <= at < fire_after(schedule, last)
        since[key] = last if taken and last is not None else at
    return since


def covering(fires: Fires, fire: Fire, since: Mapping[str, datetime]) -> RunReport | None:
    """A run of the mapping that has done what a fire asks for. A person who did not have to wait wants their own."""
    runs = fires.runs(fire.mapping, _RUNS_BACK) if fire.waited or not fire.wished else ()
    return next((run for run in runs if fire.covered_by(run, max(since.values()))), None)


def remember(fires: Fires, mapping: str, at: Mapping[str, datetime]) -> dict[str, datetime]:
    """Record fires; returns what was recorded before."""
    before = {schedule: fires.last_fire(mapping, schedule) for schedule in at}
    for schedule, moment in at.items():
        fires.record_fire(mapping, schedule, moment)
    return {schedule: moment for schedule, moment in before.items() if moment is not None}
