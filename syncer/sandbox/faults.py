"""Which requests fail, and how: drawn from a seed, so repeatable. No I/O; the app acts on the draw."""

from __future__ import annotations

import random
from dataclasses import dataclass

from syncer.errors import UsageError

_STATUSES = (500, 502, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How badly the API behaves. By default it is fast and never fails.

    The share `fail` of the requests is answered 500, 502 or 503, at random. Half of them fail AFTER having
    stored their objects: the acknowledgement is lost, as when a gateway gives up, and the sender has to send
    again what already arrived. The other half stores nothing.

    Raises:
        UsageError: a value outside its range.
    """

    #: share of requests that fail, 0 to 1
    fail: float = 0.0
    #: seconds between receiving a request and looking at it, so that one given up by its sender lands late
    latency: float = 0.0
    #: requests per second, with a burst of one second's worth; the rest gets 429 with `Retry-After: 1`
    rate_limit: float | None = None
    #: of the random choices
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fail <= 1:
            raise UsageError(f"the share of failing requests is {self.fail}", "choose one from 0 to 1, such as 0.05")
        if not 0 <= self.latency < float("inf"):
            raise UsageError(f"the latency is {self.latency} s", "choose 0 or more seconds")
        if self.rate_limit is not None and not 0 < self.rate_limit < float("inf"):
            raise UsageError(f"the rate limit is {self.rate_limit} requests per second", "choose one above 0, or none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How one request fails."""

    status: int
    #: whether its objects are stored all the same
    stores: bool


class FaultSequence:
    """The faults of the requests in their order of arrival."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._random = random.Random(faults.seed)  # noqa: S311  (to be repeatable, not secret)
        self._burst = max(1.0, faults.rate_limit or 0)
        self._tokens = self._burst
        self._refilled_at: float | None = None

    def draw(self, now: float) -> Fault | None:
        """The next request's fault; None: it is served.

        Args:
            now: seconds of a monotonic clock.
        """
        if not self._within_rate(now):
            return Fault(status=429, stores=False)
        if self._faults.fail and self._random.random() < self._faults.fail:
            return Fault(status=self._random.choice(_STATUSES), stores=self._random.random() < 0.5)
        return None

    def _within_rate(self, now: float) -> bool:
        rate = self._faults.rate_limit
        if rate is None:
            return True
        passed = 0.0 if self._refilled_at is None else now - self._refilled_at
        self._refilled_at = now
        self._tokens = min(self._burst, self._tokens + passed * rate)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
