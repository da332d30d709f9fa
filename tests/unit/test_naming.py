"""Names on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.core.naming import collection_problem, object_id, snake_case

NAMES = {
    "id": "id",
    "ID": "id",
    "userID": "user_id",
    "userIDs": "user_ids",
    "HTTPServer": "http_server",
    "getHTTPResponse": "get_http_response",
    "address2": "address2",
    "line2Text": "line2_text",
    "HTTP2Server": "http2_server",
    "ISO8601Date": "iso8601_date",
    "créé le": "créé_le",
    "ÀPropos": "à_propos",
    "2fa Enabled": "2fa_enabled",
    "1st": "1st",
    "UPPER": "upper",
    "Last Name": "last_name",
    "review_count": "review_count",
    "__weird__name__": "weird_name",
    "a.b": "a_b",
    "$price": "price",
    "ключДома": "ключ_дома",
    "iPhone": "i_phone",
    "XMLHttpRequest": "xml_http_request",
    "e\u0301te\u0301": "été",
    "客室名": "客室名",
    "???": "",
}


@pytest.mark.parametrize(("column", "name"), NAMES.items())
def test_snake_case_agrees_with_common_sense(column: str, name: str) -> None:
    """Acronyms, digits, accents and separators become the words a person would write."""
    assert snake_case(column) == name


@given(st.text(max_size=40))
def test_snake_case_is_idempotent(column: str) -> None:
    """A property name is its own property name."""
    once = snake_case(column)
    assert snake_case(once) == once


@given(st.text(max_size=40))
def test_snake_case_has_no_edges(column: str) -> None:
    """No underscore at the edges or twice in a row, and nothing that is neither letter, mark nor digit."""
    name = snake_case(column)
    assert "__" not in name
    assert name == name.strip("_")
    assert " " not in name


@pytest.mark.parametrize("name", ["rooms", "a", "run_history", "a" * 100])
def test_a_documented_collection_name_is_fine(name: str) -> None:
    """Lowercase letters with underscores inside, up to 100 characters."""
    assert collection_problem(name) is None


@pytest.mark.parametrize("name", ["", "orders_2024", "_rooms", "rooms_", "Rooms", "zimmer-art", "é", "a" * 101, "a\n"])
def test_any_other_collection_name_is_a_problem(name: str) -> None:
    """Digits, capitals, edge underscores, other characters and 101 characters are refused."""
    assert collection_problem(name) is not None


@pytest.mark.parametrize(
    ("parts", "identifier"),
    [
        (["42"], "42"),
        (["a:b"], "a:b"),
        (["t0", "7"], "t0:7"),
        (["a:b", "1"], r"a\:b:1"),
        (["", "0"], ":0"),
        (["a\\", "b"], r"a\\:b"),
    ],
)
def test_object_ids_stay_readable(parts: list[str], identifier: str) -> None:
    """A single key is its text; parts of a composite key stand with colons between them."""
    assert object_id(parts) == identifier


def test_a_long_id_is_cut_and_digested() -> None:
    """Over 100 characters: prefix and digest, 100 characters in all, still different for different keys."""
    one, other = object_id(["x" * 101]), object_id(["x" * 102])
    assert len(one) == len(other) == 100
    assert one != other
    assert one.startswith("x" * 59 + "~")


KEYS = st.lists(st.text(alphabet="ab:\\~é", max_size=4), min_size=2, max_size=3)


@given(KEYS, KEYS)
def test_composite_ids_are_injective(one: list[str], other: list[str]) -> None:
    """Different keys of the same length never share an id."""
    if len(one) == len(other) and one != other:
        assert object_id(one) != object_id(other)
