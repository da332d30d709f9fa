"""Object ids as short keys."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncer.errors import StateCorrupt
from syncer.state.ids import LONGEST, packed, unpacked

IDS = st.one_of(
    st.text(min_size=1, max_size=100),
    st.integers(0, 10**25).map(str),
    st.uuids().map(str),
    st.uuids().map(lambda each: str(each).upper()),
)


@given(IDS)
@example("007")
@example("-7")
@example("٧")
@example("0")
@example("9" * 18)
@example("1" + "0" * 18)
@example("\ud83d")
@example("🏨" * 100)
@example("🏨" * 75)
@example("東" * 100)
def test_every_id_comes_back(identifier: str) -> None:
    """Whatever it looks like, and no key is longer than the column."""
    key = packed(identifier)
    assert unpacked(key) == identifier
    assert len(key) <= LONGEST


@given(st.lists(st.integers(0, 10**18 - 1), max_size=20))
def test_keys_of_numbers_are_in_the_order_of_the_numbers(numbers: list[int]) -> None:
    """So that rows that are read by key are stored side by side."""
    assert sorted(packed(str(each)) for each in numbers) == [packed(str(each)) for each in sorted(numbers)]


@pytest.mark.parametrize(
    ("identifier", "size"), [("7", 2), ("10000000", 4), ("0b6c3c3e-8f0f-4c9e-9c1c-6f1d2f4b8a11", 17)]
)
def test_usual_ids_are_short(identifier: str, size: int) -> None:
    """A number takes a byte more than it is long, a UUID one more than 16."""
    assert len(packed(identifier)) == size


@pytest.mark.parametrize(
    "key",
    [b"", b"\x00", b"\x02\x01", b"\x01\x01\x01", b"\x10short", b"\x09" + b"1" * 9, b"\x20\xff", b"\x21\xff\xff\xff"],
)
def test_what_is_no_key_means_damage(key: bytes) -> None:
    """Nothing is made of it."""
    with pytest.raises(StateCorrupt):
        unpacked(key)
