"""Which requests the sandbox lets fail."""

from __future__ import annotations

from collections import Counter

import pytest

from syncer.errors import UsageError
from syncer.sandbox.faults import Fault, Faults, FaultSequence, PlannedFault


def draws(faults: Faults, count: int) -> list[Fault | None]:
    sequence = FaultSequence(faults)
    return [sequence.draw(now=0.0) for _ in range(count)]


def test_nothing_fails_by_default():
    """A sandbox without faults serves everything."""
    assert draws(Faults(), 100) == [None] * 100


def test_everything_fails_at_one():
    """A share of 1 spares nothing."""
    assert None not in draws(Faults(fail=1), 100)


@pytest.mark.parametrize("seed", range(5))
def test_the_share_of_failures_is_the_one_asked_for(seed):
    """Of 4,000 requests a fifth fails, half of them after storing, evenly with 500, 502 and 503."""
    drawn = [each for each in draws(Faults(fail=0.2, seed=seed), 4000) if each is not None]
    assert 700 < len(drawn) < 900  # 800 +- 4 standard deviations of 25
    assert 0.4 < sum(each.stores for each in drawn) / len(drawn) < 0.6
    statuses = Counter(each.status for each in drawn)
    assert set(statuses) == {500, 502, 503}
    assert min(statuses.values()) > len(drawn) / 4


def test_a_seed_repeats_its_faults_and_another_does_not():
    """Runs can be repeated exactly."""
    assert draws(Faults(fail=0.5, seed=1), 50) == draws(Faults(fail=0.5, seed=1), 50)
    assert draws(Faults(fail=0.5, seed=1), 50) != draws(Faults(fail=0.5, seed=2), 50)


def test_the_rate_limit_lets_a_seconds_worth_through_and_refills():
    """With 2 per second: two at once, then one every half second."""
    sequence = FaultSequence(Faults(rate_limit=2))
    limited = Fault(status=429, stores=False)
    served = [(now, sequence.draw(now)) for now in (10.0, 10.0, 10.0, 10.25, 10.5, 10.5, 60.0, 60.0, 60.0)]
    assert served == [
        (10.0, None),
        (10.0, None),
        (10.0, limited),
        (10.25, limited),
        (10.5, None),
        (10.5, limited),
        (60.0, None),
        (60.0, None),
        (60.0, limited),
    ]


def test_a_rate_below_one_per_second_lets_the_first_through():
    """One request every ten seconds is a possible limit."""
    sequence = FaultSequence(Faults(rate_limit=0.125))
    assert [sequence.draw(now) is None for now in (0.0, 4.0, 8.0, 9.0)] == [True, False, True, False]


def test_a_planned_fault_is_that_of_one_request_to_one_path():
    """It goes before the rate limit and the random faults, and uses up neither."""
    lost, refused = Fault(status=0, stores=True), Fault(status=413, stores=False)
    planned = (
        PlannedFault(path="/v0/finish", fault=lost),
        PlannedFault(path="/v0/upload", number=2, fault=refused),
    )
    sequence = FaultSequence(Faults(planned=planned, rate_limit=1))
    asked = ("/v0/finish", "/v0/upload", "/v0/upload")
    assert [sequence.draw(0.0, path) for path in asked] == [lost, None, refused]
    assert sequence.draw(0.0, "/v0/upload") == Fault(status=429, stores=False)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"path": "/v0/uploads"}, "planned for /v0/uploads"),
        ({"path": "/v0/upload", "number": 0}, "planned for request 0"),
    ],
)
def test_a_fault_planned_for_nothing_is_a_usage_error(wrong, says):
    """It would never happen, and the test that waits for it would show nothing."""
    with pytest.raises(UsageError, match=says) as caught:
        PlannedFault(fault=Fault(status=500, stores=True), **wrong)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"fail": -0.1}, "share of failing requests is -0.1"),
        ({"fail": 5}, "share of failing requests is 5"),
        ({"fail": float("nan")}, "share of failing requests is nan"),
        ({"latency": -1.0}, "latency is -1.0 s"),
        ({"latency": float("inf")}, "latency is inf s"),
        ({"rate_limit": 0}, "rate limit is 0"),
        ({"rate_limit": float("nan")}, "rate limit is nan"),
    ],
)
def test_impossible_faults_are_usage_errors(wrong, says):
    """A share of 5 is a mistake for 5 %, and the message says what to choose."""
    with pytest.raises(UsageError, match=says) as caught:
        Faults(**wrong)
    assert caught.value.hint
