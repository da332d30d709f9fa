"""The shaper of a described mapping. One place, so that runs, previews and checks shape alike."""

from __future__ import annotations

from syncer.core.model import CollectionMapping, Limits
from syncer.core.shape import Shaper, compile_shape
from syncer.core.zones import zone_of
from syncer.source.base import Described


def shaper_for(mapping: CollectionMapping, described: Described, timezone: str, limits: Limits | None = None) -> Shaper:
    """Compile the mapping for what its query returns.

    Args:
        timezone: IANA name of the zone of naive timestamps.
        limits: of the delivery; the Objects API's by default.

    Raises:
        MappingError: the columns and the mapping do not fit.
    """
    bounds = limits or Limits()
    return compile_shape(
        mapping,
        described.columns,
        described.primary_key,
        zone_of(timezone),
        watermark=described.watermark,
        largest=min(bounds.body, bounds.object),
    )
