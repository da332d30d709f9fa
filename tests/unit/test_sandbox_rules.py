"""What the sandbox accepts at `POST /v1/set`, and how it names what it refuses."""

from __future__ import annotations

import base64
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.sandbox.rules import (
    MAX_BODY,
    VALUE_LIMIT,
    Refusal,
    SetObject,
    SetRequest,
    is_synchronous,
    read_set,
    refuse_key,
)

ROOM = {"id": "2561341", "properties": {"name": "Charming Beach Room", "review_count": 47}}


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def headers(**changes: str | None) -> dict[str, str]:
    given = {"authorization": basic("key:"), "content-type": "application/json"}
    given.update({name.replace("_", "-"): value for name, value in changes.items()})
    return {name: value for name, value in given.items() if value is not None}


def rooms(*objects: object, **members: object) -> bytes:
    return json.dumps({"collection": "rooms", "objects": list(objects), **members}).encode()


def room(properties: str) -> bytes:
    """A request of one room whose properties are this JSON text."""
    return b'{"collection":"rooms","objects":[{"id":"1","properties":%s}]}' % properties.encode("utf-8")


def refused(body: bytes) -> Refusal:
    answer = read_set(headers(), body)
    assert isinstance(answer, Refusal)
    return answer


def accepted(body: bytes) -> SetRequest:
    answer = read_set(headers(), body)
    assert isinstance(answer, SetRequest), answer
    return answer


def test_the_documented_example_is_accepted():
    """The request of Segment's own page is read as it stands."""
    assert accepted(rooms(ROOM)) == SetRequest(
        collection="rooms",
        objects=(SetObject(id="2561341", properties={"name": "Charming Beach Room", "review_count": 47}),),
    )


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_accepted_with_its_parameters(media_type):
    """The media type is what counts in a Content-Type."""
    assert isinstance(read_set(headers(content_type=media_type), rooms(ROOM)), SetRequest)


@pytest.mark.parametrize(
    ("authorization", "says"),
    [
        (None, "Basic authentication is missing"),
        ("", "Basic authentication is missing"),
        ("Bearer key", "Basic authentication is missing"),
        ("Basic ???", "not base64"),
        ("Basic ké", "not base64"),
        (basic("key"), "lacks the colon"),
        (basic(":"), "the write key (the user name) is empty"),
        (basic("key:word"), "the password must be empty"),
        (basic("key::"), "the password must be empty"),
    ],
)
def test_only_a_write_key_with_an_empty_password_is_let_in(authorization, says):
    """Anything but `Basic write_key:` is 401, and the text says what is wrong with it."""
    answer = read_set(headers(authorization=authorization), rooms(ROOM))
    assert isinstance(answer, Refusal)
    assert answer.status == 401
    assert says in answer.text


def test_another_write_key_than_the_configured_one_is_refused():
    """A sandbox with a write key answers 401 to every other, without repeating it."""
    answer = read_set(headers(authorization=basic("other:")), rooms(ROOM), "key")
    assert answer == Refusal(status=401, text="the write key is not the one this sandbox was started with")
    assert isinstance(read_set(headers(), rooms(ROOM), "key"), SetRequest)


def test_the_key_can_be_checked_alone():
    """The page for people is guarded by the same rule."""
    assert refuse_key(headers(), "key") is None
    assert refuse_key({}, "key") is not None


def test_the_key_is_checked_before_the_body():
    """A stranger learns nothing about the body."""
    answer = read_set({}, b"{" * (MAX_BODY + 1))
    assert isinstance(answer, Refusal)
    assert answer.status == 401


@pytest.mark.parametrize(
    "media_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
def test_the_body_must_be_declared_as_json(media_type):
    """Any other Content-Type, or none, is 400."""
    answer = read_set(headers(content_type=media_type), rooms(ROOM))
    assert answer == Refusal(status=400, text="the Content-Type must be application/json")


def test_a_body_of_500_kb_is_accepted_and_one_byte_more_is_413():
    """The limit of the body is 500,000 bytes."""
    padded = rooms(ROOM).ljust(MAX_BODY)
    accepted(padded)
    assert refused(padded + b" ") == Refusal(status=413, text="the body is larger than 500000 bytes (500 KB)")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is not JSON: Expecting value (line 1, column 1)"),
        (b'{"collection":', "the body is not JSON: Expecting value (line 1, column 15)"),
        (b'{"a": 1} {"b": 2}', "the body is not JSON: Extra data"),
        (b'{"a": "\n"}', "the body is not JSON: Invalid control character"),
        (b'{"a": 01}', "the body is not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "the body is not JSON"),
        (b'{"a": "\xff"}', "the body is not UTF-8 at byte 7"),
        (b'{"a": "\xed\xa0\x80"}', "the body is not UTF-8 at byte 7"),
        ('{"a": 1}'.encode("utf-16"), "the body is not UTF-8 at byte 0"),
        (b"[" * 200_000, "the body is nested too deeply"),
        (b"[]", "the body is a list; expected an object"),
        (b"null", "the body is null; expected an object"),
        (b'"rooms"', "the body is a string; expected an object"),
        (b"NaN", "the body is NaN, which is not JSON"),
        (b"{}", "the body lacks 'collection'"),
        (b'{"collection": "rooms"}', "the body lacks 'objects'"),
        (rooms(ROOM, writeKey="x"), "the body has an unknown key 'writeKey'"),
        (b'{"collection":"rooms","collection":"hosts"}', "the body has the key 'collection' more than once"),
    ],
)
def test_a_malformed_body_is_400_with_its_fault(body, says):
    """What is not one JSON object of `collection` and `objects` is refused by name."""
    answer = refused(body)
    assert answer.status == 400
    assert says in answer.text


@pytest.mark.parametrize("name", ["a", "rooms", "room_reviews", "a__b", "a" * 100])
def test_collections_of_lowercase_letters_and_inner_underscores_are_accepted(name):
    """1 to 100 characters of a-z and `_`, the latter not at either end."""
    assert accepted(rooms(ROOM, collection=name)).collection == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "collection must be lowercase letters and underscores"),
        ("_", "without an underscore at either end"),
        ("_rooms", "without an underscore at either end"),
        ("rooms_", "without an underscore at either end"),
        ("Rooms", "collection must be lowercase letters"),
        ("rooms2", "collection must be lowercase letters"),
        ("room-reviews", "collection must be lowercase letters"),
        ("rooms\n", "collection must be lowercase letters"),
        ("zimmergröße", "collection must be lowercase letters"),
        ('rooms"; DROP TABLE rooms; --', "collection must be lowercase letters"),
        ("a" * 101, "collection has 101 characters; the limit is 100"),
        (7, "collection is a number; expected a string"),
        (True, "collection is a boolean; expected a string"),
        (None, "collection is null; expected a string"),
    ],
)
def test_other_collections_are_refused(name, says):
    """The documented rule for collection names is kept to the letter."""
    answer = refused(rooms(ROOM, collection=name))
    assert answer.status == 400
    assert says in answer.text


def test_a_request_takes_one_to_ten_objects():
    """0 and 11 objects are refused with their number; 10 are accepted."""
    many = [{"id": str(number), "properties": {"n": number}} for number in range(11)]
    assert len(accepted(rooms(*many[:10])).objects) == 10
    assert refused(rooms(*many)).text == "objects has 11 objects; a request takes 1 to 10"
    assert refused(rooms()).text == "objects has 0 objects; a request takes 1 to 10"


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (None, "objects[1] is null; expected an object"),
        ([], "objects[1] is a list; expected an object"),
        ({"properties": {"n": 1}}, "objects[1] lacks 'id'"),
        ({"id": "2"}, "objects[1] lacks 'properties'"),
        (
            {"id": "2", "properties": {"n": 1}, "collection": "rooms"},
            "objects[1] has an unknown key 'collection'",
        ),
        ({"id": 2, "properties": {"n": 1}}, "objects[1].id is a number; expected a string"),
        ({"id": None, "properties": {"n": 1}}, "objects[1].id is null; expected a string"),
        ({"id": "", "properties": {"n": 1}}, "objects[1].id has 0 characters; an id has 1 to 100"),
        ({"id": "é" * 101, "properties": {"n": 1}}, "objects[1].id has 101 characters; an id has 1 to 100"),
        ({"id": "\ud800", "properties": {"n": 1}}, "objects[1].id has half of a surrogate pair"),
        ({"id": "2561341", "properties": {"n": 1}}, "objects[1].id is the same as objects[0].id"),
        ({"id": "2", "properties": {}}, "objects[1].properties is empty"),
        ({"id": "2", "properties": None}, "objects[1].properties is null; expected an object"),
        ({"id": "2", "properties": [1]}, "objects[1].properties is a list; expected an object"),
        ({"id": "2", "properties": {"amenities": []}}, "objects[1].properties['amenities'] is a list"),
        ({"id": "2", "properties": {"host": {"id": 1}}}, "objects[1].properties['host'] is an object"),
        (
            {"id": "2", "properties": {"name": "\udc00"}},
            "objects[1].properties['name'] has half of a surrogate",
        ),
        (
            {"id": "2", "properties": {"\ud83d": 1}},
            "the name of a property of objects[1] has half of a surrogate",
        ),
        ({"id": "2", "properties": {"é" * 99: []}}, "objects[1].properties['" + "é" * 60 + "…'] is a list"),
    ],
)
def test_a_wrong_object_is_refused_with_its_place(second, says):
    """The refusal names the object by position and the property by name."""
    answer = refused(rooms(ROOM, second))
    assert answer.status == 400
    assert says in answer.text


def test_an_id_of_100_characters_may_have_more_bytes():
    """The limit of an id counts characters."""
    assert accepted(rooms({**ROOM, "id": "é" * 100})).objects[0].id == "é" * 100


def test_objects_must_be_a_list():
    """One object alone is not a list of one."""
    assert refused(rooms(objects=ROOM)).text == "objects is an object; expected a list"


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ('{"price": NaN}', "objects[0].properties['price'] is NaN, which is not JSON"),
        ('{"price": Infinity}', "objects[0].properties['price'] is Infinity, which is not JSON"),
        ('{"price": -Infinity}', "objects[0].properties['price'] is -Infinity, which is not JSON"),
        (
            '{"price": 1e1000000000000000000}',
            "properties['price'] is a number with an exponent beyond any range",
        ),
        ('{"name": "a", "price": 1, "name": "b"}', "objects[0].properties has the key 'name' more than once"),
        ('{"name": 1, "n\\u0061me": 1}', "objects[0].properties has the key 'name' more than once"),
    ],
)
def test_what_json_cannot_say_is_refused_where_it_stands(properties, says):
    """NaN, Infinity, absurd exponents and repeated keys are named with their place."""
    assert says in refused(room(properties)).text


@pytest.mark.parametrize("fill", ["a", "é", "\U0001f3e0", '"', "\n", "\0"])
def test_a_value_must_be_smaller_than_32_kb_of_utf_8(fill):
    """32,767 bytes are accepted and 32,768 are not, counted in UTF-8 and not as escaped."""
    width = len(fill.encode())
    below = fill * ((VALUE_LIMIT - 1) // width) + "." * ((VALUE_LIMIT - 1) % width)
    assert accepted(rooms({"id": "1", "properties": {"text": below}})).objects[0].properties["text"] == below
    answer = refused(rooms({"id": "1", "properties": {"text": below + "."}}))
    assert answer.text == (
        "objects[0].properties['text'] has 32768 bytes; a value must be smaller than 32768 bytes (32 KB)"
    )


def test_a_number_may_not_have_32_kb_either():
    """The limit of a value holds for numbers, by their digits."""
    assert "has 40000 bytes" in refused(room('{"n": %s}' % ("9" * 40_000))).text
    assert "has 40000 bytes" in refused(room('{"n": 0.%s}' % ("9" * 39_998))).text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9007199254740993", 9007199254740993),
        ("18446744073709551616", 2**64),
        ("-1" + "0" * 400, -(10**400)),
        ("1" * 5000, Decimal("1" * 5000)),
        ("6.000000000000000007", Decimal("6.000000000000000007")),
        ("1e400", Decimal("1e400")),
        ("1.10", Decimal("1.10")),
        ("true", True),
        ("null", None),
        ('"2024-05-01T10:00:00Z"', "2024-05-01T10:00:00Z"),
    ],
)
def test_values_keep_every_digit(text, value):
    """Integers of any size and decimals are read exactly, and keep their type."""
    read = accepted(room(f'{{"value": {text}}}')).objects[0].properties["value"]
    assert read == value
    assert type(read) is type(value)


def test_a_surrogate_pair_is_a_character():
    """Two halves that belong together are accepted."""
    assert accepted(room('{"name": "\\ud83c\\udfe0"}')).objects[0].properties == {"name": "\U0001f3e0"}


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("TRUE", True), ("false", False), ("", False), (None, False)]
)
def test_the_synchronous_header_is_recognised(value, expected):
    """`Synchronous: true` asks for ordered processing; its absence does not."""
    assert is_synchronous(headers(synchronous=value)) is expected


@given(st.binary(max_size=200))
def test_no_body_makes_the_rules_raise(body):
    """Whatever arrives is read or refused."""
    assert isinstance(read_set(headers(), body), Refusal | SetRequest)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(_anything, _anything, _anything)
def test_no_document_makes_the_rules_raise(collection, id, properties):
    """Whatever stands in the place of a collection, an id or properties is read or refused with a text."""
    answer = read_set(headers(), rooms({"id": id, "properties": properties}, collection=collection))
    assert isinstance(answer, SetRequest) or (answer.status == 400 and answer.text)
