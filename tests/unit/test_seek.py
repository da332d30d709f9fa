"""From an id to the keys its row may have."""

from __future__ import annotations

import uuid
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncer.core.model import CollectionMapping, Column, Kind, SegmentObject
from syncer.core.naming import MAX_ID, id_parts, object_id
from syncer.core.seek import Sought, keys_of
from syncer.core.shape import compile_shape
from syncer.core.zones import zone_of

EXACT = {
    Kind.INTEGER: st.integers(-(2**63), 2**63),
    Kind.TEXT: st.text(st.characters(exclude_categories=["Cs"])) | st.text(":\\~af", max_size=120),
    Kind.BOOLEAN: st.booleans(),
    Kind.DATE: st.dates(),
    Kind.BYTES: st.binary(max_size=80),
    Kind.DECIMAL: st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9),
    Kind.FLOAT: st.floats(-1e9, 1e9).filter(lambda number: number == 0 or abs(number) > 1e-9),
}
kinds = st.sampled_from(sorted(EXACT))


def shaped(columns: list[Column], values: list[object]) -> SegmentObject | None:
    """What a row of key columns becomes; None: a rejection."""
    named = [*columns, Column(name="city", kind=Kind.TEXT)]
    key = [column.name for column in columns]
    mapping = CollectionMapping(name="rooms", source="app", query="q", primary_key=tuple(key))
    found = compile_shape(mapping, named, key, zone_of("UTC")).shape([[*values, "Oslo"]], 0)
    return found.objects[0] if found.objects else None


def keyed(*columns: Kind, exact: bool = True) -> list[Column]:
    """Key columns of these kinds."""
    return [Column(name=f"k{n}", kind=kind, scale=2, exact=exact) for n, kind in enumerate(columns)]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(kinds, min_size=1, max_size=3).flatmap(
        lambda some: st.tuples(st.just(some), st.tuples(*map(EXACT.get, some)))
    )
)
def test_the_keys_of_an_id_are_those_of_its_row(case: tuple[list[Kind], tuple[object, ...]]) -> None:
    """Every row is found by its id where the id was not cut; where the id is called certain, nothing is missed."""
    columns = keyed(*case[0])
    sent = shaped(columns, list(case[1]))
    if sent is None:
        return
    sought = keys_of(sent.id, columns)
    cut = len(sent.id) == MAX_ID and "~" in sent.id
    if sought.certain or not cut:
        assert sent.key in sought.keys
    assert len(sought.keys) <= 1


@settings(max_examples=200, deadline=None)
@given(st.lists(EXACT[Kind.INTEGER] | EXACT[Kind.TEXT], min_size=1, max_size=3))
@example(["1", 1, "01"])
def test_a_column_that_holds_anything_is_sought_as_text_and_as_number(values: list[object]) -> None:
    """SQLite keeps texts among numbers: both are looked for, and neither proves that there is no third."""
    columns = keyed(*[Kind.INTEGER] * len(values), exact=False)
    sent = shaped([Column(name=each.name, kind=Kind.ANY) for each in columns], values)
    if sent is None or len(sent.id) == MAX_ID:
        return
    sought = keys_of(sent.id, columns)
    assert sent.key in sought.keys
    assert not sought.certain


def one(kind: Kind, identifier: str, **more: object) -> Sought:
    """The keys of an id of one column."""
    return keys_of(identifier, [Column(name="id", kind=kind, **more)])  # type: ignore[arg-type]


@pytest.mark.parametrize("identifier", ["", "abc", "007", "1.0", "-0", "+1", "٣", "1 ", "9" * 101])
def test_no_integer_has_such_an_id(identifier: str) -> None:
    """What no integer's text is needs no look at the database."""
    assert one(Kind.INTEGER, identifier) == Sought(keys=(), certain=True)


def test_ids_that_prove_nothing() -> None:
    """Times are written otherwise in ids than in keys; a cut id is no key; numbers have several texts."""
    assert one(Kind.TIMESTAMP, "2026-01-01T00:00:00+00:00") == Sought(keys=(), certain=False)
    assert one(Kind.TIME, "12:00:00") == Sought(keys=(), certain=False)
    assert not one(Kind.TEXT, object_id(["long " * 30])).certain
    assert one(Kind.DECIMAL, "1.5", scale=3) == Sought(keys=('[["decimal","1.500"]]',), certain=False)
    assert one(Kind.DECIMAL, "1e999999999").keys == ()
    assert one(Kind.BYTES, "no base64!").keys == ()
    assert one(Kind.DATE, "someday").keys == ()


def test_examples() -> None:
    """An integer, a UUID, a composite of both with an escaped text."""
    number = str(uuid.UUID(int=7))
    assert one(Kind.INTEGER, "42") == Sought(keys=('[["integer","42"]]',), certain=True)
    assert one(Kind.TEXT, number) == Sought(keys=(f'[["text","{number}"]]',), certain=True)
    found = keys_of(r"42:a\:b\\", keyed(Kind.INTEGER, Kind.TEXT))
    assert found == Sought(keys=('[["integer","42"],["text","a:b\\\\"]]',), certain=True)
    assert keys_of("2026-01-31", keyed(Kind.DATE)).keys == ('[["date","2026-01-31"]]',)
    assert shaped(keyed(Kind.DATE), [date(2026, 1, 31)]) is not None
    assert shaped(keyed(Kind.DECIMAL), [Decimal("1.50")]) is not None


@given(st.lists(st.text(":\\ab"), min_size=2, max_size=4).filter(lambda parts: len(object_id(parts)) < MAX_ID))
def test_a_composite_id_tells_its_parts(parts: list[str]) -> None:
    """Splitting an id gives the parts it was joined of, and only for as many parts as there were."""
    joined = object_id(parts)
    assert id_parts(joined, len(parts)) == parts
    assert id_parts(joined, len(parts) + 1) is None


@pytest.mark.parametrize("identifier", ["a", "a\\b:1", "1:2:3", ":\\"])
def test_what_is_no_id_of_two_parts(identifier: str) -> None:
    """Too few or too many parts, and an escape that no joining writes."""
    assert id_parts(identifier, 2) is None
    assert keys_of(identifier, keyed(Kind.TEXT, Kind.TEXT)) == Sought(keys=(), certain=True)
