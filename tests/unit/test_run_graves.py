"""Tombstones among doubts, refusals and guards: none is final too early, none comes for ever, none is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from unit.run_world import FULL, ROOMS, World, rooms

from syncer.core.model import Outcome, Receipt, SegmentObject, TombstoneRule, WatermarkRule
from syncer.core.tombstone import UNSURE
from syncer.delivery.memory import MemoryDelivery, Scripted
from syncer.run.keeping import SETTLED_AFTER

MARKED = replace(ROOMS, deletes=TombstoneRule())
HOUR = timedelta(hours=1)


@pytest.fixture
def world() -> World:
    """Ten rooms, all delivered."""
    return delivered(World(rooms(10), mapping=MARKED))


def delivered(world: World) -> World:
    """After a full run, an hour ago."""
    assert world.run(FULL).outcome is Outcome.SUCCEEDED
    world.now += HOUR
    return world


def answers(world: World, *script: Scripted, refuses: Callable[[SegmentObject], bool] = lambda _: False) -> None:
    """The API answers so from now on, and holds what it held."""
    held = world.delivery.objects
    world.delivery = MemoryDelivery(script, refuses=refuses)
    world.delivery.objects = held


def change(world: World, *numbers: int, city: str = "elsewhere") -> None:
    """New versions of rows."""
    world.source.rows = [(row[0], city, 11) if row[0] in numbers else row for row in world.source.rows]


def lose(world: World, *numbers: int) -> None:
    """Delete rows."""
    world.source.rows = [row for row in world.source.rows if row[0] not in numbers]


def gone(world: World) -> list[str]:
    """The ids that are marked as deleted."""
    return sorted(key for (_, key), each in world.delivery.objects.items() if each["is_deleted"])


def test_a_tombstone_asks_for_order_where_a_late_version_may_just_have_come(world: World) -> None:
    """Given up at 0 s, it may land at 29 s; a tombstone at 31 s is close to that."""
    change(world, 3)
    answers(world, Scripted.DOUBT)
    world.run(FULL)
    lose(world, 3)
    world.now += SETTLED_AFTER + timedelta(seconds=1)
    answers(world)
    assert world.run(FULL).counts.deleted == 1
    stone = next(each for each in world.delivery.batches if each.objects[0].id == "3")
    assert stone.number in world.delivery.synchronous


def test_what_the_first_pass_left_in_doubt_is_in_doubt_when_everything_is_read_after_all() -> None:
    """The row that set the watermark is gone, so a second pass reads all; what it sends again may be overtaken."""
    mapping = replace(MARKED, watermark=WatermarkRule(column="version", lookback=5))
    world = delivered(World(rooms(10), mapping=mapping))
    lose(world, 10)
    world.source.rows[8] = (9, "late", 9)
    answers(world, Scripted.LATE)
    assert world.run().outcome is Outcome.SUCCEEDED
    world.now += timedelta(seconds=5)
    lose(world, 9)
    answers(world)
    world.run(FULL)
    world.delivery.objects["rooms", "9"] |= {"city": "late", "is_deleted": False}  # five seconds after it was given up
    world.now += HOUR
    world.run(FULL)
    assert "9" in gone(world)


def test_doubts_about_rows_that_are_there_keep_no_tombstone_coming(world: World) -> None:
    """In every run some other answer is late: the object is marked, once more to be sure, and then no more."""
    change(world, 3)
    answers(world, Scripted.DOUBT)
    world.run(FULL)
    lose(world, 3)
    marked = 0
    for number in range(5):
        world.now += HOUR
        change(world, 1, city=f"city {number}")
        answers(world, Scripted.LATE)
        marked += world.run(FULL).counts.deleted
    assert marked <= 2


@pytest.mark.parametrize("more", [(), (6,)], ids=["nothing more goes", "one more goes"])
def test_what_was_let_pass_once_is_not_held_back_later(world: World, more: tuple[int, ...]) -> None:
    """A person allowed it, and it is sent once more only to be sure."""
    change(world, 1, 2, 3, 4, 5)
    answers(world, Scripted.LATE)
    world.run(FULL)
    lose(world, 1, 2, 3, 4, 5)
    world.now += timedelta(seconds=5)
    answers(world)
    assert world.run(replace(FULL, allow_deletes=True)).counts.deleted == 5
    world.now += HOUR
    lose(world, *more)
    report = world.run(FULL)
    assert (report.outcome, report.counts.deleted) == (Outcome.SUCCEEDED, 5 + len(more))
    assert world.run(FULL).counts.deleted == 0


def test_a_row_that_is_long_refused_is_not_forgotten(world: World) -> None:
    """Nothing was sent of it for longer than `refresh_after`, and still it is marked when it goes."""
    change(world, 3, city="x" * 40_000)
    world.run(FULL)
    world.now += MARKED.refresh_after + HOUR
    world.run(FULL)
    lose(world, 3)
    world.now += HOUR
    world.run(FULL)
    assert gone(world) == ["3"]


@pytest.mark.parametrize("lost", [1, 25], ids=["one batch", "three batches"])
def test_doubts_are_settled_although_tombstones_are_refused(lost: int) -> None:
    """What the API refuses for ever keeps nothing else in doubt for ever; the run has failed all the same."""
    world = delivered(World(rooms(200), mapping=replace(MARKED, watermark=None)))
    change(world, 1)
    answers(world, Scripted.LATE)
    world.run(FULL)
    lose(world, *range(3, 3 + lost))
    answers(world, refuses=lambda each: b"true" in each.properties)
    world.now += HOUR
    report = world.run(FULL)
    assert (report.outcome, report.counts.deleted) == (Outcome.FAILED, 0)
    assert "refused tombstones" in (report.error or "")
    assert list(world.store.doubts("rooms")) == []
    world.now += HOUR
    assert world.run(FULL).counts.sent == 0


def test_a_row_that_vanishes_while_a_version_of_it_may_land_is_marked_again(world: World) -> None:
    """That version may land after the tombstone, and would make the object alive for ever."""
    change(world, 3)
    answers(world, Scripted.DOUBT)
    assert world.run(FULL).outcome is Outcome.FAILED
    lose(world, 3)
    assert world.run(FULL).counts.deleted == 1
    world.delivery.objects["rooms", "3"] |= {"city": "elsewhere", "is_deleted": False}  # late
    world.now += SETTLED_AFTER
    assert world.run(FULL).counts.deleted == 1
    assert gone(world) == ["3"]
    assert world.run(FULL).counts.deleted == 0


def test_a_refused_row_with_a_tombstone_in_doubt_does_not_stay_in_doubt(world: World) -> None:
    """Once the tombstone cannot land any more, it is an ordinary dead letter."""
    lose(world, 3)
    answers(world, Scripted.DOUBT, refuses=lambda each: b"elsewhere" in each.properties)
    world.run(FULL)
    world.source.rows.append((3, "elsewhere", 11))
    for _ in range(3):
        assert world.run(FULL).counts.rejected >= 1
        world.now += SETTLED_AFTER
    assert list(world.store.doubts("rooms")) == []


def test_tombstones_that_nobody_heard_of_are_a_doubt(world: World) -> None:
    """As after a crash: nobody knows which of them went out, so none is final before they have settled."""

    class Broken(MemoryDelivery):
        """A defect ends the sending."""

        async def send(self, *_: object, **__: object) -> Receipt:
            """Break."""
            raise RuntimeError

    lose(world, 3)
    held = world.delivery.objects
    world.delivery = Broken()
    world.delivery.objects = held
    assert world.run(FULL).outcome is Outcome.FAILED
    answers(world)
    assert world.run(FULL).counts.deleted == 1
    assert world.store.fingerprints("rooms", ["3"])["3"].digest == UNSURE
    world.now += SETTLED_AFTER
    assert world.run(FULL).counts.deleted == 1
    assert world.run(FULL).counts.deleted == 0
