"""Which mapping goes before which, as their `after` says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from syncer.core.model import CollectionMapping


def circle(after: Mapping[str, Sequence[str]]) -> list[str]:
    """Names that go after one another in a circle, the first once more at the end; empty: there is none."""
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def in_order(mappings: Iterable[CollectionMapping]) -> tuple[CollectionMapping, ...]:
    """The mappings, each after those it names, else as they came. There is no circle."""
    named = {each.name: each for each in mappings}
    found: dict[str, CollectionMapping] = {}

    def take(mapping: CollectionMapping) -> None:
        for name in mapping.after:
            if name in named and name not in found:
                take(named[name])
        found.setdefault(mapping.name, mapping)

    for mapping in named.values():
        take(mapping)
    return tuple(found.values())
