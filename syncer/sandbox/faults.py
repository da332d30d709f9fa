"""Which requests fail, and how: drawn from a seed, so repeatable. No I/O; the app acts on the draw."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from syncer.errors import UsageError

#: what can be asked for; session ids are no part of them
PATHS = ("/v1/set", "/v0/start", "/v0/upload", "/v0/keep-alive", "/v0/finish")
#: instead of a status: the connection is closed
NO_ANSWER = 0
_STATUSES = (500, 502, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How one request fails."""

    #: of the answer, or NO_ANSWER
    status: int
    #: whether it takes effect all the same: its objects are stored, its session begins or ends
    stores: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """A fault of one chosen request.

    Raises:
        UsageError: there is no such path or number.
    """

    #: one of `PATHS`
    path: str
    #: which of the requests to that path, from 1
    number: int = 1
    fault: Fault

    def __post_init__(self) -> None:
        if self.path not in PATHS:
            raise UsageError(f"a fault is planned for {self.path}", f"choose one of {', '.join(PATHS)}")
        if self.number < 1:
            raise UsageError(f"a fault is planned for request {self.number}", "the first request is 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How badly the API behaves. By default it is fast and never fails.

    The share `fail` of the requests is answered 500, 502 or 503, at random. Half of them fail AFTER having
    stored their objects: the acknowledgement is lost, as when a gateway gives up, and the sender has to send
    again what already arrived. The other half stores nothing. So it is with the bulk API: half of the failed
    uploads are part of their session, half of the failed finishes have stored it.

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
    #: faults of chosen requests, which go before all others
    planned: tuple[PlannedFault, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.fail <= 1:
            raise UsageError(f"the share of failing requests is {self.fail}", "choose one from 0 to 1, such as 0.05")
        if not 0 <= self.latency < float("inf"):
            raise UsageError(f"the latency is {self.latency} s", "choose 0 or more seconds")
        if self.rate_limit is not None and not 0 < self.rate_limit < float("inf"):
            raise UsageError(f"the rate limit is {self.rate_limit} requests per second", "choose one above 0, or none")


class FaultSequence:
    """The faults of the requests in their order of arrival."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._random = random.Random(faults.seed)  # noqa: S311  (to be repeatable, not secret)
        self._burst = max(1.0, faults.rate_limit or 0)
        self._tokens = self._burst
        self._refilled_at: float | None = None
        self._planned = {(each.path, each.number): each.fault for each in faults.planned}
        self._asked: Counter[str] = Counter()

    def draw(self, now: float, path: str = "/v1/set") -> Fault | None:
        """The next request's fault; None: it is served.

        Args:
            now: seconds of a monotonic clock.
            path: one of `PATHS`.
        """
        self._asked[path] += 1
        planned = self._planned.get((path, self._asked[path]))
        if planned is not None:
            return planned
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
