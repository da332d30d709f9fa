"""The SQL scanner: what it lets through, what it refuses, and that it changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import psycopg

from syncer.core.statement import Lexis, PreparedQuery, escape, lexis_of, prepare
from syncer.errors import MappingError

MYSQL, SQLITE, POSTGRES = lexis_of("mysql"), lexis_of("sqlite"), lexis_of("postgresql")


def as_sent(sql: str) -> str:
    """What the driver gets when SQLAlchemy is given the text, with `%` as it was."""
    compiled = text(sql).compile(dialect=psycopg.dialect())
    assert not compiled.params
    return str(compiled).replace("%%", "%")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM rooms",
        "select id from rooms",
        "WITH r AS (SELECT 1) SELECT * FROM r",
        "VALUES (1, 'Loft')",
        "TABLE rooms",
        "(SELECT 1) UNION (SELECT 2)",
        "-- nightly\nSELECT 1",
        "/* a /* nested */ comment */ SELECT 1",
        "SELECT '12:30', opens::time, E'it\\'s :late' FROM rooms",
        "SELECT $$ ; :x LIMIT 1 $$, $body$ $$ ; $body$",
        'SELECT "a;b:c" FROM rooms',
        "SELECT tags[1:2], tags[low:high] FROM rooms",
        "SELECT rooms.limit, 1 AS offset FROM rooms",
        "SELECT * FROM (SELECT id FROM rooms ORDER BY id LIMIT 3) newest",
        "SELECT top FROM rooms",
        "SELECT payload:city::string FROM rooms",
        "SELECT 'C:\\:rooms'",
    ],
)
def test_a_query_passes_unchanged(query: str) -> None:
    """A row-returning statement reaches the driver exactly as it was written."""
    assert as_sent(prepare(query, POSTGRES).render()) == query


@pytest.mark.parametrize("end", [";", " ; ", ";;\n", "; -- done", " -- done; really"])
def test_what_follows_the_statement_is_removed(end: str) -> None:
    """A semicolon at the end, and comments behind it, are no part of the statement."""
    assert prepare(f"SELECT 1{end}").render() == "SELECT 1"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "is empty"),
        (" ;; -- nothing", "is empty"),
        ("SELECT 1; SELECT 2", "several statements"),
        ("SELECT 1;\nDROP TABLE rooms", "several statements"),
        ("DELETE FROM rooms", "begin with SELECT"),
        ("EXPLAIN SELECT 1", "begin with SELECT"),
        ("'SELECT'", "begin with SELECT"),
        ("SELECT 1 LIMIT 5", "its own LIMIT"),
        ("(SELECT 1 LIMIT 5)", "its own LIMIT"),
        ("SELECT 1 UNION SELECT 2 limit 5", "its own LIMIT"),
        ("SELECT 1 OFFSET 5", "its own OFFSET"),
        ("SELECT 1 FETCH FIRST 5 ROWS ONLY", "its own FETCH"),
        ("SELECT 1 FETCH NEXT ROW ONLY", "its own FETCH"),
        ("SELECT TOP 5 id FROM rooms", "its own TOP"),
        ("SELECT DISTINCT TOP (5) id FROM rooms", "its own TOP"),
        ("SELECT 1) q; DROP TABLE rooms; --", "several statements"),
        ("SELECT 1) q --", "parentheses"),
        ("SELECT ((1)", "parentheses"),
        ("SELECT 'Lisbon", "unclosed quote '"),
        ('SELECT "id', 'unclosed quote "'),
        ("SELECT 1 /* x", "unclosed comment"),
        ("SELECT 1 /* /* x */", "unclosed comment"),
        ("SELECT :name", "bind :name"),
        ("SELECT 1 WHERE a=:watermarks", "bind :watermarks"),
        ("SELECT '\0'", "NUL character"),
    ],
)
def test_a_query_is_refused(query: str, message: str) -> None:
    """What cannot be wrapped is an error with a way out."""
    with pytest.raises(MappingError, match=message) as caught:
        prepare(query)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("SELECT 1", 1),
        ("SELECT 1 WHERE a >= :watermark", 2),
        ("SELECT 1 WHERE a >= :watermark::date OR b>=:watermark", 3),
        ("SELECT ':watermark', \":watermark\" -- :watermark", 1),
        ("SELECT 1 /* :watermark */ WHERE a > (:watermark)", 2),
    ],
)
def test_placeholders_are_found_outside_quotes_only(query: str, parts: int) -> None:
    """`:watermark` in a string, a name or a comment is text."""
    prepared = prepare(query)
    assert len(prepared.parts) == parts
    assert prepared.places_watermark is (parts > 1)


def test_a_placeholder_is_replaced_in_place() -> None:
    """Every placeholder becomes the expression; its binds are the only ones."""
    sql = prepare("SELECT '12:30' WHERE a >= :watermark::date").render("CAST(:w AS date)")
    compiled = text(sql).compile(dialect=psycopg.dialect())
    assert str(compiled) == "SELECT '12:30' WHERE a >= CAST(%(w)s AS date)::date"


@pytest.mark.parametrize(
    ("lexis", "query"),
    [
        (MYSQL, "SELECT 'it\\'; SELECT 2'"),  # a backslash escapes the quote
        (MYSQL, 'SELECT "a\\";b"'),
        (MYSQL, "SELECT 1 # ; LIMIT 2"),
        (MYSQL, "SELECT 5--2"),
        (SQLITE, "SELECT [a;b], [limit] FROM [it's]"),
        (SQLITE, "SELECT '\\'"),
        (POSTGRES, "SELECT '\\'"),
        (POSTGRES, "SELECT ARRAY['a]b', ';']"),
        (POSTGRES, "SELECT e'\\'; '"),
    ],
)
def test_databases_quote_in_their_own_ways(lexis: Lexis, query: str) -> None:
    """What is a string in one database ends one in another."""
    assert prepare(query, lexis).parts[0].startswith("SELECT")


@pytest.mark.parametrize(
    ("lexis", "query", "message"),
    [
        (POSTGRES, "SELECT 'it\\'; SELECT 2", "several statements"),
        (MYSQL, "SELECT '\\'", "unclosed"),
        (SQLITE, "SELECT [a", "unclosed quote \\["),
        (MYSQL, "SELECT 1 /* /* */ ; */", "several statements"),
    ],
)
def test_and_refuse_in_their_own_ways(lexis: Lexis, query: str, message: str) -> None:
    """The same text is one statement here and two there."""
    with pytest.raises(MappingError, match=message):
        prepare(query, lexis)


@given(st.text())
@example("\\:")
@example("::a:b \\:c :1")
def test_escaped_text_holds_no_bind(sql: str) -> None:
    """Whatever the text, SQLAlchemy sends it as it is."""
    assert as_sent(escape(sql).replace("%", "")) == sql.replace("%", "")


FRAGMENTS = st.sampled_from(
    ["SELECT ", "id", "'", '"', "`", "[", "]", "$$", "$a$", "--", "\n", "/*", "*/", ";", "(", ")", ":watermark",
     ":x", "::", ":", "\\", "LIMIT", " ", "1", "E'", "#", "\0", "é"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(FRAGMENTS).map("".join)), st.sampled_from([POSTGRES, MYSQL, SQLITE, Lexis()]))
def test_any_text_is_prepared_or_refused(query: str, lexis: Lexis) -> None:
    """The scanner is total: no text makes it fail in any other way."""
    try:
        prepared = prepare(query, lexis)
    except MappingError:
        return
    assert isinstance(prepared, PreparedQuery)
    assert prepared.parts[0].strip()


@given(st.lists(FRAGMENTS).map("".join))
def test_preparing_twice_is_preparing_once(fragments: str) -> None:
    """The statement that comes out is accepted again, unchanged."""
    try:
        once = prepare(f"SELECT 1 {fragments}").render(":watermark").replace("\\:", ":")
    except MappingError:
        return
    assert prepare(once).render(":watermark").replace("\\:", ":") == once
