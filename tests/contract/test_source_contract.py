"""What every source promises, over SQLite, PostgreSQL and MariaDB with the same table of rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from syncer.core.model import CollectionMapping, Kind, Mode, Row, Watermark, WatermarkRule
from syncer.core.plan import RunPlan
from syncer.core.watermark import encode_key
from syncer.errors import MappingError, QueryError, SourceError, SourceUnreachable
from syncer.source import inspection, open_source
from syncer.source.base import Chunk, Described, KeyFaults
from syncer.source.sql import SqlSource

ROOMS = """
CREATE TABLE rooms (
  id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(60), location VARCHAR(60), review_count INTEGER, price DECIMAL(10,2),
  updated_at {moment});
CREATE INDEX rooms_updated_at ON rooms (updated_at);
INSERT INTO rooms VALUES
  (1, 'Sea view',  'Lisbon', 12, 80.50, '2026-01-01 10:00:00.000001'),
  (2, 'Loft',      'Porto',   0, 60.00, '2026-01-01 10:00:00.000002'),
  (3, 'Attic',     'Lisbon',  3, 45.25, '2026-01-01 10:10:00.000000'),
  (4, 'Cabin',     'Faro',    7, 30.00, '2026-01-01 10:10:00.000000'),
  (5, 'Old suite', 'Porto',   1, 99.99, NULL);
"""
MOMENTS = {"sqlite": "DATETIME", "postgres": "TIMESTAMP(6)", "mariadb": "DATETIME(6)"}
#: a later transaction on the same table, while a read goes on
SIXTH = "INSERT INTO rooms VALUES (6, 'New', 'Faro', 0, 10.00, '2026-01-01 10:20:00')"


@dataclass(frozen=True, kw_only=True)
class House:
    """A database with the rooms, and a source on it."""

    engine: str
    url: str
    source: SqlSource
    execute: Callable[[str, str], None]

    def run(self, sql: str) -> None:
        """Change something."""
        self.execute(self.url, sql)

    def read(self, mapping: CollectionMapping, **plan: object) -> list[Chunk]:
        """All chunks of a plan."""
        described = self.source.describe(mapping)
        given = {"mode": Mode.FULL, **plan}
        with self.source.read(RunPlan(mapping=mapping, primary_key=described.primary_key, **given), described) as read:
            return list(read)

    def ids(self, mapping: CollectionMapping, **plan: object) -> list[object]:
        """The first column of all rows of a plan, in read order."""
        return [row[0] for chunk in self.read(mapping, **plan) for row in chunk.rows]


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def house(request: pytest.FixtureRequest, execute_sql: Callable[[str, str], None]) -> Iterator[House]:
    url = request.getfixturevalue(f"{request.param}_url")
    execute_sql(url, ROOMS.format(moment=MOMENTS[request.param]))
    source = open_source("app", url)
    yield House(engine=request.param, url=url, source=source, execute=execute_sql)
    source.close()


QUERY = "SELECT id, name, location, review_count, updated_at FROM rooms"
WATERMARK = WatermarkRule(column="updated_at", lookback=timedelta(0))
ROOMS_MAPPING = CollectionMapping(name="rooms", source="app", query=QUERY, primary_key=("id",), watermark=WATERMARK)
PLAIN = replace(ROOMS_MAPPING, watermark=None)


def with_rule(**changes: object) -> CollectionMapping:
    return replace(ROOMS_MAPPING, watermark=replace(WATERMARK, **changes))


def mark(text: str) -> Watermark:
    return Watermark(kind=Kind.TIMESTAMP, text=text)


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


# --- reading ---------------------------------------------------------------------------------------------------


def test_a_full_read_returns_every_row(house: House) -> None:
    """Without a watermark all rows come, and chunks carry no watermark."""
    chunks = house.read(PLAIN)
    assert sorted(row[0] for chunk in chunks for row in chunk.rows) == [1, 2, 3, 4, 5]
    assert [chunk.watermark for chunk in chunks] == [None]
    assert all(len(row) == 5 for chunk in chunks for row in chunk.rows)


def test_rows_come_in_order_of_watermark_and_key(house: House) -> None:
    """Ties are in order of the key; NULLs come wherever the database sorts them."""
    assert [each for each in house.ids(ROOMS_MAPPING) if each != 5] == [1, 2, 3, 4]


def test_the_watermark_is_the_last_that_is_not_null(house: House) -> None:
    """A NULL watermark does not move it."""
    (chunk,) = house.read(ROOMS_MAPPING)
    assert chunk.watermark is not None
    assert chunk.watermark.kind is Kind.TIMESTAMP
    assert chunk.watermark.text.startswith("2026-01-01 10:10:00")


def test_an_incremental_read_starts_at_the_watermark_ties_included(house: House) -> None:
    """`>=`: rows that tie with the saved watermark are read again, NULLs always."""
    watermark = house.read(ROOMS_MAPPING)[-1].watermark
    assert sorted(house.ids(ROOMS_MAPPING, mode=Mode.INCREMENTAL, watermark=watermark)) == [3, 4, 5]


def test_microseconds_are_not_lost(house: House) -> None:
    """A watermark of .000002 does not bring .000001 back, nor loses itself."""
    (chunk,) = house.read(ROOMS_MAPPING, limit=2, end="2026-01-01 10:05:00")
    assert chunk.watermark is not None
    found = house.ids(ROOMS_MAPPING, mode=Mode.INCREMENTAL, watermark=chunk.watermark)
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
    saved = house.read(mapping)[-1].watermark
    assert sorted(house.ids(mapping, mode=Mode.INCREMENTAL, watermark=saved)) == expected


def test_rows_read_again_do_not_lower_the_watermark(house: House) -> None:
    """Rows of the lookback carry the saved watermark, not their own."""
    mapping = with_rule(lookback=timedelta(days=1))
    saved = house.read(mapping)[-1].watermark
    (chunk,) = house.read(mapping, mode=Mode.INCREMENTAL, watermark=saved, limit=2)
    assert chunk.watermark in (saved, None)
    house.run("DELETE FROM rooms WHERE updated_at IS NULL")
    (chunk,) = house.read(mapping, mode=Mode.INCREMENTAL, watermark=saved, limit=2)
    assert [row[0] for row in chunk.rows] == [1, 2]
    assert chunk.watermark == saved


def test_a_date_in_the_future_does_not_move_the_watermark_there(house: House) -> None:
    """One row stamped 2099 must not hide every later change."""
    house.run("UPDATE rooms SET updated_at = '2099-01-01 00:00:00' WHERE id = 1")
    (chunk,) = house.read(ROOMS_MAPPING)
    assert chunk.watermark is not None
    assert "2026-01-01" < chunk.watermark.text < "2099"
    assert 1 in house.ids(ROOMS_MAPPING, mode=Mode.INCREMENTAL, watermark=chunk.watermark)


@pytest.mark.parametrize(("nulls", "expected"), [("include", [3, 4, 5]), ("skip", [3, 4]), ("error", [3, 4])])
def test_null_watermarks(house: House, nulls: str, expected: list[int]) -> None:
    """Only `nulls: include` reads rows without a watermark in every run."""
    saved = house.read(ROOMS_MAPPING)[-1].watermark
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
    assert house.ids(mapping, mode=Mode.INCREMENTAL, watermark=chunk.watermark) == [3, 4]


def test_integer_watermarks(house: House) -> None:
    """An integer watermark goes on where it stopped, and its lookback is a number."""
    mapping = replace(ROOMS_MAPPING, watermark=WatermarkRule(column="id"))
    saved = house.read(mapping)[-1].watermark
    assert saved == Watermark(kind=Kind.INTEGER, text="5")
    assert house.ids(mapping, mode=Mode.INCREMENTAL, watermark=saved) == [5]
    back = replace(mapping, watermark=WatermarkRule(column="id", lookback=2))
    assert house.ids(back, mode=Mode.INCREMENTAL, watermark=saved) == [3, 4, 5]
    far = replace(mapping, watermark=WatermarkRule(column="id", lookback=2**70))
    assert len(house.ids(far, mode=Mode.INCREMENTAL, watermark=saved)) == 5


def test_text_watermarks(house: House) -> None:
    """A text watermark goes on where it stopped, without a lookback."""
    mapping = replace(ROOMS_MAPPING, watermark=WatermarkRule(column="name"))
    saved = house.read(mapping)[-1].watermark
    assert saved == Watermark(kind=Kind.TEXT, text="Sea view")
    assert house.ids(mapping, mode=Mode.INCREMENTAL, watermark=saved) == [1]


def test_decimal_watermarks(house: House) -> None:
    """A decimal watermark is exact, with a whole number as its lookback."""
    query = "SELECT id, price FROM rooms"
    mapping = replace(ROOMS_MAPPING, query=query, watermark=WatermarkRule(column="price"))
    saved = house.read(mapping)[-1].watermark
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
    saved = house.read(mapping)[-1].watermark
    assert saved == Watermark(kind=Kind.DATE, text="2026-03-01")
    assert house.ids(mapping, mode=Mode.INCREMENTAL, watermark=saved) == [2, 3]


@pytest.mark.parametrize(("column", "lookback"), [("id", timedelta(minutes=5)), ("updated_at", 5)])
def test_a_lookback_of_the_wrong_kind_is_refused(house: House, column: str, lookback: object) -> None:
    """A duration fits no number, and a number fits no time."""
    mapping = replace(ROOMS_MAPPING, watermark=WatermarkRule(column=column, lookback=lookback))
    saved = house.read(mapping)[-1].watermark
    with pytest.raises(MappingError, match="lookback"):
        house.ids(mapping, mode=Mode.INCREMENTAL, watermark=saved)


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
    with pytest.raises(QueryError, match=r"(?i)read.?only"), house.source.asking() as connection:
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
