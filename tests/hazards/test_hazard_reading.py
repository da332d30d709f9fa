"""W1 to W13: ties, order of commits, snapshots, clocks. Each test says which naive implementation it catches."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
from campaign import rounds
from hazard_world import INSTANT, World, everywhere, on

from syncer.core.model import Outcome
from syncer.delivery.memory import Scripted
from syncer.run.examine import Level

OLD = "2026-01-01 10:00:00"


# --- W1 to W4: ties ------------------------------------------------------------------------------------------------


@everywhere
def test_w01_ties_at_the_boundary(world: World) -> None:
    """1,100 rows of one instant, and a run that dies after k batches: all arrive. A strict `>` loses the rest."""
    world.rooms()
    world.many(1_100)
    world.map(watermark={"column": "updated_at", "lookback": "0s"})
    for batches in (99, 100):  # a chunk ends after a hundred
        world.begin_anew()
        world.new_delivery([*[Scripted.ACCEPT] * batches, Scripted.FAIL], max_in_flight=1)
        assert world.run().outcome is Outcome.FAILED
        world.new_delivery()
        assert world.run().outcome is Outcome.SUCCEEDED
        assert not world.missing()
        assert (len(world.held), world.began_again) == (1_100, False)


@everywhere
def test_w02_the_boundary_is_not_sent_for_ever(world: World) -> None:
    """An idle source costs no request, however often it is read. A plain `>=` sends the last rows with every run."""
    world.rooms()
    world.many(30)
    world.map()
    world.run()
    before = world.new_delivery()
    assert len(before.batches) == 3
    for _ in range(rounds(3, 100)):
        assert world.run().counts.unchanged == 30
    assert world.delivery.batches == []


@everywhere
def test_w03_a_lower_key_changes_in_the_same_tick(world: World) -> None:
    """A row before the last one changes at the same second after the run. `(watermark, key) > (w, k)` loses it."""
    coarse = {"postgresql": "TIMESTAMP(0)", "mariadb": "TIMESTAMP(0) NULL", "sqlite": "DATETIME"}[world.engine]
    world.rooms(coarse, rows=[(1, "loft", f"'{OLD}'"), (2, "attic", f"'{OLD}'")])
    world.map(watermark={"column": "updated_at", "lookback": "0s"})
    world.run()
    world.sql("UPDATE rooms SET name = 'suite' WHERE id = 1")
    world.run()
    assert world.held == {"1": "suite", "2": "attic"}
    assert not world.began_again


@everywhere
@pytest.mark.parametrize("tick", ["day", "second"])
def test_w04_the_tick_is_still_open(world: World, tick: str) -> None:
    """Rows of the present day or second go on coming after a run read it. A strict `>` waits for the next tick."""
    moment, now = {
        ("postgresql", "day"): ("DATE", "(now() AT TIME ZONE 'UTC')::date"),
        ("postgresql", "second"): ("TIMESTAMPTZ(0)", "date_trunc('second', clock_timestamp())"),
        ("mariadb", "day"): ("DATE", "UTC_DATE()"),
        ("mariadb", "second"): ("TIMESTAMP NULL", "NOW()"),
        ("sqlite", "day"): ("DATE", "date('now')"),
        ("sqlite", "second"): ("DATETIME", "CURRENT_TIMESTAMP"),
    }[world.engine, tick]
    world.rooms(moment, rows=[(1, "loft", now)])
    world.map(watermark={"column": "updated_at", "lookback": "0s"})
    for number in range(2, 5):
        world.run()
        world.put((number, "attic", now))
    world.run()
    assert not world.missing()
    assert not world.began_again


# --- W5 to W8: the order of commits --------------------------------------------------------------------------------
# Transactions older than the margin of five seconds: see test_hazard_transactions.py.


@on("postgresql", "mariadb")
@pytest.mark.parametrize(("kind", "first"), [("BIGINT", True), ("DECIMAL(20)", False)])
def test_w07_sequence_order_is_not_commit_order(world: World, kind: str, *, first: bool) -> None:
    """A lower number is committed after a higher one was read: it is found, also by the run after the first one."""
    _numbers(world)
    number = "version" if kind == "BIGINT" else f"CAST(version AS {kind})"
    world.map(query=f"SELECT id, name, {number} AS version FROM rooms", primary_key="id", watermark="version")
    if not first:
        world.sql("INSERT INTO rooms (id, name) VALUES (0, 'hall')")
        world.run()
    saved = world.watermark
    with world.transaction() as slow:
        slow.exec_driver_sql("INSERT INTO rooms (id, name) VALUES (1, 'loft')")
        world.sql("INSERT INTO rooms (id, name) VALUES (2, 'attic')")
        world.run()
        assert world.held["2"] == "attic"
        assert world.watermark == saved
        assert any("waits for a transaction" in each.message for each in world.check().findings)
        slow.commit()
    world.run()
    assert not world.missing()
    assert not world.began_again
    assert world.watermark != saved


@on("postgresql", "mariadb")
def test_w07_any_order_of_commits(world: World) -> None:
    """Eight writers that begin, write and commit in any order, and runs in between: nothing is lost."""
    _numbers(world)
    world.map(table="rooms", watermark="version")
    chance = random.Random(7)
    for _ in range(rounds(1, 100)):
        _writers(world, chance)
    world.run()
    assert not world.missing()


@on("sqlite")
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_w07_one_writer_at_a_time(world: World, journal: str) -> None:
    """Who has drawn a number commits it before another can draw one, so `check` has nothing to warn of."""
    world.sql(f"PRAGMA journal_mode = {journal}; CREATE TABLE rooms (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT)")
    world.map(watermark="id")
    with closing(sqlite3.connect(world.folder / "source.db", isolation_level=None, timeout=0)) as slow:
        for number in range(1, 6):
            slow.execute("BEGIN")
            slow.execute("INSERT INTO rooms (name) VALUES ('loft')")
            other = sqlite3.connect(world.folder / "source.db", timeout=0)
            with closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("INSERT INTO rooms (name) VALUES ('attic')")
            world.run()
            slow.execute("COMMIT")
            world.sql("INSERT INTO rooms (name) VALUES ('attic')")
            world.run()
            assert world.watermark == str(2 * number)
    assert not world.missing()
    assert not [each for each in world.check().findings if each.level is Level.WARNING and "lookback" in str(each.hint)]


def _numbers(world: World) -> None:
    counted = {"postgresql": "bigserial", "mariadb": "BIGINT AUTO_INCREMENT UNIQUE"}[world.engine]
    world.sql(f"CREATE TABLE rooms (id INTEGER PRIMARY KEY, name VARCHAR(60), version {counted})")


def _writers(world: World, chance: random.Random) -> None:
    """Eight transactions, opened, written and committed in a shuffled order, with a run after some of the steps."""
    last = max([int(key) for (key,) in world.read("SELECT COALESCE(MAX(id), 0) FROM rooms")])
    numbers = [*range(last + 1, last + 9)]
    steps = [("write", number) for number in numbers]
    chance.shuffle(steps)
    for number in numbers:
        place = steps.index(("write", number))
        steps.insert(chance.randint(place + 1, len(steps)), ("commit", number))
    opened = {number: world.transaction() for number in numbers}
    writers = {number: each.__enter__() for number, each in opened.items()}
    for position, (step, number) in enumerate(steps):
        if step == "write":
            writers[number].exec_driver_sql(f"INSERT INTO rooms (id, name) VALUES ({number}, 'room {number}')")
        else:
            writers[number].commit()
        if position % 5 == 4:
            world.run()
    for each in opened.values():
        each.__exit__(None, None, None)


@on("postgresql", "mariadb")
@pytest.mark.parametrize("column", ["updated_at", "version"])
def test_w08_what_is_held_goes_not_back(world: World, column: str) -> None:
    """While a prepared transaction stays, no run lowers what is saved: none of what changed, none of everything."""
    _numbers(world)
    world.sql(f"ALTER TABLE rooms ADD updated_at {INSTANT[world.engine]}; {_stamped(world, 1)}")
    world.map(watermark={"column": column, "lookback": 0})
    world.run()
    saved = world.watermark
    name = world.url.partition("?")[0].rpartition("/")[2]
    with world.transaction() as gone:
        for statement in _PREPARING[world.engine]:
            gone.exec_driver_sql(statement.format(name, insert=_stamped(world, 2)))
        gone.invalidate()
    try:
        world.sql(_stamped(world, 3))
        for full in (False, True):
            assert world.run(full=full).held_by is not None
            assert world.watermark == saved
        assert world.held == {"1": "room 1", "3": "room 3"}
    finally:
        world.sql({"postgresql": f"COMMIT PREPARED '{name}'", "mariadb": f"XA COMMIT '{name}'"}[world.engine])
    assert world.run().bound is not None
    assert not world.missing()
    assert not world.began_again
    assert world.watermark != saved


_PREPARING = {
    "postgresql": ("{insert}", "PREPARE TRANSACTION '{}'"),
    "mariadb": ("XA START '{}'", "{insert}", "XA END '{}'", "XA PREPARE '{}'"),
}


def _stamped(world: World, number: int) -> str:
    return f"INSERT INTO rooms (id, name, updated_at) VALUES ({number}, 'room {number}', {world.now})"


# --- W9, W10: snapshots --------------------------------------------------------------------------------------------


@everywhere
def test_w09_bounds_and_rows_are_of_one_snapshot(world: World) -> None:
    """Rows that come while the run sends are read by the next. A MAX() asked beside the rows would pass over them."""
    world.rooms()
    world.many(1_100, every=1)  # up to 10:18:20
    world.map(watermark={"column": "updated_at", "lookback": "0s"})

    def meanwhile() -> Iterator[Scripted]:
        yield Scripted.ACCEPT
        world.put((9_001, "new", world.at("2026-01-01 11:00:00")), (9_002, "new", world.at("2026-01-01 12:00:00")))

    world.new_delivery(meanwhile(), max_in_flight=1)
    assert world.run().outcome is Outcome.SUCCEEDED
    world.run()
    assert not world.missing()


@everywhere
def test_w10_a_row_that_moves_while_it_is_read(world: World) -> None:
    """A row of the last page changes while the first is sent. Pages without a snapshot, or a watermark that is the
    time of the run's end, lose the change."""
    world.rooms()
    world.many(1_100, every=1)
    world.map(watermark={"column": "updated_at", "lookback": "0s"})

    def meanwhile() -> Iterator[Scripted]:
        yield Scripted.ACCEPT
        world.sql(f"UPDATE rooms SET name = 'moved', updated_at = {world.now} WHERE id IN (1, 1090)")

    world.new_delivery(meanwhile(), max_in_flight=1)
    world.run()
    world.run()
    assert (world.held["1"], world.held["1090"]) == ("moved", "moved")
    assert not world.missing()


# --- W11 to W13: clocks --------------------------------------------------------------------------------------------


@everywhere
def test_w11_the_clock_of_syncers_host_is_wrong(world: World) -> None:
    """An hour ahead, an hour behind, jumping between runs. `last_run_at` of the host's clock as a bound loses rows."""
    world.rooms(rows=[(1, "loft", world.now)])
    world.map(watermark={"column": "updated_at", "lookback": "0s"})
    for number in range(2, rounds(6, 22)):
        world.ahead = timedelta(hours=(-1) ** number)
        world.run()
        world.put((number, "attic", world.now))
    world.run()
    assert not world.missing()


@everywhere
def test_w12_stamps_of_a_clock_that_is_behind(world: World) -> None:
    """Stamped less than the lookback before the watermark: found. Further back: found by the next full run only."""
    world.rooms(rows=[(1, "loft", world.at("2026-01-01 12:00:00"))])
    world.map()
    world.run()
    world.put((2, "attic", world.at("2026-01-01 11:55:01")), (3, "cabin", world.at("2026-01-01 11:00:00")))
    world.run()
    assert world.missing() == {"3": "cabin"}
    world.run(full=True)
    assert not world.missing()


@everywhere
def test_w13_one_row_of_the_future(world: World) -> None:
    """A row stamped 2037 hides no later change. A watermark that is the highest value seen hides them for decades."""
    world.rooms(rows=[(1, "typo", world.at("2037-01-01 00:00:00")), (2, "loft", world.now)])
    world.map(watermark={"column": "updated_at", "lookback": "0s"})
    for number in range(3, 6):
        world.run()
        world.put((number, "attic", world.now))
    world.run()
    assert not world.missing()
    assert (world.watermark or "") < "2037"


@on("sqlite")
@pytest.mark.parametrize("per_second", [1, 1_000])
def test_w13_one_epoch_of_the_future(world: World, per_second: int) -> None:
    """The same for times that SQLite keeps as numbers, in a column declared as time."""
    now = f"CAST((julianday('now') - 2440587.5) * 86400 * {per_second} AS INTEGER)"
    world.rooms("TIMESTAMP", rows=[(1, "typo", f"{per_second} * unixepoch('2099-01-01')"), (2, "loft", now)])
    world.map(watermark={"column": "updated_at", "lookback": "0s"}, properties={"updated_at": {"drop": True}})
    for number in range(3, 6):
        world.run()
        world.put((number, "attic", now))
    world.run()
    assert not world.missing()
