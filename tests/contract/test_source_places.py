"""Reading in pieces: whatever the key's type and the order of NULL, the pieces together are the whole."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from contract.source_fixtures import house
from contract.source_rooms import PLAIN, ROOMS_MAPPING, House

from syncer.core.model import CollectionMapping, Mode, Position, Row, WatermarkRule
from syncer.core.plan import RunPlan
from syncer.source import open_source
from syncer.source.base import Chunk

__all__ = ["house"]

#: by name: column types on SQLite, PostgreSQL and MariaDB, and values as SQL literals
KEYS = {
    "integer": (("INTEGER", "BIGINT", "BIGINT"), ("-7", "0", "2", "10", "9007199254740993")),
    "text": (("TEXT", "TEXT", "VARCHAR(20)"), ("''", "'Faro'", "'Kraków'", "'b'", "'b '")),
    "decimal": (("DECIMAL(20,10)", "NUMERIC(30,10)", "DECIMAL(30,10)"), ("-1.5", "0", "0.1", "2", "10.25")),
    "float": (("REAL", "DOUBLE PRECISION", "DOUBLE"), ("-1.5", "0.1", "0.3", "2.5", "1e300")),
    "single": (("FLOAT", "REAL", "FLOAT"), ("-1.5", "0.1", "0.3", "2.5", "16777216")),
    "date": (("DATE",) * 3, tuple(f"'{day}'" for day in ("1999-12-31", "2026-01-01", "2026-01-02", "2027-01-01"))),
    "moment": (
        ("DATETIME", "TIMESTAMPTZ", "TIMESTAMP(6)"),
        tuple(f"'2026-01-0{day} 10:00:00.00000{day}'" for day in range(1, 6)),
    ),
    "bytes": (("BLOB", "BYTEA", "VARBINARY(9)"), ("'a'", "'b'", "'b0'", "'c'", "'d'")),
}
ENGINES = ("sqlite", "postgres", "mariadb")


def pieces(house: House, mapping: CollectionMapping, cut: Position) -> tuple[list[Row], list[Row]]:
    """From a place on, and up to it."""
    return (
        [row for chunk in house.read(mapping, after=cut) for row in chunk.rows],
        [row for chunk in house.read(mapping, until=cut) for row in chunk.rows],
    )


def places(house: House, mapping: CollectionMapping) -> list[tuple[Row, Position]]:
    """Every row and its place, each read as the last of a limited read."""
    count = sum(len(chunk.rows) for chunk in house.read(mapping))
    limited = [house.read(mapping, limit=number)[-1] for number in range(1, count + 1)]
    return [(chunk.rows[-1], chunk.mark.position) for chunk in limited if chunk.mark.position is not None]


def assert_circle(house: House, mapping: CollectionMapping) -> None:
    """Wherever it begins, a circle reads every row, and only the place itself twice."""
    whole = [row for chunk in house.read(mapping) for row in chunk.rows]
    found = places(house, mapping)
    assert found
    for row, cut in found:
        first, second = pieces(house, mapping, cut)
        assert Counter(first) + Counter(second) >= Counter(whole)
        twice = Counter(first) + Counter(second) - Counter(whole)
        assert set(twice) <= {each for each in whole if _equal(each, row)}
        assert _equal(first[0], row)
        assert _equal(second[-1], row)


def _equal(one: Row, other: Row) -> bool:
    return [str(value).strip() for value in one[:2]] == [str(value).strip() for value in other[:2]]


@pytest.mark.parametrize("mapping", [PLAIN, ROOMS_MAPPING], ids=["by key", "by watermark and key"])
def test_a_circle_reads_every_row(house: House, mapping: CollectionMapping) -> None:
    """With ties and a NULL watermark, which stands first or last as the database likes."""
    assert_circle(house, mapping)


@pytest.mark.parametrize(("types", "values"), KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("first", [True, False], ids=["alone", "behind another"])
def test_keys_of_every_type(house: House, types: tuple[str, ...], values: tuple[str, ...], first: bool) -> None:
    """Keys are compared in the database, in their own type."""
    rows = ", ".join(f"({number // 3}, {value})" for number, value in enumerate(values))
    house.run(f"CREATE TABLE k (floor INTEGER, id {types[ENGINES.index(house.engine)]}); INSERT INTO k VALUES {rows}")
    key = ("id",) if first else ("floor", "id")
    assert_circle(house, replace(PLAIN, query="SELECT floor, id FROM k", primary_key=key))


def test_rows_without_a_key_are_in_exactly_one_piece(house: House) -> None:
    """They become rejections, so none may be lost, and none is read again by whoever goes on."""
    house.run(
        "CREATE TABLE k (floor INTEGER, id INTEGER); "
        "INSERT INTO k VALUES (1, 1), (1, NULL), (2, 2), (NULL, 3), (2, NULL)"
    )
    mapping = replace(PLAIN, query="SELECT floor, id FROM k", primary_key=("floor", "id"))
    whole = Counter(row for chunk in house.read(mapping) for row in chunk.rows)
    found = places(house, mapping)
    assert found
    for _, cut in found:
        first, second = pieces(house, mapping, cut)
        assert Counter(first) + Counter(second) >= whole
        assert sum((Counter(first) + Counter(second) - whole).values()) == 1


def test_a_case_insensitive_collation_loses_nothing(house: House) -> None:
    """What the collation calls equal to the place is read again rather than left out."""
    collation = {"sqlite": "NOCASE", "postgres": '"C"', "mariadb": "utf8mb4_general_ci"}[house.engine]
    house.run(
        f"CREATE TABLE k (id VARCHAR(20) COLLATE {collation}); "
        "INSERT INTO k VALUES ('attic'), ('Attic'), ('cabin'), ('CABIN'), ('loft')"
    )
    mapping = replace(PLAIN, query="SELECT id FROM k", primary_key=("id",))
    for _, cut in places(house, mapping):
        first, second = pieces(house, mapping, cut)
        assert {row[0] for row in [*first, *second]} == {"attic", "Attic", "cabin", "CABIN", "loft"}


def test_a_key_that_cannot_be_ordered_has_no_place(house: House) -> None:
    """JSON is read all the same; such a read cannot be cut."""
    kind = {"sqlite": "JSON", "postgres": "JSONB", "mariadb": "JSON"}[house.engine]
    house.run(f"CREATE TABLE k (id {kind}, floor INTEGER); INSERT INTO k VALUES ('[1]', 1), ('[2]', 2)")
    mapping = replace(PLAIN, query="SELECT id, floor FROM k", primary_key=("id",))
    read: list[Chunk] = house.read(mapping)
    if house.engine == "mariadb":  # its JSON is text, and says so
        assert read[-1].mark.position is not None
    else:
        assert read[-1].mark.position is None
    assert sum(len(chunk.rows) for chunk in read) == 2


def test_a_later_snapshot_keeps_the_bound_of_the_first(house: House) -> None:
    """What was committed unseen behind the place would be lost by a later bound."""
    mapping = replace(ROOMS_MAPPING, watermark=WatermarkRule(column="updated_at"))
    first = house.read(mapping, limit=2)[-1]
    assert first.ceiling is not None
    assert first.bound is not None
    house.run("UPDATE rooms SET updated_at = '2098-01-01 00:00:00.000000' WHERE id = 4")
    later = house.read(mapping, after=first.mark.position, ceiling=first.ceiling)[-1]
    assert later.ceiling == first.ceiling
    assert later.mark.watermark is not None
    assert later.mark.watermark.text[:16] == first.ceiling.text[:16]


def test_a_limit_reads_on_from_a_place(house: House) -> None:
    """`limit` counts from there."""
    cut = house.read(PLAIN, limit=2)[-1].mark.position
    assert [row[0] for chunk in house.read(PLAIN, after=cut, limit=2) for row in chunk.rows] == [2, 3]


def test_generic_databases_have_no_places() -> None:
    """Where NULL stands is not known of them, so nothing is cut there."""
    with closing(open_source("app", "duckdb:///:memory:")) as source:
        plan: Any = RunPlan(mapping=replace(PLAIN, query="SELECT 1 AS id"), primary_key=("id",), mode=Mode.FULL)
        described = source.describe(plan.mapping)
        with source.read(plan, described) as chunks:
            assert [chunk.mark.position for chunk in chunks] == [None]
