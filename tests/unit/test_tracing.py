"""Tracing over a world of memory: which run it was, doubt, refreshes, rows that share an id."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from run_world import FULL, ROOMS, World, rooms

from syncer.core.model import Counts, Mode, Outcome, Position, RunReport
from syncer.core.tombstone import UNSURE
from syncer.delivery.memory import MemoryDelivery, Scripted
from syncer.run.tracing import Conclusion, Trace, trace
from syncer.state import Commit, Fingerprint

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def traced(world: World, identifier: str = "3") -> Trace:
    """Trace an object of the world's mapping."""
    return trace(
        world.mapping, identifier, store=world.store, source=world.source, timezone="UTC",
        destination=world.delivery.identity, now=world.now, tell=lambda _: None,
    )  # fmt: skip


def told_runs(world: World, sent_at: datetime) -> list[str]:
    """Ids of the runs named for an object that was sent then."""
    lease = world.store.acquire("rooms", "me", NOON, SECOND)
    world.store.commit(lease, Commit(run=report("later", 100, 100), fingerprints={"3": fingerprint(sent_at)}))
    world.store.release(lease)
    return [run.run_id for run in traced(world).runs]


def fingerprint(sent_at: datetime) -> Fingerprint:
    """What is remembered of an object sent then."""
    return Fingerprint(digest=b"1234567890123456", sent_at=sent_at)


def report(run_id: str, began: float, ended: float | None, sent: int = 1) -> RunReport:
    """A run, in seconds after noon."""
    return RunReport(
        run_id=run_id, mapping="rooms", collection="rooms", mode=Mode.FULL, outcome=Outcome.SUCCEEDED, trigger="cli",
        started_at=NOON + began * SECOND, counts=Counts(read=sent, sent=sent),
        finished_at=None if ended is None else NOON + ended * SECOND,
    )  # fmt: skip


def with_runs(*runs: RunReport) -> World:
    """A world with a history."""
    world = World(rooms(5))
    lease = world.store.acquire("rooms", "me", NOON, SECOND)
    for run in runs:
        world.store.commit(lease, Commit(run=run))
    world.store.release(lease)
    return world


def test_the_run_is_the_one_that_was_under_way() -> None:
    """Of many runs before and after, the one during which the object was sent."""
    world = with_runs(*(report(f"run-{number}", 10 * number, 10 * number + 5) for number in range(9)))
    assert told_runs(world, NOON + 42.5 * SECOND) == ["run-4"]
    assert told_runs(world, NOON + 45 * SECOND) == ["run-4"]
    assert told_runs(world, NOON + 48.5 * SECOND) == []
    assert told_runs(world, NOON - 30.5 * SECOND) == []


def test_a_time_of_whole_seconds_may_be_any_in_its_second() -> None:
    """A run that began later in the second is meant too; of several, those that sent something."""
    world = with_runs(report("before", 0, 5.2, 0), report("second", 5.5, 8), report("third", 20.3, 20.6),
                      report("fourth", 20.7, 21))  # fmt: skip
    assert told_runs(world, NOON + 5 * SECOND) == ["second"]
    assert told_runs(world, NOON + 20 * SECOND) == ["fourth", "third"]
    assert told_runs(world, NOON + 5.1 * SECOND) == ["before"]


def test_a_run_without_an_end_ended_before_the_next_began() -> None:
    """A run that was killed does not stand for everything after it."""
    world = with_runs(report("killed", 0, None), report("next", 10, 20))
    assert told_runs(world, NOON + 3.5 * SECOND) == ["killed"]
    assert told_runs(world, NOON + 15.5 * SECOND) == ["next"]
    assert told_runs(world, NOON + 25.5 * SECOND) == []


def test_doubt_outweighs_a_fingerprint() -> None:
    """While it is in doubt what the API holds, the object is due, also where the row is what was sent before."""
    world = World(rooms(5))
    world.delivery = MemoryDelivery([Scripted.DOUBT])
    world.run()
    doubtful = traced(world)
    assert doubtful.doubt is not None
    assert doubtful.conclusion is Conclusion.DUE
    world.run()
    still = traced(world)
    assert (still.known, still.uncertain_since) == (None, world.now)
    assert (still.doubt is not None, still.conclusion) == (True, Conclusion.DUE)
    assert "in doubt" in still.told
    world.now += timedelta(minutes=1)
    world.run()
    assert traced(world).conclusion is Conclusion.UP_TO_DATE
    assert traced(world).doubt is None


def test_doubt_of_a_row_that_is_gone() -> None:
    """The key that the id tells finds the doubt of a row that nobody can read any more."""
    world = World(rooms(5))
    world.delivery = MemoryDelivery([Scripted.DOUBT])
    world.run()
    world.source.rows[:] = rooms(2)
    gone = traced(world)
    assert gone.doubt is not None
    assert (gone.known, gone.row, gone.conclusion) == (None, None, Conclusion.ABSENT)


def test_an_object_that_has_to_be_refreshed() -> None:
    """An unchanged object is due again after `refresh_after`: by the next run that reads it."""
    world = World(rooms(5))
    world.run()
    world.now += ROOMS.refresh_after - SECOND
    assert traced(world).conclusion is Conclusion.UP_TO_DATE
    world.now += SECOND
    assert (traced(world, "3").conclusion, traced(world, "5").conclusion) == (Conclusion.UNSEEN, Conclusion.DUE)
    assert world.run().counts.sent == 1
    assert traced(world, "5").conclusion is Conclusion.UP_TO_DATE
    world.run(FULL)
    assert traced(world, "3").conclusion is Conclusion.UP_TO_DATE


def test_send_all() -> None:
    """With `send: all` everything that is read is sent, changed or not."""
    world = World(rooms(5), mapping=replace(ROOMS, send="all"))
    world.run()
    assert (traced(world, "3").conclusion, traced(world, "5").conclusion) == (Conclusion.UNSEEN, Conclusion.DUE)


def test_rows_that_share_an_id() -> None:
    """They are counted, and the last one read is shown: it would win."""
    world = World([*rooms(5), (3, "Oslo", 9)])
    found = traced(world)
    assert found.row is not None
    assert found.row.object is not None
    assert (found.row.rows, found.row.object.properties) == (2, b'{"city":"Oslo","version":9}')


def test_a_tombstone_that_was_on_its_way() -> None:
    """Nobody knows whether it arrived, so the object is due while its row is there."""
    world = World(rooms(5))
    world.run()
    lease = world.store.acquire("rooms", "me", world.now, SECOND)
    unsure = Fingerprint(digest=UNSURE, sent_at=world.now)
    world.store.commit(lease, Commit(run=report("run", 0, 1), fingerprints={"5": unsure}))
    found = traced(world, "5")
    assert (found.deleted, found.unsure, found.conclusion) == (False, True, Conclusion.DUE)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_every_conclusion_comes_true(chunk: int) -> None:
    """For every object of a history: what is called due the next run sends, what is called unseen the next full run."""
    world = World(rooms(40), chunk=chunk)
    world.run()
    rows = rooms(48)
    for number in (3, 11, 39, 40):
        rows[number - 1] = (number, "Oslo", number)
    rows[6] = (7, "Rome", 99)
    world.source.rows[:] = [row for row in rows if row[0] != 20]
    said = {str(number): traced(world, str(number)).conclusion for number in range(1, 50)}
    before = len(world.delivery.batches)
    world.run()
    sent = {each.id for batch in world.delivery.batches[before:] for each in batch.objects}
    assert sent == {id for id, conclusion in said.items() if conclusion is Conclusion.DUE}
    assert sent == {"7", "40", *map(str, range(41, 49))}
    before = len(world.delivery.batches)
    world.run(FULL)
    rest = {each.id for batch in world.delivery.batches[before:] for each in batch.objects}
    assert rest == {id for id, conclusion in said.items() if conclusion is Conclusion.UNSEEN} == {"3", "11", "39"}
    assert (said["20"], said["49"], said["1"]) == (Conclusion.ABSENT, Conclusion.UNKNOWN, Conclusion.UP_TO_DATE)


def test_a_run_that_was_cut_short() -> None:
    """The place where the next run goes on does not hide what lies before it: that run reads a circle."""
    world = World(rooms(30), chunk=5)
    world.run()
    saved = world.store.checkpoint("rooms")
    assert saved is not None
    assert saved.watermark is not None
    place = Position(watermark=saved.watermark, key='[["integer","30"]]')
    lease = world.store.acquire("rooms", "me", world.now, SECOND)
    world.store.commit(lease, Commit(run=report("cut", 0, 1), checkpoint=replace(saved, position=place)))
    world.store.release(lease)
    world.source.rows[:] = [*rooms(29), (30, "Oslo", 30), (31, "Rome", 30), (1000, "Bern", 30)]
    assert [traced(world, each).conclusion for each in ("30", "31", "1000")] == [Conclusion.DUE] * 3
    world.run()
    assert {each["city"] for each in world.delivery.objects.values()} >= {"Oslo", "Rome", "Bern"}
    assert [traced(world, each).conclusion for each in ("30", "31", "1000")] == [Conclusion.UP_TO_DATE] * 3


def test_the_fingerprint_is_that_of_the_run() -> None:
    """What the trace says the fingerprint would be is what the run stores."""
    world = World(rooms(5))
    foretold = traced(world).row
    world.run()
    known = traced(world).known
    assert foretold is not None
    assert known is not None
    assert foretold.fingerprint == known.digest
