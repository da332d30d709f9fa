"""Rows to objects."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.core.model import CollectionMapping, Column, Kind, PropertyRule, WatermarkRule
from syncer.core.shape import MAX_VALUE, Shaped, compile_shape
from syncer.errors import MappingError

ID = Column(name="id", kind=Kind.INTEGER)


def rooms(**changes: object) -> CollectionMapping:
    """A mapping of rooms."""
    settings: dict[str, object] = {"name": "rooms", "source": "app", "collection": "rooms", **changes}
    return CollectionMapping(**settings)  # type: ignore[arg-type]


def shaped(column: Column, value: object, *, zone: str = "UTC", mapping: CollectionMapping | None = None) -> Shaped:
    """One row of an id and this value."""
    where = UTC if zone == "UTC" else ZoneInfo(zone)
    shaper = compile_shape(mapping or rooms(), (ID, column), ("id",), where)
    return shaper.shape([(1, value)], 0)


def text_of(column: Column, value: object, *, zone: str = "UTC") -> str:
    """The JSON text the value became."""
    result = shaped(column, value, zone=zone)
    assert [] == result.rejections
    properties = result.objects[0].properties.decode()
    prefix = '{"' + column.name + '":'
    assert properties.startswith(prefix)
    return properties[len(prefix) : -1]


VALUES = [
    (Kind.TEXT, "Zoë", '"Zoë"'),
    (Kind.INTEGER, 9007199254740993, "9007199254740993"),
    (Kind.INTEGER, 2**64 + 1, "18446744073709551617"),
    (Kind.FLOAT, 2.0, "2.0"),
    (Kind.FLOAT, 0.1, "0.1"),
    (Kind.DECIMAL, "4.50", "4.50"),
    (Kind.DECIMAL, "7", "7.0"),
    (Kind.DECIMAL, Decimal("1E+3"), "1000.0"),
    (Kind.DECIMAL, "12345678901234567890.123456789012345678", "12345678901234567890.123456789012345678"),
    (Kind.DECIMAL, 0.1, "0.1"),
    (Kind.BOOLEAN, True, "true"),
    (Kind.TIMESTAMP, "2024-02-29 13:14:15.123456", '"2024-02-29T13:14:15.123456+00:00"'),
    (Kind.TIMESTAMP, datetime(2024, 2, 29, 13, 14, 15), '"2024-02-29T13:14:15+00:00"'),
    (Kind.TIMESTAMP, "2024-01-01", '"2024-01-01T00:00:00+00:00"'),
    (Kind.TIMESTAMP, "2024-02-29T13:14:15Z", '"2024-02-29T13:14:15+00:00"'),
    (Kind.INSTANT, "2024-02-29 07:44:15.1+00", '"2024-02-29T07:44:15.1+00:00"'),
    (Kind.INSTANT, "2024-02-29 07:44:15.123456789+05:30", '"2024-02-29T07:44:15.123456789+05:30"'),
    (Kind.DATE, "2024-02-29", '"2024-02-29"'),
    (Kind.DATE, date(2024, 2, 29), '"2024-02-29"'),
    (Kind.TIME, "13:14:15.5", '"13:14:15.5"'),
    (Kind.TIME, time(13, 14), '"13:14:00"'),
    (Kind.INTERVAL, "1 year 2 mons 3 days 04:05:06", "37015506.0"),  # 31557600 + 2*2592000 + 3*86400 + 14706
    (Kind.INTERVAL, "-1 days +02:03:00", "-79020.0"),  # -86400 + 7380
    (Kind.INTERVAL, "-00:00:00.5", "-0.5"),
    (Kind.INTERVAL, timedelta(days=1, microseconds=1), "86400.000001"),
    (Kind.BYTES, b"\xde\xad\xbe\xef", '"3q2+7w=="'),
    (Kind.JSON, '{"b": 1, "a":[1, 2], "t": "x  y"}', r'"{\"b\":1,\"a\":[1,2],\"t\":\"x  y\"}"'),
    (Kind.JSON, '{"n":1e400,"big":12345678901234567890}', r'"{\"n\":1e400,\"big\":12345678901234567890}"'),
    (Kind.JSON, [1, None, "a"], r'"[1,null,\"a\"]"'),
    (Kind.ANY, UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    (Kind.ANY, Decimal("1.50"), "1.50"),
    (Kind.ANY, 3, "3"),
    (Kind.ANY, b"\x00", '"AA=="'),
    (Kind.ANY, datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2))), '"2024-01-01T00:00:00+02:00"'),
]


@pytest.mark.parametrize(("kind", "value", "expected"), VALUES)
def test_each_kind_has_one_form(kind: Kind, value: object, expected: str) -> None:
    """A value becomes the JSON scalar its column's kind promises, exactly."""
    assert text_of(Column(name="v", kind=kind), value) == expected


def test_scale_zero_is_an_integer() -> None:
    """A numeric(10,0) is an integer; a numeric(10,2) never is."""
    assert text_of(Column(name="v", kind=Kind.DECIMAL, scale=0), "7") == "7"
    assert text_of(Column(name="v", kind=Kind.DECIMAL, scale=2), "7.00") == "7.00"


def test_bits_show_their_width() -> None:
    """A bit string keeps its leading zeros."""
    assert text_of(Column(name="v", kind=Kind.BITS, width=12), b"\x00\x0a") == '"000000001010"'


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("2024-07-01 12:00:00", "2024-07-01T12:00:00-04:00"),
        ("2024-12-01 12:00:00.25", "2024-12-01T12:00:00.25-05:00"),
        ("2024-11-03 01:30:00", "2024-11-03T01:30:00-04:00"),  # twice that night: the first
        ("1800-01-01 00:00:00", "1800-01-01T04:56:02+00:00"),  # local mean time has odd seconds, so UTC
    ],
)
def test_naive_timestamps_get_the_sources_zone(local: str, expected: str) -> None:
    """The source's `timezone` gives the offset that was in force at that moment."""
    assert text_of(Column(name="v", kind=Kind.TIMESTAMP), local, zone="America/New_York") == f'"{expected}"'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "NaN", "Infinity", Decimal("NaN")])
@pytest.mark.parametrize("kind", [Kind.FLOAT, Kind.DECIMAL])
def test_what_is_not_finite_is_null_and_counted(kind: Kind, value: object) -> None:
    """NaN and infinities go as null; the count says how many."""
    result = shaped(Column(name="v", kind=kind), value)
    assert result.objects[0].properties == b'{"v":null}'
    assert result.non_finite == 1


REFUSED = [
    (Column(name="v", kind=Kind.TIMESTAMP), "infinity", "VALUE_OUT_OF_RANGE"),
    (Column(name="v", kind=Kind.TIMESTAMP), "0001-01-01 00:00:00 BC", "VALUE_OUT_OF_RANGE"),
    (Column(name="v", kind=Kind.INSTANT), "10000-01-01 00:00:00+00", "VALUE_OUT_OF_RANGE"),
    (Column(name="v", kind=Kind.TIMESTAMP), "0000-00-00 00:00:00", "VALUE_OUT_OF_RANGE"),
    (Column(name="v", kind=Kind.DATE), "2024-02-31", "VALUE_OUT_OF_RANGE"),
    (Column(name="v", kind=Kind.DATE, exact=False), "20240229", "TYPE_MISMATCH"),
    (Column(name="v", kind=Kind.TIMESTAMP, exact=False), 1709212455, "TYPE_MISMATCH"),
    (Column(name="v", kind=Kind.INTEGER, exact=False), "abc", "TYPE_MISMATCH"),
    (Column(name="v", kind=Kind.FLOAT, exact=False), "not a number", "TYPE_MISMATCH"),
    (Column(name="v", kind=Kind.TEXT, exact=False), b"bytes", "TYPE_MISMATCH"),
    (Column(name="v", kind=Kind.JSON, exact=False), "not json", "TYPE_MISMATCH"),
    (Column(name="v", kind=Kind.BOOLEAN, exact=False), 2, "TYPE_MISMATCH"),
    (Column(name="v", kind=Kind.TEXT), "x" * MAX_VALUE, "VALUE_TOO_LARGE"),
    (Column(name="v", kind=Kind.TEXT), "é" * (MAX_VALUE // 2), "VALUE_TOO_LARGE"),
    (Column(name="v", kind=Kind.BYTES), b"x" * MAX_VALUE, "VALUE_TOO_LARGE"),
    (Column(name="v", kind=Kind.TEXT), "\ud800", "INVALID_TEXT"),
    (Column(name="v", kind=Kind.TEXT), b"no text", "TYPE_MISMATCH"),
]


@pytest.mark.parametrize(("column", "value", "code"), REFUSED)
def test_what_cannot_be_a_property_refuses_its_row(column: Column, value: object, code: str) -> None:
    """The row becomes a rejection with a stable code, an id to find it by, and no value in its reason."""
    result = shaped(column, value)
    assert [] == result.objects
    (rejection,) = result.rejections
    assert rejection.code == code
    assert rejection.id == "1"
    assert rejection.reason.startswith("v ")
    assert "abc" not in rejection.reason


def test_a_value_just_under_the_limit_is_sent() -> None:
    """32 KB less one byte is allowed; the limit is on the text, not on its JSON escapes."""
    result = shaped(Column(name="v", kind=Kind.TEXT), '"' * (MAX_VALUE - 1))
    assert len(result.objects) == 1


def test_an_object_larger_than_a_request_is_refused() -> None:
    """Many values under their limit can still be more than one request carries."""
    columns = [ID, *(Column(name=f"c{number}", kind=Kind.TEXT) for number in range(20))]
    shaper = compile_shape(rooms(), columns, ("id",), UTC, largest=500_000)
    result = shaper.shape([(1, *["w" * 30_000] * 20)], 0)
    assert [each.code for each in result.rejections] == ["OBJECT_TOO_LARGE"]


KEYS = [
    (Kind.INTEGER, 7, "7"),
    (Kind.FLOAT, 7.0, "7"),
    (Kind.FLOAT, 7.5, "7.5"),
    (Kind.DECIMAL, "7.00", "7"),
    (Kind.DECIMAL, "700", "700"),
    (Kind.DECIMAL, "0.00", "0"),
    (Kind.TEXT, "a b ", "a b "),
    (Kind.BOOLEAN, True, "true"),
    (Kind.BYTES, b"\x01", "AQ=="),
    (Kind.INSTANT, "2024-01-01 00:00:00+00", "2024-01-01T00:00:00+00:00"),
]


@pytest.mark.parametrize(("kind", "value", "identifier"), KEYS)
def test_ids_are_the_text_of_the_key(kind: Kind, value: object, identifier: str) -> None:
    """Numbers have one text whatever type carries them; other keys read as their property would."""
    columns = (Column(name="code", kind=kind), Column(name="city", kind=Kind.TEXT))
    result = compile_shape(rooms(), columns, ("code",), UTC).shape([(value, "Kraków")], 0)
    assert [each.id for each in result.objects] == [identifier]


@pytest.mark.parametrize(("value", "code"), [(None, "NULL_KEY"), ("", "EMPTY_KEY"), ("\ud800", "INVALID_TEXT")])
def test_a_row_without_a_usable_key_is_refused(value: object, code: str) -> None:
    """NULL, empty and invalid keys are rejections."""
    columns = (Column(name="code", kind=Kind.TEXT), Column(name="city", kind=Kind.TEXT))
    result = compile_shape(rooms(), columns, ("code",), UTC).shape([(value, "Kraków")], 0)
    assert [each.code for each in result.rejections] == [code]


def test_a_key_named_id_is_not_repeated_but_others_are() -> None:
    """`id` is the warehouse's own; every other key column is a property too."""
    columns = (Column(name="ID", kind=Kind.INTEGER), Column(name="roomNo", kind=Kind.INTEGER))
    result = compile_shape(rooms(), columns, ("ID", "roomNo"), UTC).shape([(1, 2)], 0)
    assert [(each.id, each.properties) for each in result.objects] == [("1:2", b'{"room_no":2}')]


def test_colliding_columns_are_an_error_naming_both() -> None:
    """`userID` and `user_id` would be the same property."""
    columns = (ID, Column(name="userID", kind=Kind.TEXT), Column(name="user_id", kind=Kind.TEXT))
    with pytest.raises(MappingError, match="'userID' and 'user_id' both become the property 'user_id'"):
        compile_shape(rooms(), columns, ("id",), UTC)


def test_a_rename_can_collide_as_well() -> None:
    """A rename onto another property is the same error."""
    columns = (ID, Column(name="city", kind=Kind.TEXT), Column(name="location", kind=Kind.TEXT))
    mapping = rooms(properties={"location": PropertyRule(rename="city")})
    with pytest.raises(MappingError, match="'city' and 'location'"):
        compile_shape(mapping, columns, ("id",), UTC)


def test_rules_for_absent_properties_are_an_error() -> None:
    """A typing error in `properties` is not silently ignored."""
    with pytest.raises(MappingError, match="does not return: locaton"):
        compile_shape(rooms(properties={"locaton": PropertyRule(drop=True)}), (ID,), ("id",), UTC)


def properties(mapping: CollectionMapping, columns: Sequence[Column], row: Sequence[object]) -> dict[str, object]:
    """The properties of one row."""
    result = compile_shape(mapping, columns, ("id",), UTC).shape([row], 0)
    assert [] == result.rejections
    decoded = json.loads(result.objects[0].properties)
    assert isinstance(decoded, dict)
    return decoded


def test_properties_can_be_renamed_dropped_typed_and_masked() -> None:
    """Rules apply by property name or by the column's own name."""
    columns = [ID, *(Column(name=name, kind=Kind.TEXT) for name in ("location", "eMail", "phone", "count", "notes"))]
    mapping = rooms(
        properties={
            "location": PropertyRule(rename="city"),
            "eMail": PropertyRule(mask="hash"),
            "phone": PropertyRule(mask="redact"),
            "count": PropertyRule(type=Kind.INTEGER),
            "notes": PropertyRule(drop=True),
        }
    )
    assert properties(mapping, columns, (1, "Lihue", "a@example.com", "555", "47", "x")) == {
        "city": "Lihue",
        "e_mail": hashlib.sha256(b"a@example.com").hexdigest(),
        "phone": "[redacted]",
        "count": 47,
    }


def test_masked_nulls_stay_null() -> None:
    """A mask hides values, not their absence."""
    mapping = rooms(properties={"city": PropertyRule(mask="hash")})
    assert properties(mapping, [ID, Column(name="city", kind=Kind.TEXT)], (1, None)) == {"city": None}


def test_flatten_makes_properties_of_members() -> None:
    """Objects become `name_member`, lists stay JSON text, numbers stay exact."""
    mapping = rooms(properties={"meta": PropertyRule(flatten=True)})
    row = (1, '{"floorNo": 2, "geo": {"lat": 1.50}, "tags": ["a", 1.5], "big": 123456789012345678901}')
    result = compile_shape(mapping, [ID, Column(name="meta", kind=Kind.JSON)], ("id",), UTC).shape([row], 0)
    expected = b'{"meta_floor_no":2,"meta_geo_lat":1.50,"meta_tags":"[\\"a\\",1.5]","meta_big":123456789012345678901}'
    assert result.objects[0].properties == expected


def test_flattened_members_that_collide_refuse_the_row() -> None:
    """Two members of one name in one object would overwrite each other."""
    mapping = rooms(properties={"meta": PropertyRule(flatten=True)})
    row = (1, '{"aB": 1, "a_b": 2}')
    result = compile_shape(mapping, [ID, Column(name="meta", kind=Kind.JSON)], ("id",), UTC).shape([row], 0)
    assert [each.code for each in result.rejections] == ["PROPERTY_COLLISION"]


def test_nulls_are_sent_unless_omitted() -> None:
    """A NULL clears downstream; `nulls: omit` leaves it out, and a row of nothing else is refused."""
    columns = (ID, Column(name="city", kind=Kind.TEXT), Column(name="zip", kind=Kind.TEXT))
    assert properties(rooms(), columns, (1, None, "x")) == {"city": None, "zip": "x"}
    assert properties(rooms(nulls="omit"), columns, (1, None, "x")) == {"zip": "x"}
    result = compile_shape(rooms(nulls="omit"), columns, ("id",), UTC).shape([(1, None, None)], 0)
    assert [each.code for each in result.rejections] == ["EMPTY_PROPERTIES"]


def test_null_watermarks_are_skipped_by_request_only() -> None:
    """`nulls: skip` counts the row as skipped; otherwise it is sent and counted."""
    columns = (ID, Column(name="at", kind=Kind.TEXT))
    for policy, objects, skipped in (("skip", 0, 1), ("include", 1, 0)):
        mapping = rooms(watermark=WatermarkRule(column="at", nulls=policy))  # type: ignore[arg-type]
        result = compile_shape(mapping, columns, ("id",), UTC, watermark="at").shape([(1, None)], 0)
        assert (len(result.objects), result.skipped, result.null_watermarks) == (objects, skipped, 1)


def test_rows_keep_their_place() -> None:
    """Objects and rejections carry the position of their row in the run."""
    columns = (ID, Column(name="city", kind=Kind.TEXT))
    result = compile_shape(rooms(), columns, ("id",), UTC).shape([(1, "a"), (None, "b"), (3, "c")], 40)
    assert [each.row for each in result.objects] == [40, 42]
    assert [each.row for each in result.rejections] == [41]


class Odd:
    """What no driver should return."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.decimals(), st.uuids(),
    st.datetimes(timezones=st.none() | st.timezones()), st.dates(), st.times(), st.timedeltas(),
    st.lists(st.integers() | st.text() | st.decimals()), st.dictionaries(st.text(), st.integers()), st.just(Odd()),
    st.sampled_from(["infinity", "-infinity", "0000-00-00", "2024-02-31", "1 year", "0044-03-15 BC", "1e999", "{"]),
    st.integers().map(lambda exponent: Decimal(1).scaleb(exponent % 10**6)),
)  # fmt: skip


@given(
    st.sampled_from(Kind), st.booleans(), ANYTHING, ANYTHING, st.sampled_from(["UTC", "America/New_York"]),
    st.sampled_from(
        [PropertyRule(), PropertyRule(flatten=True), PropertyRule(mask="hash"), PropertyRule(type=Kind.INTEGER)]
    ),
)  # fmt: skip
def test_shaping_is_total(kind: Kind, exact: bool, key: object, value: object, zone: str, rule: PropertyRule) -> None:
    """Whatever a driver returns, the row becomes an object of JSON scalars or a rejection; never an exception."""
    # an exact column is a promise of the driver about the Python type
    promised = {Kind.TEXT: str, Kind.INTEGER: int, Kind.BOOLEAN: bool}.get(kind, object)
    exact = exact and isinstance(key, promised) and isinstance(value, promised)
    columns = (Column(name="code", kind=kind, exact=exact), Column(name="v", kind=kind, exact=exact))
    mapping = rooms(properties={"v": rule})
    where = UTC if zone == "UTC" else ZoneInfo(zone)
    result = compile_shape(mapping, columns, ("code",), where).shape([(key, value)], 0)
    assert len(result.objects) + len(result.rejections) == 1
    for each in result.objects:
        decoded = json.loads(each.properties, parse_float=Decimal, parse_int=Decimal)
        assert all(not isinstance(scalar, dict | list) for scalar in decoded.values())
        assert 1 <= len(each.id) <= 100


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12))
def test_decimals_stay_exact(number: Decimal) -> None:
    """The JSON number equals the database's decimal, digit for digit."""
    text = text_of(Column(name="v", kind=Kind.DECIMAL), format(number, "f"))
    assert Decimal(text) == number
