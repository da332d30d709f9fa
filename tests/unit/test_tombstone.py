"""When rather no tombstone is sent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.run_world import ROOMS

from syncer.core.model import TombstoneRule
from syncer.core.tombstone import guard

MARKED = replace(ROOMS, deletes=TombstoneRule())


@pytest.mark.parametrize(
    ("known", "vanished", "read", "edited", "told"),
    [
        (10, 0, 10, False, None),
        (10, 0, 10, True, None),
        (10, 0, 0, False, None),
        (10, 2, 8, False, None),
        (10, 3, 7, False, "3 of 10 known objects are not in its result, more than 20%"),
        (10_000, 2_001, 7_999, False, "2,001 of 10,000 known objects"),
        (10, 10, 0, False, "returned no row at all"),
        (1, 1, 0, False, "returned no row at all"),
        (1_000, 1, 999, True, "the query, key or destination changed"),
    ],
)
def test_guard(known: int, vanished: int, read: int, edited: bool, told: str | None) -> None:
    """Empty results, edited queries and large shares are held back; nothing vanished is always fine."""
    found = guard(MARKED, known=known, vanished=vanished, read=read, edited=edited)
    assert (found is None) is (told is None)
    if found is not None and told is not None:
        assert told in found.message
        assert "--allow-deletes" in (found.hint or "")


def test_the_share_is_the_mappings() -> None:
    """`max_share: 50%` lets half of them go."""
    mapping = replace(ROOMS, deletes=TombstoneRule(max_share=0.5))
    assert guard(mapping, known=10, vanished=5, read=5, edited=False) is None
    assert guard(mapping, known=10, vanished=6, read=4, edited=False) is not None


@pytest.mark.parametrize("percent", [7, 29, 57, 58])
def test_exactly_the_share_may_go(percent: int) -> None:
    """Also where it has no exact binary fraction; one object more may not."""
    mapping = replace(ROOMS, deletes=TombstoneRule(max_share=percent / 100))
    for vanished, fine in ((percent, True), (percent + 1, False)):
        found = guard(mapping, known=100, vanished=vanished, read=100 - vanished, edited=False)
        assert (found is None) is fine
