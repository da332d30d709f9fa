"""PostgreSQL's own ways: open transactions, functions that write, poolers, privileges, types as watermarks."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy.engine import make_url

from syncer.core.model import CollectionMapping, Kind, Mode, Watermark, WatermarkRule
from syncer.core.plan import RunPlan
from syncer.errors import MappingError, QueryError, SourceUnreachable
from syncer.source import open_source
from syncer.source.sql import SqlSource

Execute = Callable[[str, str], None]


def read(source: SqlSource, wanted: CollectionMapping, **plan: object) -> tuple[list[object], Watermark | None]:
    described = source.describe(wanted)
    given = {"mode": Mode.FULL, **plan}
    with source.read(RunPlan(mapping=wanted, primary_key=described.primary_key, **given), described) as chunks:
        read = list(chunks)
    return [row[0] for chunk in read for row in chunk.rows], read[-1].mark.watermark if read else None


def connect(url: str, **more: object) -> psycopg.Connection[tuple[object, ...]]:
    parsed = make_url(url)
    return psycopg.connect(
        host=parsed.host, port=parsed.port, user="postgres", dbname=parsed.database, connect_timeout=5, **more
    )


@pytest.mark.parametrize(
    ("sql_type", "values", "expected"),
    [
        ("timestamptz", ["2026-01-01 10:00:00.000001+02", "2026-01-01 10:00:00.000002+02"],
         "2026-01-01 08:00:00.000002+00"),
        ("timestamp(3)", ["2026-01-01 10:00:00.001", "2026-01-01 10:00:00.002"], "2026-01-01 10:00:00.002"),
        ("timestamp", ["0044-03-14 12:00 BC", "0044-03-15 12:00 BC"], "0044-03-15 12:00:00 BC"),
        ("numeric(38,18)", ["1.000000000000000001", "1.000000000000000002"], "1.000000000000000002"),
        ("numeric", ["1e30", "1000000000000000000000000000000.5"], "1000000000000000000000000000000.5"),
        ("bigint", ["9223372036854775806", "9223372036854775807"], "9223372036854775807"),
        ("smallint", ["-2", "-1"], "-1"),
        ("date", ["2026-02-28", "2026-03-01"], "2026-03-01"),
        ("text", ["A", "é"], "é"),
        ("char(5)", ["A", "B"], "B    "),
        ("uuid", ["00000000-0000-0000-0000-000000000001", "ffffffff-0000-0000-0000-000000000001"],
         "ffffffff-0000-0000-0000-000000000001"),
    ],
)  # fmt: skip
def test_a_watermark_of_every_type_comes_back(
    postgres_url: str, execute_sql: Execute, sql_type: str, values: list[str], expected: str
) -> None:
    """The saved text is exactly the value: `>=` finds its row and not the one before."""
    execute_sql(postgres_url, f"CREATE TABLE rooms (id int PRIMARY KEY, at {sql_type})")
    for number, value in enumerate(values, 1):
        execute_sql(postgres_url, f"INSERT INTO rooms VALUES ({number}, '{value}')")
    source = open_source("app", postgres_url)
    rooms = CollectionMapping(
        name="rooms", source="app", table="rooms", watermark=WatermarkRule(column="at", lookback=0)
    )
    ids, saved = read(source, rooms)
    assert saved is not None
    assert (ids, saved.text) == ([1, 2], expected)
    assert read(source, rooms, mode=Mode.INCREMENTAL, watermark=saved)[0] == [2]
    placed = CollectionMapping(
        name="rooms", source="app", query="SELECT * FROM rooms WHERE at >= :watermark", primary_key=("id",),
        watermark=WatermarkRule(column="at", lookback=0),
    )  # fmt: skip
    assert read(source, placed)[0] == [1, 2]
    assert read(source, placed, mode=Mode.INCREMENTAL, watermark=saved)[0] == [2]


def test_infinity_never_becomes_the_watermark(postgres_url: str, execute_sql: Execute) -> None:
    """Rows at infinity are read by every run, and the watermark stays at the last real time."""
    execute_sql(postgres_url, "CREATE TABLE rooms (id int PRIMARY KEY, at timestamptz)")
    execute_sql(postgres_url, "INSERT INTO rooms VALUES (1, '-infinity'), (2, '2026-01-01Z'), (3, 'infinity')")
    source = open_source("app", postgres_url)
    rooms = CollectionMapping(name="rooms", source="app", table="rooms", watermark=WatermarkRule(column="at"))
    _, saved = read(source, rooms)
    assert saved == Watermark(kind=Kind.INSTANT, text="2026-01-01 00:00:00+00")
    assert read(source, rooms, mode=Mode.INCREMENTAL, watermark=saved)[0] == [2, 3]


def test_a_commit_that_comes_late_is_not_lost(postgres_url: str, execute_sql: Execute) -> None:
    """The watermark does not pass the start of a transaction that is still open, even if it wrote nothing yet."""
    execute_sql(postgres_url, "CREATE TABLE rooms (id int PRIMARY KEY, at timestamptz DEFAULT now())")
    source = open_source("app", postgres_url)
    rooms = CollectionMapping(
        name="rooms", source="app", table="rooms", watermark=WatermarkRule(column="at", lookback=0)
    )
    with connect(postgres_url) as slow:
        slow.execute("SELECT now()")  # its time is taken; it holds no transaction number
        execute_sql(postgres_url, "INSERT INTO rooms VALUES (1, now() + interval '1 hour')")
        ids, saved = read(source, rooms)
        assert ids == [1]
        slow.execute("INSERT INTO rooms VALUES (2)")
    assert read(source, rooms, mode=Mode.INCREMENTAL, watermark=saved)[0] == [2, 1]


def test_a_function_that_writes_is_refused(postgres_url: str, execute_sql: Execute) -> None:
    """A SELECT that would write fails, and writes nothing."""
    execute_sql(
        postgres_url,
        "CREATE TABLE log (n int); CREATE FUNCTION touch() RETURNS int LANGUAGE sql AS "
        "$$ INSERT INTO log VALUES (1) RETURNING n $$",
    )
    source = open_source("app", postgres_url)
    with pytest.raises(QueryError, match="read-only transaction"):
        read(source, CollectionMapping(name="x", source="app", query="SELECT touch() AS id", primary_key=("id",)))
    with connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM log").fetchone() == (0,)


def test_no_setting_outlives_the_transaction(postgres_url: str, execute_sql: Execute) -> None:
    """Settings are the transaction's own, so that a pooler's next client does not inherit them."""
    source = open_source("app", postgres_url)
    with source.snapshot() as connection:
        assert connection.exec_driver_sql("SHOW TimeZone").scalar() == "UTC"
        connection.rollback()
        assert connection.exec_driver_sql("SHOW TimeZone").scalar() == "Asia/Kolkata"


def test_a_user_who_may_not_read(postgres_url: str, execute_sql: Execute) -> None:
    """A missing privilege is told with the GRANT to give; the identity does not need one."""
    execute_sql(
        postgres_url, "CREATE TABLE rooms (id int PRIMARY KEY); DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN"
    )
    url = make_url(postgres_url).set(username="guest").render_as_string(hide_password=False)
    source = open_source("app", url)
    rooms = CollectionMapping(name="rooms", source="app", table="rooms")
    with pytest.raises(QueryError, match="permission denied for table rooms") as caught:
        source.describe(rooms)
    assert "SELECT" in str(caught.value.hint)
    assert source.identity() == open_source("app", postgres_url).identity()
    execute_sql(postgres_url, "GRANT SELECT ON rooms TO guest")
    assert read(source, rooms)[0] == []
    execute_sql(postgres_url, "REVOKE ALL ON rooms FROM guest; DROP ROLE guest")


@pytest.mark.parametrize("table", ["hotel.rooms", "odd.name", "hotel.odd:na%me"])
def test_tables_are_found_by_schema_or_by_their_very_name(postgres_url: str, execute_sql: Execute, table: str) -> None:
    """A table of exactly this name comes first; then the text before the dot is a schema."""
    execute_sql(
        postgres_url,
        'CREATE SCHEMA hotel; CREATE TABLE hotel.rooms (id int PRIMARY KEY); CREATE TABLE "odd.name" '
        '(id int PRIMARY KEY); CREATE TABLE hotel."odd:na%me" (id int PRIMARY KEY)',
    )
    source = open_source("app", postgres_url)
    assert source.describe(CollectionMapping(name="r", source="app", table=table)).primary_key == ("id",)


def test_strange_column_names(postgres_url: str, execute_sql: Execute) -> None:
    """Colons, percents, quotes and blanks in names reach the database as they are."""
    names = ["a:b", "50% off", 'the "best"', "per cent %s", "\\", "back\\:slash"]
    columns = ", ".join('"' + name.replace('"', '""') + '" int' for name in names)
    execute_sql(postgres_url, f"CREATE TABLE odd (id int PRIMARY KEY, {columns})")
    source = open_source("app", postgres_url)
    for name in names:
        odd = CollectionMapping(name="odd", source="app", table="odd", watermark=WatermarkRule(column=name))
        assert read(source, odd)[0] == []
    assert [column.name for column in source.describe(odd).columns] == ["id", *names]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_usual_url_is_understood(postgres_url: str, scheme: str) -> None:
    """The driver named in the URL does not matter."""
    source = open_source("app", postgres_url.replace("postgresql+psycopg", scheme))
    assert source.identity().startswith("postgresql:")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("snowflake://user:hunter2@account/db", "pip install 'syncer[snowflake]'"),
        ("nosuch://user:hunter2@host/db", "dialect for nosuch"),
        ("user:hunter2@host", "postgresql://user:password@host"),
        ("postgresql://user:hunter2@host:port/db", "postgresql://user:password@host"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, hint: str) -> None:
    """A missing driver names the extra to install; the password stays unsaid."""
    with pytest.raises(SourceUnreachable) as caught:
        open_source("app", url)
    assert hint in str(caught.value.hint)
    assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"


def test_a_changed_type_is_not_read_on(postgres_url: str, execute_sql: Execute) -> None:
    """A watermark saved as a number is refused by a column that became a time."""
    execute_sql(postgres_url, "CREATE TABLE rooms (id int PRIMARY KEY, at timestamptz)")
    rooms = CollectionMapping(name="rooms", source="app", table="rooms", watermark=WatermarkRule(column="at"))
    saved = Watermark(kind=Kind.INTEGER, text="5")
    with pytest.raises(MappingError, match="has the type integer, but column at now has instant") as caught:
        read(open_source("app", postgres_url), rooms, mode=Mode.INCREMENTAL, watermark=saved)
    assert "--full" in str(caught.value.hint)


def test_the_index_on_the_watermark_is_used(postgres_url: str, execute_sql: Execute) -> None:
    """No function stands on the column, so an incremental read need not scan the table."""
    execute_sql(
        postgres_url,
        "CREATE TABLE rooms (id int PRIMARY KEY, at timestamptz); CREATE INDEX ON rooms (at); "
        "INSERT INTO rooms SELECT n, timestamptz '2026-01-01Z' + n * interval '1 hour' "
        "FROM generate_series(1, 50000) n; "
        "ANALYZE rooms; "
        "CREATE FUNCTION scans() RETURNS bigint LANGUAGE sql AS "
        "$$ SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'rooms' $$",
    )
    source = open_source("app", postgres_url)
    rooms = CollectionMapping(
        name="rooms", source="app", query="SELECT id, at FROM rooms", primary_key=("id",),
        watermark=WatermarkRule(column="at"),
    )  # fmt: skip
    with connect(postgres_url) as connection:
        before = connection.execute("SELECT scans()").fetchone()
    saved = Watermark(kind=Kind.INSTANT, text="2031-09-01 00:00:00+00")
    assert len(read(source, rooms, mode=Mode.INCREMENTAL, watermark=saved)[0]) < 1000
    with connect(postgres_url) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        assert connection.execute("SELECT scans()").fetchone() == before


def test_a_lost_connection_is_not_called_a_bad_query(postgres_url: str, execute_sql: Execute) -> None:
    """When the server ends the connection, the source is unreachable, and the checkpoint safe."""
    execute_sql(
        postgres_url, "CREATE TABLE rooms (id int PRIMARY KEY); INSERT INTO rooms SELECT generate_series(1, 5000)"
    )
    source = open_source("app", postgres_url)
    rooms = CollectionMapping(name="rooms", source="app", table="rooms")
    described = source.describe(rooms)
    plan = RunPlan(mapping=rooms, primary_key=("id",), mode=Mode.FULL)
    with source.read(plan, described) as chunks:
        next(chunks)
        execute_sql(
            postgres_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'syncer%'"
        )
        with pytest.raises(SourceUnreachable, match="the connection was lost"):
            list(chunks)


def test_leaving_a_lost_connection_early_is_no_error_of_its_own(postgres_url: str, execute_sql: Execute) -> None:
    """Whoever wants no more rows does not hear that there would have been none."""
    execute_sql(
        postgres_url, "CREATE TABLE rooms (id int PRIMARY KEY); INSERT INTO rooms SELECT generate_series(1, 5000)"
    )
    source = open_source("app", postgres_url)
    rooms = CollectionMapping(name="rooms", source="app", table="rooms")
    described = source.describe(rooms)
    with source.read(RunPlan(mapping=rooms, primary_key=("id",), mode=Mode.FULL), described) as chunks:
        next(chunks)
        execute_sql(
            postgres_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'syncer%'"
        )
