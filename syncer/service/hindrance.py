"""Why a fire may not begin yet. Pure: what is so is told, not asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from syncer.core.blackouts import blackout_end
from syncer.core.model import CollectionMapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindrance:
    """What speaks against it."""

    told: str
    #: until it is worth asking again
    seconds: float


def hindrance(
    mapping: CollectionMapping, paused: Collection[str], before: Sequence[str], now: datetime, look: float
) -> Hindrance | None:
    """What speaks against a run of the mapping that schedules want now; first match wins.

    1. It is paused.
    2. It is in a blackout.
    3. Others go `before` it: they were due by then, and have not run yet.

    `look`: seconds until it is asked again where nobody knows how long it takes.
    """
    if mapping.name in paused:
        return Hindrance(told="the mapping is paused", seconds=look)
    end = blackout_end(mapping.blackouts, now)
    if end is not None:
        return Hindrance(
            told=f"a blackout lasts until {end:%Y-%m-%dT%H:%M:%SZ}", seconds=min(look, (end - now).total_seconds())
        )
    return Hindrance(told=f"first comes {' and '.join(before)}", seconds=look) if before else None
