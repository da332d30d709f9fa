"""What the page may see of the daemon, and what it may ask of it. One seam; `daemon` stands behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from syncer.config import Config
from syncer.core.model import Counts, Mode, RunReport
from syncer.state.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A run of this process that is going on."""

    mapping: str
    run_id: str
    mode: Mode
    #: what started it: `schedule`, `catch-up`, `page`, ...
    trigger: str
    started_at: datetime
    #: so far, as of the last commit
    counts: Counts
    #: rows expected, where the source could tell cheaply
    estimate: int | None
    #: when it last read, sent or committed anything
    moved_at: datetime
    #: it has not moved for `serve.stuck_after`
    stuck: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """The last time the file was read."""

    at: datetime
    #: why the configuration read before it stays in force; None: it was replaced
    problem: str | None


class Control(Protocol):
    """The daemon as the page sees it. What it asks of the store may raise `StateError`."""

    @property
    def config(self) -> Config:
        """The configuration in force now."""

    @property
    def store(self) -> Store:
        """The state. Its methods block."""

    def running(self) -> Sequence[Running]:
        """The runs of this process that are going on, by mapping name."""

    def waiting(self) -> Sequence[str]:
        """Mappings whose fire waits: for its turn, for a lease, for another mapping, for the end of a blackout."""

    def next_fire(self, mapping: str) -> datetime | None:
        """When its schedules want it next, jitter included; None: they never do, or not while it is paused."""

    def paused(self) -> Mapping[str, datetime]:
        """Mappings whose schedules are paused, and since when; for all instances that share the state."""

    def reloaded(self) -> Reload:
        """How the file was read last."""

    def alive(self) -> str | None:
        """None, or why the daemon does no work any more: `/healthz`."""

    def ready(self) -> str | None:
        """None, or why it does not take up work yet, or any more: `/readyz`."""

    def endings(self) -> Mapping[tuple[str, str], int]:
        """How many fires of each mapping ended how, since the start."""

    async def run_now(self, mapping: str, mode: Mode) -> bool:
        """Run it as soon as its turn comes, paused or not. False: merged into a fire that waits already.

        Raises:
            UsageError: there is no such mapping, or the daemon is stopping.
        """

    async def pause(self, mapping: str) -> None:
        """Let its schedules begin no run, here and in every instance, restarts included, until it is resumed.

        Raises:
            UsageError: there is no such mapping.
            StateError: it could not be remembered.
        """

    async def resume(self, mapping: str) -> None:
        """Take the pause back; what its schedules wanted meanwhile runs once. Raises what `pause` raises."""

    async def retry_dead_letters(self, mapping: str, numbers: Sequence[int] | None) -> RunReport:
        """Read the rows of its dead letters (None: of all) again and send them as they are now.

        Raises:
            UsageError: there is no such mapping, or it has no such dead letter whose row can be found.
            StateError: the dead letters cannot be read.
        """
