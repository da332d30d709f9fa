"""One world: a table that is written to, an API, a state store, and processes that come, run, crash and compete."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from sim_actor import Actor
from sim_bulk import Sessions
from sim_loop import PROCESS, SimLoop, Stuck
from sim_oracles import MAPPING, Broken, Oracles
from sim_settings import EPOCH, Settings, settings_of
from sim_sink import LATE, Api
from sim_source import Table
from sim_store import Durable

from syncer.core.model import CollectionMapping, Lease, Mode, Outcome, PropertyRule, TombstoneRule, WatermarkRule
from syncer.core.plan import RunOptions

#: virtual seconds that a process may take to end once it was told to stop: what is in flight is finished
GRACE = 120.0
#: runs that have to be enough once the faults are over
HEALING_RUNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a world ended."""

    seed: int
    #: None: all promises were kept
    broken: str | None
    digest: str
    steps: int
    log: tuple[str, ...]
    counts: Mapping[str, int]


class World:
    """Everything that a seed makes happen."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.events: list[str] = []
        self.faulty = True
        self.over = False
        self.actors: list[Actor] = []
        self.counts = {
            "reports": 0,
            "crashes": 0,
            "stops": 0,
            "suspensions": 0,
            "landings": 0,
            "duplicates": 0,
            "cursors": 0,
        }
        self._dice = self.stream("nemesis")
        self._fault_dice = self.stream("faults")
        work = self.stream("work")
        self.loop = SimLoop(
            self.stream("order"), shuffled=settings.shuffled,
            work=lambda: settings.working * work.choice((0.0, 0.1, 1.0, 3.0)),
        )  # fmt: skip
        self.table = Table(settings, self.stream("table"), self.loop.time)
        self.endpoint = "https://api.test"
        self.api = self._api()
        self.durable = Durable(self._is_gone)
        self.oracles = Oracles(self, self._fail)
        self.durable.committed = self.oracles.committed
        self.durable.acquired = self._acquired
        self.mapping = _mapping(settings)

    # --- what everything in it needs

    def stream(self, name: str) -> random.Random:
        """Dice of its own for everything, so that one more throw here changes nothing there."""
        return random.Random(f"{self.settings.seed} {name}")

    def log(self, *told: object) -> None:
        """Remember that something happened."""
        self.events.append(f"{self.loop.time():.6f} {' '.join(map(str, told))}")

    def noticed(self, event: object) -> None:
        """What an observer would see."""

    def now(self) -> datetime:
        """The engine's wall clock."""
        return datetime.fromtimestamp(EPOCH, UTC) + timedelta(seconds=self.loop.time() + self.settings.engine_skew)

    def fault(self, name: str) -> bool:
        """Whether it happens now."""
        rate = self.settings.rate(name)
        if not (rate and self.faulty and self._fault_dice.random() < rate):
            return False
        self.log("fault", name)
        return True

    def _api(self) -> Api:
        settings = self.settings
        return Api(
            loop=self.loop, settings=settings, rng=self.stream("network"), log=self.log, now=self.now,
            capricious=bool(settings.rate("told") or settings.rate("invalid")), sessions=Sessions(),
        )  # fmt: skip

    def _move(self) -> None:
        """Everything goes elsewhere from now on, where nothing is yet."""
        self.endpoint = "https://elsewhere.test"
        self.api = self._api()
        self.api.faulty = False
        self.oracles.begin_anew()

    def _fail(self, what: str) -> None:
        self.log("broken", what)
        if self.loop.failure is None and not self.over:
            self.loop.failure = Broken(what)

    def _is_gone(self, owner: str) -> bool:
        return self.settings.autopsy and any(each.owner == owner and each.process.dead for each in self.actors)

    def _acquired(self, lease: Lease) -> None:
        self.oracles.acquired(lease)
        for each in self.actors:
            if each.owner == lease.owner:
                each.epoch = lease.epoch

    # --- its course

    async def live(self) -> None:
        """Chaos, then quiet, then everything has to be right."""
        settings, dice = self.settings, self._dice
        with_rows = self.table.begin()
        for identifier in range(1, settings.rows + 1):
            if settings.spread:
                await asyncio.sleep(0.001)
            self.table.write(with_rows, identifier)
        self.table.commit(with_rows)
        writers = [asyncio.ensure_future(self._write(self.stream(f"writer {n}"))) for n in range(2)]
        for _ in range(settings.runs):
            actor = self._start(self._chaos)
            suspended = self._torment(actor)
            if suspended or dice.random() < settings.rate("rival"):
                await asyncio.sleep(dice.choice((0.01, 1.0, 20.0, 70.0)) * dice.random())
            else:
                await actor.ended.wait()
            await asyncio.sleep(dice.choice((0.0, 0.0, 0.5, 31.0, 100.0)))
        await asyncio.gather(*writers)
        self.faulty = self.api.faulty = False
        for actor in self.actors:
            await actor.ended.wait()
        await self._heal()

    async def _write(self, dice: random.Random) -> None:
        settings, table = self.settings, self.table
        for _ in range(settings.transactions // 2):
            await asyncio.sleep(settings.writer_pause * dice.expovariate(1.0))
            transaction = table.begin()
            patience = dice.choice((0.0, 0.2, 1.0, 10.0))
            for _ in range(dice.randint(1, 3)):
                await asyncio.sleep(settings.writer_pause * patience * dice.random())
                table.write(transaction, dice.randint(1, settings.rows + 2))
            # a transaction may stay open or prepared for long, and commit long after later ones
            await asyncio.sleep(settings.writer_pause * patience * dice.choice((0.0, 1.0, 5.0)))
            done = table.roll_back if dice.random() < 0.1 else table.commit
            self.log(done.__name__, sorted(transaction.writes))
            done(transaction)

    def _start(self, course: Callable[[Actor], Coroutine[Any, Any, None]]) -> Actor:
        actor = Actor(self, len(self.actors))
        self.actors.append(actor)
        context = copy_context()
        context.run(PROCESS.set, actor.process)
        task = self.loop.create_task(course(actor), context=context)
        task.add_done_callback(lambda done: self._ended(actor, done), context=Context())
        return actor

    def _ended(self, actor: Actor, task: asyncio.Task[None]) -> None:
        actor.ended.set()
        if actor.process.dead:
            return
        if not task.cancelled() and task.exception() is not None:
            self._fail(f"defect: {actor.process} raised {task.exception()!r}")
        stopped = actor.told_to_stop_at
        if stopped is not None and self.loop.time() - stopped > GRACE + actor.excused:
            self._fail(f"stop: {actor.process} took {self.loop.time() - stopped:.1f} s to stop")
        left = [each for each in actor.process.tasks if not each.done()]
        if left and stopped is None:
            self._fail(f"tasks: {actor.process} left {left[0].get_coro()} behind")

    async def _chaos(self, actor: Actor) -> None:
        dice = self._dice
        for _ in range(dice.choice((1, 1, 2, 3))):
            await actor.run(self._options())
            self.counts["reports"] += 1
            await asyncio.sleep(dice.choice((0.0, 0.1, 40.0)))
            if actor.stop.is_set():
                return

    def _options(self) -> RunOptions:
        dice = self._dice
        way = dice.random()
        letters = self.durable.dead_letters(MAPPING)
        if way < 0.1 and letters:
            known = [each for each in letters if each.rejection.key is not None]
            keys = tuple(each.rejection.key or "" for each in known)
            return RunOptions(keys=keys, resolves=tuple(each.number for each in known), resend=True)
        if way < 0.15:
            return RunOptions(limit=dice.randint(1, 10))
        if way < 0.2:
            return RunOptions(mode=Mode.FULL, resend=True)
        mode = Mode.FULL if way < 0.2 + self.settings.whole_share else Mode.INCREMENTAL
        return RunOptions(mode=mode, allow_deletes=self.settings.max_share == 1.0)

    def _torment(self, actor: Actor) -> bool:
        """What happens to a process, if anything does. Returns whether it will be suspended."""
        dice, settings, process = self._dice, self.settings, actor.process
        if dice.random() < settings.rate("crash"):
            process.countdown = int(10 ** (dice.random() * 3.3)) + 1
        if dice.random() < settings.rate("crash_at_commit"):
            actor.store.last_commit = (dice.randint(1, 8), dice.random() < 0.5)
        process.stilled = lambda: self._stilled(actor)
        if dice.random() < settings.rate("stop"):
            within = settings.stops_within
            after = 30.0 * dice.random() ** 3 if within is None else within * dice.random()
            self._later(after, lambda: self._stop(actor))
        if dice.random() < settings.rate("suspend"):
            self._later(20.0 * dice.random() ** 2, lambda: self._suspend(actor, dice.choice((5.0, 58.0, 70.0, 200.0))))
            return True
        return False

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self.loop.call_later(seconds, what, context=Context())

    def _stilled(self, actor: Actor) -> None:
        self.api.cut(actor.process)
        if actor.process.dead:
            self.log("crash", actor.process)
            self.counts["crashes"] += not actor.ended.is_set()
            actor.ended.set()

    def _stop(self, actor: Actor) -> None:
        if actor.ended.is_set():
            return
        self.log("stop", actor.process)
        self.counts["stops"] += 1
        actor.tell_to_stop()

    def _suspend(self, actor: Actor, seconds: float) -> None:
        if actor.ended.is_set() or actor.process.suspended:
            return
        self.log("suspend", actor.process, seconds)
        actor.excused += seconds
        self.counts["suspensions"] += 1
        self.loop.suspend(actor.process)
        self._later(seconds, lambda: self.loop.resume(actor.process))

    # --- its end

    async def _heal(self) -> None:
        await asyncio.sleep(LATE + self.settings.processing + 65.0)
        if self.settings.moves:
            self._move()
        healer = self._start(self._healing)
        await healer.ended.wait()
        for identifier in sorted(self.api.landings):
            landings = self.api.landings[identifier]
            self.counts["landings"] += len(landings)
            self.counts["duplicates"] += sum(one.properties == two.properties for one, two in pairwise(landings))

    async def _healing(self, actor: Actor) -> None:
        marks = self.settings.max_share is not None
        for number in range(HEALING_RUNS):
            # that everything has to go to another destination is for the person to say, and that much is gone
            anew = self.settings.moves and number == 0
            whole = anew or (marks and number == HEALING_RUNS - 1)
            mode = Mode.FULL if whole else Mode.INCREMENTAL
            report = await actor.run(RunOptions(mode=mode, allow_deletes=marks))
            if report.outcome not in (Outcome.SUCCEEDED, Outcome.PARTIAL):
                self._fail(f"heal: {report.outcome}, {report.error}")
            await asyncio.sleep(35.0)
        for wrong in self.oracles.converged():
            self._fail(wrong)
        if self.settings.send == "all":
            return
        before = sum(map(len, self.api.landings.values()))
        await actor.run(RunOptions())
        await actor.run(RunOptions(mode=Mode.FULL))
        if sum(map(len, self.api.landings.values())) != before:
            self._fail("idle: something was sent although nothing changed")


def _mapping(settings: Settings) -> CollectionMapping:
    rule = WatermarkRule(column="updated_at", lookback=settings.lookback, nulls=settings.nulls)
    return CollectionMapping(
        name=MAPPING, source="app", query="SELECT * FROM rooms", collection=MAPPING, primary_key=("id",),
        watermark=rule if settings.watermark else None, send=settings.send,
        nulls="omit" if settings.omits else "send",
        properties={"updated_at": PropertyRule(drop=True)} if settings.returns else {},
        deletes=None if settings.max_share is None else TombstoneRule(max_share=settings.max_share),
    )  # fmt: skip


def simulate(seed: int) -> Result:
    """Let a world live. The same seed gives the same log, to the last digit."""
    world = World(settings_of(seed))
    broken: str | None = None
    try:
        world.loop.run_until_complete(world.live())
    except (Broken, Stuck) as error:
        broken = f"{type(error).__name__}: {error}"
    steps = world.loop.steps
    _wind_up(world)
    digest = hashlib.blake2b("\n".join(world.events).encode(), digest_size=16).hexdigest()
    return Result(seed=seed, broken=broken, digest=digest, steps=steps, log=tuple(world.events), counts=world.counts)


def _wind_up(world: World) -> None:
    """Leave no coroutine behind."""
    loop = world.loop
    world.over = True
    loop.failure, loop.steps = None, 0
    left = [task for task in asyncio.all_tasks(loop) if not task.done()]

    def end() -> None:
        for actor in world.actors:
            if not actor.process.dead:
                loop.crash(actor.process)
        for task in left:
            task.cancel()

    loop.call_soon(end, context=Context())
    loop.run_until_complete(asyncio.wait([loop.create_task(asyncio.sleep(0)), *left]))
    loop.close()
