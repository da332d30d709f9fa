"""SQLite's own ways: times as text or numbers, no types to rely on, a file that must stay as it is."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from syncer.core.model import CollectionMapping, Kind, Mode, Watermark, WatermarkRule
from syncer.core.plan import RunPlan
from syncer.errors import MappingError, SourceUnreachable
from syncer.source import open_source
from syncer.source.sql import SqlSource
from syncer.source.text_times import form_of

Execute = Callable[[str, str], None]


def make(url: str, execute_sql: Execute, declared: str, values: Sequence[str]) -> SqlSource:
    execute_sql(url, f"CREATE TABLE IF NOT EXISTS reviews (id INTEGER PRIMARY KEY, at {declared})")
    for value in values:
        execute_sql(url, f"INSERT INTO reviews (at) VALUES ({value})")
    return open_source("app", url)


def mapping(lookback: timedelta | int | None = None) -> CollectionMapping:
    rule = WatermarkRule(column="at", lookback=lookback)
    return CollectionMapping(name="reviews", source="app", table="reviews", watermark=rule)


def read(source: SqlSource, wanted: CollectionMapping, **plan: object) -> tuple[list[object], Watermark | None]:
    described = source.describe(wanted)
    given = {"mode": Mode.FULL, **plan}
    with source.read(RunPlan(mapping=wanted, primary_key=described.primary_key, **given), described) as chunks:
        read = list(chunks)
    return [row[0] for chunk in read for row in chunk.rows], read[-1].mark.watermark if read else None


@pytest.mark.parametrize("declared", ["TEXT", "DATETIME", ""])
@pytest.mark.parametrize(
    ("old", "last", "lookback", "expected"),
    [
        # 10:20 - 5m = 10:15
        (["2026-01-01T10:14:59Z", "2026-01-01T10:15:00Z"], "2026-01-01T10:20:00Z", None, [2, 3]),
        (["2026-01-01 10:14:59", "2026-01-01 10:15:00"], "2026-01-01 10:20:00", None, [2, 3]),
        # over midnight and the end of the year: 00:02 - 5m = 23:57
        (["2025-12-31 23:56:59", "2025-12-31 23:57:00"], "2026-01-01 00:02:00", None, [2, 3]),
        # fractions written or left out: .999999 must not be rounded up, 10:20 is the minute of 10:20:00.5
        (["2026-01-01T10:19:59.9Z", "2026-01-01T10:20:00Z"], "2026-01-01T10:20:59.999999Z", timedelta(0), [2, 3]),
        (["2026-01-01T10:19:59+00:00", "2026-01-01T10:20:00+00:00"], "2026-01-01T10:20:00+00:00", timedelta(0), [2, 3]),
        # dates: a day
        (["2026-02-27", "2026-02-28"], "2026-03-01", None, [2, 3]),
        # times of the minute only
        (["2026-01-01T10:14", "2026-01-01T10:15"], "2026-01-01T10:20", None, [2, 3]),
    ],
)
def test_times_as_text(
    sqlite_url: str,
    execute_sql: Execute,
    declared: str,
    old: list[str],
    last: str,
    lookback: timedelta | None,
    expected: list[int],
) -> None:
    """The lookback is subtracted in the text's own form, and never rounds up."""
    source = make(sqlite_url, execute_sql, declared, [f"'{each}'" for each in [*old, last]])
    _, saved = read(source, mapping(lookback))
    assert saved is not None
    assert saved.text == last
    assert read(source, mapping(lookback), mode=Mode.INCREMENTAL, watermark=saved)[0] == expected


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ("'2026-01-01T09:00:00Z'", "'2026-01-01 10:00:00'"),  # sorts before the T of the same day
        ("'2026-01-01T09:00:00Z'", "'2026-01-02'"),
        ("'2026-01-01 09:00:00'", "'2026-01-01'"),
        ("'2026-01-01 09:00:00'", "1767261600"),  # numbers sort before all text
        ("1767261600", "'2026-01-01 09:00:00'"),
        ("'2026-01-01T09:00:00Z'", "'2026-01-01T15:00:00+05:30'"),
        ("'2026-01-01T09:00:00Z'", "x'32303236'"),
    ],
)
def test_a_later_row_of_another_form_is_seen_and_refused(
    sqlite_url: str, execute_sql: Execute, first: str, later: str
) -> None:
    """A row whose form sorts below the watermark is an error, not a row that nobody ever sends."""
    source = make(sqlite_url, execute_sql, "DATETIME", [first])
    _, saved = read(source, mapping())
    make(sqlite_url, execute_sql, "DATETIME", [later])
    with pytest.raises(MappingError, match="column at mixes") as caught:
        read(source, mapping(), mode=Mode.INCREMENTAL, watermark=saved)
    assert "strftime" in str(caught.value.hint)


def test_other_text_in_a_time_column_is_refused(sqlite_url: str, execute_sql: Execute) -> None:
    """Dates such as 31/01/2026 do not sort."""
    source = make(sqlite_url, execute_sql, "DATETIME", ["'31/01/2026'"])
    with pytest.raises(MappingError, match="no ISO 8601 time"):
        read(source, mapping())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1767261299", "1767261300", "1767261600"], [2, 3]),  # seconds: 600 - 300 = 300
        (["1767261299999", "1767261300000", "1767261600000"], [2, 3]),  # milliseconds
    ],
)
def test_times_as_numbers(sqlite_url: str, execute_sql: Execute, values: list[str], expected: list[int]) -> None:
    """In a column declared as time, numbers are seconds or milliseconds by their size."""
    source = make(sqlite_url, execute_sql, "TIMESTAMP", values)
    _, saved = read(source, mapping())
    assert read(source, mapping(), mode=Mode.INCREMENTAL, watermark=saved)[0] == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-01-01 10:00", "2026-01-01 11:00", [2]),
        ("2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z", [2]),
        ("2026-01-01 10:00:00", "2026-01-02", [2, 3]),
        ("2026-01-01", None, [1, 2, 3, 4]),
    ],
)
@pytest.mark.parametrize("gap", [" ", "T"])
def test_ranges_do_not_depend_on_the_separator(
    sqlite_url: str, execute_sql: Execute, gap: str, start: str, end: str | None, expected: list[int]
) -> None:
    """`--from` and `--to` mean the same moment however the column writes it."""
    times = ["01-01 09:00:00", "01-01 10:00:00", "01-01 11:00:00", "01-02 00:00:00"]
    source = make(sqlite_url, execute_sql, "TEXT", [f"'2026-{each.replace(' ', gap)}'" for each in times])
    assert read(source, mapping(), start=start, end=end, advances=False, saves=False)[0] == expected


def test_broken_text_is_read(sqlite_url: str, execute_sql: Execute) -> None:
    """Bytes that are no UTF-8 do not end the run, and their row can be found again."""
    execute_sql(sqlite_url, "CREATE TABLE guests (name TEXT PRIMARY KEY)")
    execute_sql(sqlite_url, "INSERT INTO guests VALUES (CAST(x'4cff' AS TEXT))")
    source = open_source("app", sqlite_url)
    guests = CollectionMapping(name="guests", source="app", table="guests")
    assert read(source, guests)[0] == ["L\udcff"]
    assert source.read_keys(guests, source.describe(guests), ['[["text","L\\udcff"]]']) == [("L\udcff",)]


def test_the_file_is_never_changed(sqlite_url: str, execute_sql: Execute, tmp_path: Path) -> None:
    """Reading, describing and counting leave the file as it was, byte for byte."""
    source = make(sqlite_url, execute_sql, "TEXT", ["'2026-01-01'"])
    before = hashlib.sha256((tmp_path / "source.db").read_bytes()).digest()
    described = source.describe(mapping())
    source.key_faults(mapping(), described)
    assert read(source, mapping())[0] == [1]
    assert hashlib.sha256((tmp_path / "source.db").read_bytes()).digest() == before
    assert [path.name for path in tmp_path.iterdir()] == ["source.db"]


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    """A wrong path is an error, not an empty database."""
    with pytest.raises(SourceUnreachable, match=r"there is no database file .*gone\.db"):
        open_source("app", f"sqlite:///{tmp_path}/gone.db").identity()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    """Nobody else can have put anything there."""
    with pytest.raises(SourceUnreachable, match="in memory"):
        open_source("app", url)


def test_one_file_has_one_identity(sqlite_url: str, execute_sql: Execute, tmp_path: Path) -> None:
    """A link and a URI to the file are the same database."""
    make(sqlite_url, execute_sql, "TEXT", [])
    (tmp_path / "link.db").symlink_to(tmp_path / "source.db")
    urls = [sqlite_url, f"sqlite:///{tmp_path}/link.db", f"sqlite:///file:{tmp_path}/source.db?mode=rw&uri=true"]
    assert len({open_source("app", url).identity() for url in urls}) == 1


def test_a_reader_keeps_the_journal_mode(sqlite_url: str, execute_sql: Execute, tmp_path: Path) -> None:
    """A writer's open transaction does not keep the source from reading what is committed."""
    execute_sql(sqlite_url, "PRAGMA journal_mode = WAL")
    source = make(sqlite_url, execute_sql, "TEXT", ["'2026-01-01'"])
    with closing(sqlite3.connect(tmp_path / "source.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO reviews (at) VALUES ('2026-01-02')")
        assert read(source, mapping())[0] == [1]


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (None, None),
        (1, "numbers"),
        (1.5, "numbers"),
        (b"x", "bytes"),
        ("2026-01-31", "dates"),
        ("2026-01-31 10:00", "times with a blank and no offset"),
        ("2026-01-31T10:00:00.5Z", "times with a T and UTC"),
        ("2026-01-31T10:00:00+00:00", "times with a T and UTC"),
        ("2026-01-31T10:00:00+05:30", "times with a T and +05:30"),
        ("31.01.2026", "text"),
        ("", "text"),
    ],
)
def test_forms(value: object, form: str | None) -> None:
    """What must not be mixed has different forms."""
    assert form_of(value) == form


def test_a_text_watermark_has_no_lookback(sqlite_url: str, execute_sql: Execute) -> None:
    """Text that is no time goes on where it stopped."""
    source = make(sqlite_url, execute_sql, "TEXT", ["'Faro'", "'Lisbon'", "'Porto'"])
    _, saved = read(source, mapping())
    assert saved == Watermark(kind=Kind.TEXT, text="Porto")
    assert read(source, mapping(), mode=Mode.INCREMENTAL, watermark=saved)[0] == [3]
    with pytest.raises(MappingError, match="no distance"):
        read(source, mapping(timedelta(minutes=1)), mode=Mode.INCREMENTAL, watermark=saved)
