"""What is in doubt: rows of which nobody knows which version the API holds, over memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from unit.run_world import FULL, ROOMS, World, rooms

from syncer.core.model import Batch, Lease, Mode, Outcome, Receipt, SegmentObject
from syncer.core.plan import RunOptions
from syncer.delivery.memory import MemoryDelivery, Scripted
from syncer.errors import StateUnwritable
from syncer.run.keeping import SETTLED_AFTER, Cadence
from syncer.state import MemoryStore
from syncer.state.base import Commit

PLAIN = replace(ROOMS, watermark=None)


class Dying(MemoryStore):
    """After so many commits nothing is written any more, as if the process had been killed."""

    commits_left = 10**9

    def commit(self, lease: Lease, commit: Commit) -> None:
        if self.commits_left <= 0:
            raise StateUnwritable("memory is full")
        self.commits_left -= 1
        super().commit(lease, commit)


def doubted(world: World) -> list[str]:
    """Keys of the rows that are in doubt."""
    return [key for each in world.store.doubts("rooms") for key in each.keys]


def keys(*numbers: int) -> list[str]:
    """Keys of rooms."""
    return [f'[["integer","{number}"]]' for number in numbers]


def test_rows_are_noted_before_their_request_goes_out() -> None:
    """Durably: whoever finds this process dead knows what was on its way."""
    world = World(rooms(3))
    seen: list[list[str]] = []

    def looks(_: SegmentObject) -> bool:
        seen.append(doubted(world))
        return False

    world.delivery = MemoryDelivery(refuses=looks)
    world.run()
    assert seen == [keys(1, 2, 3)] * 3


def test_nothing_is_in_doubt_after_a_run_that_heard_of_everything() -> None:
    """Accepted, rejected, or never sent: all of it is certain, so the notes are gone."""
    world = World(rooms(30))
    world.delivery = MemoryDelivery([Scripted.ACCEPT, Scripted.REJECT, Scripted.FAIL])
    assert world.run().outcome is Outcome.FAILED
    assert world.store.doubts("rooms") == ()


def test_a_request_without_an_answer_leaves_its_rows_in_doubt() -> None:
    """They are stored with the moment when the request was over."""
    world = World(rooms(3))
    world.delivery = MemoryDelivery([Scripted.DOUBT])
    world.run()
    (doubt,) = world.store.doubts("rooms")
    assert (list(doubt.keys), doubt.since) == (keys(1, 2, 3), world.now)
    assert world.store.doubt_counts() == {"rooms": 3}


def test_what_is_in_doubt_is_sent_again_in_order_once_it_has_settled() -> None:
    """After the settling time, with `Synchronous: true`; then it is in doubt no longer."""
    world = World(rooms(3))
    world.delivery = MemoryDelivery([Scripted.LATE])
    assert world.run().counts.sent == 3
    world.now += SETTLED_AFTER
    report = world.run()
    assert (report.counts.read, report.counts.sent, report.counts.unchanged) == (4, 4, 0)
    assert len(world.delivery.synchronous) == 1
    assert world.store.doubts("rooms") == ()
    world.now += SETTLED_AFTER
    assert world.run().counts.sent == 0


def test_what_is_in_doubt_has_time_to_settle() -> None:
    """A request that may land yet is not followed too soon."""
    world = World(rooms(3))
    world.delivery = MemoryDelivery([Scripted.LATE])
    world.run()
    world.now += SETTLED_AFTER - timedelta(microseconds=1)
    assert world.run().counts.read == 1
    assert doubted(world) == keys(1, 2, 3)


def test_a_row_in_doubt_is_never_unchanged() -> None:
    """Although it looks as it was accepted, the late request may have overwritten it since."""
    world = World(rooms(3), mapping=PLAIN)
    world.delivery = MemoryDelivery([Scripted.LATE])
    world.run()
    assert world.run(FULL).counts.sent == 3


def test_the_row_is_sent_as_it_is_now() -> None:
    """Not as it was when it came into doubt."""
    world = World(rooms(3))
    world.delivery = MemoryDelivery([Scripted.DOUBT])
    world.run()
    world.source.rows[1] = (2, "Kraków", 2)
    world.now += SETTLED_AFTER
    world.run()
    assert world.cities["2"] == "Kraków"
    assert world.store.doubts("rooms") == ()


def test_a_row_that_is_gone_is_in_doubt_no_longer() -> None:
    """There is nothing left to send for it."""
    world = World(rooms(3))
    world.delivery = MemoryDelivery([Scripted.LATE])
    world.run()
    world.source.rows.clear()
    world.now += SETTLED_AFTER
    report = world.run()
    assert (report.outcome, report.counts.read, world.store.doubts("rooms")) == (Outcome.SUCCEEDED, 0, ())


def test_doubt_stays_when_it_cannot_be_settled() -> None:
    """The run fails, its own progress is saved, and the next run tries again."""
    world = World(rooms(3))
    world.delivery = MemoryDelivery([Scripted.LATE])
    world.run()
    world.source.rows.append((4, "Faro", 9))
    world.now += SETTLED_AFTER
    world.delivery = MemoryDelivery([Scripted.ACCEPT, Scripted.FAIL])
    assert world.run().outcome is Outcome.FAILED
    assert (world.watermark, doubted(world)) == ("9", keys(1, 2, 3))


def test_a_doubt_that_meets_another_stays_one() -> None:
    """When the settling request gets no answer either, the rows are in doubt since then."""
    world = World(rooms(3))
    world.delivery = MemoryDelivery([Scripted.LATE])
    world.run()
    world.now += SETTLED_AFTER
    world.delivery = MemoryDelivery([Scripted.ACCEPT, Scripted.LATE])
    world.run()
    assert [each.since for each in world.store.doubts("rooms")] == [world.now]


def test_what_a_dead_run_left_on_its_way_is_in_doubt() -> None:
    """The next run finds the note, and from then on the settling time counts."""
    world = World(rooms(3))
    store = world.store = Dying()
    store.commits_left = 2  # that the run began, and the note
    assert world.run().outcome is Outcome.FAILED
    assert [each.since for each in store.doubts("rooms")] == [None]
    store.commits_left = 10**9
    world.now += timedelta(hours=1)
    world.run()
    assert [(each.run_id, each.since) for each in store.doubts("rooms")] == [("run-1", world.now)]
    world.now += SETTLED_AFTER
    assert len(world.delivery.synchronous) == 0
    world.run()
    assert (len(world.delivery.synchronous), store.doubts("rooms")) == (1, ())


def test_a_run_that_ended_without_a_word_is_not_unfinished_for_ever() -> None:
    """The next run of the mapping says what became of it."""
    world = World(rooms(3))
    store = world.store = Dying()
    store.commits_left = 2
    world.run()
    assert store.runs("rooms")[0].outcome is None
    store.commits_left = 10**9
    world.run()
    dead = next(run for run in store.runs("rooms") if run.run_id == "run-1")
    assert (dead.outcome, "without a word" in str(dead.error)) == (Outcome.INTERRUPTED, True)


def test_notes_go_as_their_rows_settle() -> None:
    """A long run does not gather them."""
    world = World(rooms(100), chunk=10)
    world.cadence = Cadence(rows=10, noted=1)
    most = 0

    def looks(_: SegmentObject) -> bool:
        nonlocal most
        most = max(most, len(world.store.doubts("rooms")))
        return False

    world.delivery = MemoryDelivery(refuses=looks, max_in_flight=1)
    world.run()
    assert 0 < most < 8


def test_a_dry_run_settles_nothing() -> None:
    """It writes and sends nothing at all."""
    world = World(rooms(3))
    world.delivery = MemoryDelivery([Scripted.LATE])
    world.run()
    world.now += SETTLED_AFTER
    world.run(RunOptions(mode=Mode.FULL, dry_run=True))
    assert doubted(world) == keys(1, 2, 3)


def test_versions_that_follow_closely_keep_their_order() -> None:
    """The API may process them out of order unless it is told not to; versions further apart need nothing."""
    world = World([(1, "old", 1)])
    world.run()
    for seconds, expected in ((29, 1), (30, 1)):
        world.now += timedelta(seconds=seconds)
        world.source.rows[0] = (1, f"after {seconds}", world.source.rows[0][2] + 1)  # type: ignore[operator]
        world.run()
        assert len(world.delivery.synchronous) == expected


class Slowing(MemoryDelivery):
    """Each batch takes longer than the one before it."""

    async def send(self, batch: Batch, **how: Any) -> Receipt:
        await asyncio.sleep(0.05 * batch.number)
        return await super().send(batch, **how)


def test_a_retry_that_fails_in_the_end_resolves_nothing() -> None:
    """A commit on the way, when all is read, does not speak for what is still out."""
    world = World(rooms(25))
    world.delivery = MemoryDelivery(refuses=lambda _: True)
    world.run()
    letters = world.store.dead_letters("rooms")
    world.cadence = Cadence(rows=1, noted=1)
    world.delivery = Slowing([Scripted.ACCEPT, Scripted.ACCEPT, Scripted.FAIL])
    options = RunOptions(
        keys=tuple(str(each.rejection.key) for each in letters), resolves=tuple(each.number for each in letters)
    )
    assert world.run(options).outcome is Outcome.FAILED
    assert len(world.store.dead_letters("rooms")) == 5


@pytest.mark.parametrize("meanwhile", ["refused here", "refused there", "gone"])
@pytest.mark.parametrize("late", [Scripted.DOUBT, Scripted.LATE])
def test_what_was_in_doubt_is_not_known_because_it_settled(meanwhile: str, late: Scripted) -> None:
    """A row that comes back as it was sent first is sent again: nobody knows which version the API was left with."""
    world = World([(1, "first", 1), (2, "other", 1)], mapping=PLAIN)
    world.run()
    world.source.rows[0] = (1, "second", 1)
    world.delivery = MemoryDelivery([late])
    world.run()
    world.now += SETTLED_AFTER
    world.source.rows[:1] = {"refused here": [(1, "x" * 40_000, 1)], "refused there": [(1, "third", 1)], "gone": []}[
        meanwhile
    ]  # fmt: skip
    world.delivery = MemoryDelivery(refuses=lambda each: each.id == "1")
    world.run()
    world.now += SETTLED_AFTER
    world.run()
    assert doubted(world) == []
    world.source.rows[:] = [(1, "second" if late is Scripted.LATE else "first", 1), (2, "other", 1)]
    world.delivery = MemoryDelivery()
    world.run()
    assert [each.id for batch in world.delivery.batches for each in batch.objects] == ["1"]


def test_an_older_version_does_not_count_as_known_while_a_newer_is_out() -> None:
    """It was accepted, but what comes after it may have landed when this process dies."""
    world = World([(1, "before", 1)], mapping=PLAIN)
    store = world.store = Dying()
    world.run()
    world.source.rows[:] = [(1, "first", 1), (1, "second", 1)]
    store.commits_left = 3  # as the run begins, the note, and that the first was accepted
    world.cadence = Cadence(rows=1)
    world.delivery = MemoryDelivery(max_in_flight=1)
    world.run()
    assert world.cities == {"1": "second"}
    store.commits_left = 10**9
    world.now += SETTLED_AFTER
    world.source.rows[:] = []
    world.run()
    world.source.rows[:] = [(1, "first", 1)]
    world.run()
    assert world.cities == {"1": "first"}
