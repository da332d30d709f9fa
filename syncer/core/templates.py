"""Texts with named fields, `{mapping} failed`, and trees of them. Pure; what fields there are is told elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from string import Formatter
from typing import TypeAlias

#: what a field may hold
Value: TypeAlias = str | int | float | None
#: what becomes JSON: a body with its fields filled in, or one whose texts have fields still
Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | None"

_BRACES = "write `{{` and `}}` for the characters `{` and `}`"


def fields_in(text: str) -> list[str]:
    """Names of the fields of a text.

    Raises:
        ValueError: one sentence: it is no text with fields; only names may stand between braces.
    """
    return [name for _, name in _parts(text) if name is not None]


def texts_in(tree: Json) -> Iterator[str]:
    """Every text of a tree, keys aside."""
    if isinstance(tree, str):
        yield tree
    for each in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from texts_in(each)


def fill(text: str, values: Mapping[str, Value]) -> str:
    """The text with its fields filled in; one without a value becomes nothing.

    >>> fill("{mapping} failed {{really}}: {error}", {"mapping": "rooms", "error": None})
    'rooms failed {really}: '
    """
    return "".join(literal + ("" if name is None else _written(values[name])) for literal, name in _parts(text))


def fill_tree(tree: Json, values: Mapping[str, Value]) -> Json:
    """The tree with the fields of its texts filled in. A text that is one field and nothing else keeps its type.

    >>> fill_tree({"summary": "{mapping} failed", "rows": ["{read}"]}, {"mapping": "rooms", "read": 12})
    {'summary': 'rooms failed', 'rows': [12]}
    """
    if isinstance(tree, dict):
        return {key: fill_tree(each, values) for key, each in tree.items()}
    if isinstance(tree, list):
        return [fill_tree(each, values) for each in tree]
    if not isinstance(tree, str):
        return tree
    parts = _parts(tree)
    if len(parts) == 1 and parts[0][0] == "" and parts[0][1] is not None:
        return values[parts[0][1]]
    return fill(tree, values)


def _written(value: Value) -> str:
    return "" if value is None else str(value)


def _parts(text: str) -> Sequence[tuple[str, str | None]]:
    """Pieces as they stand, each with the name of the field behind it; as `str.format` reads them, names only."""
    try:
        parts = list(Formatter().parse(text))
    except ValueError:
        raise ValueError(f"a `{{` or `}}` stands alone; {_BRACES}") from None
    for _, name, form, conversion in parts:
        if name is not None and (form or conversion or not name.isidentifier()):
            raise ValueError(f"only the name of a field stands between `{{` and `}}`; {_BRACES}")
    return [(literal, name) for literal, name, _, _ in parts]
