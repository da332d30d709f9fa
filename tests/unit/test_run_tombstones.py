"""Rows that vanish and return, over memory: what is marked as deleted, and when nothing is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from unit.run_world import COLUMNS, FULL, ROOMS, World, rooms

from syncer.core.model import Outcome, SegmentObject, TombstoneRule, WatermarkRule
from syncer.core.plan import RunOptions
from syncer.core.tombstone import GONE, OPEN, UNSURE
from syncer.delivery.memory import MemoryDelivery, Scripted
from syncer.run.keeping import SETTLED_AFTER
from syncer.source.memory import MemorySource
from syncer.state import MemoryStore, open_store

MARKED = replace(ROOMS, deletes=TombstoneRule())
ALLOWED = replace(FULL, allow_deletes=True)


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Ten rooms, all delivered."""
    world = World(rooms(10), mapping=MARKED)
    world.store = MemoryStore() if request.param == "memory" else open_store(f"sqlite:///{tmp_path}/state.db")
    assert world.run(FULL).counts.sent == 10
    world.now += timedelta(hours=1)
    yield world
    world.store.close()


def deleted(world: World) -> dict[str, object]:
    """What the destination holds of `is_deleted`, by id."""
    return {key[1]: each["is_deleted"] for key, each in world.delivery.objects.items()}


def gone(world: World) -> list[str]:
    """The ids that are marked as deleted."""
    return sorted(key for key, marked in deleted(world).items() if marked)


def lose(world: World, *numbers: int) -> None:
    """Delete rows."""
    world.source.rows = [row for row in world.source.rows if row[0] not in numbers]


def test_a_vanished_row_is_marked_once(world: World) -> None:
    """With the moment at which the run began that missed it; the next run has nothing to do."""
    lose(world, 3, 7)
    began = world.now
    report = world.run(FULL)
    assert (report.outcome, report.counts.deleted, report.counts.sent, report.counts.unchanged) == (
        Outcome.SUCCEEDED, 2, 0, 8,
    )  # fmt: skip
    assert report.counts.balanced
    assert gone(world) == ["3", "7"]
    assert world.delivery.objects["rooms", "3"]["deleted_at"] == began.isoformat()
    assert world.delivery.objects["rooms", "3"]["city"] == "city 3", "the rest is merged, not replaced"
    again = world.run(FULL)
    assert (again.counts.deleted, again.counts.requests) == (0, 0)


def test_every_other_object_says_that_it_lives(world: World) -> None:
    """So that a row that returns is alive again, whatever is known of it."""
    assert set(deleted(world).values()) == {False}
    assert {each["deleted_at"] for each in world.delivery.objects.values()} == {None}


@pytest.mark.parametrize("options", [RunOptions(), FULL], ids=["incremental", "full"])
def test_a_row_that_returns_is_revived(world: World, options: RunOptions) -> None:
    """Also when it is just as it was before."""
    lose(world, 10)
    world.run(FULL)
    world.now += timedelta(hours=1)
    world.source.rows.append((10, "city 10", 10))
    assert world.run(options).counts.sent == 1
    assert gone(world) == []
    assert world.delivery.objects["rooms", "10"]["deleted_at"] is None


def test_an_incremental_run_marks_nothing(world: World) -> None:
    """It has not seen every row."""
    lose(world, 3)
    assert world.run().counts.deleted == 0
    assert gone(world) == []


@pytest.mark.parametrize(
    "options",
    [
        RunOptions(mode=FULL.mode, limit=8),
        RunOptions(start="1", end="8"),
        replace(FULL, dry_run=True),
    ],
    ids=["limit", "range", "dry run"],
)
def test_a_run_that_does_not_read_everything_marks_nothing(world: World, options: RunOptions) -> None:
    """Nor does one that sends nothing."""
    lose(world, 3)
    assert world.run(options).counts.deleted == 0
    assert gone(world) == []


def test_an_interrupted_run_marks_nothing_and_the_next_does(world: World) -> None:
    """What was not reached is not missing."""
    lose(world, 3)
    world.source.rows[0] = (1, "elsewhere", 11)

    def stops(_: SegmentObject) -> bool:
        world.stopping.set()
        return False

    took = world.delivery.objects
    world.delivery = MemoryDelivery(refuses=stops)
    world.delivery.objects = took
    assert world.run(FULL).outcome is Outcome.INTERRUPTED
    assert gone(world) == []
    world.delivery = MemoryDelivery()
    world.delivery.objects = took
    assert world.run(FULL).counts.deleted == 1
    assert gone(world) == ["3"]


@pytest.mark.parametrize("left", [0, 7], ids=["empty result", "30% gone"])
def test_too_much_at_once_is_held_back(world: World, left: int) -> None:
    """The run fails and says how to go on; what it read is delivered; --allow-deletes marks them."""
    before = list(world.source.rows)
    world.source.rows = [*before[:left], *([(11, "new", 11)] if left else [])]
    report = world.run(FULL)
    assert (report.outcome, report.counts.deleted) == (Outcome.FAILED, 0)
    assert "--allow-deletes" in (report.hint or "")
    assert gone(world) == []
    assert world.run(FULL).outcome is Outcome.FAILED, "and it stays so"
    allowed = world.run(ALLOWED)
    assert (allowed.outcome, allowed.counts.deleted) == (Outcome.SUCCEEDED, 10 - left)
    assert world.run(FULL).outcome is Outcome.SUCCEEDED


def test_new_rows_do_not_make_the_loss_look_small(world: World) -> None:
    """All keys changed at once: a hundred rows are new, and all ten that were known are gone."""
    world.source.rows = [(number, "new", number) for number in range(101, 201)]
    report = world.run(FULL)
    assert (report.outcome, report.counts.sent, report.counts.deleted) == (Outcome.FAILED, 100, 0)
    assert "10 of 10 known objects" in (report.error or "")
    assert gone(world) == []


def test_what_was_held_back_once_stays_so_until_a_person_says_otherwise(world: World) -> None:
    """Also when the rows that came meanwhile make what vanished look small."""
    world.source.rows = [(number, "new", 100 + number) for number in range(101, 201)]
    for _ in range(2):
        assert world.run(FULL).outcome is Outcome.FAILED
    assert gone(world) == []
    assert world.run(ALLOWED).counts.deleted == 10
    lose(world, 150)
    assert world.run(FULL).counts.deleted == 1


def test_what_was_held_back_is_forgotten_when_the_rows_are_back(world: World) -> None:
    """Then there is nothing to ask the person any more."""
    before = world.source.rows
    world.source.rows = []
    assert world.run(FULL).outcome is Outcome.FAILED
    world.source.rows = before
    assert world.run(FULL).outcome is Outcome.SUCCEEDED
    lose(world, 3)
    assert world.run(FULL).counts.deleted == 1


def test_what_an_edited_query_leaves_out_is_held_back(world: World) -> None:
    """However little it is, and also in the runs after the first: the query says something else now."""
    world.mapping = replace(MARKED, query="rooms in town")
    lose(world, 3)
    for _ in range(2):
        report = world.run(FULL)
        assert report.outcome is Outcome.FAILED
        assert "changed" in (report.error or "")
    assert gone(world) == []
    assert world.run(ALLOWED).counts.deleted == 1
    lose(world, 4)
    assert world.run(FULL).counts.deleted == 1, "from then on it is the query that is known"


def test_a_query_that_was_edited_and_leaves_out_nothing_is_fine(world: World) -> None:
    """There is nothing to ask the person."""
    world.mapping = replace(MARKED, query="rooms in town")
    assert world.run(FULL).outcome is Outcome.SUCCEEDED
    lose(world, 3)
    assert world.run(FULL).counts.deleted == 1


@pytest.mark.parametrize("refused", ["reject", "null watermark"])
def test_a_row_that_is_there_is_never_marked(world: World, refused: str) -> None:
    """Though it is refused or skipped: it has not vanished."""
    if refused == "reject":
        world.source.rows[2] = (3, "x" * 40_000, 11)
    else:
        world.mapping = replace(MARKED, watermark=WatermarkRule(column="version", nulls="skip"))
        world.source.rows[2] = (3, "city 3", None)
    assert world.run(FULL).counts.deleted == 0
    assert gone(world) == []


def test_a_tombstone_nobody_answered_is_sent_again(world: World) -> None:
    """It may have landed: until it is known, the row counts as neither deleted nor delivered."""
    lose(world, 3)
    took = world.delivery.objects
    world.delivery = MemoryDelivery([Scripted.DOUBT])
    world.delivery.objects = took
    assert world.run(FULL).outcome is Outcome.FAILED
    assert world.store.fingerprints("rooms", ["3"])["3"].digest == UNSURE
    assert world.run(FULL).counts.deleted == 1
    assert world.store.fingerprints("rooms", ["3"])["3"].digest == UNSURE, "the first one may land yet"
    world.now += SETTLED_AFTER
    assert world.run(FULL).counts.deleted == 1
    assert world.store.fingerprints("rooms", ["3"])["3"].digest == GONE
    assert list(world.store.doubts("rooms")) == []


def test_a_tombstone_close_to_a_version_asks_for_order(world: World) -> None:
    """The API processes what comes close together in any order."""
    world.source.rows += [(11, "city 11", 11)]
    world.run()
    lose(world, 11)
    assert world.run(FULL).counts.deleted == 1
    assert world.delivery.synchronous == [world.delivery.batches[-1].number]
    lose(world, 3)
    world.now += timedelta(minutes=1)
    assert world.run(FULL).counts.deleted == 1
    assert len(world.delivery.synchronous) == 1


def test_a_row_that_returns_after_a_tombstone_nobody_answered_is_revived(world: World) -> None:
    """And looked at again later: the tombstone may land after it."""
    lose(world, 10)
    took = world.delivery.objects
    world.delivery = MemoryDelivery([Scripted.DOUBT])
    world.delivery.objects = took
    world.run(FULL)
    world.source.rows.append((10, "city 10", 10))
    assert world.run().counts.sent == 1
    assert gone(world) == []
    assert [doubt.keys for doubt in world.store.doubts("rooms")], "in doubt until it has settled"
    world.now += timedelta(minutes=1)
    assert world.run().counts.sent == 2
    assert list(world.store.doubts("rooms")) == []


def test_a_tombstone_the_api_refuses_fails_the_run(world: World) -> None:
    """Nothing is dropped in silence; the next full run sends it again."""
    lose(world, 3)
    took = world.delivery.objects
    world.delivery = MemoryDelivery(refuses=lambda each: b"true" in each.properties)
    world.delivery.objects = took
    report = world.run(FULL)
    assert (report.outcome, report.counts.deleted) == (Outcome.FAILED, 0)
    assert "refused tombstones" in (report.error or "")
    world.delivery = MemoryDelivery()
    world.delivery.objects = took
    assert world.run(FULL).counts.deleted == 1


def test_a_run_that_fails_before_its_end_marks_nothing(world: World) -> None:
    """What could not be delivered comes first."""
    lose(world, 3)
    world.source.rows[0] = (1, "elsewhere", 11)
    took = world.delivery.objects
    world.delivery = MemoryDelivery([Scripted.FAIL])
    world.delivery.objects = took
    assert world.run(FULL).outcome is Outcome.FAILED
    assert gone(world) == []


def test_many_tombstones_go_in_batches(world: World) -> None:
    """Ten in a request, in any number."""
    world.source = MemorySource(COLUMNS, ("id",), rooms(6_000), chunk=1_000)
    world.run(FULL)
    world.source.rows = rooms(5_000)
    report = world.run(FULL)
    assert (report.counts.deleted, report.counts.requests) == (1_000, 100)
    assert len(gone(world)) == 1_000


def test_a_tombstone_is_forgotten_in_the_end(world: World) -> None:
    """After `refresh_after`, with the next complete full run; a row that returns then is alive all the same."""
    lose(world, 3)
    world.run(FULL)
    world.now += MARKED.refresh_after + timedelta(hours=1)
    assert world.run(FULL).counts.sent == 9, "refreshed"
    assert list(world.store.fingerprints("rooms", ["3"])) == []
    world.source.rows.insert(2, (3, "city 3", 3))
    world.run(FULL)
    assert gone(world) == []


def test_rows_that_are_gone_are_forgotten_where_deletes_are_ignored(world: World) -> None:
    """The state does not grow for ever."""
    world.mapping = ROOMS
    world.run(FULL)
    lose(world, 3)
    world.run(FULL)
    assert list(world.store.fingerprints("rooms", ["3"])) == ["3"]
    world.now += ROOMS.refresh_after + timedelta(hours=1)
    world.run(FULL)
    assert sorted(world.store.fingerprints("rooms", ["3", "4"])) == ["4"]


@pytest.mark.parametrize("names", [("gone", "gone_at")])
def test_the_names_are_the_mappings(names: tuple[str, str]) -> None:
    """`deletes: {is_deleted: gone, deleted_at: gone_at}`."""
    world = World(rooms(10), mapping=replace(ROOMS, deletes=TombstoneRule(is_deleted=names[0], deleted_at=names[1])))
    world.run(FULL)
    lose(world, 3)
    world.run(FULL)
    assert world.delivery.objects["rooms", "3"]["gone"] is True
    assert world.delivery.objects["rooms", "4"]["gone"] is False


@pytest.mark.parametrize(
    "make", [lambda rule: replace(rule, is_deleted="city"), lambda rule: replace(rule, deleted_at="version")]
)
def test_a_name_that_the_query_returns_is_refused(make: Callable[[TombstoneRule], TombstoneRule]) -> None:
    """One would overwrite the other."""
    world = World(rooms(3), mapping=replace(ROOMS, deletes=make(TombstoneRule())))
    report = world.run(FULL)
    assert (report.outcome, report.exit_code) == (Outcome.FAILED, 2)
    assert "deletes: tombstone" in (report.error or "")


def test_a_first_version_nobody_answered_is_marked_when_its_row_vanishes(world: World) -> None:
    """It may have landed, so it is known although nothing was ever accepted."""
    took = world.delivery.objects
    world.source.rows.append((11, "city 11", 11))
    world.delivery = MemoryDelivery([Scripted.DOUBT])
    world.delivery.objects = took
    assert world.run().outcome is Outcome.FAILED
    assert world.store.fingerprints("rooms", ["11"])["11"].digest == OPEN
    lose(world, 11)
    assert world.run(FULL).counts.deleted == 1
    assert gone(world) == ["11"]


def test_a_dead_letter_stays_until_something_is_accepted(world: World) -> None:
    """Not only until the next version is on its way."""
    took = world.delivery.objects
    world.source.rows.append((11, "x" * 40_000, 11))
    assert world.run().outcome is Outcome.PARTIAL
    world.source.rows[-1] = (11, "elsewhere", 12)
    world.delivery = MemoryDelivery([Scripted.FAIL])
    world.delivery.objects = took
    assert world.run().outcome is Outcome.FAILED
    assert [each.rejection.id for each in world.store.dead_letters("rooms")] == ["11"]
