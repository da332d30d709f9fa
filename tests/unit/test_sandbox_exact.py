"""JSON that keeps every digit, there and back."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.sandbox.exact import Unusable, decode, encode, shown

_decimals = st.decimals(allow_nan=False, allow_infinity=False)
_values = st.none() | st.booleans() | st.integers() | _decimals | st.text()


@given(st.dictionaries(st.text(), _values))
def test_what_is_encoded_is_decoded_the_same(properties):
    """No value changes on its way through the text, and the keys keep their order."""
    read = decode(encode(properties))
    assert read == properties
    assert list(read) == list(properties)


@pytest.mark.parametrize(
    "text",
    [
        '{"n":9007199254740993}',
        '{"n":18446744073709551616}',
        '{"n":-9223372036854775809,"m":1}',
        '{"n":6.000000000000000007}',
        '{"n":1.10}',
        '{"n":1E+400}',
        '{"n":%s}' % ("7" * 6000),
        '{"zimmer":"größe","a":"\\u0000"}',
    ],
)
def test_a_text_is_written_as_it_was_read(text):
    """Numbers keep their digits, trailing zeros included; keys keep their order."""
    assert encode(decode(text)) == text


@pytest.mark.parametrize("text", ['{"a":1,"b":2,"a":1}', "NaN", "-Infinity", "1e9999999999999999999"])
def test_what_json_must_not_have_is_marked(text):
    """Repeated keys, constants and impossible exponents come back as `Unusable`."""
    assert isinstance(decode(text), Unusable)


@pytest.mark.parametrize("text", ["", "{", "[1,]", "1e9999999999999999999 x", "7" * 6000 + "]"])
def test_what_is_not_json_raises(text):
    """A syntax error is one, also behind a number that needs a second look."""
    with pytest.raises(json.JSONDecodeError):
        decode(text)


def test_a_shown_name_is_one_short_printable_line():
    """Names are quoted, escaped and cut."""
    assert shown("na\nme") == "'na\\nme'"
    assert len(shown("x" * 1000)) == 63
    assert shown("\ud800").isprintable()


def test_the_decoder_makes_decimals_of_fractions_only():
    """Integers stay int."""
    assert [type(each) for each in decode("[1, 1.0, 1e2]")] == [int, Decimal, Decimal]
