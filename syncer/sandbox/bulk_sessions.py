"""The sessions of the Objects Bulk API: whose they are, what they hold, when they end. No I/O, no clock, no HTTP."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from syncer.sandbox.rules import Refusal

#: ended sessions remembered, so that a late request can be told what became of its session
_REMEMBERED = 1000


class State(StrEnum):
    """What has become of a session."""

    OPEN = "open"
    #: its parts are being merged
    FINISHING = "finishing"
    FINISHED = "finished"
    #: finished with an error
    DISCARDED = "discarded"
    EXPIRED = "expired"


_OVER = {
    State.FINISHING: "the session is being finished",
    State.FINISHED: "the session is finished, its objects are stored",
    State.DISCARDED: "the session was finished with an error, nothing of it is stored",
    State.EXPIRED: "the session expired, nothing of it is stored",
}


class BulkSession:
    """One session, from its start to long after its end."""

    def __init__(self, sync_id: str, owner: bytes, now: float) -> None:
        self.sync_id = sync_id
        self.state = State.OPEN
        #: spooled parts in the order in which they were accepted; none once the session is over
        self.parts: list[int] = []
        #: parts and objects accepted so far, also of a session that is over
        self.part_count = 0
        self.object_count = 0
        self.collections: set[str] = set()
        #: why its sender gave up, if it did
        self.error = ""
        #: held by the finish that is served; another one waits for its outcome
        self.finishing = asyncio.Lock()
        self._owner = owner
        self._seen_at = now
        self._requests = 0

    def belongs_to(self, key: bytes) -> bool:
        """Whether it was started with this write key."""
        return hmac.compare_digest(self._owner, key)

    def add(self, part: int, objects: int, collections: frozenset[str]) -> None:
        """Take a part that keeps every rule."""
        self.parts.append(part)
        self.part_count += 1
        self.object_count += objects
        self.collections |= collections

    def refusal(self) -> Refusal | None:
        """Why nothing more can be done with it; None: it is open."""
        return None if self.state is State.OPEN else self.over()

    def over(self) -> Refusal:
        """What became of it, for one who asks too late."""
        return Refusal(status=410, text=f"{_OVER[self.state]}; start a new one")

    def is_idle(self, since: float) -> bool:
        """Whether no request was there since."""
        return not self._requests and self._seen_at <= since

    def touch(self, now: float) -> None:
        """A request of it was served."""
        self._seen_at = now

    @contextmanager
    def busy(self) -> Iterator[None]:
        """A request of it is under way: as long as it takes, the session is not idle."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1


class BulkSessions:
    """All sessions since the sandbox started; of the ended ones, the last thousand."""

    def __init__(self, idle: float, drop: Callable[[list[int]], object]) -> None:
        """Args:
        idle: seconds without a request after which a session expires.
        drop: forgets parts whose session is over.
        """
        self._idle = idle
        self._drop = drop
        self._open: dict[str, BulkSession] = {}
        self._ended: dict[str, BulkSession] = {}

    def start(self, sync_id: str, owner: bytes, now: float) -> None:
        """Begin one."""
        self._open[sync_id] = BulkSession(sync_id, owner, now)

    def find(self, sync_id: str, owner: bytes) -> BulkSession | Refusal:
        """A session of this write key, open or not; another's is as unknown as one that never was."""
        session = self._open.get(sync_id) or self._ended.get(sync_id)
        if session is None or not session.belongs_to(owner):
            return Refusal(status=404, text="there is no such session for this write key; start one")
        return session

    def end(self, session: BulkSession, state: State) -> None:
        """It is over: its parts are dropped."""
        session.state = state
        self._drop(session.parts)
        session.parts = []
        self._ended[session.sync_id] = self._open.pop(session.sync_id)
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def expire(self, now: float) -> None:
        """End those that were idle for too long."""
        for session in [each for each in self._open.values() if each.is_idle(now - self._idle)]:
            self.end(session, State.EXPIRED)

    def newest(self) -> list[BulkSession]:
        """All that are remembered, the open ones first, each kind with the newest first."""
        return [*reversed(self._open.values()), *reversed(self._ended.values())]
