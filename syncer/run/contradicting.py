"""What a run, `check` and `state set` do about properties that are not as they were sent before: tell, or refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from syncer.core.events import Event, Noticed
from syncer.core.model import CollectionMapping, PropertyType
from syncer.core.properties import Property, retired_of
from syncer.core.property_types import Contradiction, contradictions, types_after, types_of
from syncer.errors import MappingError


def reconciled(
    mapping: CollectionMapping,
    properties: Sequence[Property],
    stored: Mapping[str, PropertyType],
    now: datetime,
    notice: Callable[[Event], None],
) -> Mapping[str, PropertyType] | None:
    """What is to be stored as the mapping's property types from this run on; None: what is stored already.

    Raises:
        MappingError: something contradicts what was stored, under `schema: freeze`.
    """
    found = contradicting(mapping, properties, stored)
    if found and mapping.schema == "freeze":
        raise _frozen(mapping, found)
    if found:
        notice(Noticed(mapping=mapping.name, message=_told(mapping, found)))
    types = types_after(stored, types_of(properties), retired_of(mapping), mapping.schema, now)
    return None if types == stored else types


def contradicting(
    mapping: CollectionMapping, properties: Sequence[Property], stored: Mapping[str, PropertyType]
) -> Sequence[Contradiction]:
    """What is not as it was stored."""
    return contradictions(stored, types_of(properties), retired_of(mapping))


def adopted(
    mapping: CollectionMapping, properties: Sequence[Property], stored: Mapping[str, PropertyType], now: datetime
) -> Mapping[str, PropertyType]:
    """All types as they are now, whatever the mapping's `schema` says."""
    return types_after(stored, types_of(properties), retired_of(mapping), "evolve", now)


def adoption(mapping: CollectionMapping) -> str:
    """The command that takes all types as they are."""
    return f"`syncer state set {mapping.name} --adopt` takes all as they are now"


def _frozen(mapping: CollectionMapping, found: Sequence[Contradiction]) -> MappingError:
    remedies = [*(each.remedy for each in found), adoption(mapping)]
    return MappingError(
        f"mapping {mapping.name}: its properties changed, and `schema: freeze` sends nothing then: {_listed(found)}",
        "; ".join(filter(None, remedies)),
    )


def _told(mapping: CollectionMapping, found: Sequence[Contradiction]) -> str:
    grave = [each for each in found if not each.appeared]
    stays = bool(grave) and mapping.schema != "evolve"
    remedies = [*(each.remedy for each in grave), adoption(mapping) if stays else None]
    hint = "; ".join(filter(None, remedies))
    return f"its properties changed: {_listed(found)}{'' if stays else '; taken over'}" + (
        f". Try: {hint}" if hint else ""
    )


def _listed(found: Sequence[Contradiction]) -> str:
    return "; ".join(map(str, found))
