"""Runs that are going on, and those that are stuck."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from syncer.core.events import Event, RunMoved, RunProgressed, RunStarted, RunStuck
from syncer.core.model import Counts, Mode
from syncer.core.plan import RunOptions
from syncer.service.lookout import Lookout

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Clock:
    """A clock that stands until it is moved on."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        """The time."""
        return self.time


def lookout(clock: Clock) -> tuple[Lookout, list[Event]]:
    """One that takes a quarter of an hour for stuck, and what it tells."""
    told: list[Event] = []
    return Lookout(told.append, now=clock.now, stuck_after=15 * MINUTE), told


def test_a_run_while_it_goes_on() -> None:
    """What it is, what it told of itself, and when it last moved; nothing before and after."""
    clock = Clock()
    watch, _ = lookout(clock)
    with watch.watching("1", "rooms", RunOptions(mode=Mode.INCREMENTAL, trigger="catch-up")):
        watch.notice(RunStarted(mapping="rooms", run_id="1", mode=Mode.FULL, estimate=500))
        watch.notice(RunProgressed(mapping="rooms", run_id="1", counts=Counts(read=10, sent=10)))
        clock.time += MINUTE
        watch.moved("1")
        watch.moved("of another process")
        (running,) = watch.running()
        assert (running.mapping, running.run_id, running.mode, running.trigger) == ("rooms", "1", Mode.FULL, "catch-up")
        assert (running.estimate, running.counts, running.stuck) == (500, Counts(read=10, sent=10), False)
        assert (running.started_at, running.moved_at) == (NOON, NOON + MINUTE)
    watch.notice(RunProgressed(mapping="rooms", run_id="1", counts=Counts(read=20, sent=20)))
    assert watch.running() == []


def test_stuck_is_told_once_and_so_is_its_end() -> None:
    """Fifteen minutes without a move are told once; the first move after that is, too."""
    clock = Clock()
    watch, told = lookout(clock)
    with watch.watching("1", "rooms", RunOptions()), watch.watching("2", "hosts", RunOptions()):
        for _ in range(3):
            clock.time += 7 * MINUTE
            watch.moved("2")
            watch.look()
        assert told == [RunStuck(mapping="rooms", run_id="1", since=NOON)]
        assert {each.mapping: each.stuck for each in watch.running()} == {"rooms": True, "hosts": False}
        watch.moved("1")
        watch.look()
        watch.look()
        assert told[1:] == [RunMoved(mapping="rooms", run_id="1")]
        clock.time += 15 * MINUTE
        watch.look()
        assert [type(each) for each in told[2:]] == [RunStuck, RunStuck]
