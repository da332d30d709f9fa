"""The runs of this process that are going on, and which of them are stuck. Knows no mappings and no state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from syncer.core.events import Event, RunMoved, RunProgressed, RunStarted, RunStuck
from syncer.core.model import Counts
from syncer.core.plan import RunOptions
from syncer.service.control import Running


class Lookout:
    """Keeps an eye on runs. Give it every event of theirs, call `moved` as they move, and `look` from time to time."""

    def __init__(self, notice: Callable[[Event], None], *, now: Callable[[], datetime], stuck_after: timedelta) -> None:
        self._notice = notice
        self._now = now
        self._stuck_after = stuck_after
        self._runs: dict[str, Running] = {}
        #: apart from the rest, because it changes with every answer
        self._moved_at: dict[str, datetime] = {}

    @contextmanager
    def watching(self, run_id: str, mapping: str, options: RunOptions) -> Iterator[None]:
        """Keep an eye on a run while the context is open."""
        now = self._now()
        self._moved_at[run_id] = now
        self._runs[run_id] = Running(
            mapping=mapping, run_id=run_id, mode=options.mode, trigger=options.trigger, started_at=now,
            counts=Counts(), estimate=None, moved_at=now, stuck=False,
        )  # fmt: skip
        try:
            yield
        finally:
            del self._runs[run_id], self._moved_at[run_id]

    def moved(self, run_id: str) -> None:
        """The run read rows, got an answer or saved something. If it was stuck, that is over, and told."""
        if run_id not in self._moved_at:
            return
        self._moved_at[run_id] = self._now()
        if self._runs[run_id].stuck:
            self._change(run_id, stuck=False)
            self._notice(RunMoved(mapping=self._runs[run_id].mapping, run_id=run_id))

    def running(self) -> Sequence[Running]:
        """The runs that are going on, by mapping."""
        found = (replace(each, moved_at=self._moved_at[run_id]) for run_id, each in self._runs.items())
        return sorted(found, key=lambda each: each.mapping)

    def notice(self, event: Event) -> None:
        """Learn what runs tell of themselves."""
        if isinstance(event, RunStarted) and event.run_id in self._runs:
            self._change(event.run_id, mode=event.mode, estimate=event.estimate)
        elif isinstance(event, RunProgressed) and event.run_id in self._runs:
            self._change(event.run_id, counts=event.counts)

    def look(self) -> None:
        """Tell which runs have become stuck."""
        now = self._now()
        for each in self.running():
            if not each.stuck and now - each.moved_at >= self._stuck_after:
                self._change(each.run_id, stuck=True)
                self._notice(RunStuck(mapping=each.mapping, run_id=each.run_id, since=each.moved_at))

    def _change(self, run_id: str, **what: object) -> None:
        self._runs[run_id] = replace(self._runs[run_id], **what)  # type: ignore[arg-type]
