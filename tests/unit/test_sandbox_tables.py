"""How the sandbox names tables and columns and what it puts into them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from syncer.sandbox.tables import collection_of, folded, has_column, layout, quoted, stored, table_of


@pytest.mark.parametrize(
    ("value", "column"),
    [
        ("9", "9"),
        (None, None),
        (True, 1),
        (False, 0),
        (47, 47),
        (9007199254740993, 9007199254740993),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, "9223372036854775808"),
        (2**64, "18446744073709551616"),
        (Decimal("129.95"), 129.95),
        (Decimal("1.10"), 1.1),
        (Decimal("6.000000000000000007"), "6.000000000000000007"),
        (Decimal("1e400"), "1E+400"),
        (Decimal("1e-400"), "1E-400"),
        (Decimal("9007199254740993.0"), "9007199254740993.0"),
    ],
)
def test_numbers_a_column_cannot_hold_exactly_are_text(value, column):
    """Integers beyond 64 bit and decimals no double has become the text of the number; booleans 1 and 0."""
    assert stored(value) == column
    assert type(stored(value)) is type(column)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("city", True),
        ("received", True),
        ("id", False),
        ("ID", False),
        ("received_at", False),
        ("uuid", False),
        ("uuid_ts", False),
        ("a\0b", False),
        ("é" * 63, True),
        ("é" * 64, False),
    ],
)
def test_reserved_and_unspellable_names_have_no_column(name, expected):
    """Segment's own columns, names with NUL, and names over 127 bytes stay out of the table."""
    assert has_column(name) is expected


@pytest.mark.parametrize(
    ("collection", "table"), [("rooms", "rooms"), ("sqlite_master", "_sqlite_master"), ("select", "select")]
)
def test_a_collection_has_a_table_of_its_own(collection, table):
    """Names SQLite keeps for itself get an underscore, which no collection can begin with."""
    assert table_of(collection) == table
    assert collection_of(table) == collection


@pytest.mark.parametrize("table", ["_objects", "_requests", "sqlite_stat1"])
def test_other_tables_hold_no_collection(table):
    """The sandbox's and SQLite's own tables are not collections."""
    assert collection_of(table) is None


def test_quoting_doubles_quotes():
    """A quote cannot end the identifier it is in."""
    assert quoted('a"; DROP TABLE rooms; --') == '"a""; DROP TABLE rooms; --"'


def test_only_ascii_letters_are_folded():
    """SQLite tells É from é, but not E from e."""
    assert folded("CITÉ") == "citÉ"


def test_of_two_properties_that_share_a_column_the_last_wins():
    """A column appears once in the statement."""
    found = layout("rooms", ("City", "size", "city"), {"id": "id", "city": "City", "size": "size"})
    assert found.names == ("city", "size")
    assert found.statement == (
        'INSERT INTO "rooms" (id, "City", "size") VALUES (?, ?, ?) '
        'ON CONFLICT (id) DO UPDATE SET "City" = excluded."City", "size" = excluded."size"'
    )


def test_objects_without_columns_still_make_a_row():
    """Properties that are all reserved leave a row with an id."""
    found = layout("rooms", ("id", "uuid"), {"id": "id"})
    assert found.names == ()
    assert found.statement == 'INSERT INTO "rooms" (id) VALUES (?) ON CONFLICT (id) DO NOTHING'
