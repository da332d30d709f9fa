"""What is foreseen of a run is what the run then does, and the limits that stop a run before it sends."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from campaign import rounds
from unit.run_world import FULL, ROOMS, World, rooms

from syncer.core.foresight import Foresight
from syncer.core.model import CollectionMapping, Outcome, RunReport, TombstoneRule, WatermarkRule
from syncer.core.plan import RunOptions
from syncer.delivery.memory import MemoryDelivery, Scripted
from syncer.run.executor import execute, foresee
from syncer.run.job import Job, Ports
from syncer.source import open_source
from syncer.state import MemoryStore, Store, open_store

#: a row of it is refused before it is sent: the value is too long
REFUSED = "x" * 40_000
TABLES = """
CREATE TABLE rooms (id INTEGER PRIMARY KEY, city TEXT, version INTEGER);
CREATE TABLE hosts (name TEXT PRIMARY KEY, city TEXT, moved_at TIMESTAMP);
"""
HOSTS = CollectionMapping(
    name="hosts", source="app", table="hosts", collection="hosts", primary_key=("name",),
    watermark=WatermarkRule(column="moved_at", lookback=timedelta(minutes=3), nulls="skip"),
)  # fmt: skip
MAPPINGS = (
    replace(ROOMS, query=None, table="rooms", watermark=WatermarkRule(column="version", lookback=2)),
    HOSTS,
)


class House:
    """A SQLite database of rooms and hosts that are synced, and chance, which changes them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.path = folder / "house.db"
        self.database = sqlite3.connect(self.path, isolation_level=None)
        self.database.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {TABLES}")
        self.source = open_source("app", f"sqlite:///{self.path}", timezone="UTC")
        self.delivery = MemoryDelivery()
        # some remember on disk, which takes ten times as long
        self.store: Store = MemoryStore() if seed % 25 else open_store(f"sqlite:///{folder}/state.db")
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        #: grows slowly, so that watermarks tie
        self.version = 1
        deletes = self.chance.choice([None, TombstoneRule(max_share=self.chance.choice([0.2, 0.9]))])
        self.mappings = [
            replace(each, deletes=deletes, send=self.chance.choice(["changed"] * 5 + ["all"])) for each in MAPPINGS
        ]
        self._runs = 0

    def close(self) -> None:
        """Let go of both ends."""
        self.source.close()
        self.database.close()
        self.store.close()

    def job(self, mapping: CollectionMapping, options: RunOptions) -> Job:
        """A run of a mapping, now."""
        self._runs += 1
        ports = Ports(
            source=lambda: self.source, delivery=self.delivery, store=self.store, notice=lambda _: None,
            now=lambda: self.now, monotonic=lambda: 0.0, stop=asyncio.Event(),
        )  # fmt: skip
        return Job(
            mapping=mapping, options=options, ports=ports, timezone="UTC", owner="me", run_id=f"run-{self._runs}"
        )

    def live(self) -> None:
        """Some rows come, change, and go."""
        for _ in range(self.chance.choice([0, 1, 2, 5, 25])):
            self.version += self.chance.random() < 0.4
            number = self.chance.randrange(40)
            moved = f"2026-01-01 10:{self.version % 60:02}:00" if self.chance.random() < 0.9 else None
            city = self.chance.choice(["Riga", "Oslo", "Bern", None, "Bern", "Riga", REFUSED])
            # a change that does not move the watermark now and then
            version = self.version if self.chance.random() < 0.8 else self.chance.randrange(1, self.version + 1)
            match self.chance.choice(["put", "put", "put", "drop"]):
                case "put":
                    self.database.execute("REPLACE INTO rooms VALUES (?, ?, ?)", (number, city, version))
                    self.database.execute("REPLACE INTO hosts VALUES (?, ?, ?)", (f"host {number}", city, moved))
                case _:
                    self.database.execute("DELETE FROM rooms WHERE id = ?", (number,))
                    self.database.execute("DELETE FROM hosts WHERE name = ?", (f"host {40 - number}",))
        if self.chance.random() < 0.1:
            # the newest rows go: not even the watermark's own is there any more
            self.database.execute("DELETE FROM rooms WHERE version > ?", (self.version - 2,))

    def wish(self, mapping: CollectionMapping) -> RunOptions:
        """What a person asks for: mostly nothing special."""
        drawn = self.chance.random()
        if drawn < 0.5:
            return RunOptions()
        if drawn < 0.8:
            return replace(FULL, allow_deletes=self.chance.random() < 0.5)
        start = "3" if mapping.table == "rooms" else "2026-01-01 10:03:00"
        special = (
            replace(FULL, resend=True), RunOptions(resend=True), RunOptions(start=start, limit=9), RunOptions(limit=7),
            replace(FULL, limit=13), replace(FULL, allow_changes=True),
        )  # fmt: skip
        return self.chance.choice(special)

    async def stumble(self) -> None:
        """Runs without a plan whose requests get no answer, or a late one: rows are in doubt then, and runs are cut."""
        trouble = [Scripted.ACCEPT, Scripted.LATE, Scripted.DOUBT, Scripted.FAIL]
        usual, self.delivery = self.delivery, MemoryDelivery(self.chance.choices(trouble, k=4), max_in_flight=1)
        await asyncio.gather(
            *(execute(self.job(each, self.chance.choice([RunOptions(), FULL]))) for each in self.mappings)
        )
        self.delivery = usual


def foreseen(found: Foresight) -> Mapping[str, int]:
    """The numbers of a plan, by the names that a run report has for them."""
    counts = found.report.counts
    return {
        "read": counts.read, "sent": found.added + found.changed, "unchanged": counts.unchanged,
        "deleted": found.deleted, "rejected": counts.rejected, "skipped": found.skipped,
        "requests": found.requests, "bytes": found.bytes,
    }  # fmt: skip


def done(report: RunReport) -> Mapping[str, int]:
    """The same of a run."""
    names = ("read", "sent", "unchanged", "deleted", "rejected", "skipped", "requests", "bytes")
    return {name: getattr(report.counts, name) for name in names}


async def lived(house: House, steps: int) -> list[tuple[Foresight, RunReport]]:
    """What was foreseen of every run of a history, and what the run did."""
    told = []
    for _ in range(steps):
        house.live()
        if house.chance.random() < 0.1:
            await house.stumble()
        wishes = [(each, house.wish(each)) for each in house.mappings]
        plans = await asyncio.gather(*(foresee(house.job(*each)) for each in wishes))
        told += list(zip(plans, await asyncio.gather(*(execute(house.job(*each)) for each in wishes)), strict=True))
        house.now += house.chance.choice([timedelta(seconds=1), timedelta(hours=1), timedelta(days=20)])
    return told


@pytest.mark.parametrize("portion", range(4))
def test_what_is_foreseen_is_what_happens(portion: int, tmp_path: Path) -> None:
    """On random histories of two tables: every number of the plan is the number that the run then reports."""
    met = set()
    for seed in range(portion, rounds(60, 4_000), 4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with closing(House(folder, seed)) as house:
            for found, report in asyncio.run(lived(house, 4)):
                assert foreseen(found) == done(report), (seed, report)
                met.update(name for name, number in foreseen(found).items() if number)
                met.add(report.outcome)
    assert met >= {"sent", "unchanged", "deleted", "rejected", "skipped", Outcome.SUCCEEDED, Outcome.PARTIAL}


def changed_rooms(mapping: CollectionMapping, *, changes: int, new: int = 0, of: int = 10) -> World:
    """Delivered rooms of which some changed since, and some are new."""
    world = World(rooms(of))
    assert world.run(FULL).counts.sent == of
    world.mapping = mapping
    world.now += timedelta(hours=1)
    world.source.rows = [
        *((number, "elsewhere", of + number) for number in range(1, changes + 1)), *rooms(of)[changes:],
        *((of + number, "new", 2 * of + number) for number in range(1, new + 1)),
    ]  # fmt: skip
    return world


@pytest.mark.parametrize("options", [RunOptions(), FULL], ids=["incremental", "full"])
def test_a_run_of_exactly_so_many_objects_goes_through(options: RunOptions) -> None:
    """New and changed objects count; `max_objects_per_run` is what is allowed, not what is too much."""
    world = changed_rooms(replace(ROOMS, max_objects_per_run=5), changes=3, new=2)
    assert (world.run(options).outcome, world.delivery.objects["rooms", "12"]["city"]) == (Outcome.SUCCEEDED, "new")


@pytest.mark.parametrize("options", [RunOptions(), FULL], ids=["incremental", "full"])
@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ({"max_objects_per_run": 4}, "would send 5 objects, more than `max_objects_per_run`, 4"),
        ({"max_objects_per_run": 0}, "would send 5 objects, more than `max_objects_per_run`, 0"),
        ({"max_change_ratio": 0.1}, "more than `max_change_ratio`, 10%"),
    ],
)
def test_a_run_over_its_limit_sends_nothing(options: RunOptions, limit: dict[str, float], told: str) -> None:
    """It fails with 1 and says why, in the state as well; the checkpoint stays; `--allow-changes` lets it pass."""
    world = changed_rooms(replace(ROOMS, **limit), changes=3, new=2)  # type: ignore[arg-type]
    before, batches = world.store.checkpoint("rooms"), len(world.delivery.batches)
    report = world.run(options)
    assert (report.outcome, report.exit_code, report.counts.sent) == (Outcome.FAILED, 1, 0)
    assert told in (report.error or "")
    assert "--allow-changes" in (report.hint or "")
    assert (len(world.delivery.batches), world.store.checkpoint("rooms")) == (batches, before)
    stored = world.store.runs("rooms", 1)[0]
    assert (stored.outcome, stored.error) == (Outcome.FAILED, report.error)
    assert world.run(options).outcome is Outcome.FAILED, "and it stays so"
    allowed = world.run(replace(options, allow_changes=True))
    assert (allowed.outcome, allowed.counts.sent) == (Outcome.SUCCEEDED, 5)
    assert world.run(options).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("percent", [1, 7, 29, 30, 57, 58, 100])
def test_exactly_the_ratio_goes_through(percent: int) -> None:
    """Also where the share has no exact binary fraction; one object more does not. New objects are no changes."""
    mapping = replace(ROOMS, max_change_ratio=percent / 100)
    assert changed_rooms(mapping, changes=percent, new=5, of=100).run(FULL).outcome is Outcome.SUCCEEDED
    if percent < 100:
        assert changed_rooms(mapping, changes=percent + 1, of=100).run(FULL).outcome is Outcome.FAILED


def test_the_ratio_is_that_of_all_known_objects() -> None:
    """An incremental run reads little else than what changed, and is no reason to stop."""
    world = changed_rooms(replace(ROOMS, max_change_ratio=0.1), changes=5, of=100)
    assert world.run().outcome is Outcome.SUCCEEDED


def test_tombstones_count_as_objects_unless_they_are_held_back() -> None:
    """They are billed as any other; where their own guard keeps them, there is nothing to count."""
    mapping = replace(ROOMS, max_objects_per_run=1, deletes=TombstoneRule())
    world = World(rooms(20), mapping=replace(mapping, max_objects_per_run=None))
    world.run(FULL)
    world.mapping = mapping
    world.source.rows = rooms(18)
    report = world.run(FULL)
    assert "would send 2 objects" in (report.error or "")
    world.source.rows = rooms(2)
    report = world.run(FULL)
    assert (report.outcome, "18 of 20 known objects" in (report.error or "")) == (Outcome.FAILED, True)
    assert world.run(replace(FULL, allow_deletes=True, allow_changes=True)).counts.deleted == 18


def test_a_limit_holds_for_the_first_run_too() -> None:
    """A first load is as expensive as any."""
    world = World(rooms(10), mapping=replace(ROOMS, max_objects_per_run=9, max_change_ratio=0))
    assert world.run().outcome is Outcome.FAILED
    assert world.delivery.batches == []
    world.mapping = replace(world.mapping, max_objects_per_run=10)
    assert world.run().counts.sent == 10
