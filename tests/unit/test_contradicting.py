"""Runs whose properties are not as they were sent before, in a world of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from run_world import COLUMNS, FULL, ROOMS, World, rooms

from syncer.core.events import Noticed
from syncer.core.model import Column, Kind, Outcome, PropertyRule, PropertyType
from syncer.core.plan import RunOptions
from syncer.run.examine import Level, examine
from syncer.source.memory import MemorySource

DRY = RunOptions(dry_run=True)
ID, CITY, VERSION = COLUMNS
#: the city is a number now
RETYPED = (ID, replace(CITY, kind=Kind.INTEGER), VERSION)


class Reads(MemorySource):
    """Counts how often rows, or what is wrong with their keys, are asked for."""

    asked = 0

    def read(self, *arguments: Any) -> Any:
        """See `Source.read`."""
        self.asked += 1
        return super().read(*arguments)

    def key_faults(self, *arguments: Any) -> Any:
        """See `Source.key_faults`."""
        self.asked += 1
        return super().key_faults(*arguments)


def world(schema: Any, columns: Sequence[Column] = RETYPED, **rules: PropertyRule) -> World:
    """A world whose rooms ran once, and whose columns changed since."""
    found = World(rooms(3), mapping=replace(ROOMS, schema=schema, properties=rules))
    assert found.run().outcome is Outcome.SUCCEEDED
    found.now += timedelta(days=1)
    places = {column.name: place for place, column in enumerate(COLUMNS)}
    rows = [[7 if each == RETYPED[1] else row[places[each.name]] for each in columns] for row in found.source.rows]
    found.source = Reads(columns, ("id",), rows)
    return found


def told(found: World) -> list[str]:
    """What was noticed, and forget it."""
    messages = [each.message for each in found.events if isinstance(each, Noticed)]
    found.events.clear()
    return messages


def types(found: World) -> dict[str, str]:
    """As what the properties are stored."""
    return {name: each.type for name, each in found.store.property_types("rooms").items()}


def test_the_first_run_stores_them() -> None:
    """With the day; a later run that changes nothing leaves them and says nothing."""
    found = World(rooms(3))
    found.run()
    first = {
        "city": PropertyType(type="text", since=found.now),
        "version": PropertyType(type="integer", since=found.now),
    }
    found.now += timedelta(days=1)
    found.run(FULL)
    assert (found.store.property_types("rooms"), told(found)) == (first, [])


def test_a_dry_run_stores_nothing() -> None:
    """Neither the first nor one that finds a contradiction, which it tells all the same."""
    fresh = World(rooms(3))
    fresh.run(DRY)
    assert types(fresh) == {}
    found = world("evolve")
    found.run(DRY)
    assert len(told(found)) == 1
    assert types(found) == {"city": "text", "version": "integer"}


@pytest.mark.parametrize("options", [FULL, RunOptions(), DRY, RunOptions(keys=()), RunOptions(resend=True)])
def test_freeze_comes_before_everything(options: RunOptions) -> None:
    """Whatever was asked for: nothing is read, sent or stored, and the error is one of the configuration."""
    found = world("freeze")
    sent, saved = len(found.delivery.batches), found.watermark
    report = found.run(options)
    assert (report.outcome, report.exit_code, report.counts.read) == (Outcome.FAILED, 2, 0)
    assert str(report.error).startswith(
        "mapping rooms: its properties changed, and `schema: freeze` sends nothing then"
    )
    assert isinstance(found.source, Reads)
    assert (found.source.asked, len(found.delivery.batches), found.watermark) == (0, sent, saved)
    assert types(found) == {"city": "text", "version": "integer"}


def test_evolve_tells_once() -> None:
    """And the new type is stored with the day it was first sent."""
    found = world("evolve")
    found.run(FULL)
    (message,) = told(found)
    assert "city was sent as text since 2026-01-01 and is integer now" in message
    assert found.store.property_types("rooms")["city"] == PropertyType(type="integer", since=found.now)
    found.run(FULL)
    assert told(found) == []


def test_warn_tells_until_the_query_is_mended() -> None:
    """The stored type stays, so the column that comes back as it was contradicts nothing."""
    found = world("warn")
    for _ in range(2):
        assert found.run(FULL).outcome is Outcome.SUCCEEDED
        assert len(told(found)) == 1
    found.source = MemorySource(COLUMNS, ("id",), rooms(3))
    found.run(FULL)
    assert told(found) == []


def test_warn_takes_over_what_appeared() -> None:
    """It is told once, without advice: nothing has to be done."""
    stars = Column(name="stars", kind=Kind.INTEGER)
    found = World(rooms(3), mapping=ROOMS)
    found.run()
    found.source = MemorySource((*COLUMNS, stars), ("id",), [(*row, 5) for row in rooms(3)])
    found.run(FULL)
    assert told(found) == ["its properties changed: stars is new, sent as integer; taken over"]
    found.run(FULL)
    assert told(found) == []


def test_a_retired_property_is_forgotten() -> None:
    """Also under `freeze` it is no contradiction, and the line may go when null was sent."""
    found = world("freeze", (ID, VERSION))
    assert found.run(FULL).outcome is Outcome.FAILED
    found.mapping = replace(found.mapping, properties={"city": PropertyRule(retired=True)})
    assert found.run(FULL).counts.sent == 3
    assert set(found.cities.values()) == {None}
    assert types(found) == {"version": "integer"}
    found.mapping = replace(found.mapping, properties={})
    assert found.run(FULL).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("schema", "levels"),
    [
        ("evolve", [Level.NOTE, Level.NOTE, Level.NOTE]),
        ("warn", [Level.WARNING, Level.WARNING, Level.NOTE]),
        ("freeze", [Level.ERROR, Level.ERROR, Level.ERROR]),
    ],
)
def test_check_tells_beforehand(schema: Any, levels: list[Level]) -> None:
    """As grave as the next run will take it; a hint where something has to be done."""
    since = World(()).now
    stored = {name: PropertyType(type="text", since=since) for name in ("city", "gone")}
    mapping = replace(ROOMS, schema=schema)
    findings = examine(mapping, MemorySource(RETYPED, ("id",), [(1, 7, 1)]), "UTC", stored).findings
    found = [each for each in findings if each.message.startswith("property ")]
    assert [each.message.split()[1] for each in found] == ["city", "gone", "version"]
    assert [each.level for each in found] == levels
    assert [each.hint is None for each in found] == [each is Level.NOTE for each in levels]
