"""What pydantic found wrong, in words of our own. No value of the file is repeated: it may be secret."""

from __future__ import annotations

import re
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from syncer.config.document import Tree
from syncer.config.findings import Findings
from syncer.config.nearest import is_name, nearest, one_of, suggestion
from syncer.config.paths import KeyPath
from syncer.config.relations import Entries

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_KEYS = "expected keys and values"
_LIST = "expected a list, such as `[a, b]`"
_SENTENCES = {
    "model_type": _KEYS,
    "dict_type": _KEYS,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "string_type": "expected text",
    "string_too_short": "expected text, this is empty",
    "too_short": "expected at least one entry",
    "greater_than": "expected a number above {gt:g}",
    "greater_than_equal": "expected a number of at least {ge:g}",
    "less_than_equal": "expected a number of at most {le:g}",
}


def explain(error: ErrorDetails, content: Entries, top: type[BaseModel], findings: Findings) -> None:
    """Tell one of pydantic's errors.

    1. An unknown key: the nearest known one of its place.
    2. A missing key, or one without a value.
    3. A word that is none of the valid ones: the nearest.
    4. What `scalars` refused, in its own sentence.
    5. Everything else: a sentence by the kind of error.
    """
    path: KeyPath = error["loc"]
    context: dict[str, Any] = error.get("ctx", {})
    kind = error["type"]
    if kind == "extra_forbidden":
        findings.follow(path, _unknown_key(path, top))
    elif kind == "missing":
        findings.follow(path, "has no value" if findings.has(path) else f"the key `{path[-1]}` is required here")
    elif kind == "literal_error":
        findings.follow(path, _wrong_word(_written(content, path), _words(context["expected"])))
    elif kind == "value_error":
        findings.follow(path, str(context["error"]))
    else:
        findings.follow(path, _SENTENCES.get(kind, "this does not fit here").format(**context))


def _wrong_word(written: object, valid: list[str]) -> str:
    near = nearest(written, valid) if isinstance(written, str) else None
    return f"expected {one_of(valid)}" + (f"; did you mean `{near}`?" if near else "")


def _words(expected: str) -> list[str]:
    """Valid words out of pydantic's `'a', 'b' or 'c'`, or its `1`."""
    return re.findall(r"'([^']+)'", expected) or [expected]


def _unknown_key(path: KeyPath, top: type[BaseModel]) -> str:
    name = str(path[-1])
    valid = keys_at(top, path[:-1])
    called = f"unknown key `{name}`" if is_name(name) else "unknown key, perhaps for want of a blank after its `:`"
    return f"{called}{suggestion(name, valid)}"


def _written(content: Tree, path: KeyPath) -> Tree:
    for step in path:
        if isinstance(content, dict):
            content = content[str(step)]
        elif isinstance(content, list):
            content = content[int(step)]
        else:
            return None
    return content


def keys_at(top: type[BaseModel], path: KeyPath) -> tuple[str, ...]:
    """Keys that are known at a path."""
    place: object = top
    for step in path:
        place = _inside(_bare(place), step)
    bare = _bare(place)
    if not (isinstance(bare, type) and issubclass(bare, BaseModel)):
        return ()
    return tuple(field.alias or name for name, field in bare.model_fields.items())


def _inside(place: object, step: str | int) -> object:
    if isinstance(place, type) and issubclass(place, BaseModel):
        return place.model_fields[str(step)].annotation
    # dict[str, X] holds X, tuple[X, ...] too
    return get_args(place)[1 if get_origin(place) is dict else 0]


def _bare(place: object) -> object:
    """Annotation without `Annotated` and `| None`."""
    if get_origin(place) is Annotated:
        return _bare(get_args(place)[0])
    if get_origin(place) in (Union, UnionType):
        return _bare(next(each for each in get_args(place) if each is not type(None)))
    return place
