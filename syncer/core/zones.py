"""Time zones by name. Pure: the zone database is data."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo


def zone_of(name: str) -> tzinfo:
    """The zone of an IANA name; UTC without a look at the zone database."""
    return UTC if name.upper() == "UTC" else ZoneInfo(name)
