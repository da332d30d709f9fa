"""A daemon as the page sees it, that does nothing by itself: what it tells is set, what is asked of it is noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from syncer.config import Config
from syncer.core.model import Mode, RunReport
from syncer.errors import UsageError
from syncer.service.control import Reload, Running
from syncer.state import Store

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@dataclass(kw_only=True)
class StillControl:
    """A `Control` over a real store."""

    config: Config
    store: Store
    runs: list[Running] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    pauses: dict[str, datetime] = field(default_factory=dict)
    fires: dict[str, datetime] = field(default_factory=dict)
    reload: Reload = Reload(at=NOON, problem=None)  # noqa: RUF009  (frozen)
    dead: str | None = None
    not_ready: str | None = None
    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    #: what was asked for
    asked: list[tuple[object, ...]] = field(default_factory=list)
    #: raised by whatever is asked for next
    refusal: Exception | None = None

    def running(self) -> Sequence[Running]:
        return self.runs

    def waiting(self) -> Sequence[str]:
        return self.waits

    def next_fire(self, mapping: str) -> datetime | None:
        return self.fires.get(mapping)

    def paused(self) -> Mapping[str, datetime]:
        return self.pauses

    def reloaded(self) -> Reload:
        return self.reload

    def alive(self) -> str | None:
        return self.dead

    def ready(self) -> str | None:
        return self.not_ready

    def endings(self) -> Mapping[tuple[str, str], int]:
        return self.ended

    async def run_now(self, mapping: str, mode: Mode) -> bool:
        self._ask("run", mapping, mode)
        return True

    async def pause(self, mapping: str) -> None:
        self._ask("pause", mapping)
        self.pauses[mapping] = NOON

    async def resume(self, mapping: str) -> None:
        self._ask("resume", mapping)
        self.pauses.pop(mapping, None)

    async def retry_dead_letters(self, mapping: str, numbers: Sequence[int] | None) -> RunReport:
        self._ask("retry", mapping, None if numbers is None else tuple(numbers))
        return RunReport(
            run_id="retry", mapping=mapping, collection=mapping, mode=Mode.INCREMENTAL, outcome=None,
            trigger="dead-letters retry", started_at=NOON,
        )  # fmt: skip

    def _ask(self, *what: object) -> None:
        if self.refusal is not None:
            raise self.refusal
        if what[1] not in self.config.mappings:
            raise UsageError(f"there is no mapping {what[1]}")
        self.asked.append(what)
