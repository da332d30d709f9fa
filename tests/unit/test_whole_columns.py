"""Columns converted whole become what their values become one by one."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from campaign import rounds
from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.core.model import CollectionMapping, Column, Kind, PropertyRule, TombstoneRule
from syncer.core.shape import Shaper, compile_shape

ROOMS = CollectionMapping(name="rooms", source="app", collection="rooms")
KEY = Column(name="id", kind=Kind.INTEGER)
ZONES = {"UTC": dt.UTC, "New York": ZoneInfo("America/New_York")}

DATES = st.dates().map(str) | st.sampled_from(
    ["2024-02-29", "2023-02-29", "1900-02-29", "2000-02-29", "0000-01-01", "0001-01-01", "9999-12-31", "2024-04-31",
     "2024-12-31", "2024-13-01", "2024-00-10", "2024-01-00", "12024-01-01", "2024-01-01 BC", "infinity", ""]
)  # fmt: skip
CLOCKS = st.times().map(str) | st.sampled_from(
    ["00:00:00", "23:59:60", "24:00:00", "12:00", "12:00:00.1", "12:00:00.1234567", "12:60:00", "7:00:00"]
)
OFFSETS = st.sampled_from(["+00", "+00", "+00", "", "", "-05", "+05:30", "Z", " +00", "+00\n"])
NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str) | st.sampled_from(
    [
        "0",
        "-0",
        "1",
        "-1.5",
        "01.5",
        "1.",
        ".5",
        "1e3",
        "+1",
        "1.5\n2.5",
        "NaN",
        "Infinity",
        "9" * 40,
        "1.0",
        "\u0661",
        "",
    ]
)
TEXTS = st.text(st.characters(codec=None), max_size=8)
#: values as drivers return them, usual and not
VALUES: dict[Kind, st.SearchStrategy[object]] = {
    Kind.TEXT: TEXTS | st.integers() | st.binary(max_size=3),
    Kind.INTEGER: st.integers() | st.integers(0, 100) | NUMBERS | st.floats() | st.booleans(),
    Kind.FLOAT: st.floats() | st.floats(0, 10) | st.integers() | NUMBERS,
    Kind.BOOLEAN: st.booleans() | st.integers(0, 2) | st.sampled_from(["t", "false", "2"]),
    Kind.DECIMAL: NUMBERS | st.decimals() | st.integers() | st.floats(),
    Kind.DATE: DATES | st.dates() | st.datetimes(),
    Kind.TIMESTAMP: st.tuples(DATES, CLOCKS, OFFSETS).map(lambda each: f"{each[0]} {each[1]}{each[2]}") | DATES,
    Kind.INSTANT: st.tuples(DATES, CLOCKS, OFFSETS).map(lambda each: f"{each[0]} {each[1]}{each[2]}") | st.datetimes(),
    Kind.ANY: TEXTS | st.integers() | st.booleans() | st.floats() | st.decimals() | st.dates() | st.binary(max_size=3),
}
#: as most columns are: nothing but usual values
USUAL: dict[Kind, st.SearchStrategy[object]] = {
    Kind.TEXT: st.text(max_size=8),
    Kind.INTEGER: st.integers(-(2**63), 2**63),
    Kind.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    Kind.BOOLEAN: st.integers(0, 1),
    Kind.DECIMAL: st.decimals(allow_nan=False, allow_infinity=False, places=2).map(lambda each: f"{each:f}")
    | st.integers(-99999, 99999).map(lambda each: each / 100)
    | st.integers(),
    Kind.DATE: st.dates().map(str),
    Kind.TIMESTAMP: st.datetimes().map(str),
    Kind.INSTANT: st.datetimes().map(lambda each: f"{each}+00"),
    Kind.ANY: st.text(max_size=8),
}
_ODD_DATES = (
    "2023-02-29",
    "1900-02-29",
    "0000-01-01",
    "2024-04-31",
    "2024-13-01",
    "2024-01-00",
    "2024-02-30",
    "2024-1-1",
)
#: what looks nearly as usual, and is of the same type
ODD: dict[Kind, tuple[object, ...]] = {
    Kind.FLOAT: (float("nan"), float("inf"), -float("inf")),
    Kind.BOOLEAN: (2, -1),
    Kind.DECIMAL: (
        "1.5\n2.5", "01.5", "1.", ".5", "1e3", "NaN", "-", "1.5\n", "\n", "", float("nan"), float("inf"), 1e-7, 1e16,
        10**5000, True, -0.0,
    ),
    Kind.DATE: (*_ODD_DATES, "2024-01-01\n2024-01-02", ""),
    Kind.TIMESTAMP: (*(f"{day} 12:00:00" for day in _ODD_DATES), "2024-01-01 24:00:00", "2024-01-01 12:00:60"),
    Kind.INSTANT: (
        *(f"{day} 12:00:00+00" for day in _ODD_DATES), "2024-01-01 24:00:00+00", "2024-01-01 12:00:00+00\n",
        "2024-01-01 12:00:00+00\n2024-01-01 12:00:00+00", "2024-01-01 12:00:00+01",
    ),
}  # fmt: skip
RULES = (PropertyRule(), PropertyRule(mask="hash"), PropertyRule(type=Kind.TEXT), PropertyRule(type=Kind.DECIMAL))


def agrees(shaper: Shaper, rows: list[tuple[object, ...]]) -> None:
    """Shaped together, the rows become what they become beside a row that is refused, which makes each be looked at."""
    refused = (None,) * len(rows[0])
    together, alone = shaper.shape(rows, 5), shaper.shape([*rows, refused], 5)
    assert together.objects == alone.objects
    assert together.rejections == alone.rejections[:-1]
    assert together.non_finite == alone.non_finite


@st.composite
def tables(draw: st.DrawFn) -> tuple[Column, list[object]]:
    """A column and its values: usual ones, odd ones, with and without NULLs."""
    kind = draw(st.sampled_from(sorted(VALUES)))
    column = Column(
        name="v", kind=kind, exact=draw(st.booleans()), single=kind is Kind.FLOAT and draw(st.booleans()),
        scale=draw(st.sampled_from([None, 0, 2])),
    )  # fmt: skip
    values = draw(st.sampled_from([VALUES[kind], USUAL[kind]]))
    nulls = draw(st.booleans())
    found = draw(st.lists(values | st.none() if nulls else values, min_size=1, max_size=12))
    if kind in ODD and draw(st.booleans()):
        # one alone among usual ones is what could slip through
        found = [*draw(st.lists(USUAL[kind], max_size=3)), draw(st.sampled_from(ODD[kind]))]
    return column, found


@settings(max_examples=rounds(600, 50_000), deadline=None)
@given(table=tables(), zone=st.sampled_from(sorted(ZONES)), rule=st.sampled_from(RULES))
def test_a_column_at_once_is_its_values_one_by_one(
    table: tuple[Column, list[object]], zone: str, rule: PropertyRule
) -> None:
    """Whatever the values and whatever the mapping asks for."""
    column, values = table
    mapping = replace(ROOMS, properties={"v": rule})
    agrees(compile_shape(mapping, (KEY, column), ("id",), ZONES[zone]), list(enumerate(values)))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("kind", sorted(ODD))
def test_nothing_odd_slips_through(kind: Kind, exact: bool) -> None:
    """Each value that only looks as usual, alone in its column."""
    for scale in (None, 0, 2):
        shaper = compile_shape(ROOMS, (KEY, Column(name="v", kind=kind, exact=exact, scale=scale)), ("id",), dt.UTC)
        for odd in ODD[kind]:
            agrees(shaper, [(1, odd)])


@settings(max_examples=rounds(100, 5_000), deadline=None)
@given(rows=st.lists(st.tuples(st.integers() | TEXTS | st.none(), st.integers(0, 9)), min_size=1, max_size=8))
@pytest.mark.parametrize("key", [("id",), ("id", "v"), ("v",)], ids=" ".join)
def test_ids(key: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Keys of numbers, of text, and of several columns."""
    columns = Column(name="id", kind=Kind.ANY, exact=False), Column(name="v", kind=Kind.INTEGER)
    agrees(compile_shape(ROOMS, columns, key, dt.UTC), rows)


@pytest.mark.parametrize("nulls", ["send", "omit"])
def test_what_the_mapping_adds(nulls: str) -> None:
    """Retired properties and the marks of the living stand where they stand when rows are looked at."""
    mapping = replace(ROOMS, nulls=nulls, deletes=TombstoneRule(), properties={"old": PropertyRule(retired=True)})  # type: ignore[arg-type]
    columns = KEY, Column(name="v", kind=Kind.TEXT)
    agrees(compile_shape(mapping, columns, ("id",), dt.UTC), [(1, "a"), (2, None)])
    agrees(compile_shape(mapping, columns[:1], ("id",), dt.UTC), [(1,), (2,)])


def test_a_value_that_is_too_large_refuses_its_own_row_only() -> None:
    """The others of its chunk are sent."""
    shaper = compile_shape(ROOMS, (KEY, Column(name="v", kind=Kind.TEXT)), ("id",), dt.UTC)
    shaped = shaper.shape([(1, "a"), (2, "b" * 40_000), (3, "c")], 0)
    assert [each.id for each in shaped.objects] == ["1", "3"]
    assert [each.code for each in shaped.rejections] == ["VALUE_TOO_LARGE"]
