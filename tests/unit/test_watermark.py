"""Watermarks and keys as text and back, and the lookback."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.core.model import Kind, Watermark, WatermarkRule
from syncer.core.watermark import bind_value, check_kind, decode_key, encode, encode_key, lookback_of
from syncer.errors import MappingError

FIT = (Kind.INTEGER, Kind.DECIMAL, Kind.TIMESTAMP, Kind.INSTANT, Kind.DATE, Kind.TEXT, Kind.ANY)


@pytest.mark.parametrize("kind", list(Kind))
def test_which_kinds_can_be_a_watermark(kind: Kind) -> None:
    """Kinds without a useful order are refused with a reason and a way out."""
    if kind in FIT:
        check_kind(kind, "updated_at")
        return
    with pytest.raises(MappingError, match=r"column score .* cannot be the watermark: .+") as caught:
        check_kind(kind, "score")
    assert "timestamp" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Kind.INTEGER, 42, (Kind.INTEGER, "42")),
        (Kind.INTEGER, 2**64 - 1, (Kind.INTEGER, "18446744073709551615")),
        (Kind.INTEGER, -1, (Kind.INTEGER, "-1")),
        (Kind.DECIMAL, Decimal("1.10"), (Kind.DECIMAL, "1.10")),
        (Kind.DECIMAL, "6.000000000000000007", (Kind.DECIMAL, "6.000000000000000007")),
        (Kind.DECIMAL, 7, (Kind.DECIMAL, "7")),
        (Kind.DECIMAL, 0.1, (Kind.DECIMAL, "0.1")),
        (Kind.TIMESTAMP, "2026-01-01 10:00:00.000001", (Kind.TIMESTAMP, "2026-01-01 10:00:00.000001")),
        (Kind.INSTANT, "2026-01-01 10:00:00+00", (Kind.INSTANT, "2026-01-01 10:00:00+00")),
        (Kind.TIMESTAMP, "0044-03-15 12:00:00 BC", (Kind.TIMESTAMP, "0044-03-15 12:00:00 BC")),
        (Kind.TIMESTAMP, "12026-01-01 10:00:00", (Kind.TIMESTAMP, "12026-01-01 10:00:00")),
        (Kind.TIMESTAMP, 1_767_261_600, (Kind.INTEGER, "1767261600")),
        (Kind.DATE, "2026-02-28", (Kind.DATE, "2026-02-28")),
        (Kind.TEXT, "", (Kind.TEXT, "")),
        (Kind.TEXT, "infinity", (Kind.TEXT, "infinity")),
        (Kind.INTEGER, "abc", (Kind.TEXT, "abc")),
        (Kind.ANY, 5, (Kind.INTEGER, "5")),
        (Kind.ANY, "Loft", (Kind.TEXT, "Loft")),
        (Kind.ANY, Decimal("1.5"), (Kind.DECIMAL, "1.5")),
        (Kind.ANY, date(2026, 1, 31), (Kind.DATE, "2026-01-31")),
        (Kind.ANY, datetime(2026, 1, 31, 1, 2, 3, 4), (Kind.TIMESTAMP, "2026-01-31 01:02:03.000004")),
        (
            Kind.ANY,
            datetime(2026, 1, 31, 1, tzinfo=timezone(timedelta(hours=2))),
            (Kind.INSTANT, "2026-01-30 23:00:00+00:00"),
        ),
    ],
)
def test_values_become_lossless_text(kind: Kind, value: object, expected: tuple[Kind, str]) -> None:
    """The text is the database's own, or the exact number."""
    assert encode(kind, value) == Watermark(kind=expected[0], text=expected[1])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.TIMESTAMP, None),
        (Kind.TIMESTAMP, "infinity"),
        (Kind.INSTANT, "-infinity"),
        (Kind.DATE, "0000-00-00"),
        (Kind.TIMESTAMP, "0000-00-00 00:00:00"),
        (Kind.DATE, "2026-01-00"),
        (Kind.DATE, "2026-02-31"),
        (Kind.DECIMAL, "NaN"),
        (Kind.DECIMAL, "-Infinity"),
        (Kind.DECIMAL, Decimal("NaN")),
        (Kind.DECIMAL, math.inf),
        (Kind.TEXT, "bad \udcff byte"),
    ],
)
def test_values_that_never_move_the_watermark(kind: Kind, value: object) -> None:
    """NULL, the infinities, zero and impossible dates, and broken text are passed over."""
    assert encode(kind, value) is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [(Kind.ANY, 1.5), (Kind.TIMESTAMP, 2460370.05), (Kind.ANY, b"x"), (Kind.ANY, True), (Kind.ANY, time(1))],
)
def test_values_that_cannot_be_a_watermark(kind: Kind, value: object) -> None:
    """Floats, bytes and booleans are refused, and the value is not told."""
    with pytest.raises(MappingError, match=type(value).__name__) as caught:
        encode(kind, value)
    assert str(value) not in caught.value.message.replace(type(value).__name__, "")


@pytest.mark.parametrize(
    ("kind", "value", "bound"),
    [
        (Kind.INTEGER, -(2**70), -(2**70)),
        (Kind.FLOAT, 0.1, 0.1),
        (Kind.BOOLEAN, True, True),
        (Kind.BOOLEAN, False, False),
        (Kind.DECIMAL, "1.50", Decimal("1.50")),
        (Kind.DECIMAL, Decimal("1E+3"), Decimal("1E+3")),
        (Kind.BYTES, b"\x00\xff", b"\x00\xff"),
        (Kind.BITS, b"\x0f\xff", 4095),
        (Kind.TEXT, "a:b", "a:b"),
        (Kind.TEXT, "bad \udcff byte", "bad \udcff byte"),
        (Kind.INSTANT, "2026-01-01 10:00:00+00", "2026-01-01 10:00:00+00"),
        (Kind.ANY, 1.0, 1.0),
        (Kind.ANY, "1", "1"),
        (Kind.INTEGER, "abc", "abc"),
        (Kind.DECIMAL, "abc", "abc"),
        (Kind.ANY, date(2026, 1, 31), "2026-01-31"),
        (Kind.ANY, datetime(2026, 1, 31, tzinfo=UTC), "2026-01-31 00:00:00+00:00"),
        (Kind.ANY, UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_key_parts_come_back(kind: Kind, value: object, bound: object) -> None:
    """A key part is bound as the value that it was."""
    ((stored, text),) = decode_key(encode_key([kind], [value]))
    assert bind_value(stored, text) == bound
    assert type(bind_value(stored, text)) is type(bound)


def test_a_key_with_a_null_part_is_no_key() -> None:
    """NULL identifies nothing."""
    with pytest.raises(ValueError, match="NULL"):
        encode_key([Kind.INTEGER, Kind.TEXT], [1, None])


KEY_VALUES = st.one_of(
    st.integers(), st.text(), st.binary(), st.booleans(), st.floats(allow_nan=False), st.decimals(allow_nan=False)
)


@given(st.lists(KEY_VALUES, min_size=1, max_size=3), st.lists(KEY_VALUES, min_size=1, max_size=3))
def test_different_keys_have_different_texts(one: list[object], other: list[object]) -> None:
    """The text of a key is injective over values and their types."""
    typed = [[(type(value), str(value)) for value in key] for key in (one, other)]
    texts = [encode_key([Kind.ANY] * len(key), key) for key in (one, other)]
    assert (texts[0] == texts[1]) is (typed[0] == typed[1])


@given(st.sampled_from(list(Kind)), KEY_VALUES)
def test_every_key_value_can_be_encoded_and_bound(kind: Kind, value: object) -> None:
    """Whatever a driver returns for whatever kind, the key is text and comes back."""
    for stored, text in decode_key(encode_key([kind], [value])):
        bind_value(stored, text)


def rule(lookback: timedelta | int | None) -> WatermarkRule:
    return WatermarkRule(column="updated_at", lookback=lookback)


@pytest.mark.parametrize(
    ("kind", "shifts", "expected"),
    [
        (Kind.INSTANT, False, timedelta(minutes=5)),
        (Kind.INSTANT, True, timedelta(minutes=5)),  # an instant knows its offset
        (Kind.TIMESTAMP, False, timedelta(minutes=5)),
        (Kind.TIMESTAMP, True, timedelta(minutes=75)),  # 60 of the repeated hour + 15 to be safe
        (Kind.DATE, True, timedelta(days=1)),
        (Kind.INTEGER, False, 0),
        (Kind.DECIMAL, False, 0),
        (Kind.TEXT, False, 0),
    ],
)
def test_default_lookbacks(kind: Kind, shifts: bool, expected: timedelta | int) -> None:
    """Without a lookback in the mapping the kind decides."""
    assert lookback_of(rule(None), kind, zone_shifts=shifts) == expected


@pytest.mark.parametrize(
    ("kind", "asked", "expected"),
    [
        (Kind.INSTANT, timedelta(hours=1), timedelta(hours=1)),
        (Kind.INSTANT, 0, timedelta(0)),
        (Kind.DATE, timedelta(days=3), timedelta(days=3)),
        (Kind.INTEGER, 1000, 1000),
        (Kind.INTEGER, timedelta(0), 0),
        (Kind.TEXT, 0, 0),
    ],
)
def test_lookbacks_that_were_asked_for(kind: Kind, asked: timedelta | int, expected: timedelta | int) -> None:
    """The mapping's own lookback holds; zero fits every kind."""
    assert lookback_of(rule(asked), kind) == expected


@pytest.mark.parametrize(
    ("kind", "asked", "message"),
    [
        (Kind.INTEGER, timedelta(minutes=5), "is a duration"),
        (Kind.DECIMAL, timedelta(minutes=5), "is a duration"),
        (Kind.TIMESTAMP, 5, "no unit"),
        (Kind.DATE, 5, "no unit"),
        (Kind.TEXT, 5, "no distance"),
        (Kind.TEXT, timedelta(minutes=5), "no distance"),
    ],
)
def test_lookbacks_of_the_wrong_kind(kind: Kind, asked: timedelta | int, message: str) -> None:
    """A lookback that does not fit is an error with a way out."""
    with pytest.raises(MappingError, match=message) as caught:
        lookback_of(rule(asked), kind)
    assert caught.value.hint
