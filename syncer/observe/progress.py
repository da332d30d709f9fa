"""A live line per running mapping, for people at a terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from syncer.core.events import (
    DeliveryPaused,
    Event,
    Noticed,
    RequestRetried,
    RunFinished,
    RunProgressed,
    RunStarted,
)
from syncer.observe.lines import tell_counts


class ProgressObserver:
    """Draws bars on standard error. Use as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24),
            TextColumn("{task.fields[counts]}"), TimeElapsedColumn(), console=console or Console(stderr=True),
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressObserver:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def notice(self, event: Event) -> None:
        """Move the bar, or print a line above it."""
        match event:
            case RunStarted():
                name = f"{event.mapping} [dim]{event.mode}[/]"
                self._tasks[event.run_id] = self._progress.add_task(name, total=event.estimate, counts="reading")
            case RunProgressed() if event.run_id in self._tasks:
                self._move(event.run_id, event.counts.read, tell_counts(event.counts))
            case RunFinished(report=report) if report.run_id in self._tasks:
                self._move(report.run_id, report.counts.read, f"{report.outcome}: {tell_counts(report.counts)}")
                task = self._tasks.pop(report.run_id)
                self._progress.update(task, total=max(report.counts.read, 1), completed=max(report.counts.read, 1))
            case Noticed():
                self._say(f"{event.mapping}: {event.message}")
            case RequestRetried():
                self._say(f"{event.collection}: request failed ({event.reason}), again in {event.wait:.1f} s")
            case DeliveryPaused():
                self._say(f"the API asks for a pause of {event.wait:.1f} s ({event.reason})")
            case _:
                pass

    def _move(self, run_id: str, read: int, told: str) -> None:
        self._progress.update(self._tasks[run_id], completed=read, counts=told)

    def _say(self, message: str) -> None:
        self._progress.console.print(message, markup=False, highlight=False)
