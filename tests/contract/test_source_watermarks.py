"""Which rows a read returns and how far its watermark goes, over SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from contract.source_rooms import PLAIN, QUERY, ROOMS_MAPPING, WATERMARK, House

from syncer.core.model import CollectionMapping, Kind, Mode, Watermark, WatermarkRule
from syncer.errors import MappingError, QueryError

pytest_plugins = ["contract.source_fixtures"]


def with_rule(**changes: object) -> CollectionMapping:
    return replace(ROOMS_MAPPING, watermark=replace(WATERMARK, **changes))


def test_a_full_read_returns_every_row(house: House) -> None:
    """Without a watermark all rows come, and chunks carry no watermark."""
    chunks = house.read(PLAIN)
    assert sorted(row[0] for chunk in chunks for row in chunk.rows) == [1, 2, 3, 4, 5]
    assert [chunk.mark.watermark for chunk in chunks] == [None]
    assert all(len(row) == 5 for chunk in chunks for row in chunk.rows)


def test_rows_come_in_order_of_watermark_and_key(house: House) -> None:
    """Ties are in order of the key; NULLs come wherever the database sorts them."""
    assert [each for each in house.ids(ROOMS_MAPPING) if each != 5] == [1, 2, 3, 4]


def test_the_watermark_is_the_last_that_is_not_null(house: House) -> None:
    """A NULL watermark does not move it."""
    (chunk,) = house.read(ROOMS_MAPPING)
    assert chunk.mark.watermark is not None
    assert chunk.mark.watermark.kind is Kind.TIMESTAMP
    assert chunk.mark.watermark.text.startswith("2026-01-01 10:10:00")


def test_an_incremental_read_starts_at_the_watermark_ties_included(house: House) -> None:
    """`>=`: rows that tie with the saved watermark are read again, NULLs always."""
    watermark = house.read(ROOMS_MAPPING)[-1].mark.watermark
    assert sorted(house.ids(ROOMS_MAPPING, mode=Mode.INCREMENTAL, watermark=watermark)) == [3, 4, 5]


def test_microseconds_are_not_lost(house: House) -> None:
    """A watermark of .000002 does not bring .000001 back, nor loses itself."""
    (chunk,) = house.read(ROOMS_MAPPING, limit=2, end="2026-01-01 10:05:00")
    assert chunk.mark.watermark is not None
    found = house.ids(ROOMS_MAPPING, mode=Mode.INCREMENTAL, watermark=chunk.mark.watermark)
    # text times are cut to the minute, for their fractions may be left out by whoever writes them
    assert sorted(found) == ([1, 2, 3, 4, 5] if house.engine == "sqlite" else [2, 3, 4, 5])


@pytest.mark.parametrize(
    ("lookback", "expected"),
    [
        (timedelta(minutes=9), [3, 4, 5]),  # 10:10 - 9m = 10:01, after 10:00:00.000002
        (timedelta(minutes=10, microseconds=0), [1, 2, 3, 4, 5]),  # 10:10 - 10m = 10:00:00.000000
        (None, [3, 4, 5]),  # 5 minutes
    ],
)
def test_lookback_reads_further_back(house: House, lookback: timedelta | None, expected: list[int]) -> None:
    """The read starts the lookback before the saved watermark."""
    mapping = with_rule(lookback=lookback)
    saved = house.read(mapping)[-1].mark.watermark
    assert sorted(house.ids(mapping, mode=Mode.INCREMENTAL, watermark=saved)) == expected


def test_rows_read_again_do_not_lower_the_watermark(house: House) -> None:
    """Rows of the lookback carry the saved watermark, not their own."""
    mapping = with_rule(lookback=timedelta(days=1))
    saved = house.read(mapping)[-1].mark.watermark
    (chunk,) = house.read(mapping, mode=Mode.INCREMENTAL, watermark=saved, limit=2)
    assert chunk.mark.watermark in (saved, None)
    house.run("DELETE FROM rooms WHERE updated_at IS NULL")
    (chunk,) = house.read(mapping, mode=Mode.INCREMENTAL, watermark=saved, limit=2)
    assert [row[0] for row in chunk.rows] == [1, 2]
    assert chunk.mark.watermark == saved


def test_a_date_in_the_future_does_not_move_the_watermark_there(house: House) -> None:
    """One row stamped 2099 must not hide every later change."""
    house.run("UPDATE rooms SET updated_at = '2099-01-01 00:00:00' WHERE id = 1")
    (chunk,) = house.read(ROOMS_MAPPING)
    assert chunk.mark.watermark is not None
    assert "2026-01-01" < chunk.mark.watermark.text < "2099"
    assert 1 in house.ids(ROOMS_MAPPING, mode=Mode.INCREMENTAL, watermark=chunk.mark.watermark)


@pytest.mark.parametrize(("nulls", "expected"), [("include", [3, 4, 5]), ("skip", [3, 4]), ("error", [3, 4, 5])])
def test_null_watermarks(house: House, nulls: str, expected: list[int]) -> None:
    """Every policy but `skip` reads rows without a watermark in every run: `error` has to see them."""
    saved = house.read(ROOMS_MAPPING)[-1].mark.watermark
    assert sorted(house.ids(with_rule(nulls=nulls), mode=Mode.INCREMENTAL, watermark=saved)) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-01-01 10:10:00", None, [3, 4]),  # from: inclusive
        (None, "2026-01-01 10:10:00", [1, 2]),  # to: exclusive
        ("2026-01-01", "2026-01-02", [1, 2, 3, 4]),
        ("2026-01-02", None, []),
    ],
)
def test_ranges(house: House, start: str | None, end: str | None, expected: list[int]) -> None:
    """A range includes its start, excludes its end, and has no NULLs in it."""
    assert house.ids(ROOMS_MAPPING, start=start, end=end, advances=False, saves=False) == expected


def test_an_initial_value_is_where_the_first_run_starts(house: House) -> None:
    """The initial value leaves older rows out, but not those without a watermark."""
    assert sorted(house.ids(ROOMS_MAPPING, start="2026-01-01 10:05:00")) == [3, 4, 5]


def test_a_bound_that_is_no_time_is_refused(house: House) -> None:
    """A bound the database cannot read is an error, never an empty result."""
    with pytest.raises((MappingError, QueryError), match="yesterdayish"):
        house.ids(ROOMS_MAPPING, start="yesterdayish")


@pytest.mark.parametrize("limit", [0, 1, 3, 99])
def test_limit(house: House, limit: int) -> None:
    """At most so many rows are read."""
    assert len(house.ids(PLAIN, limit=limit)) == min(limit, 5)


def test_a_query_may_place_the_watermark(house: House) -> None:
    """`:watermark` in the query takes the lowest value first, the saved one afterwards."""
    mapping = replace(ROOMS_MAPPING, query=f"{QUERY} WHERE updated_at >= :watermark AND ':watermark' <> ''")
    (chunk,) = house.read(mapping)
    assert [row[0] for row in chunk.rows] == [1, 2, 3, 4]
    assert house.ids(mapping, mode=Mode.INCREMENTAL, watermark=chunk.mark.watermark) == [3, 4]


def test_integer_watermarks(house: House) -> None:
    """An integer watermark goes on where it stopped, and its lookback is a number."""
    mapping = replace(ROOMS_MAPPING, watermark=WatermarkRule(column="id"))
    saved = house.read(mapping)[-1].mark.watermark
    assert saved == Watermark(kind=Kind.INTEGER, text="5")
    assert house.ids(mapping, mode=Mode.INCREMENTAL, watermark=saved) == [5]
    back = replace(mapping, watermark=WatermarkRule(column="id", lookback=2))
    assert house.ids(back, mode=Mode.INCREMENTAL, watermark=saved) == [3, 4, 5]
    far = replace(mapping, watermark=WatermarkRule(column="id", lookback=2**70))
    assert len(house.ids(far, mode=Mode.INCREMENTAL, watermark=saved)) == 5


def test_text_watermarks(house: House) -> None:
    """A text watermark goes on where it stopped, without a lookback."""
    mapping = replace(ROOMS_MAPPING, watermark=WatermarkRule(column="name"))
    saved = house.read(mapping)[-1].mark.watermark
    assert saved == Watermark(kind=Kind.TEXT, text="Sea view")
    assert house.ids(mapping, mode=Mode.INCREMENTAL, watermark=saved) == [1]


def test_decimal_watermarks(house: House) -> None:
    """A decimal watermark is exact, with a whole number as its lookback."""
    query = "SELECT id, price FROM rooms"
    mapping = replace(ROOMS_MAPPING, query=query, watermark=WatermarkRule(column="price"))
    saved = house.read(mapping)[-1].mark.watermark
    assert saved is not None
    assert (saved.kind, float(saved.text)) == (Kind.DECIMAL, 99.99)
    assert house.ids(mapping, mode=Mode.INCREMENTAL, watermark=saved) == [5]
    back = replace(mapping, watermark=WatermarkRule(column="price", lookback=20))
    assert house.ids(back, mode=Mode.INCREMENTAL, watermark=saved) == [1, 5]


def test_date_watermarks(house: House) -> None:
    """A date watermark reads the day before again."""
    house.run("CREATE TABLE stays (id INTEGER PRIMARY KEY, day DATE)")
    house.run("INSERT INTO stays VALUES (1, '2026-02-27'), (2, '2026-02-28'), (3, '2026-03-01')")
    mapping = CollectionMapping(name="s", source="app", table="stays", watermark=WatermarkRule(column="day"))
    saved = house.read(mapping)[-1].mark.watermark
    assert saved == Watermark(kind=Kind.DATE, text="2026-03-01")
    assert house.ids(mapping, mode=Mode.INCREMENTAL, watermark=saved) == [2, 3]


@pytest.mark.parametrize(("column", "lookback"), [("id", timedelta(minutes=5)), ("updated_at", 5)])
def test_a_lookback_of_the_wrong_kind_is_refused(house: House, column: str, lookback: object) -> None:
    """A duration fits no number, and a number fits no time."""
    mapping = replace(ROOMS_MAPPING, watermark=WatermarkRule(column=column, lookback=lookback))
    saved = house.read(mapping)[-1].mark.watermark
    with pytest.raises(MappingError, match="lookback"):
        house.ids(mapping, mode=Mode.INCREMENTAL, watermark=saved)
