"""A day of the daemon, with 1% of everything going wrong: each fire is accounted for, and nothing grows.

Two ways. In virtual time, exactly: how many fires there are is counted from the schedules, and the endings add up to
that. And with the clock of the schedules quickened, on real runs, SQLite and a sandbox: memory, file descriptors and
threads stay as they are. Short: one day each. Long: thirty days. `pytest -rP` prints the figures.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any, NamedTuple

import servers
import virtual_time
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from campaign import rounds
from virtual_service import BEGIN, Played, Serving, now

from syncer.config import load_config
from syncer.core.calendar import fire_after, first_seen
from syncer.core.events import Event, Noticed
from syncer.core.model import Blackout, CollectionMapping, Mode, Outcome, RunReport, Schedule
from syncer.core.plan import RunOptions
from syncer.errors import SourceUnreachable, StateUnwritable
from syncer.sandbox.app import create_app
from syncer.sandbox.faults import Faults
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse
from syncer.service.daemon import Daemon
from syncer.service.fires import Ending
from syncer.service.timer import new_timer
from syncer.state import MemoryStore, Store, open_store

DAYS = rounds(1, 30)
FAULTS = 0.01
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


# --- in virtual time


class Shaky(MemoryStore):
    """A store that refuses now and then, once it is told to begin with that."""

    def __init__(self, choose: random.Random) -> None:
        super().__init__()
        self._choose = choose
        self.shakes = False
        self.refused = 0

    def _maybe(self) -> None:
        if self.shakes and self._choose.random() < FAULTS:
            self.refused += 1
            raise StateUnwritable("the state cannot be reached")

    def last_fire(self, mapping: str, schedule: str) -> datetime | None:
        """Read it, or refuse."""
        self._maybe()
        return super().last_fire(mapping, schedule)

    def record_fire(self, mapping: str, schedule: str, at: datetime) -> None:
        """Record it, or refuse."""
        self._maybe()
        super().record_fire(mapping, schedule, at)

    def pauses(self) -> Mapping[str, datetime]:
        """Tell them, or refuse."""
        self._maybe()
        return super().pauses()


class Faulty(Played):
    """Runs that fail, are locked out, or break now and then, and take from no time to a quarter of an hour."""

    def __init__(self, choose: random.Random) -> None:
        super().__init__()
        self._choose = choose
        self.came: Counter[str] = Counter()

    async def run(
        self, mapping: CollectionMapping, options: RunOptions, wanted: Callable[[], bool] = lambda: True
    ) -> RunReport:
        """One run."""
        self.lasts[mapping.name] = self._choose.choice((0.0, 1.0, 30.0, 900.0))
        trouble = self._choose.random() / FAULTS
        if trouble < 0.3:
            self.came["unreachable"] += 1
            raise SourceUnreachable("no connection to app")
        if trouble < 0.4:
            self.came["broken"] += 1
            raise KeyError("a defect")
        self.outcomes[mapping.name] = Outcome.FAILED if trouble < 0.7 else Outcome.SUCCEEDED
        if trouble < 1.0 and trouble >= 0.7:
            self.outcomes[mapping.name] = Outcome.LOCKED
        report = await super().run(mapping, options)
        self.came[str(report.outcome)] += 1
        self.runs.clear()
        return report


NIGHT = Blackout(start=time(22), end=time(4), timezone="America/New_York")


def mappings() -> list[CollectionMapping]:
    """Sixteen of all kinds."""
    kinds: Sequence[tuple[Schedule, ...]] = (
        (Schedule(every=15 * MINUTE),),
        (Schedule(cron="0 * * * *"), Schedule(cron="0 2 * * *", mode=Mode.FULL, timezone="America/New_York")),
        (Schedule(cron="*/10 * * * *", jitter=5 * MINUTE),),
        (Schedule(every=HOUR, jitter=HOUR), Schedule(cron="30 3 * * *", mode=Mode.FULL)),
    )
    found = [
        CollectionMapping(name=f"rooms_{number}", source="app", table="rooms", schedules=kinds[number % 4],
                          blackouts=(NIGHT,) * (number % 3 == 0), after=(f"rooms_{number - 1}",) * (number % 5 == 4))
        for number in range(12)
    ]  # fmt: skip
    follow = [
        CollectionMapping(name=f"cities_{number}", source="app", table="cities", after=(f"rooms_{number}",))
        for number in range(4)
    ]
    return [*found, *follow]


def due_between(schedule: Schedule, begin: datetime, end: datetime) -> int:
    """How many fires of a schedule that is new at the beginning come by the end, however late by their jitter."""
    count, fire = 0, fire_after(schedule, first_seen(schedule, begin))
    following = fire_after(schedule, fire)
    while fire + min(schedule.jitter, (following - fire) / 2) <= end:
        count += 1
        fire, following = following, fire_after(schedule, following)
    return count


def test_every_fire_is_accounted_for() -> None:
    """Over days of failures, of runs and of the state, of pauses and wishes, the endings are as many as the fires."""
    choose = random.Random(7)

    async def scene() -> tuple[Counter[str], int]:
        store, played, all_ = Shaky(choose), Faulty(choose), mappings()
        wishes, follows = 0, Counter[str]()
        end = BEGIN + DAYS * DAY - MINUTE
        played.ended = lambda report: follows.update([report.mapping] if report.outcome is Outcome.SUCCEEDED else [])
        async with Serving(all_, played, store, concurrency=6) as serving:
            store.shakes = True
            while now() + HOUR < end:
                await asyncio.sleep(choose.uniform(60, 3600))
                name = choose.choice(all_).name
                if choose.random() < 0.3:
                    serving.scheduler.ask(name, Mode.FULL)
                    wishes += 1
                (store.pause if choose.random() < 0.3 else lambda each, _: store.resume(each))(name, now())
                serving.said.clear()
            await asyncio.sleep((end - now()).total_seconds())
        expected = wishes + sum(due_between(each, BEGIN, end) for one in all_ for each in one.schedules)
        expected += sum(follows[name] for one in all_ if not one.schedules for name in one.after)
        endings = Counter[str]()
        for (_, ending), count in serving.scheduler.endings.items():
            endings[ending] += count
        assert endings.total() == expected
        assert (endings[Ending.RAN], endings[Ending.FAILED]) >= (100, 1)
        print(f"{DAYS} days: {expected:,} fires, {dict(endings)}; runs: {dict(played.came)}; {store.refused} refusals")
        return endings, expected

    virtual_time.run(scene())


# --- with a quickened clock

#: seconds of the schedules' clock in a real one: a day takes six seconds
SPEED = 14_400.0
CONFIG = """
version: 1
sources: {app: {url: "sqlite:///source.db"}}
destination: {write_key: key, endpoint: "ENDPOINT", retry_for: 5s}
state: {url: "sqlite:///state.db"}
mappings:
  rooms: {table: rooms, watermark: version, schedules: [{every: 30m}, {cron: "0 2 * * *", mode: full}]}
  hosts: {table: rooms, collection: hosts, watermark: version, schedules: [{cron: "0 * * * *", jitter: 20m}]}
  cities: {table: rooms, collection: cities, after: hosts}
"""


class Quick(AsyncIOScheduler):  # type: ignore[misc]
    """APScheduler in a hurry."""

    def _start_timer(self, wait_seconds: float | None) -> None:
        super()._start_timer(None if wait_seconds is None else wait_seconds / SPEED)


class QuickZone(tzinfo):
    """UTC, in which `datetime.now` hurries ahead of the real time, from `BEGIN` on."""

    def __init__(self) -> None:
        self._began = datetime.now(UTC)

    def utcoffset(self, _: datetime | None) -> timedelta:
        """None."""
        return timedelta(0)

    def dst(self, _: datetime | None) -> timedelta:
        """None."""
        return timedelta(0)

    def tzname(self, _: datetime | None) -> str:
        """A name."""
        return "quick time"

    def present(self) -> datetime:
        """The quickened time."""
        return BEGIN + (datetime.now(UTC) - self._began) * SPEED

    def fromutc(self, at: datetime) -> datetime:
        """The same time, or the quickened present in place of the real one."""
        return (self.present() if at.replace(tzinfo=UTC) < BEGIN - 365 * DAY else at).replace(tzinfo=self)


class Unsteady:
    """A real store of which 1% of what the scheduler asks is refused, once it is told to begin with that."""

    def __init__(self, store: Store, choose: random.Random) -> None:
        self._store = store
        self._choose = choose
        self.shakes = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ("last_fire", "record_fire", "pauses", "leases", "acquire", "commit"):
            return found

        def shaky(*args: Any, **more: Any) -> Any:
            if self.shakes and self._choose.random() < FAULTS:
                raise StateUnwritable("the state cannot be reached")
            return found(*args, **more)

        return shaky


class Held(NamedTuple):
    """What a process holds: bytes by Python's own count, open file descriptors, threads."""

    bytes: int
    files: int
    threads: int


def held() -> Held:
    """What this process holds now."""
    gc.collect()
    return Held(tracemalloc.get_traced_memory()[0], len(os.listdir("/proc/self/fd")), threading.active_count())


def summed_up(some: Sequence[Held]) -> Held:
    """The least bytes, which is what stays, and the most of the others."""
    return Held(min(each.bytes for each in some), max(each.files for each in some), max(each.threads for each in some))


def test_nothing_grows(tmp_path: Path) -> None:
    """Real runs by quickened schedules, an API and a state that fail: after a day no more is held than early in it."""
    source = f"sqlite:///{tmp_path / 'source.db'}"
    values = ", ".join(f"({number}, 'city', 0)" for number in range(1, 41))
    servers.execute_sql(
        source,
        f"CREATE TABLE rooms (id INTEGER PRIMARY KEY, city TEXT, version INT); INSERT INTO rooms VALUES {values}",
    )
    with Warehouse(":memory:") as warehouse, running(create_app(warehouse, Faults(fail=FAULTS))) as endpoint:
        file = tmp_path / "syncer.yaml"
        file.write_text(CONFIG.replace("ENDPOINT", endpoint), "utf-8")
        asyncio.run(quick_days(file, source, warehouse))


async def quick_days(file: Path, source: str, warehouse: Warehouse) -> None:
    """Serve, changing rows all the while; look at what is held early and at the end; then account for the fires."""
    choose, zone, late_fires = random.Random(3), QuickZone(), Counter[bool]()

    def notice(event: Event) -> None:
        late_fires.update([isinstance(event, Noticed) and "one run catches up" in event.message])

    config = load_config(file, {})
    with closing(open_store(config.state_url)) as opened:
        store = Unsteady(opened, choose)
        daemon = Daemon(
            config, load=lambda: config, store=store, now=zone.present, look=0.05,  # type: ignore[arg-type]
            # at this speed it takes a jump to look at two clocks: nobody watches them
            timer=new_timer(zone, kind=Quick), sleep=lambda _: asyncio.Event().wait(),
        )  # fmt: skip
        daemon.observe(notice)
        stop = asyncio.Event()
        async with daemon:
            serving = asyncio.create_task(daemon.serve(stop))
            await daemon.planned.wait()
            store.shakes = True
            tracemalloc.start()
            early, late, version = list[Held](), list[Held](), 0
            # a little longer, so that the fire at midnight has come
            while zone.present() < BEGIN + DAYS * DAY + HOUR / 3:
                version += 1
                row = choose.randint(1, 40)
                change = f"UPDATE rooms SET city = 'city {version}', version = {version} WHERE id = {row}"
                await asyncio.to_thread(servers.execute_sql, source, change)
                await asyncio.sleep(0.1)
                if version % 4 == 0 and zone.present() > BEGIN + 6 * HOUR:
                    (early if zone.present() < BEGIN + 12 * HOUR else late).append(held())
            tracemalloc.stop()
            stop.set()
            await serving
        before, after = summed_up(early), summed_up(late[len(late) // 2 :])
        print(f"{DAYS} days: {sum(daemon.endings().values())} fires, {daemon.endings()}")
        print(
            f"early and late: {before.bytes:,} and {after.bytes:,} bytes, {before.files} and {after.files} descriptors,"
        )
        print(f"{before.threads} and {after.threads} threads")
        assert after.bytes - before.bytes < 400_000, "neither a day of runs nor thirty take more"
        assert after.files <= before.files + 3
        assert after.threads <= before.threads + 3
        began = Counter(run.mapping for run in opened.runs(limit=100_000))
        assert all(began[name] for name in config.mappings)
        account(list(config.mappings.values()), daemon.endings(), late_fires[True])


def account(all_: Sequence[CollectionMapping], endings: Mapping[tuple[str, str], int], late: int) -> None:
    """As many endings as fires that were due; fewer only where the machine was too slow, and that was said."""
    for mapping in all_:
        due = sum(due_between(each, BEGIN, BEGIN + DAYS * DAY) for each in mapping.schedules)
        ended = sum(count for (name, _), count in endings.items() if name == mapping.name)
        # some may be due between the last look and the stop
        assert not mapping.schedules or late or due <= ended <= due + 2, mapping.name
