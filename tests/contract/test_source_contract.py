"""What every source promises, over SQLite, PostgreSQL and MariaDB: columns, snapshots, keys."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contract.source_rooms import PLAIN, QUERY, ROOMS_MAPPING, SIXTH, WATERMARK, House

from syncer.core.model import CollectionMapping, Kind, Mode, Row, WatermarkRule
from syncer.core.plan import RunPlan
from syncer.core.watermark import encode_key
from syncer.errors import MappingError, QueryError, SourceError, SourceUnreachable
from syncer.source import inspection, open_source
from syncer.source.base import Described, KeyFaults

pytest_plugins = ["contract.source_fixtures"]


# --- count -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "since", "rows"), [(PLAIN, False, 5), (ROOMS_MAPPING, False, 5), (ROOMS_MAPPING, True, 3)]
)
def test_count_tells_what_a_plan_reads(house: House, mapping: CollectionMapping, since: bool, rows: int) -> None:
    """As many rows as reading finds, from the watermark on or all, and never more than are asked for."""
    described = house.source.describe(mapping)
    last = house.read(mapping)[-1].mark.watermark if since else None
    plan = RunPlan(mapping=mapping, primary_key=("id",), mode=Mode.FULL, watermark=last)
    with house.source.read(plan, described) as chunks:
        assert rows == sum(len(chunk.rows) for chunk in chunks)
    assert [house.source.count(plan, described, most) for most in (1, rows, 1_000)] == [1, rows, rows]


# --- describe --------------------------------------------------------------------------------------------------


def test_describe_names_columns_in_order(house: House) -> None:
    """The columns come in the order of the query, with the kinds of their types."""
    described = house.source.describe(ROOMS_MAPPING)
    assert [(column.name, column.kind) for column in described.columns] == [
        ("id", Kind.INTEGER), ("name", Kind.TEXT), ("location", Kind.TEXT), ("review_count", Kind.INTEGER),
        ("updated_at", Kind.TIMESTAMP),
    ]  # fmt: skip
    assert described.primary_key == ("id",)
    assert described.watermark == "updated_at"


def test_describe_tells_the_scale_of_decimals(house: House) -> None:
    """DECIMAL(10,2) has scale 2."""
    described = house.source.describe(replace(PLAIN, query="SELECT id, price FROM rooms"))
    assert (described.columns[1].kind, described.columns[1].scale) == (Kind.DECIMAL, 2)


def test_describe_finds_names_in_another_case(house: House) -> None:
    """A key or watermark in another case is found when there is only one such column."""
    mapping = replace(ROOMS_MAPPING, primary_key=("ID",), watermark=replace(WATERMARK, column="Updated_At"))
    described = house.source.describe(mapping)
    assert (described.primary_key, described.watermark) == (("id",), "updated_at")


def test_describe_reads_the_key_of_a_table(house: House) -> None:
    """A mapping of a table has the table's own key and all of its columns."""
    described = house.source.describe(CollectionMapping(name="rooms", source="app", table="rooms"))
    assert described.primary_key == ("id",)
    assert [column.name for column in described.columns][-2:] == ["price", "updated_at"]


def test_describe_reads_a_composite_key_in_its_order(house: House) -> None:
    """The parts of a table's key come in the key's order, not in the table's."""
    house.run("CREATE TABLE nights (day INTEGER NOT NULL, room INTEGER NOT NULL, PRIMARY KEY (room, day))")
    described = house.source.describe(CollectionMapping(name="nights", source="app", table="nights"))
    assert described.primary_key == ("room", "day")


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"primary_key": ("room_id",)}, "primary_key room_id is no column", "id"),
        ({"primary_key": ("nmae",)}, "there are: id, name, location", "did you mean name?"),
        ({"primary_key": ()}, "has no primary key", "primary_key: id"),
        ({"watermark": WatermarkRule(column="updated")}, "watermark updated is no column", "updated_at?"),
        ({"query": "SELECT id, name AS id, updated_at FROM rooms"}, "the same name", "AS"),
        ({"query": "SELECT id, updated_at FROM rooms LIMIT 3"}, "its own LIMIT", "run --limit"),
        ({"query": f"{QUERY}; {QUERY}"}, "several statements", "one mapping per statement"),
        ({"query": "DELETE FROM rooms"}, "does not begin with SELECT", "only reads"),
    ],
)
def test_describe_refuses(house: House, changes: dict[str, object], message: str, hint: str) -> None:
    """A mapping that does not fit its query is an error that says how to fit it."""
    with pytest.raises(MappingError) as caught:
        house.source.describe(replace(ROOMS_MAPPING, **changes))
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_describe_refuses_a_float_watermark(house: House) -> None:
    """Floats tie and round, so they are no watermark."""
    floating = "DOUBLE PRECISION" if house.engine != "mariadb" else "DOUBLE"
    house.run(f"CREATE TABLE scores (id INTEGER PRIMARY KEY, score {floating})")
    mapping = CollectionMapping(name="s", source="app", table="scores", watermark=WatermarkRule(column="score"))
    with pytest.raises(MappingError, match="floats tie"):
        house.source.describe(mapping)


def test_a_missing_table_names_the_nearest(house: House) -> None:
    """A table that is not there is an error with the name that is nearest."""
    with pytest.raises(MappingError, match="no table romos") as caught:
        house.source.describe(CollectionMapping(name="rooms", source="app", table="romos"))
    assert caught.value.hint == "did you mean rooms?"


def test_the_database_speaks_for_itself(house: House) -> None:
    """A statement the database refuses fails with its own words."""
    with pytest.raises(QueryError, match="colour"):
        house.source.describe(replace(PLAIN, query="SELECT id, colour FROM rooms"))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, '12:30' AS opens, '100%' AS share, '%s %(x)s :foo' AS odd FROM rooms -- a comment",
        "WITH cheap AS (SELECT id FROM rooms WHERE price < 50) SELECT id, 'a;b' AS x FROM cheap;",
        "SELECT id FROM rooms /* ; LIMIT */ ORDER BY id",
    ],
)
def test_any_query_can_be_wrapped(house: House, query: str) -> None:
    """Colons, percents, comments, CTEs and ORDER BY in a query change nothing."""
    rows = [row for chunk in house.read(replace(PLAIN, query=query)) for row in chunk.rows]
    assert rows
    if "opens" in query:
        assert rows[0][1:] == ("12:30", "100%", "%s %(x)s :foo")


# --- snapshots, and leaving ------------------------------------------------------------------------------------


def grow(house: House) -> None:
    """Enough rooms for several chunks."""
    values = ", ".join(f"({n}, 'Room {n}', 'Faro', 0, 1.00, '2026-01-01 11:00:00')" for n in range(100, 3100))
    if house.engine == "sqlite":
        house.run("PRAGMA journal_mode = WAL")  # the only mode in which a reader does not keep writers waiting
    house.run(f"INSERT INTO rooms VALUES {values}")


def test_a_read_sees_one_snapshot(house: House) -> None:
    """What is committed while the read goes on is not in it, and is in the next."""
    grow(house)
    described = house.source.describe(ROOMS_MAPPING)
    plan = RunPlan(mapping=ROOMS_MAPPING, primary_key=("id",), mode=Mode.FULL)
    with house.source.read(plan, described) as chunks:
        seen = list(next(chunks).rows)
        house.run(SIXTH)
        house.run("UPDATE rooms SET name = 'changed' WHERE id >= 3000")
        seen += [row for chunk in chunks for row in chunk.rows]
    assert len(seen) == 3005
    assert "changed" not in {row[1] for row in seen}
    assert len(house.ids(ROOMS_MAPPING)) == 3006


def test_a_snapshot_begins_at_once_and_stays(house: House) -> None:
    """What is committed after its beginning is in none of its statements, the first included."""
    if house.engine == "sqlite":
        house.run("PRAGMA journal_mode = WAL")
    count = "SELECT count(*) FROM rooms"
    with house.source.snapshot() as connection:
        house.run(SIXTH)
        first = connection.exec_driver_sql(count).scalar()
        house.run("DELETE FROM rooms WHERE id < 3")
        assert (first, connection.exec_driver_sql(count).scalar()) == (5, 5)
    with house.source.snapshot() as connection:
        assert connection.exec_driver_sql(count).scalar() == 4


def test_leaving_early_leaves_nothing_behind(house: House) -> None:
    """After the first chunk of many the connection is gone, its transaction with it."""
    grow(house)
    described = house.source.describe(ROOMS_MAPPING)
    plan = RunPlan(mapping=ROOMS_MAPPING, primary_key=("id",), mode=Mode.FULL)
    with house.source.read(plan, described) as chunks:
        assert next(chunks).rows
    house.run("ALTER TABLE rooms ADD COLUMN stars INTEGER")  # waits for every transaction on the table
    assert len(house.ids(ROOMS_MAPPING)) == 3005


def test_an_error_of_the_reader_passes_through(house: House) -> None:
    """What goes wrong with the rows outside is not called a failure of the database."""
    grow(house)
    described = house.source.describe(ROOMS_MAPPING)
    plan = RunPlan(mapping=ROOMS_MAPPING, primary_key=("id",), mode=Mode.FULL)

    def read_and_fail() -> None:
        with house.source.read(plan, described) as chunks:
            assert next(chunks).rows[0][0] / 0

    with pytest.raises(ZeroDivisionError):
        read_and_fail()


def test_nothing_can_be_written(house: House) -> None:
    """The database itself refuses to write through the source's connection."""
    with pytest.raises(QueryError, match=r"(?i)read.?only"), house.source.snapshot() as connection:
        connection.exec_driver_sql("INSERT INTO rooms (id) VALUES (77)")
    assert 77 not in house.ids(PLAIN)


# --- keys ------------------------------------------------------------------------------------------------------


def described_keys(house: House, mapping: CollectionMapping) -> tuple[Described, list[str], list[Row]]:
    """The keys of all rows, as the pipeline encodes them."""
    described = house.source.describe(mapping)
    kinds = {column.name: (index, column.kind) for index, column in enumerate(described.columns)}
    parts = [kinds[name] for name in described.primary_key]
    rows = [row for chunk in house.read(mapping) for row in chunk.rows]
    return described, [encode_key([kind for _, kind in parts], [row[at] for at, _ in parts]) for row in rows], rows


@pytest.mark.parametrize("key", [("id",), ("name",), ("id", "location"), ("price",)])
def test_rows_are_found_again_by_key(house: House, key: tuple[str, ...]) -> None:
    """Keys lead back to the current rows; absent ones are left out."""
    mapping = CollectionMapping(name="rooms", source="app", table="rooms", primary_key=key)
    described, keys, rows = described_keys(house, mapping)
    assert sorted(house.source.read_keys(mapping, described, keys)) == sorted(rows)
    house.run("DELETE FROM rooms WHERE id = 3")
    assert len(house.source.read_keys(mapping, described, keys)) == 4


def test_many_keys_are_read_in_parts(house: House) -> None:
    """There is no limit to the number of keys."""
    grow(house)
    described, keys, _ = described_keys(house, PLAIN)
    assert len(house.source.read_keys(PLAIN, described, keys[:1050])) == 1050
    assert house.source.read_keys(PLAIN, described, []) == []


def test_key_faults_are_counted(house: House) -> None:
    """NULL parts, ids with more than one row, and NULL watermarks."""
    house.run("INSERT INTO rooms VALUES (7, NULL, 'Faro', 0, 1, NULL), (8, 'Loft', 'X', 0, 1, NULL)")
    mapping = replace(ROOMS_MAPPING, primary_key=("name",))
    faults = house.source.key_faults(mapping, house.source.describe(mapping))
    assert faults == KeyFaults(nulls=1, duplicates=1, null_watermarks=3)


def test_an_own_key_has_no_faults(house: House) -> None:
    """A table's own key is sound; its watermark is counted all the same."""
    mapping = CollectionMapping(name="rooms", source="app", table="rooms", watermark=WATERMARK)
    assert house.source.key_faults(mapping, house.source.describe(mapping)) == KeyFaults(null_watermarks=1)


# --- looking around ---------------------------------------------------------------------------------------------


def test_tables_are_found_with_key_and_watermark(house: House) -> None:
    """Every table and view comes with what a mapping of it would need."""
    house.run("CREATE VIEW cheap AS SELECT id, name FROM rooms WHERE price < 50")
    found = {table.name: table for table in inspection.tables(house.source)}
    assert set(found) == {"rooms", "cheap"}
    assert (found["rooms"].primary_key, found["rooms"].watermark) == (("id",), "updated_at")
    assert (found["cheap"].primary_key, found["cheap"].watermark) == ((), None)
    assert [column.name for column in found["cheap"].columns] == ["id", "name"]


def test_an_index_on_the_watermark_is_seen(house: House) -> None:
    """An index counts only when it begins with the column; of a query nobody knows."""
    table = CollectionMapping(name="rooms", source="app", table="rooms")
    house.run("CREATE INDEX by_place ON rooms (location, review_count)")
    seen = [inspection.has_watermark_index(house.source, table, name) for name in ("updated_at", "id", "review_count")]
    assert seen == [True, True, False]
    assert inspection.has_watermark_index(house.source, ROOMS_MAPPING, "updated_at") is None


def test_an_estimate_is_cheap_or_none(house: House) -> None:
    """PostgreSQL's planner guesses the rows of a query; the others are not asked."""
    assert (inspection.estimate(house.source, ROOMS_MAPPING) is not None) is (house.engine == "postgres")


# --- the source itself -----------------------------------------------------------------------------------------


def test_identity_is_stable_and_secret_free(house: House) -> None:
    """Two sources on one database are the same."""
    other = open_source("again", house.url)
    assert other.identity() == house.source.identity()
    assert "root@" not in other.identity()
    other.close()


def test_close_twice(house: House) -> None:
    """Closing is idempotent."""
    house.source.close()
    house.source.close()


def test_values_stay_out_of_errors(house: House) -> None:
    """A query that fails on a row's value does not tell the value."""
    house.run("UPDATE rooms SET name = 'secret-guest' WHERE id = 1")
    failing = {
        "postgres": "SELECT id, CAST(name AS integer) AS n FROM rooms",
        "mariadb": "SELECT id, (SELECT name FROM rooms) AS n FROM rooms",
        "sqlite": "SELECT id, json_extract(name, '$') AS n FROM rooms",
    }[house.engine]
    with pytest.raises(SourceError) as caught:
        house.read(replace(PLAIN, query=failing))
    assert "secret-guest" not in f"{caught.value.message} {caught.value.hint} {caught.value!r}"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("postgresql://app:hunter2@127.0.0.1:1/db", "host, port, user"),
        ("mysql://app:hunter2@127.0.0.1:1/db", "host, port, user"),
        ("sqlite:////nowhere/rooms.db", "path"),
    ],
)
def test_a_database_that_is_not_there(url: str, hint: str) -> None:
    """No connection is an error with the reason and without the password."""
    source = open_source("app", url)
    with pytest.raises(SourceUnreachable) as caught:
        source.identity()
    assert "hunter2" not in caught.value.message
    assert hint in str(caught.value.hint)
    source.close()
