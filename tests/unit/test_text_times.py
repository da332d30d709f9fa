"""Forms of many texts at once are the forms of each."""

from __future__ import annotations

from campaign import rounds
from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.source.text_times import form_of, forms_of

GAPS = st.sampled_from([" ", "T", "", "\n"])
OFFSETS = st.sampled_from(["", "", "Z", "+00:00", "+02:00", "\n", "+0200"])
CLOCKS = st.sampled_from(["13:45", "13:45:01", "13:45:01.5", "1:45", "13:45:01."])
TIMES = st.tuples(st.just("2026-01-31"), GAPS, CLOCKS, OFFSETS).map("".join)


@settings(max_examples=rounds(300, 20_000), deadline=None)
@given(
    usual=st.lists(st.datetimes().map(str), max_size=4),
    others=st.lists(TIMES | st.none() | st.integers() | st.text(max_size=3) | st.just("2026-01-31"), max_size=2),
    first=st.booleans(),
)
def test_many_at_once(usual: list[str], others: list[object], first: bool) -> None:
    """Whatever stands among them."""
    values = [*others, *usual] if first else [*usual, *others]
    assert forms_of(values) == {form_of(each) for each in values} - {None}


def test_one_that_looks_like_two() -> None:
    """A line break does not hide a text among times."""
    usual = "2026-01-31 13:45:01"
    assert forms_of([usual, f"{usual}\n{usual}"]) == {form_of(usual), "text"}
