"""Which properties the columns of a mapping become, and which it adds or retires. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

from syncer.core.model import CollectionMapping, Column, PropertyRule
from syncer.core.naming import RESERVED_PROPERTIES, snake_case
from syncer.core.tombstone import living
from syncer.errors import MappingError

#: a property's own name, beside columns' names in the keys of `properties`
_PROPERTY = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One property of a mapping and the column it comes from."""

    name: str
    column: Column
    index: int
    rule: PropertyRule

    @property
    def reserved(self) -> bool:
        """Whether the warehouse keeps this name for itself, so that the value is lost there."""
        return self.name in RESERVED_PROPERTIES


def properties_of(mapping: CollectionMapping, columns: Sequence[Column], key: Sequence[str]) -> tuple[Property, ...]:
    """The properties a mapping's columns become, in column order.

    Raises:
        MappingError: two columns become the same property, a column's name holds neither letter nor digit, or
            `properties` names something the query does not return, or retires something that it does.
    """
    rules = dict(mapping.properties)
    found: dict[str, Property] = {}
    for index, column in enumerate(columns):
        name = snake_case(column.name)
        rule = rules.pop(column.name, None) or rules.pop(name, None) or PropertyRule()
        name = rule.rename or name
        if rule.drop or (name == "id" and column.name in key):
            continue
        if not name:
            raise MappingError(
                f"mapping {mapping.name}: column {column.name!r} has neither letter nor digit, so no property name",
                "give it a name in the query: SELECT ... AS name",
            )
        if name in found:
            raise MappingError(
                f"mapping {mapping.name}: columns {found[name].column.name!r} and {column.name!r} both become the "
                f"property {name!r}",
                f"rename one in the query, or with `properties: {{{column.name}: {{rename: ...}}}}`",
            )
        found[name] = Property(name=name, column=column, index=index, rule=rule)
    _check_retired(mapping, {*found, "id"})
    _check_living(mapping, {*found, *retired_of(mapping)})
    unknown = ", ".join(sorted(name for name, rule in rules.items() if not rule.retired))
    if unknown:
        raise MappingError(
            f"mapping {mapping.name}: `properties` names what the query does not return: {unknown}",
            "the query returns: " + ", ".join(snake_case(column.name) for column in columns),
        )
    return tuple(found.values())


def retired_of(mapping: CollectionMapping) -> tuple[str, ...]:
    """The properties that a mapping retires, in an order that does not depend on how they are written."""
    names = (name for name, rule in mapping.properties.items() if rule.retired)
    return tuple(sorted({name if _PROPERTY.fullmatch(name) else snake_case(name) for name in names}))


def _check_retired(mapping: CollectionMapping, sent: Container[str]) -> None:
    still = [name for name in retired_of(mapping) if name in sent]
    if still:
        raise MappingError(
            f"mapping {mapping.name}: `properties` retires what is still sent: {', '.join(still)}",
            "take it out of the query, or add `drop: true` or `rename` to it; or remove `retired`",
        )


def _check_living(mapping: CollectionMapping, found: Container[str]) -> None:
    both = [name for name in living(mapping) if name in found]
    if both:
        raise MappingError(
            f"mapping {mapping.name}: `deletes: tombstone` needs a property that the query returns: {', '.join(both)}",
            f"name it otherwise: `deletes: {{mode: tombstone, {both[0]}: ...}}`, or rename the query's column",
        )
