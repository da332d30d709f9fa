"""The database's own words, without what rows hold."""

from __future__ import annotations

import pytest

from syncer.source.failures import _without_values

STATEMENT = 'SELECT id, CAST(name AS int) FROM "public"."rooms" WHERE city = \'Lihue\''


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ('invalid input syntax for type integer: "Zoë"', 'invalid input syntax for type integer: "…"'),
        ("Incorrect integer value: 'Zoë' for column", "Incorrect integer value: '…' for column"),
        ('relation "rooms" does not exist', 'relation "rooms" does not exist'),
        ("near 'Lihue'", "near 'Lihue'"),
        ("no quotes at all", "no quotes at all"),
        ('syntax for integer: "5" PIN "6" at once', 'syntax for integer: "…" at once'),
        ("Incorrect value: 'O'Brien' for column 'name'", "Incorrect value: '…'"),
        ("unfinished: 'Zoë", "unfinished: '…'"),
        ("Table 'app.rooms' doesn't exist", "Table 'app.rooms' doesn't exist"),
        ("column 'name' of 'rooms'", "column 'name' of 'rooms'"),
    ],
)
def test_quoted_text_is_shown_only_if_the_statement_says_it(words: str, shown: str) -> None:
    """Names come from the statement, values from a row."""
    assert _without_values(words, STATEMENT) == shown
