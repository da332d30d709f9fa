"""What `POST /v1/set` accepts: from a request to what it sets, or to its refusal. Pure: no I/O, no clock.

What an object must be is the same in the bulk API, which has its other rules in `bulk_rules`.

The rules are those of Segment's Objects API page. Where it is silent the strict reading is taken: unknown
keys, repeated ids and repeated keys are refused, and a body may have 500 KB, as in Segment's other APIs. A
refusal names the place and the limit, and repeats neither a value nor a write key.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn, cast

from syncer.sandbox.exact import Unusable, Value, decode, shown

#: bytes of a request body
MAX_BODY = 500_000
MAX_OBJECTS = 10
#: characters
MAX_ID = 100
MAX_COLLECTION = 100
#: a value's text must have fewer bytes of UTF-8 than this: 32 KB
VALUE_LIMIT = 32 * 1024

_COLLECTION = re.compile(r"[a-z](?:[a-z_]*[a-z])?")
_KINDS = {str: "a string", bool: "a boolean", type(None): "null", list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SetObject:
    """One object of a request."""

    id: str
    properties: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRequest:
    """A request that keeps every rule."""

    collection: str
    objects: tuple[SetObject, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The answer to a request that breaks a rule."""

    #: of the answer
    status: int
    #: one sentence: which object, which property, which limit
    text: str


class _Refused(Exception):
    """Carries a refusal out of the middle of a document."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.refusal = Refusal(status=status, text=text)


def read_set(headers: Mapping[str, str], body: bytes, write_key: str | None = None) -> SetRequest | Refusal:
    """Validate one `POST /v1/set`. Never raises.

    Args:
        headers: found by lower-case names.
        body: as received; of a longer one, any part with more than `MAX_BODY` bytes will do.
        write_key: the only one to accept; None: any.
    """
    refusal = refuse_key(headers, write_key)
    if refusal is not None:
        return refusal
    try:
        _check_body(headers, body)
        return _request(_parse(body))
    except _Refused as refused:
        return refused.refusal


def read_line(line: bytes) -> tuple[str, SetObject] | Refusal:
    """Validate one line of a bulk upload, `{"id", "collection", "properties"}`: the collection, the object.

    Never raises.
    """
    try:
        members = _members(_parse(line, "the line"), "the object", ("id", "collection", "properties"))
        collection = _collection(members["collection"])
        properties = _properties(members["properties"], "object")
        return collection, SetObject(id=_id(members["id"], "id"), properties=properties)
    except _Refused as refused:
        return refused.refusal


def refuse_key(headers: Mapping[str, str], write_key: str | None = None) -> Refusal | None:
    """The refusal of a request without `Authorization: Basic` of `write_key:`, or None."""
    read = read_key(headers, write_key)
    return read if isinstance(read, Refusal) else None


def read_key(headers: Mapping[str, str], write_key: str | None = None) -> bytes | Refusal:
    """The write key a request was sent with, or its refusal, as `refuse_key`."""
    try:
        given = _given_key(headers.get("authorization", ""))
    except _Refused as refused:
        return refused.refusal
    if write_key is not None and not hmac.compare_digest(given, write_key.encode()):
        return Refusal(status=401, text="the write key is not the one this sandbox was started with")
    return given


def is_synchronous(headers: Mapping[str, str]) -> bool:
    """Whether the request asks for ordered processing: `Synchronous: true`."""
    return headers.get("synchronous", "").strip().lower() == "true"


def _given_key(authorization: str) -> bytes:
    scheme, _, encoded = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        raise _Refused("Basic authentication is missing: send the write key as user name, without a password", 401)
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        raise _Refused("the Authorization header is not base64", 401) from None
    if not colon:
        raise _Refused("the Authorization header lacks the colon after the write key", 401)
    if not user:
        raise _Refused("the write key (the user name) is empty", 401)
    if password:
        raise _Refused("the password must be empty: only the write key is sent, as user name", 401)
    return user


def _check_body(headers: Mapping[str, str], body: bytes) -> None:
    if len(body) > MAX_BODY:
        raise _Refused(f"the body is larger than {MAX_BODY} bytes (500 KB)", 413)
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise _Refused("the Content-Type must be application/json")


def _parse(body: bytes, what: str = "the body") -> object:
    try:
        return decode(body.decode())
    except UnicodeDecodeError as error:
        raise _Refused(f"{what} is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise _Refused(f"{what} is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise _Refused(f"{what} is nested too deeply") from None


def _request(document: object) -> SetRequest:
    members = _members(document, "the body", ("collection", "objects"))
    collection = _collection(members["collection"])
    objects = members["objects"]
    if type(objects) is not list:
        _wrong("objects", objects, "a list")
    if not 1 <= len(objects) <= MAX_OBJECTS:
        raise _Refused(f"objects has {len(objects)} objects; a request takes 1 to {MAX_OBJECTS}")
    read = tuple(_object(each, f"objects[{index}]") for index, each in enumerate(objects))
    _check_distinct([each.id for each in read])
    return SetRequest(collection=collection, objects=read)


def _collection(name: object) -> str:
    if type(name) is not str:
        _wrong("collection", name, "a string")
    if len(name) > MAX_COLLECTION:
        raise _Refused(f"collection has {len(name)} characters; the limit is {MAX_COLLECTION}")
    if _COLLECTION.fullmatch(name) is None:
        raise _Refused("collection must be lowercase letters and underscores, without an underscore at either end")
    return name


def _object(value: object, place: str) -> SetObject:
    members = _members(value, place, ("id", "properties"))
    return SetObject(id=_id(members["id"], f"{place}.id"), properties=_properties(members["properties"], place))


def _id(value: object, place: str) -> str:
    if type(value) is not str:
        _wrong(place, value, "a string")
    if not 1 <= len(value) <= MAX_ID:
        raise _Refused(f"{place} has {len(value)} characters; an id has 1 to {MAX_ID}")
    _size(value, place)
    return value


def _properties(value: object, place: str) -> Mapping[str, Value]:
    if type(value) is not dict:
        _wrong(f"{place}.properties", value, "an object")
    if not value:
        raise _Refused(f"{place}.properties is empty; an object needs at least one property")
    for name, each in value.items():
        if not name.isascii():
            _size(name, f"the name of a property of {place}")
        kind = type(each)
        if kind is str or kind is Decimal:
            # a string of ASCII, the common case, is measured without encoding it
            text = str(each)
            size = len(text) if text.isascii() else _size(text, f"{place}.properties[{shown(name)}]")
            if size >= VALUE_LIMIT:
                raise _Refused(
                    f"{place}.properties[{shown(name)}] has {size} bytes; a value must be smaller than "
                    f"{VALUE_LIMIT} bytes (32 KB)"
                )
        elif kind is not int and kind is not bool and each is not None:
            _wrong(f"{place}.properties[{shown(name)}]", each, "a string, a number, a boolean or null")
    return cast("Mapping[str, Value]", value)


def _members(value: object, place: str, keys: tuple[str, ...]) -> dict[str, object]:
    if type(value) is not dict:
        _wrong(place, value, "an object")
    for key in keys:
        if key not in value:
            raise _Refused(f"{place} lacks {key!r}")
    if len(value) > len(keys):
        unknown = next(key for key in value if key not in keys)
        raise _Refused(f"{place} has an unknown key {shown(unknown)}; expected only {' and '.join(map(repr, keys))}")
    return value


def _check_distinct(ids: list[str]) -> None:
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    for index, each in enumerate(ids):
        if first.setdefault(each, index) != index:
            raise _Refused(f"objects[{index}].id is the same as objects[{first[each]}].id; ids must be unique")


def _size(text: str, place: str) -> int:
    """Bytes of UTF-8, which half of a surrogate pair does not have."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise _Refused(f"{place} has half of a surrogate pair, which is not a character") from None


def _wrong(place: str, value: object, expected: str) -> NoReturn:
    if isinstance(value, Unusable):
        raise _Refused(f"{place} {value.reason}")
    raise _Refused(f"{place} is {_KINDS.get(type(value), 'a number')}; expected {expected}")
