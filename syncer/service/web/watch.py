"""What the page remembers of runs while they go on, and shortly after: an observer. The history is in the state."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Literal

from syncer.core.events import (
    BulkChosen,
    DeliveryPaused,
    Event,
    Noticed,
    RequestRetried,
    RunFinished,
    RunMoved,
    RunProgressed,
    RunStarted,
    RunStuck,
)
from syncer.observe.metrics import Meter

#: runs, and events and samples of a run
_RUNS: Final = 200
_EVENTS: Final = 200
_SAMPLES: Final = 120

Tone = Literal["plain", "good", "warn", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something that happened in a run; several of a kind in a row are one."""

    at: datetime
    text: str
    times: int = 1
    tone: Tone = "plain"
    #: what it belongs to, where not all that is going on
    collection: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """How far a run was."""

    at: datetime
    read: int


@dataclass(slots=True)
class _Memory:
    mapping: str
    noted: deque[Noted] = field(default_factory=lambda: deque(maxlen=_EVENTS))
    samples: list[Sample] = field(default_factory=list)
    going: bool = True


class Watch:
    """Takes note of events; bounded, whatever comes. Give it every event of the runs, as any observer."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.meter = Meter()
        self._now = now
        self._runs: OrderedDict[str, _Memory] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Watch {len(self._runs)} runs>"

    def notice(self, event: Event) -> None:
        """Count it, and remember what a person would want to see beside the run."""
        self.meter.notice(event)
        match event:
            case RunStarted():
                self._runs[event.run_id] = _Memory(event.mapping)
                self._sample(event.run_id, 0)
                while len(self._runs) > _RUNS:
                    self._runs.popitem(last=False)
            case RunProgressed():
                self._sample(event.run_id, event.counts.read)
            case RunFinished(report=report):
                self._sample(report.run_id, report.counts.read)
                if report.run_id in self._runs:
                    self._runs[report.run_id].going = False
            case _:
                self._note(event)

    def _note(self, event: Event) -> None:
        match event:
            case BulkChosen():
                self._of_mapping(event.mapping, f"large enough for the Bulk API ({event.reason})", "plain")
            case Noticed():
                self._of_mapping(event.mapping, event.message, "warn")
            case RunStuck():
                self._of_mapping(event.mapping, "the run does not move", "bad")
            case RunMoved():
                self._of_mapping(event.mapping, "the run moves again", "good")
            case RequestRetried():
                told = f"a request failed ({event.reason}) and was sent again"
                self._of_all(Noted(at=self._now(), text=told, tone="warn", collection=event.collection))
            case DeliveryPaused():
                told = f"the API asked for a pause of {event.wait:.1f} s ({event.reason})"
                self._of_all(Noted(at=self._now(), text=told, tone="warn"))
            case _:
                pass

    def noted(self, run_id: str, collection: str) -> Sequence[Noted]:
        """What happened in a run that wrote to this collection, oldest first."""
        memory = self._runs.get(run_id)
        return [each for each in memory.noted if each.collection in (None, collection)] if memory else []

    def samples(self, run_id: str) -> Sequence[Sample]:
        """How far it was when."""
        memory = self._runs.get(run_id)
        return tuple(memory.samples) if memory else ()

    def _of_mapping(self, mapping: str, text: str, tone: Tone) -> None:
        for memory in self._runs.values():
            if memory.going and memory.mapping == mapping:
                _append(memory, Noted(at=self._now(), text=text, tone=tone))

    def _of_all(self, noted: Noted) -> None:
        for memory in self._runs.values():
            if memory.going:
                _append(memory, noted)

    def _sample(self, run_id: str, read: int) -> None:
        memory = self._runs.get(run_id)
        if memory is None:
            return
        memory.samples.append(Sample(at=self._now(), read=read))
        if len(memory.samples) > _SAMPLES:
            # every second one tells as much
            memory.samples = [*memory.samples[:-1:2], memory.samples[-1]]


def _append(memory: _Memory, noted: Noted) -> None:
    last = memory.noted[-1] if memory.noted else None
    if last is not None and (last.text, last.collection) == (noted.text, noted.collection):
        memory.noted[-1] = replace(noted, times=last.times + 1)
    else:
        memory.noted.append(noted)
