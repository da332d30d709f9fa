"""Durations and sizes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.config.units import LONGEST, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 5 * 60),
        ("1h", 3600),
        ("50d", 50 * 86_400),
        ("2w", 2 * 7 * 86_400),
        ("1h30m", 3600 + 30 * 60),
        ("1w2d3h4m5s", 604_800 + 2 * 86_400 + 3 * 3600 + 4 * 60 + 5),
        ("0s", 0),
        ("90m", 90 * 60),
        ("36500d", 36_500 * 86_400),
    ],
)
def test_a_duration_is_the_sum_of_its_parts(text: str, seconds: int) -> None:
    """Every unit counts, alone and together."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "m", "5 m", "5M", "5min", "1.5h", "-5m", "30m1h", "5m5m", "٥m", "5m\n", "1y", "PT5M"]
)
def test_other_texts_are_no_durations(text: str) -> None:
    """A text in no known form is refused with an example."""
    with pytest.raises(ValueError, match="such as `30s`"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "5", "300"])
def test_a_bare_number_is_told_to_get_a_unit(text: str) -> None:
    """A number alone could be seconds or minutes, so it is refused."""
    with pytest.raises(ValueError, match="needs a unit"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36501d", "999999999w", "36500d1s"])
def test_a_duration_beyond_a_century_is_refused(text: str) -> None:
    """Arithmetic on dates never leaves the calendar."""
    with pytest.raises(ValueError, match="at most 36500d"):
        parse_duration(text)


@given(st.text(max_size=12))
def test_any_text_is_a_bounded_duration_or_a_sentence(text: str) -> None:
    """Nothing but ValueError ever comes out, and no length out of bounds."""
    try:
        length = parse_duration(text)
    except ValueError:
        return
    assert timedelta(0) <= length <= LONGEST


@pytest.mark.parametrize(
    ("text", "size"), [("800B", 800), ("500KB", 500_000), ("2MB", 2_000_000), ("1GB", 10**9), ("32 KB", 32_000)]
)
def test_a_kilobyte_is_a_thousand_bytes(text: str, size: int) -> None:
    """Sizes count in thousands, as the documented limits do."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["500", "500kb", "KB", "-1KB", "1.5MB", ""])
def test_other_texts_are_no_sizes(text: str) -> None:
    """A text in no known form is refused with an example."""
    with pytest.raises(ValueError, match="such as `800B`"):
        parse_size(text)
