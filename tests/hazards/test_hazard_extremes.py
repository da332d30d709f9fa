"""W41: the ends of time, where subtracting a lookback leaves the calendar."""

from __future__ import annotations

import pytest
from hazard_world import LOCAL, World, everywhere, on

from syncer.core.model import Outcome

ENDS = {
    "postgresql": ["'-infinity'", "'4713-01-01 00:00:00 BC'", "'0001-01-01'", "'9999-12-31 23:59:59.999999'",
                   "'294276-12-31'", "'infinity'"],
    "mariadb": ["'0000-00-00'", "'1000-01-01'", "'2026-00-00'", "'9999-12-31 23:59:59.999999'"],
    "sqlite": ["'0000-01-01 00:00:00'", "'0001-01-01 00:00:00'", "'9999-12-31 23:59:59.999999'"],
}  # fmt: skip


@everywhere
def test_w41_the_ends_of_time(world: World) -> None:
    """Infinities, zero dates and the first and last moments are rows like others: none of them stops a run, hides a
    later row, or is the watermark. Arithmetic in Python raises OverflowError or ValueError."""
    if world.engine == "mariadb":
        world.rooms("DATETIME(6) NULL")
        world.sql("SET SESSION sql_mode = ''; INSERT INTO rooms VALUES " + ", ".join(
            f"({number}, 'end', {stamp})" for number, stamp in enumerate(ENDS["mariadb"], 1)
        ))  # fmt: skip
    else:
        stamps = enumerate(ENDS[world.engine], 1)
        world.rooms(LOCAL[world.engine], rows=[(number, "end", stamp) for number, stamp in stamps])
    # as properties some of them are refused; here they are watermarks
    world.map(watermark={"column": "updated_at", "lookback": "36500d"}, properties={"updated_at": {"drop": True}})
    assert world.run().outcome is Outcome.SUCCEEDED
    world.put((90, "now", "'2026-01-01 10:00:00'"))
    assert world.run().outcome is Outcome.SUCCEEDED
    world.put((91, "later", "'2026-01-01 10:00:01'"))
    assert world.run().outcome is Outcome.SUCCEEDED
    assert not world.missing()


@everywhere
def test_w41_just_before_all_time(world: World) -> None:
    """A lookback of minutes before the first moment that a person may write."""
    _is_read_again(world, "5m")


@on("mariadb", "sqlite")
def test_w41_a_lookback_before_all_time(world: World) -> None:
    """The first moment less the lookback is no moment: everything is read, and no error stops the run."""
    _is_read_again(world, "36500d")


@on("postgresql")
def test_w41_a_lookback_before_postgresqls_time(world: World) -> None:
    """The same where the server raises an error instead."""
    _is_read_again(world, "36500d")


def _is_read_again(world: World, lookback: str) -> None:
    first = {"postgresql": "'4713-01-01 00:00:00 BC'", "mariadb": "'1000-01-01'", "sqlite": "'0000-01-01 00:00:00'"}
    world.rooms(LOCAL[world.engine], rows=[(1, "first", first[world.engine])])
    world.map(watermark={"column": "updated_at", "lookback": lookback}, properties={"updated_at": {"drop": True}})
    world.run()
    world.put((2, "tie", first[world.engine]))
    assert world.run().outcome is Outcome.SUCCEEDED
    assert not world.missing()


LESS = {
    "postgresql": ("updated_at >= :watermark - INTERVAL '1 hour'", "version >= :watermark - 1"),
    "mariadb": ("updated_at >= :watermark - INTERVAL 1 HOUR", "version >= :watermark - 1"),
    "sqlite": ("updated_at >= datetime(:watermark, '-1 hour')", "version >= :watermark - 1"),
}


@everywhere
@pytest.mark.parametrize("column", ["updated_at", "version"])
def test_w41_a_placed_watermark_less_something(world: World, column: str) -> None:
    """A person subtracts a lookback of their own: the first run, which has no watermark yet, reads every row or says
    that it cannot. One that computes with the lowest value of the type may compare with NULL."""
    moment = LOCAL[world.engine]
    world.sql(f"CREATE TABLE rooms (id INTEGER PRIMARY KEY, name VARCHAR(9), version INTEGER, updated_at {moment})")
    world.sql("INSERT INTO rooms VALUES (1, 'loft', 7, '2026-01-01 10:00:00')")
    condition = LESS[world.engine][column == "version"]
    world.map(query=f"SELECT * FROM rooms WHERE {condition}", primary_key="id", watermark=column)
    assert world.run().outcome is Outcome.FAILED or not world.missing()
