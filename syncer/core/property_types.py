"""Types that stay: as what each property is sent, and what contradicts that as what it was sent before. Pure.

The words are those of `type` in `properties`, and `time`, `interval`, `bytes`, `bits`, `flattened` and `any` beside
them. They come from the columns' declared types and the mapping alone, never from a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from syncer.core.model import Kind, PropertyType
from syncer.core.properties import Property

Policy: TypeAlias = Literal["evolve", "warn", "freeze"]

#: nothing is known of it, so nothing contradicts it
ANY = "any"
#: a property for each member of its documents, which are not known beforehand
FLATTENED = "flattened"

#: numbers with a fraction: a change between them changes no column downstream
_FRACTIONS = frozenset({"float", "decimal"})
#: what `type` in `properties` takes, and so what a hint may say
_CHOICES = frozenset({"text", "integer", "float", "decimal", "boolean", "timestamp", "date", "json"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """A property that is not as it was."""

    name: str
    #: as what it was sent; None: it is new
    before: PropertyType | None
    #: as what it is sent now; None: it is no longer there
    now: str | None

    @property
    def appeared(self) -> bool:
        """Whether the property is new."""
        return self.before is None

    @property
    def brief(self) -> str:
        """Then and now."""
        if self.before is None:
            return f"{self.name} is new, sent as {self.now}"
        was = f"{self.name} was sent as {self.before.type} since {self.before.since:%Y-%m-%d}"
        return f"{was} and is no longer there" if self.now is None else f"{was} and is {self.now} now"

    def __str__(self) -> str:
        """Then and now, and why it matters."""
        if self.before is None:
            return self.brief
        if self.now is None:
            return f"{self.brief}, but merging keeps its last value downstream for ever"
        return f"{self.brief}, but a warehouse column keeps the type of its first value"

    @property
    def remedy(self) -> str | None:
        """The keys of the mapping that make it as it was, where there are any."""
        if self.before is None:
            return f"`properties: {{{self.name}: {{drop: true}}}}` leaves it out"
        if self.now is None:
            return f"`properties: {{{self.name}: {{retired: null}}}}` clears it downstream"
        if self.before.type in _CHOICES:
            return f"`properties: {{{self.name}: {{type: {self.before.type}}}}}` sends it as before"
        return None


def types_of(properties: Iterable[Property]) -> dict[str, str]:
    """As what each property is sent."""
    return {each.name: _sent_as(each) for each in properties}


def _sent_as(each: Property) -> str:
    """First match wins:

    1. A flattened document is properties of its own.
    2. A masked value is text, whatever is behind the mask.
    3. The type that the mapping asks for.
    4. The column's: a decimal of scale 0 is an integer, a timestamp has an offset whether the database has one or not.
    """
    if each.rule.flatten:
        return FLATTENED
    if each.rule.mask is not None:
        return Kind.TEXT.value
    if each.rule.type is not None:
        return _word(each.rule.type, None)
    return _word(each.column.kind, each.column.scale)


def _word(kind: Kind, scale: int | None) -> str:
    if kind is Kind.DECIMAL and scale == 0:
        return Kind.INTEGER.value
    return Kind.TIMESTAMP.value if kind is Kind.INSTANT else kind.value


def contradictions(
    stored: Mapping[str, PropertyType], types: Mapping[str, str], retired: Iterable[str] = ()
) -> tuple[Contradiction, ...]:
    """What is not as it was stored: of another type, vanished, appeared, in this order.

    Nothing contradicts where nothing is stored, and nothing a type that is unknown. A retired property has not
    vanished: null clears it.

    Args:
        types: as `types_of` tells them.
        retired: names of properties that the mapping sends as null.
    """
    if not stored:
        return ()
    kept = _without(stored, retired)
    names = (
        *(name for name, each in kept.items() if name in types and not _fits(each.type, types[name])),
        *(name for name in kept if name not in types),
        *(name for name in types if name not in kept),
    )
    return tuple(Contradiction(name=name, before=kept.get(name), now=types.get(name)) for name in names)


def types_after(
    stored: Mapping[str, PropertyType], types: Mapping[str, str], retired: Iterable[str], policy: Policy, now: datetime
) -> dict[str, PropertyType]:
    """What is to be stored from a run on that is not refused.

    1. Nothing stored: all are learned. Retired: forgotten.
    2. A contradiction that the policy takes over: as it is now. `evolve` takes over all, `warn` what appeared.
    3. A type that was unknown: as it is now.
    4. All others: as they were stored.

    Args:
        now: since when a type that is taken over is sent.
    """
    kept = _without(stored, retired)
    found = contradictions(stored, types, retired)
    taken = {each.name for each in found if policy == "evolve" or (policy == "warn" and each.appeared)}
    taken |= {name for name, each in kept.items() if each.type == ANY != types.get(name, ANY)}
    new = types if not stored else {name: word for name, word in types.items() if name in taken}
    left = {name: each for name, each in kept.items() if name in types or name not in taken}
    return left | {name: PropertyType(type=word, since=now) for name, word in new.items()}


def _without(stored: Mapping[str, PropertyType], retired: Iterable[str]) -> dict[str, PropertyType]:
    left = set(retired)
    return {name: each for name, each in stored.items() if name not in left}


def _fits(before: str, now: str) -> bool:
    return before == now or ANY in (before, now) or {before, now} <= _FRACTIONS
