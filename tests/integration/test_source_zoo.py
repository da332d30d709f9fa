"""Every type of every engine at its extremes can be read, and has the kind that its type means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from syncer.core.model import CollectionMapping, Column, Kind, Mode, Row, WatermarkRule
from syncer.core.plan import RunPlan
from syncer.core.watermark import encode_key
from syncer.errors import MappingError
from syncer.source import open_source
from syncer.source.base import KeyFaults
from syncer.source.sql import SqlSource

ENGINES = ["sqlite", "postgres", "mariadb"]

POSTGRES_KINDS = {
    "id": Kind.INTEGER, "c_smallint": Kind.INTEGER, "c_num": Kind.DECIMAL, "c_num102": Kind.DECIMAL,
    "c_real": Kind.FLOAT, "c_double": Kind.FLOAT, "c_money": Kind.TEXT, "c_bool": Kind.BOOLEAN, "c_char5": Kind.TEXT,
    "c_bytea": Kind.BYTES, "c_uuid": Kind.TEXT, "c_date": Kind.DATE, "c_time": Kind.TIME, "c_timetz": Kind.TIME,
    "c_ts": Kind.TIMESTAMP, "c_tstz": Kind.INSTANT, "c_interval": Kind.INTERVAL, "c_json": Kind.JSON,
    "c_jsonb": Kind.JSON, "c_intarr": Kind.JSON, "c_textarr": Kind.JSON, "c_2d": Kind.JSON, "c_enum": Kind.TEXT,
    "c_domain": Kind.INTEGER, "c_comp": Kind.JSON, "c_inet": Kind.TEXT, "c_tsrange": Kind.TEXT, "c_bit": Kind.TEXT,
}  # fmt: skip
MARIADB_KINDS = {
    "id": Kind.INTEGER, "c_bool": Kind.INTEGER, "c_bigu": Kind.INTEGER, "c_dec": Kind.DECIMAL, "c_float": Kind.FLOAT,
    "c_bit1": Kind.BITS, "c_bit12": Kind.BITS, "c_char": Kind.TEXT, "c_text": Kind.TEXT, "c_bin": Kind.BYTES,
    "c_varbin": Kind.BYTES, "c_blob": Kind.BYTES, "c_date": Kind.DATE, "c_time": Kind.TIME, "c_dt": Kind.TIMESTAMP,
    "c_ts": Kind.INSTANT, "c_year": Kind.INTEGER, "c_enum": Kind.TEXT, "c_set": Kind.TEXT, "c_uuid": Kind.TEXT,
    "c_inet6": Kind.TEXT, "c_point": Kind.BYTES, "c_latin": Kind.TEXT,
}  # fmt: skip
SQLITE_KINDS = {
    "id": Kind.INTEGER, "note": Kind.TEXT, "c_big": Kind.INTEGER, "c_real": Kind.FLOAT, "c_dec": Kind.DECIMAL,
    "c_bool": Kind.BOOLEAN, "c_blob": Kind.BYTES, "c_date": Kind.DATE, "c_dt": Kind.TIMESTAMP, "c_ts": Kind.TIMESTAMP,
    "c_json": Kind.JSON, "c_none": Kind.ANY, "c_weird": Kind.ANY, "c_gen": Kind.INTEGER,
}  # fmt: skip
KINDS = {"postgres": POSTGRES_KINDS, "mariadb": MARIADB_KINDS, "sqlite": SQLITE_KINDS}


@pytest.fixture
def source(
    request: pytest.FixtureRequest, engine: str, execute_sql: Callable[[str, str], None], zoo: Path
) -> SqlSource:
    url = request.getfixturevalue(f"{engine}_url")
    execute_sql(url, (zoo / f"types-zoo-{engine}.sql").read_text())
    return open_source("zoo", url)


def table(name: str, **more: object) -> CollectionMapping:
    return CollectionMapping(name="animals", source="zoo", table=name, **more)


def read(source: SqlSource, mapping: CollectionMapping) -> tuple[tuple[Column, ...], list[Row]]:
    described = source.describe(mapping)
    plan = RunPlan(mapping=mapping, primary_key=described.primary_key, mode=Mode.FULL)
    with source.read(plan, described) as chunks:
        return described.columns, [row for chunk in chunks for row in chunk.rows]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_kinds_are_those_of_the_types(source: SqlSource, engine: str) -> None:
    """The kind follows from the declared type, never from a value."""
    columns = {column.name: column.kind for column in source.describe(table("zoo")).columns}
    assert {name: columns[name] for name in KINDS[engine]} == KINDS[engine]


@pytest.mark.parametrize(
    ("engine", "column", "expected"),
    [
        ("postgres", "c_num", ("numeric", None, None)),
        ("postgres", "c_num102", ("numeric(10,2)", 2, None)),
        ("postgres", "c_num3818", ("numeric(38,18)", 18, None)),
        ("mariadb", "c_dec", ("DECIMAL(10,2)", 2, None)),
        ("mariadb", "c_dec65", ("DECIMAL(65,30)", 30, None)),
        ("mariadb", "c_bit12", ("BIT(12)", None, 12)),
        ("mariadb", "c_bigu", ("BIGINT UNSIGNED", None, None)),
        ("sqlite", "c_dec", ("DECIMAL(10,2)", 2, None)),
    ],
)
def test_scales_and_widths(source: SqlSource, column: str, expected: tuple[str, int | None, int | None]) -> None:
    """The type's own name, the digits of decimals and the width of bit strings are told."""
    found = next(each for each in source.describe(table("zoo")).columns if each.name == column)
    assert (found.sql_type, found.scale, found.width) == expected


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["zoo", "zoo_ck", "MixedCase Table", "zoo_empty"])
def test_every_table_is_read_whole(source: SqlSource, name: str) -> None:
    """No value makes a driver raise: infinities, BC and zero dates, NaN, 2^64-1, hostile names."""
    columns, rows = read(source, table(name))
    assert len(rows) == {"zoo": 5, "zoo_ck": 1004, "MixedCase Table": 2, "zoo_empty": 0}[name]
    assert all(len(row) == len(columns) for row in rows)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["zoo", "zoo_ck", "MixedCase Table"])
def test_every_row_is_found_again(source: SqlSource, name: str) -> None:
    """Keys with colons, empty parts, 2^64-1 and other scripts lead back to their rows."""
    mapping = table(name)
    columns, rows = read(source, mapping)
    described = source.describe(mapping)
    places = [[column.name for column in columns].index(part) for part in described.primary_key]
    kinds = [columns[place].kind for place in places]
    keys = [encode_key(kinds, [row[place] for place in places]) for row in rows]
    assert len(source.read_keys(mapping, described, keys)) == len(rows)


@pytest.mark.parametrize(
    ("engine", "column", "note", "expected"),
    [
        ("postgres", "c_date", "min ends and specials", "0001-01-01 BC"),
        ("postgres", "c_ts", "min ends and specials", "-infinity"),
        ("postgres", "c_num", "min ends and specials", "NaN"),
        ("postgres", "c_tstz", "ordinary", "2024-02-29 07:44:15.123456+00"),  # 13:14 at +05:30
        ("postgres", "c_num3818", "max ends, id > 2^53", "12345678901234567890.123456789012345678"),
        ("postgres", "c_interval", "ordinary", "1 year 2 mons 3 days 04:05:06"),
        ("postgres", "c_textarr", "ordinary", '["a","b,c","d\\"e",null]'),
        ("postgres", "c_comp", "ordinary", '{"street":"Main st","n":5}'),
        ("postgres", "c_bytea", "ordinary", b"\xde\xad\xbe\xef"),
        ("postgres", "c_money", "ordinary", "$9.99"),
        ("postgres", "c_real", "max ends, id > 2^53", 3.4028235e38),
        ("mariadb", "c_dt", "zero id and min ends", "0000-00-00 00:00:00.000000"),
        ("mariadb", "c_date", "unicode and odd dates", "2024-02-31"),
        ("mariadb", "c_time", "max ends, id = 2^64-1", "838:59:59.999999"),
        ("mariadb", "c_dec65", "zero id and min ends", "-0.000000000000000000000000000001"),
        ("mariadb", "c_ts", "ordinary", "2024-02-29 13:14:15.123456"),
        ("mariadb", "c_bit12", "ordinary", b"\x0a\xaa"),
        ("mariadb", "c_latin", "max ends, id = 2^64-1", "ÿ"),
        ("mariadb", "id", "max ends, id = 2^64-1", 2**64 - 1),
        ("sqlite", "c_ts", "max rowid", 1709212455),
        ("sqlite", "c_blob", "unicode", b"\xff\xfe"),
    ],
)
def test_values_are_the_servers_own(source: SqlSource, column: str, note: str, expected: object) -> None:
    """What Python's types cannot hold comes as the text the server prints, in UTC whatever its own zone."""
    columns, rows = read(source, table("zoo"))
    names = [each.name for each in columns]
    (row,) = [row for row in rows if row[names.index("note")] == note]
    assert row[names.index(column)] == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_a_table_without_a_key_asks_for_one(source: SqlSource) -> None:
    """A table without a primary key is an error that names the setting."""
    with pytest.raises(MappingError, match="zoo_nopk has no primary key") as caught:
        source.describe(table("zoo_nopk"))
    assert "primary_key" in str(caught.value.hint)


@pytest.mark.parametrize(("engine", "duplicates"), [("sqlite", 1), ("postgres", 1), ("mariadb", 1)])
def test_a_table_without_a_key_has_faults(source: SqlSource, duplicates: int) -> None:
    """Repeated and NULL keys are counted by the database; SQLite's 1 and 1.0 are one, '1' is another."""
    mapping = table("zoo_nopk", primary_key=("k",))
    assert source.key_faults(mapping, source.describe(mapping)) == KeyFaults(nulls=1, duplicates=duplicates)


@pytest.mark.parametrize("engine", ["sqlite"])
def test_sqlite_lets_nulls_into_a_key(source: SqlSource) -> None:
    """A declared key proves nothing there, so it is counted."""
    mapping = table("zoo_nullpk")
    assert source.key_faults(mapping, source.describe(mapping)).nulls == 2


@pytest.mark.parametrize("engine", ["postgres"])
def test_four_hundred_columns(source: SqlSource) -> None:
    """A wide table is read like any other."""
    columns, rows = read(source, table("zoo_wide"))
    assert (len(columns), len(rows), len(rows[0])) == (401, 1, 401)


@pytest.mark.parametrize("engine", ["sqlite"])
def test_mixed_forms_of_time_are_refused_as_a_watermark(source: SqlSource) -> None:
    """Times with T and with a blank do not sort in order, so rows would be missed."""
    with pytest.raises(MappingError, match="updated_at mixes"):
        read(source, table("zoo", watermark=WatermarkRule(column="updated_at")))
