"""MariaDB's own ways: collations, zero dates, its time zone, and results that must be read or thrown away."""

from __future__ import annotations

from collections.abc import Callable

import pymysql
import pytest
from sqlalchemy.engine import make_url

from syncer.core.model import CollectionMapping, Kind, Mode, Watermark, WatermarkRule
from syncer.core.plan import RunPlan
from syncer.core.watermark import encode_key
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


def rooms(lookback: int | None = 0) -> CollectionMapping:
    rule = WatermarkRule(column="at", lookback=lookback)
    return CollectionMapping(name="rooms", source="app", table="rooms", watermark=rule)


@pytest.mark.parametrize(
    ("sql_type", "values", "expected"),
    [
        ("DATETIME(6)", ["2026-01-01 10:00:00.000001", "2026-01-01 10:00:00.000002"], "2026-01-01 10:00:00.000002"),
        ("DATETIME", ["2026-01-01 10:00:00", "2026-01-01 10:00:01"], "2026-01-01 10:00:01"),
        ("TIMESTAMP(3) NULL", ["2026-01-01 10:00:00.001", "2026-01-01 10:00:00.002"], "2026-01-01 04:30:00.002"),
        ("DATE", ["2026-02-28", "2026-03-01"], "2026-03-01"),
        ("BIGINT UNSIGNED", ["18446744073709551614", "18446744073709551615"], "18446744073709551615"),
        ("YEAR", ["2025", "2026"], "2026"),
        (
            "DECIMAL(65,30)",
            ["1.000000000000000000000000000001", "1.000000000000000000000000000002"],
            "1.000000000000000000000000000002",
        ),
        ("VARCHAR(20)", ["A", "é"], "é"),
    ],
)
def test_a_watermark_of_every_type_comes_back(
    mariadb_url: str, execute_sql: Execute, sql_type: str, values: list[str], expected: str
) -> None:
    """The saved text is exactly the value, and TIMESTAMP is in UTC: the server's zone is +05:30."""
    execute_sql(mariadb_url, f"CREATE TABLE rooms (id INT PRIMARY KEY, at {sql_type}) CHARACTER SET utf8mb4")
    for number, value in enumerate(values, 1):
        execute_sql(mariadb_url, f"INSERT INTO rooms VALUES ({number}, '{value}')")
    source = open_source("app", mariadb_url)
    ids, saved = read(source, rooms())
    assert saved is not None
    assert (ids, saved.text) == ([1, 2], expected)
    assert read(source, rooms(), mode=Mode.INCREMENTAL, watermark=saved)[0] == [2]
    placed = CollectionMapping(
        name="rooms", source="app", query="SELECT * FROM rooms WHERE at >= :watermark", primary_key=("id",),
        watermark=WatermarkRule(column="at", lookback=0),
    )  # fmt: skip
    assert read(source, placed)[0] == [1, 2]
    assert read(source, placed, mode=Mode.INCREMENTAL, watermark=saved)[0] == [2]


def test_an_unsigned_watermark_does_not_underflow(mariadb_url: str, execute_sql: Execute) -> None:
    """A lookback larger than the watermark reads from the beginning."""
    execute_sql(mariadb_url, "CREATE TABLE rooms (id INT PRIMARY KEY, at BIGINT UNSIGNED)")
    execute_sql(mariadb_url, "INSERT INTO rooms VALUES (1, 0), (2, 5)")
    saved = Watermark(kind=Kind.INTEGER, text="5")
    assert read(open_source("app", mariadb_url), rooms(10), mode=Mode.INCREMENTAL, watermark=saved)[0] == [1, 2]


def test_zero_dates_never_become_the_watermark(mariadb_url: str, execute_sql: Execute) -> None:
    """Zero and impossible dates are read, and passed over as watermarks."""
    execute_sql(
        mariadb_url,
        "SET sql_mode = 'ALLOW_INVALID_DATES'; CREATE TABLE rooms (id INT PRIMARY KEY, at DATETIME); "
        "INSERT INTO rooms VALUES (1, '0000-00-00'), (2, '2026-01-31'), (3, '2026-02-31')",
    )
    source = open_source("app", mariadb_url)
    ids, saved = read(source, rooms())
    assert (ids, saved) == ([1, 2, 3], Watermark(kind=Kind.TIMESTAMP, text="2026-01-31 00:00:00"))
    assert read(source, rooms(), mode=Mode.INCREMENTAL, watermark=saved)[0] == [2, 3]


def test_a_lookback_before_all_time_reads_everything(mariadb_url: str, execute_sql: Execute) -> None:
    """The server's arithmetic gives NULL there, which must not mean no rows."""
    execute_sql(mariadb_url, "CREATE TABLE rooms (id INT PRIMARY KEY, at DATETIME)")
    execute_sql(mariadb_url, "INSERT INTO rooms VALUES (1, '0001-01-01 00:00:00')")
    source = open_source("app", mariadb_url)
    rule = WatermarkRule(column="at")
    mapping = CollectionMapping(name="rooms", source="app", table="rooms", watermark=rule)
    saved = Watermark(kind=Kind.TIMESTAMP, text="0000-01-01 00:01:00")
    assert read(source, mapping, mode=Mode.INCREMENTAL, watermark=saved)[0] == [1]


def test_collations_do_not_make_keys_equal(mariadb_url: str, execute_sql: Execute) -> None:
    """`a` and `A` are different ids: no duplicates, and each leads back to its own row."""
    execute_sql(mariadb_url, "CREATE TABLE guests (name VARCHAR(20) COLLATE utf8mb4_general_ci, n INT)")
    execute_sql(mariadb_url, "INSERT INTO guests VALUES ('a', 1), ('A', 2), ('á', 3)")
    source = open_source("app", mariadb_url)
    guests = CollectionMapping(name="guests", source="app", table="guests", primary_key=("name",))
    described = source.describe(guests)
    assert source.key_faults(guests, described).duplicates == 0
    assert source.read_keys(guests, described, [encode_key([Kind.TEXT], ["A"])]) == [("A", 2)]


@pytest.mark.parametrize(
    ("sql_type", "literal"),
    [("BINARY(4)", "x'00ff00ff'"), ("BIT(12)", "b'101010101010'"), ("DECIMAL(10,2)", "1.10"), ("DATE", "'2026-01-31'")],
)
def test_keys_of_unusual_types(mariadb_url: str, execute_sql: Execute, sql_type: str, literal: str) -> None:
    """Bytes, bits, decimals and dates lead back to their rows."""
    execute_sql(mariadb_url, f"CREATE TABLE odd (k {sql_type} PRIMARY KEY); INSERT INTO odd VALUES ({literal})")
    source = open_source("app", mariadb_url)
    odd = CollectionMapping(name="odd", source="app", table="odd")
    (value,), _ = read(source, odd)
    described = source.describe(odd)
    key = encode_key([described.columns[0].kind], [value])
    assert source.read_keys(odd, described, [key]) == [(value,)]


def test_the_servers_zone_shifts_nothing(mariadb_url: str, execute_sql: Execute) -> None:
    """The session is in UTC whatever the server's zone, and consistent reads are read-only."""
    with open_source("app", mariadb_url).snapshot() as connection:
        row = connection.exec_driver_sql("SELECT @@time_zone, @@net_write_timeout, @@tx_isolation").one()
    assert tuple(row) == ("+00:00", 3600, "REPEATABLE-READ")


def test_leaving_early_ends_the_statement_on_the_server(mariadb_url: str, execute_sql: Execute) -> None:
    """After leaving, no statement of ours goes on: its result is not read to the end first."""
    source = open_source("app", mariadb_url)
    query = "SELECT seq AS id, REPEAT('x', 1000) AS filler FROM seq_1_to_100000000"  # 100 GB
    wanted = CollectionMapping(name="r", source="app", query=query, primary_key=("id",))
    described = source.describe(wanted)
    with source.read(RunPlan(mapping=wanted, primary_key=("id",), mode=Mode.FULL), described) as chunks:
        assert next(chunks).rows
    parsed = make_url(mariadb_url)
    with (
        pymysql.connect(host=parsed.host, port=parsed.port or 0, user="root") as connection,
        connection.cursor() as cursor,
    ):
        for _ in range(1000):
            cursor.execute(
                "SELECT COUNT(*) FROM information_schema.processlist "
                "WHERE info LIKE '%seq_1_to_1%' AND id <> CONNECTION_ID()"
            )
            if cursor.fetchone() == (0,):
                return
            cursor.execute("DO SLEEP(0.01)")
    pytest.fail("the statement still runs")


def test_a_function_that_writes_is_refused(mariadb_url: str, execute_sql: Execute) -> None:
    """A SELECT that would write fails."""
    execute_sql(
        mariadb_url,
        "CREATE TABLE log (n INT); CREATE FUNCTION touch() RETURNS INT MODIFIES SQL DATA "
        "BEGIN INSERT INTO log VALUES (1); RETURN 1; END",
    )
    wanted = CollectionMapping(name="x", source="app", query="SELECT touch() AS id", primary_key=("id",))
    with pytest.raises(QueryError, match=r"(?i)read.only"):
        read(open_source("app", mariadb_url), wanted)


def test_ansi_quotes_do_not_bite(mariadb_url: str, execute_sql: Execute) -> None:
    """Our own SQL reads the same under the server's strictest modes."""
    execute_sql(mariadb_url, "CREATE TABLE rooms (id INT PRIMARY KEY, at DATETIME)")
    execute_sql(mariadb_url, "INSERT INTO rooms VALUES (1, '2026-01-01')")
    url = f"{mariadb_url}&sql_mode=ANSI,TRADITIONAL,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH"
    source = open_source("app", url)
    _, saved = read(source, rooms(None))
    assert read(source, rooms(None), mode=Mode.INCREMENTAL, watermark=saved)[0] == [1]


def test_a_bound_that_is_no_time_is_refused(mariadb_url: str, execute_sql: Execute) -> None:
    """The server would make NULL of it and find no rows."""
    execute_sql(mariadb_url, "CREATE TABLE rooms (id INT PRIMARY KEY, at DATETIME)")
    with pytest.raises(MappingError, match="'soon' is no DATETIME"):
        read(open_source("app", mariadb_url), rooms(), end="soon")


def test_a_lost_connection_is_not_called_a_bad_query(mariadb_url: str, execute_sql: Execute) -> None:
    """When the server ends the connection in the middle, the source is unreachable, and the checkpoint safe."""
    execute_sql(
        mariadb_url,
        "CREATE TABLE rooms (id int PRIMARY KEY, name varchar(200));"
        # 40 MB: what the two sockets hold between them would be read to its end in spite of the kill.
        " INSERT INTO rooms SELECT seq, repeat('x', 200) FROM seq_1_to_200000",
    )
    source = open_source("app", mariadb_url)
    mapping = CollectionMapping(name="rooms", source="app", table="rooms")
    described = source.describe(mapping)
    with source.read(RunPlan(mapping=mapping, primary_key=("id",), mode=Mode.FULL), described) as chunks:
        next(chunks)
        kill_all_readers(mariadb_url)
        with pytest.raises(SourceUnreachable, match="the connection was lost"):
            list(chunks)


def test_a_connection_lost_after_the_last_row_costs_nothing(mariadb_url: str, execute_sql: Execute) -> None:
    """Everything was read: there is nothing to fail for, and the next read connects again."""
    execute_sql(mariadb_url, "CREATE TABLE rooms (id int PRIMARY KEY); INSERT INTO rooms SELECT seq FROM seq_1_to_9")
    source = open_source("app", mariadb_url)
    mapping = CollectionMapping(name="rooms", source="app", table="rooms")
    plan = RunPlan(mapping=mapping, primary_key=("id",), mode=Mode.FULL)
    described = source.describe(mapping)
    with source.read(plan, described) as chunks:
        assert sum(len(chunk.rows) for chunk in chunks) == 9
        kill_all_readers(mariadb_url)
    with source.read(plan, described) as chunks:
        assert sum(len(chunk.rows) for chunk in chunks) == 9


def kill_all_readers(url: str) -> None:
    """End every other connection to the database."""
    place = make_url(url)
    with pymysql.connect(host=place.host, port=place.port or 3306, user=place.username, autocommit=True) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (place.database,))
        for (number,) in cursor.fetchall():
            cursor.execute("KILL %s", (number,))
