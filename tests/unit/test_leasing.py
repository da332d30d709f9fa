"""A lease in our hands: until when it may be relied on, by a clock that only goes forward."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from syncer.core.model import Lease
from syncer.errors import LeaseLost
from syncer.run.leasing import LEASE_TTL, Holding
from syncer.state.clocks import TOLERANCE

TTL = LEASE_TTL.total_seconds()


class Elapsed:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def held(elapsed: Elapsed) -> Holding:
    """A lease taken just now."""
    lease = Lease(mapping="rooms", owner="me", epoch=1, expires_at=datetime(2026, 3, 1, tzinfo=UTC))
    return Holding(lease, elapsed)


@pytest.mark.parametrize(
    ("after", "ours"), [(0, True), (TTL / 2, True), (TTL - 2.1, True), (TTL - 2, False), (TTL, False)]
)
def test_we_let_go_before_others_may_take_over(after: float, ours: bool) -> None:
    """It is relied on for its time to live, less what two hosts' clocks may be wrong by."""
    elapsed = Elapsed()
    holding = held(elapsed)
    elapsed.seconds += after
    assert (holding.failure is None) == ours
    assert TOLERANCE.total_seconds() * 2 <= 2


def test_a_renewal_counts_from_when_it_was_asked_for() -> None:
    """Not from when it was answered: the store may have been slow."""
    elapsed = Elapsed()
    holding = held(elapsed)
    elapsed.seconds += 30
    asked_at = elapsed.seconds
    elapsed.seconds += 20
    holding.prolonged(asked_at)
    elapsed.seconds = asked_at + TTL - 2
    assert isinstance(holding.failure, LeaseLost)


def test_what_ran_out_stays_lost() -> None:
    """A renewal that comes through afterwards does not bring it back: another may have had it in between."""
    elapsed = Elapsed()
    holding = held(elapsed)
    elapsed.seconds += TTL
    first = holding.failure
    holding.prolonged(elapsed.seconds)
    assert holding.failure is first
    assert first is not None


def test_the_first_loss_is_told() -> None:
    """Of several reasons the first is told."""
    holding = held(Elapsed())
    taken, later = LeaseLost("taken over"), LeaseLost("later")
    holding.lost(taken)
    holding.lost(later)
    assert holding.failure is taken
