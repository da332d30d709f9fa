"""What the sandbox's bulk API accepts of a part, line by line."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.sandbox.bulk_rules import BulkLimits, PartRefused, read_finish, read_part, refuse_upload
from syncer.sandbox.rules import Refusal, SetObject

#: without the time, which would be in the tests' names
packed = partial(gzip.compress, mtime=0)
GOOD = b'{"id":"1","collection":"rooms","properties":{"city":"Austin"}}'
AUSTIN = ("rooms", SetObject(id="1", properties={"city": "Austin"}))
JSON = {"content-type": "application/json"}


def read(body: bytes, *, cut: int = 1 << 20, **limits: int) -> list[tuple[str, SetObject]]:
    pieces = (body[at : at + cut] for at in range(0, len(body), cut))
    return list(read_part(pieces, BulkLimits(**limits)))


def refusal(body: bytes, **limits: int) -> tuple[int, str]:
    with pytest.raises(PartRefused) as caught:
        read(body, **limits)
    return caught.value.refusal.status, caught.value.refusal.text


def line(**changes: object) -> bytes:
    whole = {"id": "1", "collection": "rooms", "properties": {"city": "Austin"}} | changes
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def test_the_documented_limits_are_the_default():
    """512 MB a file, 400 KB an object, 20 requests at once, ten idle minutes."""
    assert BulkLimits() == BulkLimits(part=512_000_000, object=400_000, at_once=20, idle=600.0)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_part_is_one_object_a_line(end):
    """The last line may have an end, but need not."""
    assert read(packed(GOOD + b"\n" + GOOD + end)) == [AUSTIN, AUSTIN]


def test_numbers_of_a_part_keep_every_digit():
    """As those of `POST /v1/set`."""
    text = b'{"id":"1","collection":"rooms","properties":{"a":6.000000000000000007,"b":9007199254740993}}'
    ((_, each),) = read(packed(text))
    assert {name: str(value) for name, value in each.properties.items()} == {
        "a": "6.000000000000000007",
        "b": "9007199254740993",
    }


def test_a_part_may_be_several_gzip_members():
    """Which is what appending gzip files makes, and what the format allows."""
    assert read(packed(GOOD[:20]) + packed(GOOD[20:] + b"\n") + packed(GOOD)) == [AUSTIN, AUSTIN]


@settings(deadline=None)
@given(st.integers(1, 400), st.sampled_from([0, 1, 9]), st.integers(1, 40))
def test_where_a_body_is_cut_does_not_matter(cut, level, count):
    """Network packets end anywhere: also within a line, a character or the gzip trailer."""
    objects = [line(id=str(number), properties={"city": "Łódź" * number}) for number in range(count)]
    told = read(packed(b"\n".join(objects), level), cut=cut)
    assert [(each.id, each.properties["city"]) for _, each in told] == [(str(n), "Łódź" * n) for n in range(count)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "the part holds no objects"),
        (b"\n", "line 1 is empty"),
        (GOOD + b"\n\n", "line 2 is empty"),
        (GOOD + b"\n \r\n" + GOOD, "line 2 is empty"),
        (GOOD + b"\n{", "line 2: the line is not JSON"),
        (GOOD + GOOD, "line 1: the line is not JSON: Extra data"),
        (b"[" + GOOD + b"]", "line 1: the object is a list; expected an object"),
        (GOOD + b"\n\xff", "line 2: the line is not UTF-8"),
        (b"\xef\xbb\xbf" + GOOD, "line 1: the line is not JSON"),
        (b"[" * 100_000, "line 1: the line is nested too deeply"),
        (line(id=...), "line 1: the object lacks 'id'"),
        (line(collection=...), "line 1: the object lacks 'collection'"),
        (line(properties=...), "line 1: the object lacks 'properties'"),
        (line(objects=[]), "line 1: the object has an unknown key 'objects'"),
        (line(id=7), "line 1: id is a number; expected a string"),
        (line(id=""), "line 1: id has 0 characters"),
        (line(id="x" * 101), "line 1: id has 101 characters; an id has 1 to 100"),
        (line(collection="rooms_2024"), "line 1: collection must be lowercase letters and underscores"),
        (line(collection="_rooms"), "line 1: collection must be lowercase letters and underscores"),
        (line(collection="x" * 101), "line 1: collection has 101 characters"),
        (line(properties={}), "line 1: object.properties is empty"),
        (line(properties={"tags": ["a"]}), "line 1: object.properties['tags'] is a list"),
        (line(properties={"host": {"a": 1}}), "line 1: object.properties['host'] is an object"),
        (line(properties={"text": "x" * 32_768}), "line 1: object.properties['text'] has 32768 bytes"),
        (b'{"id":"1","collection":"rooms","properties":{"a":NaN}}', "line 1: object.properties['a'] is NaN"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_the_first_line_that_breaks_a_rule_is_named(text, says):
    """With the rule, and always as 400."""
    status, told = refusal(packed(text))
    assert (status, told[: len(says)]) == (400, says)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (GOOD, "the body is not gzip after line 0: "),
        (zlib.compress(GOOD), "the body is not gzip after line 0: "),
        (b"", "the gzip stream ends too early, after line 0"),
        (packed(GOOD)[:5], "the gzip stream ends too early, after line 0"),
        (packed(GOOD + b"\n" + GOOD)[:-1], "the gzip stream ends too early, after line 1"),
        (packed(GOOD + b"\n" + GOOD)[:-9], "the gzip stream ends too early, after line "),
        (packed(GOOD + b"\n")[:-8] + bytes(8), "the body is not gzip after line "),
        (packed(GOOD + b"\n") + b"rest", "the body is not gzip after line 1: "),
        (packed(GOOD + b"\n") + packed(GOOD)[:5], "the gzip stream ends too early, after line 1"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_not_whole_gzip_is_refused(body, says):
    """Plain text, zlib, a stream that ends early, a wrong checksum, something behind the end."""
    status, told = refusal(body)
    assert (status, told[: len(says)]) == (400, says)


def test_an_object_may_have_400_kb():
    """To the byte; the end of its line does not count."""
    exact = len(GOOD)
    assert read(packed(GOOD + b"\n" + GOOD), object=exact) == [AUSTIN, AUSTIN]
    for text in (GOOD + b"\n" + GOOD + b" ", GOOD + b"\n" + GOOD + b" \n"):
        told = refusal(packed(text), object=exact)
        assert told == (400, f"line 2 is larger than {exact} bytes, the limit of an object (400 KB)")


def test_a_part_may_have_512_mb():
    """Uncompressed, to the byte, over all of its gzip members."""
    text = GOOD + b"\n" + GOOD
    for body in (packed(text), packed(text[:30]) + packed(text[30:])):
        assert read(body, part=len(text)) == [AUSTIN, AUSTIN]
        status, told = refusal(body, part=len(text) - 1)
        assert (status, told.startswith(f"the part is larger than {len(text) - 1} bytes")) == (413, True)


def test_a_gzip_bomb_fills_no_memory_and_is_left_at_the_limit():
    """Of a hundred times too many bytes the most are never uncompressed, and never more than a few at a time."""
    bomb = packed((GOOD + b"\n") * 800_000, 1)
    taken: list[int] = []

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(bomb), 1000):
            taken.append(at)
            yield bomb[at : at + 1000]

    tracemalloc.start()
    with pytest.raises(PartRefused, match="larger than 500000 bytes"):
        for _ in read_part(pieces(), BulkLimits(part=500_000)):
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(taken) < len(bomb) / 1000 / 10
    assert peak < 1_000_000


def test_a_line_without_an_end_fills_no_memory():
    """It is refused once it is too long, not once it is whole."""
    bomb = packed(b"[" * 50_000_000, 1)
    tracemalloc.start()
    assert refusal(bomb) == (400, "line 1 is larger than 400000 bytes, the limit of an object (400 KB)")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"content-type": "binary/octet-stream", "content-encoding": "gzip"}, None),
        ({"content-encoding": "gzip"}, "the Content-Type must be binary/octet-stream"),
        ({"content-type": "application/json", "content-encoding": "gzip"}, "the Content-Type must be"),
        ({"content-type": "application/octet-stream", "content-encoding": "gzip"}, "the Content-Type must be"),
        ({"content-type": "binary/octet-stream"}, "the Content-Encoding must be gzip"),
        ({"content-type": "binary/octet-stream", "content-encoding": "deflate"}, "the Content-Encoding must be"),
    ],
)
def test_an_upload_has_to_be_declared_as_what_it_is(headers, says):
    """Both headers are documented, so both are required."""
    told = refuse_upload(headers)
    assert told is None if says is None else told is not None and (told.status, says in told.text) == (400, True)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":""}', ""),
        (b'{"error": "  "}', ""),
        (b'{"error":"the source went away"}', "the source went away"),
    ],
)
def test_a_blank_error_is_success(body, error):
    """As documented: blank if everything was successful."""
    assert read_finish(JSON, body) == error


@pytest.mark.parametrize(
    ("headers", "body", "status", "says"),
    [
        ({}, b'{"error":""}', 400, "the Content-Type must be application/json"),
        (JSON, b"", 400, "the body is not JSON"),
        (JSON, b"\xff", 400, "the body is not JSON"),
        (JSON, b"[" * 100_000, 400, "the body is not JSON"),
        (JSON, b"{}", 400, "the body must be"),
        (JSON, b"[]", 400, "the body must be"),
        (JSON, b'{"error":null}', 400, "the body must be"),
        (JSON, b'{"error":"","ok":true}', 400, "the body must be"),
        (JSON, b'{"error":"' + b"x" * 500_000 + b'"}', 413, "the body is larger than 500000 bytes"),
    ],
    ids=["type", "empty", "utf", "deep", "object", "list", "null", "unknown", "large"],
)
def test_a_finish_has_an_error_and_nothing_else(headers, body, status, says):
    """What does not say how the session went does not end it."""
    told = read_finish(headers, body)
    assert isinstance(told, Refusal)
    assert (told.status, told.text[: len(says)]) == (status, says)
