"""Fires that may not begin yet: `after`, blackouts, pauses; and jitter. In virtual time, to the minute."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import time, timedelta

import pytest
import virtual_time
from virtual_service import BEGIN, Played, Serving, at, now

from syncer.core.model import Blackout, CollectionMapping, Lease, Mode, Outcome, RunReport, Schedule
from syncer.errors import StateUnwritable
from syncer.service.fires import Ending
from syncer.state import Commit, MemoryStore

NIGHTLY = Schedule(cron="0 2 * * *", mode=Mode.FULL)
HOURLY = Schedule(cron="0 * * * *")
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def mapping(
    name: str,
    *schedules: Schedule,
    after: Sequence[str] = (),
    blackouts: Sequence[Blackout] = (),
) -> CollectionMapping:
    """A mapping; what it reads does not matter here."""
    return CollectionMapping(
        name=name, source="app", table=name, schedules=schedules, after=tuple(after), blackouts=tuple(blackouts)
    )


def play(scene: Coroutine[object, object, None]) -> None:
    """Run a scene in virtual time."""
    virtual_time.run(scene)


class TestAfter:
    @pytest.mark.parametrize("first", ["rooms", "hosts"])
    def test_who_goes_first_is_not_who_stands_first(self, first: str) -> None:
        """Due at the same minute, hosts run to their end before rooms begin, however the file orders them."""

        async def scene() -> None:
            played = Played(lasts={"hosts": 1800})
            both = [mapping("hosts", NIGHTLY), mapping("rooms", NIGHTLY, after=["hosts"])]
            async with Serving(both if first == "hosts" else both[::-1], played, MemoryStore()) as serving:
                await at("01 12:00")
            assert (played.began("hosts"), played.began("rooms")) == (["01 02:00"], ["01 02:30"])
            assert serving.said == ["rooms: the schedule `cron:0 2 * * *|full|UTC` waits: first comes hosts"]

        play(scene())

    def test_runs_that_were_due_before_go_first_and_later_ones_do_not(self) -> None:
        """Rooms of 03:00 wait for the hosts of 02:00 that still run, but not for those of 04:00."""

        async def scene() -> None:
            played = Played(lasts={"hosts": 5400, "rooms": 7200})
            hosts = mapping("hosts", Schedule(cron="0 2,4 * * *"))
            rooms = mapping("rooms", Schedule(cron="0 3 * * *"), after=["hosts"])
            async with Serving([hosts, rooms], played, MemoryStore()):
                await at("01 12:00")
            assert (played.began("hosts"), played.began("rooms")) == (["01 02:00", "01 04:00"], ["01 03:30"])

        play(scene())

    def test_a_busy_mapping_before_starves_nobody(self) -> None:
        """Hosts are due each minute and take longer than that; rooms wait for those of their time only."""

        async def scene() -> None:
            played = Played(lasts={"hosts": 90})
            hosts = mapping("hosts", Schedule(every=MINUTE))
            rooms = mapping("rooms", Schedule(every=MINUTE), after=["hosts"])
            async with Serving([hosts, rooms], played, MemoryStore()):
                await at("01 00:59")
                await asyncio.sleep(59)
                assert len(played.began("hosts")) == 39
                assert len(played.began("rooms")) >= 20

        play(scene())

    def test_what_a_catch_up_does_is_in_order_too(self) -> None:
        """After days off, hosts are caught up before rooms, though rooms missed more."""

        async def scene() -> None:
            played, store = Played(lasts={"hosts": 600}), MemoryStore()
            store.record_fire("rooms", "cron:0 * * * *|incremental|UTC", BEGIN - timedelta(days=3))
            store.record_fire("hosts", "cron:0 2 * * *|full|UTC", BEGIN - timedelta(days=2))
            both = [mapping("rooms", HOURLY, after=["hosts"]), mapping("hosts", NIGHTLY)]
            async with Serving(both, played, store):
                await at("01 00:30")
            assert (played.began("hosts"), played.began("rooms")) == (["01 00:00"], ["01 00:10"])

        play(scene())

    def test_a_failed_run_before_keeps_nobody_from_running(self) -> None:
        """Rooms with schedules of their own run after hosts, whatever came of those."""

        async def scene() -> None:
            played = Played(outcomes={"hosts": Outcome.FAILED})
            both = [mapping("hosts", NIGHTLY), mapping("rooms", NIGHTLY, after=["hosts"])]
            async with Serving(both, played, MemoryStore()):
                await at("01 12:00")
            assert played.order() == ["hosts", "rooms"]

        play(scene())

    def test_a_paused_mapping_is_not_waited_for(self) -> None:
        """Hosts are paused, so that rooms do not wait for them."""

        async def scene() -> None:
            played, store = Played(), MemoryStore()
            store.pause("hosts", BEGIN)
            both = [mapping("hosts", NIGHTLY), mapping("rooms", NIGHTLY, after=["hosts"])]
            async with Serving(both, played, store):
                await at("01 12:00")
            assert played.began("rooms") == ["01 02:00"]

        play(scene())

    def test_a_chain_is_gone_through_link_by_link(self) -> None:
        """Reviews go after rooms, which have no time of their own and go after hosts: reviews wait for both."""

        async def scene() -> None:
            played = Played(lasts={"hosts": 600, "rooms": 600})
            three = [
                mapping("reviews", NIGHTLY, after=["rooms"]),
                mapping("rooms", after=["hosts"]),
                mapping("hosts", NIGHTLY),
            ]
            async with Serving(three, played, MemoryStore()):
                await at("01 12:00")
            assert [played.began(name) for name in ("hosts", "rooms", "reviews")] == [
                ["01 02:00"], ["01 02:10"], ["01 02:20"]
            ]  # fmt: skip

        play(scene())


class TestFollowing:
    def test_without_schedules_it_runs_after_every_good_run(self) -> None:
        """Rooms follow hosts hour by hour, in the mode of what they follow; the fire is recorded."""

        async def scene() -> None:
            played, store = Played(lasts={"hosts": 60}), MemoryStore()
            both = [mapping("hosts", HOURLY, NIGHTLY), mapping("rooms", after=["hosts"])]
            async with Serving(both, played, store) as serving:
                await at("01 03:30")
            assert played.began("rooms") == ["01 01:01", "01 02:01", "01 03:01"]
            assert played.modes("rooms") == [Mode.INCREMENTAL, Mode.FULL, Mode.INCREMENTAL]
            assert {run.trigger for run in played.runs if run.mapping == "rooms"} == {"after"}
            assert store.last_fire("rooms", "after:hosts") == BEGIN + 3 * HOUR + MINUTE
            assert serving.ended("rooms", Ending.RAN) == 3

        play(scene())

    def test_a_failed_run_is_not_followed_and_that_is_said(self) -> None:
        """Rooms do not run after hosts that failed."""

        async def scene() -> None:
            played = Played(outcomes={"hosts": Outcome.FAILED})
            both = [mapping("hosts", NIGHTLY), mapping("rooms", after=["hosts"])]
            async with Serving(both, played, MemoryStore()) as serving:
                await at("01 12:00")
            assert played.order() == ["hosts"]
            assert serving.said == ["rooms: it does not run now: it goes after hosts, whose run failed"]

        play(scene())

    def test_what_was_not_followed_before_a_stop_is_followed_at_the_next_start(self) -> None:
        """Hosts ran and the daemon ended: the next one has rooms run, in full as hosts did, and once."""

        async def scene() -> None:
            store, both = MemoryStore(), [mapping("hosts", NIGHTLY), mapping("rooms", after=["hosts"])]
            async with Serving(both, Played(), store):
                await at("01 01:00")
            ran = RunReport(
                run_id="1", mapping="hosts", collection="hosts", mode=Mode.FULL, outcome=Outcome.SUCCEEDED,
                trigger="schedule", started_at=now() + HOUR, finished_at=now() + HOUR + MINUTE,
            )  # fmt: skip
            lease = store.acquire("hosts", "another", now(), HOUR)
            store.commit(lease, Commit(run=ran))
            store.record_fire("hosts", "cron:0 2 * * *|full|UTC", now() + HOUR)
            await at("01 03:00")
            for expected in (["01 03:00"], []):
                played = Played()
                async with Serving(both, played, store):
                    await asyncio.sleep(600)
                assert played.began("rooms") == expected
                assert played.modes("rooms") == [Mode.FULL] * len(expected)

        play(scene())

    def test_a_run_in_another_instance_is_followed_where_it_covered_ours(self) -> None:
        """Hosts run elsewhere; once that has covered our fire, rooms run here, unless they did there."""

        async def scene() -> None:
            store, played = Taken(), Played()
            lease = store.acquire("hosts", "another", BEGIN, 9 * HOUR)
            store.others.add("hosts")
            both = [mapping("hosts", NIGHTLY), mapping("rooms", after=["hosts"])]
            played.run = store.locked(played)  # type: ignore[method-assign]
            async with Serving(both, played, store) as serving:
                await at("01 02:30")
                ran = RunReport(
                    run_id="1", mapping="hosts", collection="hosts", mode=Mode.FULL, outcome=Outcome.SUCCEEDED,
                    trigger="schedule", started_at=BEGIN + 2 * HOUR, finished_at=now(),
                )  # fmt: skip
                store.commit(lease, Commit(run=ran))
                store.release(lease)
                await at("01 03:00")
            assert serving.ended("hosts", Ending.COVERED) == 1
            assert played.began("rooms") == ["01 02:30"]

        play(scene())


class Taken(MemoryStore):
    """A store that knows which mappings another instance has."""

    def __init__(self) -> None:
        super().__init__()
        self.others: set[str] = set()

    def locked(self, played: Played):  # type: ignore[no-untyped-def]
        """Runs that find the mappings of others locked."""
        run = Played.run

        async def attempt(mapping: CollectionMapping, options, wanted):  # type: ignore[no-untyped-def]
            if mapping.name in self.others and any(each.mapping == mapping.name for each in self.leases()):
                return RunReport(
                    run_id="0", mapping=mapping.name, collection=mapping.name, mode=options.mode,
                    outcome=Outcome.LOCKED, trigger=options.trigger, started_at=now(),
                )  # fmt: skip
            return await run(played, mapping, options)

        return attempt

    def release(self, lease: Lease) -> None:
        """Give it back."""
        super().release(lease)


class TestBlackouts:
    NIGHT = Blackout(start=time(22), end=time(2))

    def test_what_is_due_in_a_blackout_runs_once_at_its_end(self) -> None:
        """Four hourly fires of the night become one run at 02:00, and each of them is accounted for."""

        async def scene() -> None:
            played = Played()
            rooms = mapping("rooms", HOURLY, blackouts=[self.NIGHT])
            async with Serving([rooms], played, MemoryStore()) as serving:
                await at("01 20:30")
                assert serving.scheduler.next_fire("rooms") == BEGIN + 21 * HOUR
                await at("01 21:30")
                assert serving.scheduler.next_fire("rooms") == BEGIN + 26 * HOUR
                await at("02 00:30")
                assert serving.scheduler.waiting == ["rooms"]
                await at("02 03:30")
            assert played.began("rooms")[-3:] == ["01 21:00", "02 02:00", "02 03:00"]
            # of the first night: 01:00 and 02:00; of the second: 22:00 to 02:00
            assert serving.ended("rooms", Ending.FOLDED) == 5
            assert serving.ended("rooms", Ending.RAN) == 22
            assert any("waits: a blackout lasts until 2037-05-02T02:00:00Z" in said for said in serving.said)

        play(scene())

    def test_a_run_that_is_going_on_goes_on(self) -> None:
        """What began before the blackout is left alone; what waited behind it for its turn is held back."""

        async def scene() -> None:
            played = Played(lasts={"rooms": 3 * 3600})
            rooms = mapping("rooms", HOURLY, blackouts=[self.NIGHT])
            async with Serving([rooms], played, MemoryStore()):
                await at("02 06:00")
            assert "01 20:00" in played.began("rooms")
            assert not [each for each in played.began("rooms") if each[3:] >= "22:00" or each[3:] < "02:00"]

        play(scene())

    def test_a_person_is_not_kept_from_it(self) -> None:
        """A run that is asked for begins in a blackout, and takes what waits there with it."""

        async def scene() -> None:
            played = Played()
            rooms = mapping("rooms", HOURLY, blackouts=[self.NIGHT])
            async with Serving([rooms], played, MemoryStore()) as serving:
                await at("01 23:30")
                assert not serving.scheduler.ask("rooms", Mode.FULL)
                await at("01 23:40")
                assert serving.scheduler.ask("rooms", Mode.INCREMENTAL)
                await at("01 23:50")
            assert played.began("rooms")[-2:] == ["01 23:30", "01 23:40"]
            assert played.modes("rooms")[-2:] == [Mode.FULL, Mode.INCREMENTAL]
            assert [run.trigger for run in played.runs[-2:]] == ["schedule", "page"]
            assert sum(serving.scheduler.endings.values()) == 23 + 2

        play(scene())


class TestPauses:
    def test_a_pause_holds_what_is_due_until_it_is_taken_back(self) -> None:
        """Hours of fires become one run when the mapping is resumed, wherever that was done; none is lost."""

        async def scene() -> None:
            played, store = Played(), MemoryStore()
            async with Serving([mapping("rooms", HOURLY)], played, store) as serving:
                await at("01 02:30")
                store.pause("rooms", now())
                await at("01 08:30")
                assert played.began("rooms") == ["01 01:00", "01 02:00"]
                assert serving.scheduler.waiting == ["rooms"]
                store.resume("rooms")
                await at("01 09:30")
            assert played.began("rooms") == ["01 01:00", "01 02:00", "01 08:30", "01 09:00"]
            assert (serving.ended("rooms", Ending.FOLDED), serving.ended("rooms", Ending.RAN)) == (5, 4)

        play(scene())

    def test_a_pause_outlives_the_daemon(self) -> None:
        """After a restart the mapping is paused still, and what was due before is caught up when it is resumed."""

        async def scene() -> None:
            store = MemoryStore()
            store.pause("rooms", BEGIN)
            for hour in (1, 2):
                async with Serving([mapping("rooms", HOURLY)], played := Played(), store) as serving:
                    await at(f"01 0{hour}:30")
                assert played.runs == []
                assert serving.ended("rooms", Ending.DEFERRED) == 1
            store.resume("rooms")
            async with Serving([mapping("rooms", HOURLY)], played, store):
                played.stop.clear()
                await at("01 03:30")
            assert played.began("rooms") == ["01 02:30", "01 03:00"]
            assert played.runs[0].trigger == "catch-up"

        play(scene())

    def test_a_state_that_cannot_tell_begins_nothing(self) -> None:
        """Whether a mapping is paused is not known while the state cannot be read: the fire fails, and says so."""

        class Mute(MemoryStore):
            """Tells no pauses."""

            def pauses(self) -> dict[str, object]:  # type: ignore[override]
                """Refuse."""
                raise StateUnwritable("the state cannot be reached")

        async def scene() -> None:
            played = Played()
            async with Serving([mapping("rooms", HOURLY)], played, Mute()) as serving:
                await at("01 01:30")
            assert played.runs == []
            assert serving.ended("rooms", Ending.FAILED) == 1
            assert serving.said == [
                "rooms: the schedule `cron:0 * * * *|incremental|UTC` failed: the state cannot be reached"
            ]

        play(scene())


class TestJitter:
    def test_fires_are_spread_and_stay_as_many(self) -> None:
        """Twenty mappings due at the same minutes begin at different times, each day after day as often as before."""

        async def scene() -> None:
            played = Played()
            schedule = Schedule(cron="0 * * * *", jitter=20 * MINUTE)
            names = [f"rooms_{number}" for number in range(20)]
            async with Serving([mapping(name, schedule) for name in names], played, MemoryStore()) as serving:
                await at("01 00:30")
                told = {name: serving.scheduler.next_fire(name) for name in names}
                await at("03 00:30")
            began = {name: [run.started_at for run in played.runs if run.mapping == name] for name in names}
            assert {len(each) for each in began.values()} == {48}
            assert {name: each[0] for name, each in began.items()} == told, "as it was told before"
            late = [each - each.replace(minute=0, second=0, microsecond=0) for some in began.values() for each in some]
            assert max(late) < 20 * MINUTE
            assert max(late) > 19 * MINUTE
            assert len({each[0] for each in began.values()}) == 20
            assert {ending for _, ending in serving.scheduler.endings} == {Ending.RAN}

        play(scene())

    def test_an_interval_does_not_grow_by_its_jitter(self) -> None:
        """`every: 1h` with jitter fires 24 times a day, not fewer."""

        async def scene() -> None:
            played = Played()
            rooms = mapping("rooms", Schedule(every=HOUR, jitter=20 * MINUTE))
            async with Serving([rooms], played, MemoryStore()):
                await at("11 00:00")
            assert len(played.runs) == 240

        play(scene())

    def test_who_goes_first_is_waited_for_through_their_jitter(self) -> None:
        """Hosts are due at 02:00 and begin later; rooms of 02:00 wait for them."""

        async def scene() -> None:
            played = Played(lasts={"hosts": 600})
            hosts = mapping("hosts", Schedule(cron="0 2 * * *", jitter=HOUR))
            rooms = mapping("rooms", Schedule(cron="0 2 * * *"), after=["hosts"])
            async with Serving([rooms, hosts], played, MemoryStore()):
                await at("02 00:00")
            (hosts_ran,) = [run for run in played.runs if run.mapping == "hosts"]
            (rooms_ran,) = [run for run in played.runs if run.mapping == "rooms"]
            assert hosts_ran.started_at > BEGIN + 2 * HOUR
            assert hosts_ran.finished_at == rooms_ran.started_at

        play(scene())
