"""What `check` says of a mapping."""

from __future__ import annotations

import pytest

from syncer.core.model import CollectionMapping, Column, Kind, Mode, Schedule, WatermarkRule
from syncer.run.examine import Level, examine
from syncer.source.memory import MemorySource

COLUMNS = (Column(name="id", kind=Kind.INTEGER), Column(name="version", kind=Kind.INTEGER))


@pytest.mark.parametrize(
    ("modes", "warned"), [([Mode.INCREMENTAL], True), ([Mode.INCREMENTAL, Mode.FULL], False), ([], False)]
)
def test_schedules_without_a_full_run_are_told(modes: list[Mode], warned: bool) -> None:
    """Only full runs refresh the rows that never change."""
    mapping = CollectionMapping(
        name="rooms", source="app", query="rooms", collection="rooms", primary_key=("id",),
        watermark=WatermarkRule(column="version"),
        schedules=tuple(Schedule(cron="0 * * * *", mode=mode) for mode in modes),
    )  # fmt: skip
    findings = examine(mapping, MemorySource(COLUMNS, ("id",), [(1, 1)]), "UTC").findings
    assert warned == any("no full run" in each.message and each.level is Level.WARNING for each in findings)
