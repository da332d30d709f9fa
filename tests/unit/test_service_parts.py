"""The scheduler's parts without a scheduler: merging fires, taking turns, watching the clock, the trigger."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.core.calendar import due_ahead
from syncer.core.model import Mode, Schedule
from syncer.service.clock import TICK, watch_clock
from syncer.service.fires import Fire, Trigger
from syncer.service.turns import Turns

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def fire(mapping: str = "rooms", *, mode: Mode = Mode.INCREMENTAL, trigger: Trigger = "schedule") -> Fire:
    """A fire of a mapping at noon."""
    return Fire(mapping=mapping, mode=mode, trigger=trigger, at={f"every:60s|{mode}": NOON})


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        ((Mode.INCREMENTAL, Mode.INCREMENTAL), Mode.INCREMENTAL),
        ((Mode.INCREMENTAL, Mode.FULL), Mode.FULL),
        ((Mode.FULL, Mode.INCREMENTAL), Mode.FULL),
    ],
)
def test_full_subsumes_incremental(modes: tuple[Mode, Mode], expected: Mode) -> None:
    """Two fires merged ask for a full run when either does."""
    assert expected == fire(mode=modes[0]).with_(fire(mode=modes[1])).mode


def test_merged_fires_stand_for_all_their_schedules() -> None:
    """A merged fire records every schedule it answers, each at its latest time, and stays a catch-up."""
    first = Fire(mapping="rooms", mode=Mode.FULL, trigger="catch-up", at={"a": NOON, "b": NOON})
    later = Fire(mapping="rooms", mode=Mode.INCREMENTAL, trigger="schedule", at={"b": NOON + HOUR})
    expected = Fire(mapping="rooms", mode=Mode.FULL, trigger="catch-up", at={"a": NOON, "b": NOON + HOUR})
    assert expected == first.with_(later)


class Stage:
    """Carries out fires as slowly as it is told, and keeps who was on at once."""

    def __init__(self) -> None:
        self.begun: list[Fire] = []
        self.on: list[str] = []
        self.most = 0
        self.overlapped = False
        self.go = asyncio.Event()

    async def carry_out(self, fire: Fire) -> None:
        """Take the stage until told to go."""
        self.overlapped |= fire.mapping in self.on
        self.begun.append(fire)
        self.on.append(fire.mapping)
        self.most = max(self.most, len(self.on))
        await self.go.wait()
        await asyncio.sleep(0)
        self.on.remove(fire.mapping)


async def settle() -> None:
    """Let every task get as far as it can without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_one_fire_waits_and_the_rest_is_merged_into_it() -> None:
    """While a mapping runs, one more fire is queued, further ones are merged, and they run as one."""

    async def scene() -> None:
        stage = Stage()
        turns = Turns(stage.carry_out, concurrency=4)
        offered = [turns.offer(fire())]
        await settle()
        offered += [turns.offer(fire()), turns.offer(fire(mode=Mode.FULL)), turns.offer(fire())]
        assert offered == [True, True, False, False]
        assert repr(turns) == "<Turns busy=['rooms'] waiting=['rooms']>"
        stage.go.set()
        await turns.idle()
        assert [each.mode for each in stage.begun] == [Mode.INCREMENTAL, Mode.FULL]
        assert not stage.overlapped
        assert repr(turns) == "<Turns busy=[] waiting=[]>"

    asyncio.run(scene())


def test_mappings_run_side_by_side_up_to_the_bound() -> None:
    """Six mappings and three places: three run at once, in the order offered, and the rest follow."""

    async def scene() -> None:
        stage = Stage()
        turns = Turns(stage.carry_out, concurrency=3)
        for name in "abcdef":
            assert turns.offer(fire(name))
        await settle()
        assert stage.on == ["a", "b", "c"]
        stage.go.set()
        await turns.idle()
        assert [each.mapping for each in stage.begun] == ["a", "b", "c", "d", "e", "f"]
        assert stage.most == 3

    asyncio.run(scene())


def test_dismissed_fires_do_not_run() -> None:
    """Fires that wait, for their mapping or for a place, can be taken back; what runs is finished."""

    async def scene() -> None:
        stage = Stage()
        turns = Turns(stage.carry_out, concurrency=1)
        turns.offer(fire("rooms"))
        await settle()
        turns.offer(fire("rooms"))
        turns.offer(fire("reviews"))
        await settle()
        assert [each.mapping for each in turns.dismiss()] == ["rooms", "reviews"]
        stage.go.set()
        await turns.idle()
        assert [each.mapping for each in stage.begun] == ["rooms"]

    asyncio.run(scene())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(Mode), st.booleans()), max_size=30))
def test_every_fire_runs_or_is_merged(steps: list[tuple[str, Mode, bool]]) -> None:
    """Runs = fires - merged ones, none overlap, and a full fire is followed by a full run."""

    async def scene() -> None:
        stage = Stage()
        stage.go.set()
        turns = Turns(stage.carry_out, concurrency=2)
        queued = 0
        for name, mode, pause in steps:
            began = len([each for each in stage.begun if each.mapping == name])
            queued += turns.offer(fire(name, mode=mode))
            if pause:
                await turns.idle()
                after = [each.mode for each in stage.begun if each.mapping == name][began:]
                assert mode in after or Mode.FULL in after
        await turns.idle()
        assert queued == len(stage.begun)
        assert not stage.overlapped
        assert stage.most <= 2

    asyncio.run(scene())


class Ended(Exception):
    """The script of a clock is over."""


def clock_script(
    walls: list[float], elapsed: list[float]
) -> tuple[Callable[[], datetime], Callable[[], float], Callable[[float], Awaitable[None]], list[float]]:
    """A wall clock, an elapsed time and a sleep that read one script, and the sleeps that were asked for."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == len(walls):
            raise Ended

    return (
        (lambda: NOON + timedelta(seconds=walls[len(slept)])),
        (lambda: elapsed[len(slept)]),
        sleep,
        slept,
    )


@pytest.mark.parametrize(
    ("walls", "elapsed", "expected"),
    [
        ([0, 30, 60], [5, 35, 65], []),
        ([0, 32, 62], [0, 30, 60], []),  # exactly two seconds is drift
        ([0, 32.5, 62.5], [0, 30, 60], [2.5]),  # once, not for ever
        ([0, 3630, 3660], [0, 30, 60], [3600]),  # set forward, or asleep
        ([0, -3570, -3540], [0, 30, 60], [-3600]),  # set back
        ([0, 90, 120], [0, 90, 120], []),  # the sleep took long, the clock is right
        ([0, 3630, 60], [0, 30, 60], [3600, -3600]),  # forth and back
    ],
)
def test_a_jump_of_the_clock_is_noticed(walls: list[float], elapsed: list[float], expected: list[float]) -> None:
    """More than two seconds between wall time and elapsed time is a jump, told once."""
    jumps: list[float] = []
    now, monotonic, sleep, slept = clock_script(walls, elapsed)
    with pytest.raises(Ended):
        asyncio.run(watch_clock(lambda by: jumps.append(by.total_seconds()), now=now, monotonic=monotonic, sleep=sleep))
    assert expected == jumps
    assert {TICK} == set(slept)


@pytest.mark.parametrize(
    ("previous", "now", "expected"),
    [
        ("12:00", "12:00", "13:00"),
        ("12:00", "12:10", "13:00"),
        ("12:00", "13:00", "14:00"),  # 13:00 is now: it counts as fired
        ("12:00", "23:30", "00:00"),  # eleven missed fires are one
        ("12:00", "11:59", "13:00"),  # a clock set back does not fire 12:00 twice
    ],
)
def test_the_timer_is_always_ahead_of_the_clock(previous: str, now: str, expected: str) -> None:
    """The next fire follows the previous one, and passed ones are left out in one step."""

    def on(text: str) -> datetime:
        return datetime.fromisoformat(f"2026-05-01T{text}").replace(tzinfo=UTC)

    found = due_ahead(Schedule(cron="0 * * * *"), on(previous), on(now), "rooms")
    assert expected == f"{found:%H:%M}"


def test_the_timer_counts_every_from_the_fire_not_from_the_wake_up() -> None:
    """An interval does not drift by the time it takes to wake up; after a sleep it counts from now."""
    hourly = Schedule(every=HOUR)
    assert due_ahead(hourly, NOON, NOON + timedelta(seconds=3), "rooms") == NOON + HOUR
    assert due_ahead(hourly, NOON, NOON + 9 * HOUR, "rooms") == NOON + 10 * HOUR
