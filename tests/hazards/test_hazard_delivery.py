"""W28 to W33: the watermark and what the API answered. The databases differ in how their chunks are read."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from itertools import repeat
from typing import Any

from hazard_world import World, everywhere

from syncer.core.model import Batch, Outcome, Receipt
from syncer.core.tombstone import OPEN
from syncer.delivery.memory import MemoryDelivery, Scripted

#: the state's tables that a transaction with a dead letter writes
WRITTEN = ("checkpoints", "runs", "dead_letters", "fingerprints")


@everywhere
def test_w28_nothing_accepted_nothing_passed(world: World) -> None:
    """The destination is down for the whole run: the watermark stays, and the next run sends everything. One that is
    saved on reading, or at the end whatever happened, loses all of it."""
    world.rooms(rows=[(1, "loft", world.at("2026-01-01 10:00:00"))])
    world.map()
    world.run()
    before = world.watermark
    world.put(*[(number, "attic", world.at("2026-01-02 10:00:00")) for number in range(2, 30)])
    world.new_delivery(repeat(Scripted.FAIL))
    assert world.run().outcome is Outcome.FAILED
    assert world.watermark == before
    world.new_delivery()
    assert world.run().outcome is Outcome.SUCCEEDED
    assert not world.missing()


@everywhere
def test_w29_a_crash_between_acceptance_and_commit(world: World) -> None:
    """What was accepted and not recorded is sent again, harmlessly, with its newest version. A watermark saved before
    the answer would pass over what was not accepted."""
    world.rooms()
    world.many(300, every=1)
    world.map()
    with world.forgetting():
        world.run()
    assert len(world.held) == 300
    world.sql(f"UPDATE rooms SET name = 'changed', updated_at = {world.now} WHERE id = 1")
    world.new_delivery()
    assert world.run().counts.sent == 300
    assert not world.missing()


@everywhere
def test_w29_a_version_that_was_accepted_and_not_recorded(world: World) -> None:
    """The row goes back to what was recorded before: it is sent again. A fingerprint that is still trusted then leaves
    the version in between at the destination."""
    world.rooms(rows=[(1, "open", world.now)])
    world.map(properties={"updated_at": {"drop": True}})
    world.run()
    world.sql(f"UPDATE rooms SET name = 'closed', updated_at = {world.now}")
    with _broken(world, "fingerprints"):
        assert world.run().outcome is Outcome.FAILED
    assert world.held == {"1": "closed"}
    world.sql(f"UPDATE rooms SET name = 'open', updated_at = {world.now}")
    world.run()
    assert world.held == {"1": "open"}


class FirstComesLast(MemoryDelivery):
    """Answers the first batch after all others, and then with a failure; looks at the state before that."""

    def __init__(self, world: World, others: int) -> None:
        super().__init__([*[Scripted.ACCEPT] * others, Scripted.FAIL])
        self._world = world
        self._others = others
        self._first: Batch | None = None
        self._rest = asyncio.Event()
        self.seen: str | None = "nothing yet"

    async def send(self, batch: Batch, **how: Any) -> Receipt:
        """Keep the first waiting."""
        if self._first is None:
            self._first = batch
            await self._rest.wait()
            self.seen = await asyncio.to_thread(lambda: self._world.watermark)
            return await super().send(batch, **how)
        receipt = await super().send(batch, **how)
        self._others -= 1
        if not self._others:
            self._rest.set()
        return receipt


@everywhere
def test_w30_answers_out_of_order(world: World) -> None:
    """5,990 rows are accepted while the first ten wait, and are recorded; the watermark is not, until those are too.
    The highest watermark accepted, as the one to save, loses the first batch."""
    world.rooms()
    world.many(6_000, every=1)
    world.map()
    slow = FirstComesLast(world, others=599)
    slow.objects = world.delivery.objects
    world.delivery = slow
    assert world.run().outcome is Outcome.FAILED
    assert slow.seen is None
    assert len(world.held) == 5_990
    assert world.watermark is None
    world.new_delivery()
    assert world.run().counts.sent == 10
    assert not world.missing()


@everywhere
def test_w31_one_batch_in_the_middle_fails(world: World) -> None:
    """The watermark stops before it; what was accepted behind it is not sent again."""
    world.rooms()
    world.many(1_500, every=1)  # from 10:00:01; row 1200 at 10:20:00
    world.map()
    world.new_delivery([*[Scripted.ACCEPT] * 120, Scripted.FAIL])
    assert world.run().outcome is Outcome.FAILED
    assert (world.watermark or "") <= "2026-01-01 10:20:00"
    accepted = set(world.held)
    before = world.new_delivery()
    assert world.run().outcome is Outcome.SUCCEEDED
    assert accepted.isdisjoint(world.sent_ids())
    assert len(before.objects) == 1_500
    assert not world.missing()


@everywhere
def test_w32_a_dead_letter_that_cannot_be_written(world: World) -> None:
    """Whichever write of its transaction fails, the watermark has not passed the row, and the next run buries it. A
    watermark and a dead letter written apart lose the row when the process dies between them."""
    world.rooms()
    world.many(30)
    world.map()
    for table in WRITTEN:
        world.begin_anew()
        world.run()
        before = world.watermark
        world.sql(f"UPDATE rooms SET name = '{table}', updated_at = {world.at('2026-01-02 10:00:00')} WHERE id < 4")
        world.new_delivery(refuses=lambda each: each.id == "2")
        with _broken(world, table):
            assert world.run().outcome is Outcome.FAILED
        assert (world.watermark, list(world.letters)) == (before, [])
        assert world.run().outcome is Outcome.PARTIAL
        assert [each.rejection.id for each in world.letters] == ["2"]
        assert set(world.missing()) == {"2"}
        world.sql("DELETE FROM rooms WHERE id < 4")
        world.put(*[(number, "room", world.at("2026-01-01 10:00:00")) for number in (1, 2, 3)])


class _broken:
    """Every write to one of the state's tables fails, once anything was accepted or refused."""

    def __init__(self, world: World, table: str) -> None:
        self._path = world.state
        self._table = f"syncer_{table}"

    def _execute(self, *statements: str) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    def __enter__(self) -> None:
        # the row of a run is written at its beginning too: what fails is the end of one that has counts; and a note
        # takes back what it makes uncertain
        when = {
            "syncer_runs": "WHEN NEW.outcome IS NOT NULL AND NEW.outcome <> 'failed'",
            "syncer_fingerprints": f"WHEN NEW.digest <> x'{OPEN.hex()}'",
        }.get(self._table, "")
        self._execute(
            f"CREATE TRIGGER broken_insert BEFORE INSERT ON {self._table} {when} "
            "BEGIN SELECT RAISE(ABORT, 'no more room'); END",
            f"CREATE TRIGGER broken_update BEFORE UPDATE ON {self._table} {when} "
            "BEGIN SELECT RAISE(ABORT, 'no more room'); END",
        )

    def __exit__(self, *_: object) -> None:
        self._execute("DROP TRIGGER broken_insert", "DROP TRIGGER broken_update")


@everywhere
def test_w33_a_dead_letter_retried_after_its_row_was_mended(world: World) -> None:
    """What is sent is the row as it is now; a newer version that was accepted meanwhile is not overwritten. Sending the
    stored object again would bring back the old one."""
    world.rooms(rows=[(1, "first", world.now), (2, "loft", world.now)])
    world.map()
    world.new_delivery(refuses=lambda each: b"first" in each.properties)
    assert world.run().outcome is Outcome.PARTIAL
    letters = world.letters
    retry = {"keys": tuple(each.rejection.key or "" for each in letters), "resend": True}
    retry["resolves"] = tuple(each.number for each in letters)
    world.sql(f"UPDATE rooms SET name = 'second', updated_at = {world.now} WHERE id = 1")
    world.new_delivery()
    world.run()
    assert world.held["1"] == "second"
    assert world.run(**retry).outcome is Outcome.SUCCEEDED
    assert world.held["1"] == "second"
    assert not world.letters


@everywhere
def test_w33_a_dead_letter_of_a_row_that_changes_again(world: World) -> None:
    """Retried before any run saw the new version, it is the new version that goes."""
    world.rooms(rows=[(1, "first", world.now)])
    world.map()
    world.new_delivery(refuses=lambda each: b"first" in each.properties)
    world.run()
    (letter,) = world.letters
    world.sql(f"UPDATE rooms SET name = 'second', updated_at = {world.now} WHERE id = 1")
    world.new_delivery()
    world.run(keys=(letter.rejection.key or "",), resolves=(letter.number,), resend=True)
    assert world.held == {"1": "second"}
    assert not world.letters
    world.run()
    assert world.held == {"1": "second"}
