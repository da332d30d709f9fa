"""How long a batch is tried."""

from __future__ import annotations

from syncer.delivery.pacing import Patience


def test_a_batch_is_not_tried_for_ever_because_others_are_accepted() -> None:
    """Four times `retry_for` after its first attempt it is given up, however well the rest does."""
    now = [0.0]
    patience = Patience(retry_for=300, clock=lambda: now[0])
    patience.heard = True
    while now[0] < 1_200:
        patience.accepted(0)
        assert patience.left(0) > 0
        now[0] += 10
    patience.accepted(0)
    assert patience.left(0) <= 0
    assert patience.left(1_100) > 0
