"""A scheduler in virtual time: days pass in no time, at the minute they are told to. No fixtures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from syncer.core.events import Event, Noticed
from syncer.core.model import CollectionMapping, Mode, Outcome, RunReport
from syncer.core.plan import RunOptions
from syncer.service.fires import Ending, Fires
from syncer.service.scheduler import Scheduler
from syncer.service.timer import new_timer

#: a Friday, far from the present, so that `LoopZone` can tell the two apart
BEGIN = datetime(2037, 5, 1, tzinfo=UTC)


class LoopZone(tzinfo):
    """UTC, whose present is that of the running loop: `datetime.now(LoopZone())`, which is how APScheduler asks."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        """None."""
        return timedelta(0)

    def dst(self, _: datetime | None) -> timedelta:
        """None."""
        return timedelta(0)

    def tzname(self, _: datetime | None) -> str:
        """A name."""
        return "loop time"

    def fromutc(self, at: datetime) -> datetime:
        """The same time, or the present in place of the real one."""
        return (now() if at.replace(tzinfo=UTC) < BEGIN - timedelta(days=365) else at).replace(tzinfo=self)


def now() -> datetime:
    """Loop time, beginning at `BEGIN`."""
    return BEGIN + timedelta(seconds=asyncio.get_running_loop().time() - 1000.0)


async def at(text: str) -> None:
    """Sleep until a time such as `01 08:30`: day of May, hour and minute."""
    moment = datetime.strptime(f"{BEGIN:%Y-%m}-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    await asyncio.sleep((moment - now()).total_seconds())


@dataclass
class Played:
    """Stands where runs are carried out: each takes its time, and ends as it is told to."""

    #: seconds that runs of a mapping take
    lasts: dict[str, float] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    #: by mapping, mode, what began it, and when it began and ended
    runs: list[RunReport] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    #: told of each report
    ended: Callable[[RunReport], None] = lambda _: None

    async def run(
        self, mapping: CollectionMapping, options: RunOptions, wanted: Callable[[], bool] = lambda: True
    ) -> RunReport:
        """One run."""
        assert mapping.name not in self.busy, "runs of a mapping overlap"
        self.busy.add(mapping.name)
        began = now()
        try:
            async with asyncio.timeout(self.lasts.get(mapping.name, 1.0)):
                await self.stop.wait()
            outcome = Outcome.INTERRUPTED
        except TimeoutError:
            outcome = self.outcomes.get(mapping.name, Outcome.SUCCEEDED)
        finally:
            self.busy.discard(mapping.name)
        report = RunReport(
            run_id=f"{mapping.name} {began:%d %H:%M:%S}", mapping=mapping.name, collection=mapping.name,
            mode=options.mode, outcome=outcome, trigger=options.trigger, started_at=began, finished_at=now(),
        )  # fmt: skip
        self.runs.append(report)
        self.ended(report)
        return report

    def began(self, name: str) -> list[str]:
        """When the runs of a mapping began: `01 08:30`."""
        return [f"{run.started_at:%d %H:%M}" for run in self.runs if run.mapping == name]

    def order(self) -> list[str]:
        """The mappings in the order in which their runs began."""
        return [run.mapping for run in sorted(self.runs, key=lambda run: run.started_at)]

    def modes(self, name: str) -> list[Mode]:
        """The modes of a mapping's runs."""
        return [run.mode for run in self.runs if run.mapping == name]


class Serving:
    """A scheduler that serves while the context is open, and what it said."""

    def __init__(
        self, mappings: Sequence[CollectionMapping], played: Played, fires: Fires, *, concurrency: int = 4
    ) -> None:
        self.played = played
        self.said: list[str] = []
        self.stop = asyncio.Event()
        #: can be paused, as if the machine slept
        self.timer = new_timer(LoopZone())
        self.scheduler = Scheduler(
            mappings, played.run, fires, now=now, notice=self._notice, concurrency=concurrency,
            monotonic=lambda: asyncio.get_running_loop().time(), timer=self.timer,
        )  # fmt: skip

    def _notice(self, event: Event) -> None:
        assert isinstance(event, Noticed)
        self.said.append(f"{event.mapping}: {event.message}")

    async def __aenter__(self) -> Serving:
        self._serving = asyncio.create_task(self.scheduler.serve(self.stop, self.played.stop.set))
        await self.scheduler.planned.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        await self._serving

    def ended(self, name: str, ending: Ending) -> int:
        """How many of a mapping's fires ended like this."""
        return self.scheduler.endings.get((name, ending), 0)
