"""Runs that were cut short and go on, and cursors that are not kept waiting, over memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
from unit.run_world import COLUMNS, FULL, ROOMS, World, rooms

from syncer.core.model import CollectionMapping, Mode, Outcome, SegmentObject, WatermarkRule
from syncer.core.plan import RunOptions, RunPlan
from syncer.delivery.memory import MemoryDelivery, Scripted
from syncer.run.keeping import Cadence
from syncer.run.reading import CURSOR_PATIENCE, Reading
from syncer.source.base import Chunk, Described
from syncer.source.memory import MemorySource

PLAIN = replace(ROOMS, watermark=None)


def cut_at(world: World, identifier: str, options: RunOptions | None = None) -> None:
    """A run that is told to stop while this object is being sent."""

    def stops(each: SegmentObject) -> bool:
        if each.id == identifier:
            world.stopping.set()
        return False

    world.delivery = MemoryDelivery(refuses=stops, max_in_flight=1)
    world.cadence = Cadence(rows=10, noted=1)
    assert world.run(options).outcome is Outcome.INTERRUPTED


def order_of(world: World) -> list[str]:
    """Ids in the order in which they were sent."""
    return [each.id for batch in world.delivery.batches for each in batch.objects]


@pytest.mark.parametrize("mapping", [PLAIN, ROOMS], ids=["by key", "by watermark and key"])
def test_a_first_load_that_was_cut_goes_on_there(mapping: CollectionMapping) -> None:
    """What was accepted is not sent again, and the rest comes first."""
    world = World(rooms(100), mapping=mapping, chunk=10)
    cut_at(world, "75")
    saved = world.store.checkpoint("rooms")
    assert saved is not None
    assert saved.position is not None
    world.delivery = MemoryDelivery()
    report = world.run()
    assert report.outcome is Outcome.SUCCEEDED
    assert (report.counts.sent, order_of(world)[-1]) == (20, "100")
    assert report.counts.balanced
    after = world.store.checkpoint("rooms")
    assert after is not None
    assert after.position is None


def test_a_full_run_that_was_cut_goes_on_by_key_even_when_everything_is_sent() -> None:
    """`send: all` remembers nothing, so the place is all there is to go on at; then it comes round."""
    world = World(rooms(100), mapping=replace(PLAIN, send="all"), chunk=10)
    cut_at(world, "75")
    world.delivery = MemoryDelivery()
    world.run()
    assert order_of(world)[:3] == ["80", "81", "82"]
    assert sorted(map(int, order_of(world)[21:])) == list(range(1, 81))


def test_a_run_that_goes_on_has_seen_every_row_in_the_end() -> None:
    """What changed behind the place while nothing ran is found when the circle closes."""
    world = World(rooms(100), mapping=PLAIN, chunk=10)
    cut_at(world, "75")
    world.source.rows[4] = (5, "Kraków", 5)
    world.delivery = MemoryDelivery()
    report = world.run()
    assert order_of(world)[-1] == "5"
    assert (report.counts.sent, report.counts.read) == (21, 101)


def test_a_full_run_over_a_checkpoint_goes_on_without_lowering_the_watermark() -> None:
    """The watermark waits for the whole circle."""
    world = World(rooms(100), chunk=10)
    world.run()
    world.source.rows = [(number, "new", mark) for number, _, mark in world.source.rows]
    cut_at(world, "75", FULL)
    assert world.watermark == "100"
    world.delivery = MemoryDelivery()
    report = world.run(FULL)
    assert (report.counts.sent, world.watermark) == (20, "100")


def test_an_incremental_run_that_was_cut_goes_on_inside_a_tie() -> None:
    """A bulk update gives a million rows one watermark: the key tells where in it reading goes on."""
    world = World([(number, "x", 7) for number in range(1, 101)], mapping=replace(ROOMS, send="all"), chunk=10)
    cut_at(world, "75")
    assert world.watermark == "7"
    world.delivery = MemoryDelivery()
    world.run()
    assert order_of(world)[:2] == ["80", "81"]


def test_the_watermark_stays_until_the_circle_is_closed() -> None:
    """A second cut leaves it where the first run had brought it."""
    world = World(rooms(100), chunk=10)
    cut_at(world, "35")
    first = world.watermark
    world.source.rows += [(200 + number, "late", 36) for number in range(30)]
    cut_at(world, "85")
    assert (first, world.watermark) == ("40", "40")
    world.delivery = MemoryDelivery()
    world.run()
    assert world.watermark == "100"


def test_what_fails_again_at_once_does_not_keep_all_else_waiting() -> None:
    """A run that comes no further than the one before it makes the next begin at the beginning."""
    world = World(rooms(100), mapping=PLAIN, chunk=10)
    world.cadence = Cadence(rows=10, noted=1)
    world.delivery = MemoryDelivery([*[Scripted.ACCEPT] * 5, *[Scripted.FAIL] * 100], max_in_flight=1)
    assert world.run().outcome is Outcome.FAILED
    places = []
    for _ in range(3):
        saved = world.store.checkpoint("rooms")
        assert saved is not None
        places.append(saved.position is not None)
        world.run()
    assert places == [True, False, True]


def test_a_limit_makes_progress() -> None:
    """Each limited run reads on where the last one ended, and the circle begins again."""
    world = World(rooms(25), chunk=4)
    for sent in (10, 20, 25):
        world.run(RunOptions(limit=11))
        assert len(world.cities) >= sent
    world.run()
    assert world.watermark == "25"


def test_a_limit_is_not_eaten_up_by_the_lookback() -> None:
    """With more rows in the lookback than the limit, the new rows still arrive."""
    world = World(rooms(20), mapping=replace(ROOMS, watermark=WatermarkRule(column="version", lookback=50)))
    world.run()
    world.source.rows += [(number, "new", number) for number in range(21, 31)]
    for _ in range(4):
        world.run(RunOptions(limit=11))
    assert len(world.cities) == 30


class Counting(MemorySource):
    """Counts how often its cursor was opened, and how many stand open."""

    opened = 0
    standing = 0

    def read(self, plan: RunPlan, described: Described) -> AbstractContextManager[Iterator[Chunk]]:
        return _Counted(self, super().read(plan, described))


class _Counted(AbstractContextManager[Iterator[Chunk]]):
    def __init__(self, source: Counting, inner: AbstractContextManager[Iterator[Chunk]]) -> None:
        self._source, self._inner = source, inner

    def __enter__(self) -> Iterator[Chunk]:
        self._source.opened += 1
        self._source.standing += 1
        return self._inner.__enter__()

    def __exit__(self, *error: object) -> None:
        self._source.standing -= 1
        self._inner.__exit__(*error)  # type: ignore[arg-type]


def reading(source: Counting) -> tuple[Reading, list[float]]:
    """A reading, and its clock."""
    clock = [0.0]
    plan = RunPlan(mapping=PLAIN, primary_key=("id",), mode=Mode.FULL)
    described = Described(columns=COLUMNS, primary_key=("id",), watermark=None)
    return Reading(source, plan, described, lambda: clock[0]), clock


def test_a_cursor_is_not_kept_waiting_for_ever() -> None:
    """After so many seconds in all it is given up; the rows that follow come from another, none twice."""
    source = Counting(COLUMNS, ("id",), rooms(50), chunk=5)
    read, clock = reading(source)
    ids = []
    for chunk in read:
        ids += [row[0] for row in chunk.rows]
        clock[0] += CURSOR_PATIENCE / 4
    assert ids == list(range(1, 51))
    assert (source.opened, source.standing) == (3, 0)


def test_a_cursor_at_rest_is_closed() -> None:
    """Whoever rests holds nothing in the database, and goes on where he stood."""
    source = Counting(COLUMNS, ("id",), rooms(12), chunk=5)
    read, _ = reading(source)
    chunks = iter(read)
    first = next(chunks)
    read.rest()
    assert source.standing == 0
    source.rows.append((13, "Faro", 13))
    assert [row[0] for chunk in [first, *chunks] for row in chunk.rows] == list(range(1, 14))


def test_a_row_that_changed_while_the_cursor_rested_is_read_again() -> None:
    """The row at the place is left out only when it is still the same."""
    source = Counting(COLUMNS, ("id",), rooms(7), chunk=5)
    read, _ = reading(source)
    chunks = iter(read)
    next(chunks)
    read.rest()
    source.rows[4] = (5, "Kraków", 5)
    assert [row[:2] for chunk in chunks for row in chunk.rows] == [(5, "Kraków"), (6, "city 6"), (7, "city 7")]


def test_a_key_without_order_keeps_its_cursor() -> None:
    """There is no place to go on at, so it is never given up."""
    source = Counting(COLUMNS, ("id",), [(None, "Faro", 1)], chunk=5)
    read, _ = reading(source)
    next(iter(read))
    assert read.patience is None


def test_a_source_that_went_back_is_read_whole() -> None:
    """A restored database gives old watermarks to new rows; nothing at the saved one tells so."""
    world = World(rooms(50))
    world.run()
    world.source.rows[:] = [*rooms(30), (31, "new", 31)]
    report = world.run()
    assert (report.outcome, report.counts.sent, world.cities["31"]) == (Outcome.SUCCEEDED, 1, "new")
    assert world.watermark == "31"


def test_an_empty_source_leaves_the_watermark_alone() -> None:
    """There is nothing to go back to."""
    world = World(rooms(5))
    world.run()
    before = world.store.checkpoint("rooms")
    world.source.rows.clear()
    assert world.run().outcome is Outcome.SUCCEEDED
    assert world.store.checkpoint("rooms") == before
