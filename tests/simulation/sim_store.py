"""The state store: one that survives crashes, and each process's connection to it, which fails."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sim_loop import PROCESS, Crashed, Process, SimLoop
from sim_settings import Settings

from syncer.core.model import Doubt, Lease
from syncer.errors import StateUnwritable
from syncer.run.leasing import LEASE_TTL
from syncer.state import MemoryStore
from syncer.state.base import Commit
from syncer.state.tenure import Tenure, succeed

_WRITES = frozenset({"acquire", "renew", "release", "commit"})


class Durable(MemoryStore):
    """What was committed. Tells `committed` of everything: who did it, and what was in doubt before."""

    def __init__(self, is_gone: Callable[[str], bool]) -> None:
        super().__init__()
        self.committed: Callable[[Process | None, Lease, Commit, Sequence[Doubt]], None] = lambda *_: None
        self.acquired: Callable[[Lease], None] = lambda _: None
        self._is_gone = is_gone

    def acquire(self, mapping: str, owner: str, now: datetime, ttl: timedelta) -> Lease:
        """See `Store.acquire`; who is gone, the world knows."""
        with self._lock:
            lease = succeed(self._tenures.get(mapping, Tenure()), mapping, owner, now, ttl, is_gone=self._is_gone)
            self._tenures[mapping] = Tenure(epoch=lease.epoch, owner=owner, since=now, expires_at=lease.expires_at)
        self.acquired(lease)
        return lease

    def commit(self, lease: Lease, commit: Commit) -> None:
        """See `Store.commit`."""
        before = self.doubts(lease.mapping)
        super().commit(lease, commit)
        self.committed(PROCESS.get(), lease, commit, before)


class StoreClient:
    """One process's connection. A write can fail before or after it took effect, or be the process's last."""

    def __init__(
        self, durable: Durable, process: Process, settings: Settings, rng: random.Random, loop: SimLoop,
        log: Callable[..., None], faulty: Callable[[str], bool],
    ) -> None:  # fmt: skip
        #: world seconds until which this process may believe that it holds the lease
        self.leased_until = -1.0
        #: the commit at which it crashes, and whether that commit takes effect
        self.last_commit: tuple[int, bool] | None = None
        self._durable = durable
        self._process = process
        self._settings = settings
        self._rng = rng
        self._loop = loop
        self._log = log
        self._faulty = faulty
        self._commits = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._durable, name)

        def call(*args: Any, **named: Any) -> Any:
            return self._call(name, method, args, named)

        return call

    def _call(self, name: str, method: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if self._process.dead:
            raise Crashed
        if name not in _WRITES:
            return method(*args, **named)
        self._log("store", self._process, name)
        if self._faulty("unwritable"):
            raise StateUnwritable("the disk is full")
        dies = self._dies() if name == "commit" else None
        if dies is not None and not dies:
            raise Crashed
        asked_at = self._loop.asked_at
        found = method(*args, **named)
        if name in ("acquire", "renew"):
            self.leased_until = asked_at + LEASE_TTL.total_seconds()
        if name == "release":
            self.leased_until = -1.0
        if dies:
            raise Crashed
        if self._faulty("unheard"):
            raise StateUnwritable("the connection was lost")
        return found

    def _dies(self) -> bool | None:
        """Whether it dies with this commit, and then whether the commit takes effect."""
        self._commits += 1
        if self.last_commit is None or self.last_commit[0] != self._commits:
            return None
        return self.last_commit[1]
