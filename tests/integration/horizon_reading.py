"""Runs of one mapping as its checkpoint sees them: reading, and what is saved. No tests, no fixtures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from syncer.core.model import CollectionMapping, Mode, Watermark, WatermarkRule
from syncer.core.plan import RunPlan
from syncer.source import open_source
from syncer.source.dialect_generic import MARGIN, Horizon

#: seconds after which the margin does not protect a stamp any more: only a bound that waits for it does
AGED = MARGIN.total_seconds() + 1.5

ROOMS = CollectionMapping(
    name="rooms", source="app", query="SELECT id, at FROM rooms", primary_key=("id",),
    watermark=WatermarkRule(column="at", lookback=timedelta(0)),
)  # fmt: skip


#: the same table by its numbers
NUMBERED = CollectionMapping(
    name="rooms", source="app", query="SELECT id, id AS number FROM rooms", primary_key=("id",),
    watermark=WatermarkRule(column="number", lookback=0),
)  # fmt: skip


class Follower:
    """Follows the table `rooms` (id, at) without a lookback: from the saved watermark on, saving what was reached."""

    def __init__(self, url: str, *, timezone: str = "UTC", mapping: CollectionMapping = ROOMS) -> None:
        self.source = open_source("app", url, timezone=timezone)
        self.mapping = mapping
        self.saved: Watermark | None = None
        self.seen: set[object] = set()

    def run(self) -> list[object]:
        """One run; the ids it read, in their order."""
        described = self.source.describe(self.mapping)
        mode = Mode.FULL if self.saved is None else Mode.INCREMENTAL
        plan = RunPlan(mapping=self.mapping, primary_key=("id",), mode=mode, watermark=self.saved)
        ids: list[object] = []
        with self.source.read(plan, described) as chunks:
            for chunk in chunks:
                ids += [row[0] for row in chunk.rows]
                self.saved = chunk.mark.watermark or self.saved
        self.seen.update(ids)
        return ids

    def horizon(self) -> Horizon:
        """The bound now."""
        found = self.source.horizon(numbers=self.mapping is NUMBERED)
        assert found is not None
        return found


def before(moment: datetime) -> datetime:
    """The bound that this moment allows: less the margin, in whole seconds."""
    return (moment - MARGIN).replace(microsecond=0)


def has_advanced(horizon: Horizon) -> bool:
    """Whether nothing holds the bound back."""
    return horizon.at == before(horizon.now)


Execute = Callable[[str, str], None]
