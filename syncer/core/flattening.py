"""JSON documents as properties of their own: `properties: {x: {flatten: true}}`. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal

import orjson

from syncer.core.naming import snake_case
from syncer.core.values import Refusal, to_json


def flattened(name: str, value: object) -> list[tuple[str, object]]:
    """A JSON object's members as properties `name_member`, to any depth; lists and scalars stay JSON or scalar.

    A value that is no JSON object is returned as it is.
    """
    if not isinstance(value, str):
        return [(name, value)]
    try:
        document = json.loads(value, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise Refusal("TYPE_MISMATCH", f"{name} holds no JSON to flatten") from None
    return list(_members(name, document, 0))


def _members(name: str, value: object, depth: int) -> Iterable[tuple[str, object]]:
    if isinstance(value, dict) and depth < 64:
        for member, inner in value.items():
            part = snake_case(member)
            if not part:
                raise Refusal("PROPERTY_COLLISION", f"{name} has a member whose name holds no letter or digit")
            yield from _members(f"{name}_{part}", inner, depth + 1)
    elif isinstance(value, dict | list):
        yield name, to_json(value)
    elif isinstance(value, Decimal):
        yield name, orjson.Fragment(_decimal_json(value))
    else:
        yield name, value


def _decimal_json(number: Decimal) -> str:
    text = str(number)
    return text if any(mark in text for mark in ".eE") else f"{text}.0"
