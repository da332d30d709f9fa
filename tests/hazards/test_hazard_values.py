"""W14 to W24: what the values of a watermark are, and how each database compares, rounds and mixes them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hazard_world import LOCAL, World, everywhere, on, refused

from syncer.core.model import Outcome
from syncer.run.examine import Level

# --- W14, W15: zones -----------------------------------------------------------------------------------------------


@everywhere
def test_w14_the_hour_that_comes_twice(world: World) -> None:
    """01:50 before the clocks go back, 01:10 after it: the later row has the lower stamp, and is found all the same.
    The lookback of five minutes that serves other timestamps loses it."""
    world.rooms(LOCAL[world.engine], rows=[(1, "before", "'2025-11-02 01:50:00'")])
    world.map(timezone="America/New_York")
    world.run()
    world.put((2, "after", "'2025-11-02 01:10:00'"), (3, "at once", "'2025-11-02 01:00:00'"))
    world.run()
    assert not world.missing()


@on("postgresql", "mariadb")
def test_w15_the_sessions_zone_shifts_nothing(world: World) -> None:
    """Whatever zone the server gives to its sessions, every byte sent is the same, and no watermark is shifted.
    Values and bounds in the session's own zone would differ by hours."""
    database = world.url.rpartition("/")[2].partition("?")[0]
    setting = {
        "postgresql": f"ALTER DATABASE {database} SET TimeZone = '{{}}'",
        "mariadb": "SET GLOBAL time_zone = '{}'",
    }[world.engine]
    zones = {"postgresql": ("UTC", "Asia/Kolkata", "America/New_York"), "mariadb": ("+00:00", "+05:30", "-05:00")}
    local = LOCAL[world.engine].partition(" ")[0]
    world.rooms(rows=[(1, "loft", world.at("2026-01-01 12:00:00"))])
    world.sql(f"ALTER TABLE rooms ADD COLUMN opened {local} DEFAULT '2026-01-01 10:00:00'")
    world.map()
    bodies = []
    try:
        for zone in zones[world.engine]:
            world.sql(setting.format(zone))
            world.new_delivery()
            world.run(full=True, resend=True)
            bodies.append([each.properties for batch in world.delivery.batches for each in batch.objects])
            assert world.run().counts.unchanged == 1
    finally:
        world.sql(setting.format(zones[world.engine][1]))
    assert len(bodies[0]) == 1
    assert bodies[0] == bodies[1] == bodies[2]


@pytest.fixture
def host_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Sets the zone of this process, and sets it back."""
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


@everywhere
def test_w15_the_zone_of_syncers_host_shifts_nothing(world: World, host_zone: pytest.MonkeyPatch) -> None:
    """Runs under TZ=Asia/Kolkata and TZ=America/New_York find nothing changed, and lose nothing."""
    world.rooms(rows=[(1, "loft", world.now)])
    world.map()
    for number, zone in enumerate(("UTC", "Asia/Kolkata", "America/New_York"), 2):
        host_zone.setenv("TZ", zone)
        time.tzset()
        assert world.run().counts.sent == 1
        assert world.run().counts.sent == 0
        world.put((number, "attic", world.now))
    world.run()
    assert not world.missing()


# --- W16, W17, W23: precision --------------------------------------------------------------------------------------

FINEST = {
    ("postgresql", "time"): ("TIMESTAMPTZ(6)", "'2026-01-01 10:00:00.{}+00'", ("000001", "000002", "000003")),
    ("mariadb", "time"): ("DATETIME(6)", "'2026-01-01 10:00:00.{}'", ("000001", "000002", "000003")),
    ("sqlite", "time"): ("TEXT", "'2026-01-01 10:00:00.{}'", ("123456781", "123456782", "123456783")),
    ("postgresql", "decimal"): ("NUMERIC(38,18)", "1.{}", ("0" * 17 + "1", "0" * 17 + "2", "0" * 17 + "3")),
    ("mariadb", "decimal"): ("DECIMAL(38,18)", "1.{}", ("0" * 17 + "1", "0" * 17 + "2", "0" * 17 + "3")),
    ("postgresql", "2^53"): ("NUMERIC(38,10)", "900719925474099{}", ("1", "2", "3")),
    ("mariadb", "2^53"): ("DECIMAL(38,10)", "900719925474099{}", ("1", "2", "3")),
    ("sqlite", "2^53"): ("DECIMAL(38,10)", "900719925474099{}", ("1", "2", "3")),
}


# SQLite's decimals are floats
@pytest.mark.parametrize(("world", "sort"), FINEST, indirect=["world"])
def test_w16_w23_the_last_digit_counts(world: World, sort: str) -> None:
    """The next value that the type can hold is new, the one before is not. A watermark rounded up, or kept as a float
    or as Python's microseconds, loses rows; rounded down by more than its digits it re-reads for ever."""
    sql_type, form, digits = FINEST[world.engine, sort]
    world.rooms(sql_type, rows=[(1, "loft", form.format(digits[1]))])
    world.map(watermark={"column": "updated_at", "lookback": "0s" if sort == "time" else 0})
    world.run()
    world.put((2, "attic", form.format(digits[2])), (3, "tie", form.format(digits[1])))
    world.run()
    assert not world.missing()
    assert digits[2] in (world.watermark or "")


@on("postgresql", "mariadb")
def test_w17_stamps_that_are_rounded_up_when_they_are_stored(world: World) -> None:
    """.7 of a second becomes the next second, which lies in the future; what follows has the same stamp.
    A strict `>` loses it."""
    coarse = {"postgresql": "TIMESTAMPTZ(0)", "mariadb": "TIMESTAMP NULL"}[world.engine]
    # MySQL rounds; MariaDB has to be told to
    mode = "SET sql_mode = CONCAT(@@sql_mode, ',TIME_ROUND_FRACTIONAL'); " if world.engine == "mariadb" else ""
    world.rooms(coarse)
    world.map(watermark={"column": "updated_at", "lookback": "0s"})
    world.sql(f"{mode}INSERT INTO rooms VALUES (1, 'loft', {world.at('2026-01-01 10:00:00.7')})")
    world.run()
    assert (world.watermark or "").startswith("2026-01-01 10:00:01")
    world.sql(f"{mode}INSERT INTO rooms VALUES (2, 'attic', {world.at('2026-01-01 10:00:00.9')})")
    world.run()
    assert not world.missing()
    assert not world.began_again


@everywhere
def test_w23_floats_are_refused(world: World) -> None:
    """A float column is refused before anything is sent: two of its values that differ may compare as equal."""
    world.rooms({"postgresql": "REAL", "mariadb": "FLOAT", "sqlite": "REAL"}[world.engine], rows=[(1, "loft", "0.1")])
    world.map()
    assert "floats tie and round" in refused(world.run())
    assert not world.check().sound


@on("sqlite")
def test_w23_floats_in_a_column_of_no_type_are_refused(world: World) -> None:
    """Where the column does not tell, its values do."""
    world.rooms("", rows=[(1, "loft", "1"), (2, "attic", "1.5")])
    world.map()
    assert "float" in refused(world.run())


# --- W18, W19: SQLite's texts and types ----------------------------------------------------------------------------


@on("sqlite")
@pytest.mark.parametrize("declared", ["DATETIME", "TEXT", ""])
@pytest.mark.parametrize(
    ("first", "later"),
    [
        ("'2026-01-01T09:00:00Z'", "'2026-01-01 10:00:00'"),
        ("'2026-01-01T09:00:00Z'", "'2026-01-01T15:00:00+05:30'"),
        ("'2026-01-01 09:00:00'", "'2026-01-01'"),
    ],
)
def test_w18_texts_of_two_forms_are_refused(world: World, declared: str, first: str, later: str) -> None:
    """A later row in a form that sorts before the watermark stops the run, watermark untouched, until the query makes
    them one form. Comparing the texts as they are loses it without a word."""
    world.rooms(declared, rows=[(1, "loft", first)])
    world.map()
    world.run()
    before = world.watermark
    world.put((2, "attic", later))
    assert "mixes" in refused(world.run())
    assert world.watermark == before
    one_form = "strftime('%Y-%m-%d %H:%M:%f', CAST(updated_at AS TEXT)) AS updated_at"
    world.map(query=f"SELECT id, name, {one_form} FROM rooms", primary_key="id")
    world.run(full=True)
    assert not world.missing()


@on("sqlite")
def test_w18_fractions_of_any_length(world: World) -> None:
    """'10:00:00' sorts before '10:00:00.5', and '10:00:00.5Z' before '10:00:00Z': both are read."""
    world.rooms("TEXT", rows=[(1, "loft", "'2026-01-01T10:00:00Z'")])
    world.map(watermark={"column": "updated_at", "lookback": "0s"})
    world.run()
    world.put((2, "attic", "'2026-01-01T10:00:00.5Z'"), (3, "cabin", "'2026-01-01T10:00:59Z'"))
    world.run()
    assert not world.missing()


@on("sqlite")
def test_w18_dates_that_do_not_sort(world: World) -> None:
    """Times written 31/01/2026 in a column of times are refused."""
    world.rooms("DATETIME", rows=[(1, "loft", "'31/01/2026 10:00'")])
    world.map()
    assert "no ISO 8601" in refused(world.run())


@on("sqlite")
@pytest.mark.parametrize(("first", "later"), [("'9'", "10"), ("10", "'9'"), ("'b'", "3"), ("7", "x'07'")])
def test_w19_numbers_among_texts_are_refused(world: World, first: str, later: str) -> None:
    """10 sorts before '9': a column of both is refused, watermark untouched. `>=` alone never reads the number."""
    world.rooms("", rows=[(1, "loft", first)])
    world.map()
    world.run()
    before = world.watermark
    world.put((2, "attic", later))
    assert "mixes" in refused(world.run())
    assert world.watermark == before


# --- W20, W21: NULL ------------------------------------------------------------------------------------------------


@everywhere
def test_w20_null_watermarks(world: World) -> None:
    """Rows without a watermark are read by every run, and are counted by `check`. A bare `>=` never reads them."""
    world.rooms(rows=[(1, "loft", world.now), (2, "never touched", "NULL")])
    world.map()
    world.run()
    assert len(world.held) == 2
    world.put((3, "attic", "NULL"))
    world.sql("UPDATE rooms SET name = 'changed' WHERE id = 2")
    world.run()
    assert not world.missing()
    world.sql(f"UPDATE rooms SET name = 'touched', updated_at = {world.now} WHERE id = 2")
    world.run()
    assert not world.missing()
    assert any("NULL in 1 rows" in each.message and each.level is Level.WARNING for each in world.check().findings)


@everywhere
def test_w20_null_watermarks_as_an_error(world: World) -> None:
    """With `nulls: error` they stop the run, watermark untouched."""
    world.rooms(rows=[(1, "loft", world.at("2026-01-01 10:00:00"))])
    world.map(watermark={"column": "updated_at", "nulls": "error"})
    world.run()
    before = world.watermark
    world.put((2, "attic", "NULL"))
    assert "NULL" in refused(world.run())
    assert world.watermark == before
    assert not world.check().sound


GREATEST = {"postgresql": "GREATEST", "mariadb": "GREATEST", "sqlite": "max"}


@everywhere
def test_w21_the_greatest_of_a_null(world: World) -> None:
    """GREATEST(a, NULL) is a in PostgreSQL and NULL elsewhere: the rows arrive everywhere, and `check` counts the
    NULLs of the expression, not of its columns."""
    world.rooms(rows=[(1, "loft", world.at("2026-01-01 10:00:00")), (2, "attic", world.at("2026-01-01 11:00:00"))])
    world.sql("CREATE TABLE hosts (room INTEGER, seen_at TIMESTAMP NULL)")
    world.sql(f"INSERT INTO hosts VALUES (1, {world.at('2026-01-01 10:30:00')}), (2, NULL)")
    greatest = f"{GREATEST[world.engine]}(updated_at, seen_at) AS updated_at"
    query = f"SELECT id, name, {greatest} FROM rooms JOIN hosts ON room = id"
    world.map(query=query, primary_key="id")
    world.run()
    world.sql(f"UPDATE rooms SET name = 'changed', updated_at = {world.now} WHERE id = 2")
    world.run()
    assert not world.missing()
    warned = [each.message for each in world.check().findings if "NULL in" in each.message]
    assert len(warned) == (0 if world.engine == "postgresql" else 1)


# --- W22, W24: texts -----------------------------------------------------------------------------------------------


@on("mariadb", "sqlite")
def test_w22_texts_that_only_a_collation_calls_equal(world: World) -> None:
    """Under a collation without case 'b' is no greater than 'B': `>=` reads it, as ties are read. And keys that differ
    by case alone are two objects."""
    collated = {
        "mariadb": "VARCHAR(20) COLLATE utf8mb4_general_ci",
        "sqlite": "VARCHAR(20) COLLATE NOCASE",
    }[world.engine]
    # the key's collation is binary, else the table itself takes one of the two only
    binary = "COLLATE utf8mb4_bin" if world.engine == "mariadb" else ""
    world.sql(f"CREATE TABLE rooms (id VARCHAR(20) {binary} PRIMARY KEY, name VARCHAR(20), version {collated})")
    world.sql("INSERT INTO rooms VALUES ('x', 'loft', 'a'), ('X', 'attic', 'B')")
    world.map(watermark="version")
    world.run()
    world.sql("INSERT INTO rooms VALUES ('y', 'cabin', 'b'), ('Y', 'suite', 'B')")
    world.run()
    assert not world.missing()


@everywhere
def test_w22_texts_that_do_not_sort_as_they_grow(world: World) -> None:
    """'1000' sorts before '999': such a column is refused, or its rows arrive; nothing is lost without a word."""
    _texts(world, ("999", "1000"), ("31.01.2026", "01.02.2026"))


@everywhere
@pytest.mark.xfail(strict=True, reason="W22: only whole numbers and days that come first are seen to be out of order")
def test_w22_more_texts_that_do_not_sort_as_they_grow(world: World) -> None:
    """The same of numbers with a point, and of dates without leading zeros."""
    _texts(world, ("9.5", "10.5"), ("2026-9-30", "2026-10-01"))


def _texts(world: World, *pairs: tuple[str, str]) -> None:
    world.rooms("VARCHAR(40)")
    world.map()
    for first, later in pairs:
        world.begin_anew()
        world.sql("DELETE FROM rooms")
        world.put((1, "loft", f"'{first}'"))
        _stops_or_delivers(world, (2, "attic", f"'{later}'"))


@everywhere
def test_w24_random_keys(world: World) -> None:
    """UUIDs of version 4 grow in no order, so they are refused as a watermark."""
    sql_type = {"postgresql": "UUID", "mariadb": "CHAR(36)", "sqlite": "TEXT"}[world.engine]
    world.rooms(sql_type, rows=[(1, "loft", "'f3b8f3c2-5b9e-4c47-9a55-0d2b1f4c8f11'")])
    world.map()
    _stops_or_delivers(world, (2, "attic", "'03b8f3c2-5b9e-4c47-9a55-0d2b1f4c8f11'"))


@everywhere
def test_w24_keys_that_grow_by_the_millisecond(world: World) -> None:
    """UUIDs of version 7 are times of the application's clock; they have no lookback, and `check` says so."""
    sql_type = {"postgresql": "UUID", "mariadb": "CHAR(36)", "sqlite": "TEXT"}[world.engine]
    world.rooms(sql_type, rows=[(1, "loft", "'019a0000-0000-7000-8000-000000000001'")])
    world.map()
    warnings = [each.message for each in world.check().findings if each.level is Level.WARNING]
    assert any("watermark updated_at" in each for each in warnings)


def _stops_or_delivers(world: World, later: tuple[int, str, str]) -> None:
    """A run that cannot tell new from old says so; else the later row is there."""
    first = world.run()
    world.put(later)
    second = world.run()
    stopped = Outcome.FAILED in (first.outcome, second.outcome)
    assert stopped or not world.missing()
