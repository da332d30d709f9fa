"""`after` between mappings: circles, and the order of a run."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.core.model import CollectionMapping
from syncer.core.order import circle, in_order


def mapping(name: str, *after: str) -> CollectionMapping:
    """A mapping that goes after others."""
    return CollectionMapping(name=name, source="app", table=name, after=after)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"hosts": [], "rooms": ["hosts"]}, set()),
        ({"rooms": ["rooms"]}, {"rooms"}),
        ({"hosts": ["rooms"], "rooms": ["hosts"], "cities": []}, {"hosts", "rooms"}),
        ({"hosts": ["rooms"], "rooms": ["reviews"], "reviews": ["hosts"]}, {"hosts", "rooms", "reviews"}),
        ({"rooms": ["nowhere"]}, set()),
    ],
)
def test_circles(after: dict[str, list[str]], expected: set[str]) -> None:
    """A circle is told as one goes round it, back to where it began."""
    found = circle(after)
    assert set(found) == expected
    for name, following in pairwise(found):
        assert following in after[name]
    assert found[:1] == found[-1:]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=1, max_size=8))
def test_order(wanted: list[list[int]]) -> None:
    """Each comes after those it names; where none names another, the order is as before."""
    mappings = [mapping(str(n), *(str(each) for each in after if each < n)) for n, after in enumerate(wanted)]
    shuffled = mappings[::-1]
    found = [each.name for each in in_order(shuffled)]
    assert sorted(found) == sorted(each.name for each in mappings)
    for each in mappings:
        assert all(found.index(name) < found.index(each.name) for name in each.after)
    assert in_order(mappings) == tuple(mappings)


def test_by_way_of_others() -> None:
    """Reviews after rooms after hosts, written the other way round."""
    found = in_order([mapping("reviews", "rooms"), mapping("rooms", "hosts"), mapping("cities"), mapping("hosts")])
    assert [each.name for each in found] == ["hosts", "rooms", "reviews", "cities"]
