"""Properties that a mapping retires: null in every object, whatever else is in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

import pytest

from syncer.core.model import CollectionMapping, Column, Kind, PropertyRule, SegmentObject, TombstoneRule
from syncer.core.shape import compile_shape, retired_of
from syncer.errors import MappingError

ID = Column(name="id", kind=Kind.INTEGER)
NAME = Column(name="name", kind=Kind.TEXT)
RETIRED = PropertyRule(retired=True)


def rooms(nulls: str = "send", **rules: PropertyRule) -> CollectionMapping:
    """A mapping of rooms."""
    return CollectionMapping(
        name="rooms", source="app", table="rooms", collection="rooms", properties=rules,
        nulls="omit" if nulls == "omit" else "send",
    )  # fmt: skip


def shaped(mapping: CollectionMapping, columns: Sequence[Column], *row: object) -> dict[str, object]:
    """The properties that a row becomes."""
    (found,) = compile_shape(mapping, columns, ("id",), UTC).shape([row], 0).objects
    assert isinstance(found, SegmentObject)
    properties = json.loads(found.properties)
    assert isinstance(properties, dict)
    return properties


@pytest.mark.parametrize("nulls", ["send", "omit"])
def test_null_in_every_object(nulls: str) -> None:
    """Also where other nulls are left out."""
    mapping = rooms(nulls, nightlyPrice=RETIRED, stars=RETIRED)
    assert shaped(mapping, (ID, NAME), 1, "Attic") == {"name": "Attic", "nightly_price": None, "stars": None}
    bare = {"nightly_price": None, "stars": None}
    assert shaped(mapping, (ID, NAME), 1, None) == (bare if nulls == "omit" else {"name": None, **bare})


def test_the_order_in_the_file_changes_no_object() -> None:
    """Nor does anything else but the names, so that moving a line sends nothing again."""
    names = [f"{letter}_old" for letter in "qwertyuiop"]
    for order in (names, names[::-1]):
        mapping = rooms(**dict.fromkeys(order, RETIRED))
        assert retired_of(mapping) == tuple(sorted(names))
        assert list(shaped(mapping, (ID, NAME), 1, "Attic")) == [*sorted(names), "name"]


def test_what_the_query_still_returns() -> None:
    """Is refused by the name of the column as well as of the property, and so is the id."""
    price = Column(name="nightlyPrice", kind=Kind.DECIMAL)
    for rules in ({"nightlyPrice": RETIRED}, {"nightly_price": RETIRED}, {"id": RETIRED}):
        with pytest.raises(MappingError, match="mapping rooms: `properties` retires what is still sent: ") as refused:
            compile_shape(rooms(**rules), (ID, price), ("id",), UTC)
        assert refused.value.hint == (
            "take it out of the query, or add `drop: true` or `rename` to it; or remove `retired`"
        )


def test_a_column_that_is_left_out_or_renamed() -> None:
    """Its old property can be retired: nothing sends that any more."""
    dropped = rooms(name=PropertyRule(drop=True, retired=True))
    assert shaped(dropped, (ID, NAME), 1, "Attic") == {"name": None}
    renamed = rooms(name=PropertyRule(rename="title", retired=True))
    assert shaped(renamed, (ID, NAME), 1, "Attic") == {"title": "Attic", "name": None}


def test_another_column_under_the_retired_name() -> None:
    """Is refused, whichever rule brings it there."""
    mapping = rooms(old=RETIRED, name=PropertyRule(rename="old"))
    with pytest.raises(MappingError, match="retires what is still sent: old"):
        compile_shape(mapping, (ID, NAME), ("id",), UTC)


def test_a_member_of_a_flattened_document() -> None:
    """Is null where a document lacks it, and itself where it is there."""
    mapping = rooms("omit", extras=PropertyRule(flatten=True), extras_pool=RETIRED)
    columns = (ID, Column(name="extras", kind=Kind.JSON))
    assert shaped(mapping, columns, 1, '{"wifi": true}') == {"extras_wifi": True, "extras_pool": None}
    assert shaped(mapping, columns, 1, '{"pool": true}') == {"extras_pool": True}


def test_what_is_neither_there_nor_retired() -> None:
    """Is still told as a name that the query does not return, without the retired ones."""
    with pytest.raises(MappingError, match=r"does not return: nmae$"):
        compile_shape(rooms(old=RETIRED, nmae=PropertyRule(drop=True)), (ID, NAME), ("id",), UTC)


def test_a_mark_of_the_living_cannot_be_retired() -> None:
    """It would be two things at once; that is said before any row is read."""
    mapping = replace(rooms(is_deleted=RETIRED), deletes=TombstoneRule())
    with pytest.raises(MappingError, match="is_deleted"):
        compile_shape(mapping, (ID, NAME), ("id",), UTC)
