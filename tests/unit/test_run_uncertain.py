"""Nothing counts as known while another version may land: what is on its way, refused, restored, gone or returned."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from unit.run_world import FULL, ROOMS, World, rooms

from syncer.core.model import Batch, Lease, Limits, Outcome, Receipt, Row, RunReport, TombstoneRule
from syncer.core.tombstone import OPEN
from syncer.delivery.memory import MemoryDelivery, Scripted
from syncer.run.keeping import SETTLED_AFTER, Cadence
from syncer.run.tracing import Trace, trace
from syncer.state import MemoryStore
from syncer.state.base import Commit

MARKED = replace(ROOMS, deletes=TombstoneRule())


def digest(world: World) -> bytes:
    """What the state knows of object 1."""
    return world.store.fingerprints("rooms", ["1"])["1"].digest


def returned(world: World, row: Row) -> tuple[RunReport, object]:
    """The row goes, the doubt is settled, the row returns as it was: that run, and what the API holds then."""
    objects = world.delivery.objects
    world.delivery = MemoryDelivery()
    world.delivery.objects = objects
    world.source.rows = [(900, "x", 900)]
    world.now += SETTLED_AFTER
    world.run(FULL)
    assert world.store.doubts("rooms") == ()
    world.source.rows.append(row)
    world.now += timedelta(hours=1)
    report = world.run(FULL)
    return report, world.cities[str(row[0])]


def test_a_version_between_its_note_and_its_batch_is_not_overlooked() -> None:
    """The older one is accepted while the newer waits for room: it does not count as known."""
    world = World([(1, "v0", 1)], chunk=100)
    world.run()
    world.now += timedelta(hours=1)
    old = world.delivery.objects
    world.delivery = MemoryDelivery([Scripted.ACCEPT] * 3 + [Scripted.DOUBT], max_in_flight=1)
    world.delivery.objects = old
    world.source.rows = [(1, "v1", 10), *[(n, f"city {n}", n) for n in range(11, 45)], (1, "v2", 45)]
    assert world.run().outcome is Outcome.FAILED
    assert world.cities["1"] == "v2"
    assert digest(world) == OPEN
    report, held = returned(world, (1, "v1", 10))
    assert held == "v1", report.counts


def test_a_version_whose_note_is_being_written_is_not_overlooked() -> None:
    """The older one is accepted meanwhile: it does not count as known."""
    noting = threading.Event()

    class Slow(MemoryStore):
        """Takes its time for the second note of the second run."""

        notes = 0

        def commit(self, lease: Lease, commit: Commit) -> None:
            if any(each.since is None for each in commit.doubts):
                self.notes += 1
                if self.notes == 3:
                    noting.set()
                    time.sleep(0.3)
            super().commit(lease, commit)

    class Held(MemoryDelivery):
        """Sends the first batch while that note is being written."""

        async def send(self, batch: Batch, **more: Any) -> Receipt:
            if batch.number == 0:
                await asyncio.to_thread(noting.wait, 5)
            return await super().send(batch, **more)

    world = World([(1, "v0", 1)], chunk=1)
    world.store = Slow()
    world.run()
    world.now += timedelta(hours=1)
    world.cadence = Cadence(noted=1)
    world.delivery = Held([Scripted.ACCEPT, Scripted.DOUBT], limits=Limits(objects=1))
    world.source.rows = [(1, "v1", 10), (1, "v2", 11)]
    assert world.run().outcome is Outcome.FAILED
    assert world.cities["1"] == "v2"
    assert digest(world) == OPEN


def test_what_counts_again_does_not_once_a_newer_version_is_noted() -> None:
    """A version is refused, so that the one before it counts again; before that is saved, a newer one is noted."""
    world = World([(1, "v0", 1), *[(n, "c", 1) for n in range(2, 30)]], chunk=1)
    world.run()
    world.now += timedelta(hours=1)
    old = world.delivery.objects
    world.cadence = Cadence(noted=1)
    world.delivery = MemoryDelivery([Scripted.REJECT, Scripted.DOUBT], limits=Limits(objects=1))
    world.delivery.objects = old
    world.source.rows = [*world.source.rows[1:], (1, "v1", 10), (1, "v2", 11)]
    report = world.run(FULL)
    assert report.outcome is Outcome.FAILED, report
    assert world.cities["1"] == "v2"
    assert digest(world) == OPEN
    report, held = returned(world, (1, "v0", 1))
    assert held == "v0", report.counts


@pytest.mark.parametrize("new", [10, 11, 8])
def test_new_objects_that_are_met_twice_do_not_blind_the_guard(new: int) -> None:
    """All ten known ones vanished; however many are new, none of the ten becomes a tombstone."""
    world = World(rooms(10), mapping=MARKED, chunk=4)
    world.run(FULL)
    world.now += timedelta(hours=1)
    world.source.rows = [(100 + n, "a", 100 + n) for n in range(new)] + [(100 + n, "b", 200 + n) for n in range(new)]
    report = world.run(FULL)
    assert report.counts.deleted == 0, report
    assert "10 of 10 known objects" in str(report.error)


def test_objects_that_returned_do_not_make_what_vanished_look_small() -> None:
    """Three of ten living ones vanished while ten that were marked as deleted came back."""
    world = World(rooms(20), mapping=MARKED, chunk=100)
    world.run(FULL)
    rows = world.source.rows
    world.now += timedelta(hours=1)
    world.source.rows = rows[:10]
    assert world.run(replace(FULL, allow_deletes=True)).counts.deleted == 10
    world.now += timedelta(hours=1)
    world.source.rows = rows[3:]
    report = world.run(FULL)
    assert (report.counts.deleted, "3 of 10 known objects" in str(report.error)) == (0, True)


def traced(world: World) -> Trace:
    """What is told of object 1."""
    return trace(
        world.mapping, "1", store=world.store, source=world.source, timezone="UTC", destination="memory",
        now=world.now, tell=print,
    )  # fmt: skip


def test_trace_of_an_uncertain_object_whose_row_is_gone() -> None:
    """It may be there, and the next full run sees to it."""
    world = World(rooms(3), mapping=MARKED)
    world.run(FULL)
    world.now += timedelta(hours=1)
    world.source.rows[0] = (1, "v1", 10)
    world.delivery = MemoryDelivery([Scripted.DOUBT])
    world.run()
    world.source.rows = world.source.rows[1:]
    world.now += SETTLED_AFTER
    world.delivery = MemoryDelivery()
    world.run()
    assert world.store.doubts("rooms") == ()
    assert digest(world) == OPEN
    found = traced(world)
    assert "nobody knows this id" not in found.told, found.told
    assert "the next full run marks" in found.told, found.told


def test_trace_of_an_uncertain_object_whose_row_is_there() -> None:
    """It is not said that it was never sent."""
    world = World(rooms(3))
    world.run(FULL)
    world.now += timedelta(hours=1)
    world.source.rows[0] = (1, "v1", 10)
    world.delivery = MemoryDelivery([Scripted.DOUBT])
    world.run()
    row = world.source.rows.pop(0)
    world.now += SETTLED_AFTER
    world.delivery = MemoryDelivery()
    world.run()
    world.source.rows.append(row)
    assert world.store.doubts("rooms") == ()
    assert digest(world) == OPEN
    found = traced(world)
    assert "never sent" not in found.told, found.told


def test_a_dead_letter_goes_when_its_row_is_accepted_though_another_version_may_land() -> None:
    """What the letter says is over, and the row is sent once more."""
    world = World([(1, "x" * 40_000, 1)])
    world.run()
    world.source.rows[0] = (1, "mended", 2)
    world.delivery = MemoryDelivery([Scripted.LATE])
    world.run()
    assert digest(world) == OPEN
    assert world.store.dead_letters("rooms") == ()


def test_settling_knows_the_doubts_of_its_own_run() -> None:
    """Doubted long ago and again in this run; the settling request says what is certain although it is not."""
    world = World(rooms(3))
    world.delivery = MemoryDelivery([Scripted.LATE])
    world.run()
    world.now += SETTLED_AFTER
    world.source.rows[0] = (1, "v1", 10)
    world.delivery = MemoryDelivery([Scripted.LATE])  # then settling: ACCEPT
    world.run()
    assert [key for d in world.store.doubts("rooms") for key in d.keys]
    assert digest(world) == OPEN
