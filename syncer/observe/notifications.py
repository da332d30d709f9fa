"""Who is told without looking: alerts to a webhook, and pings while all is well. What is worth telling is decided in
`core.alerts`, how it reads in `core.notes`; nothing here ever slows a run down or makes one fail.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import orjson

from syncer.config import Config
from syncer.config.values import WebhookConfig
from syncer.core import alerts
from syncer.core.alerts import ASIDE, ENDED, GOOD, Alert, telling
from syncer.core.events import Event, RunFinished, RunMoved, RunStuck
from syncer.core.model import Mode, Outcome, RunReport
from syncer.core.notes import payload
from syncer.core.templates import fields_in, fill
from syncer.errors import SyncerError
from syncer.observe.backlog import Backlog
from syncer.observe.webhook import Message, Outbox

_log = logging.getLogger("syncer.notifications")

#: seconds for what has not been told yet when all ends
LAST_WORDS: Final = 5.0
#: runs looked back at; and after a full run among others, so that the full ones before it are there too
RUNS_BACK, FULL_RUNS_BACK = 100, 1_000
#: the name under which the state remembers, beside the fires of schedules, which lag was told
_LAG: Final = "alert:lag"


class Past(Protocol):
    """What is asked of the state; see `state.base.Store`."""

    def runs(
        self, mapping: str | None = None, limit: int = 20, *, until: datetime | None = None
    ) -> Sequence[RunReport]:
        """The latest runs, newest first."""

    def latest_runs(
        self,
        mappings: Sequence[str],
        limit: int,
        *,
        outcomes: Sequence[Outcome] | None = None,
        without: Sequence[str] = (),
    ) -> Mapping[str, Sequence[RunReport]]:
        """Of each of these mappings what `runs` tells of it."""

    def last_fire(self, mapping: str, schedule: str) -> datetime | None:
        """When something last fired."""

    def record_fire(self, mapping: str, schedule: str, at: datetime) -> None:
        """Remember that it did."""


def message_of(alert: Alert, webhook: WebhookConfig, host: str | None = None) -> Message:
    """What the webhook gets of an alert. `host`: what to call this machine; None: by its name."""
    body = orjson.dumps(payload(alert, host or socket.gethostname(), webhook.form))
    return Message(url=fill(webhook.url, {"mapping": alert.mapping}), body=body)


class Notifier:
    """An observer that tells those who do not look. Used from one event loop; does nothing where nobody wants to know.

    What runs have made known before is read from the state, so neither a restart nor another process tells it again.
    Where the state cannot be read, what this process saw has to do.
    """

    def __init__(
        self,
        config: Config,
        past: Past,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        host: str | None = None,
    ) -> None:
        self._config = config
        self._past = past
        self._now = now
        self._host = host
        self._since = now()
        self._events: Backlog[Event] = Backlog(self._take, most=1_000, name="notifications")
        self._webhook = Outbox("the webhook")
        self._pinged = Outbox("the ping's receiver")
        self._seen: defaultdict[str, deque[RunReport]] = defaultdict(lambda: deque(maxlen=RUNS_BACK))
        #: ids of runs that were told to be stuck
        self._stuck: set[str] = set()
        #: whether a run ended well, or failed, since pings that are of all mappings were decided on last
        self._some_good = self._some_bad = False

    def use(self, config: Config) -> None:
        """Go by another configuration from now on."""
        self._config = config

    def notice(self, event: Event) -> None:
        """Tell what has to be told of it, soon."""
        if self._config.notifications.wanted and isinstance(event, RunFinished | RunStuck | RunMoved):
            self._events.put(event)

    async def look(self, now: datetime) -> None:
        """Look who is behind, and ping if all is well. To be called about every minute, while anything runs at all."""
        if not self._config.notifications.wanted:
            return
        try:
            await self._look_for_lag(now)
            await self._ping_for_all()
        except Exception as error:  # noqa: BLE001  a job boundary: the next look may do
            _log.debug("the state does not tell how the mappings stand", exc_info=error)

    async def close(self) -> None:
        """Tell what is left to be told, within a few seconds, and let go. Idempotent."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LAST_WORDS
        if left := await self._events.drain(LAST_WORDS):
            _log.warning("there was no time left to tell of %d events", left)
        try:
            async with asyncio.timeout_at(until):
                await self._ping_for_all()
        except (SyncerError, TimeoutError) as error:
            _log.debug("the state does not tell how the mappings stand", exc_info=error)
        boxes = (self._webhook, self._pinged)
        await asyncio.gather(*(each.close(max(0.0, until - loop.time())) for each in boxes))

    def tell(self, alert: Alert) -> None:
        """Post it, if the webhook is to get what is like it."""
        webhook = self._config.notifications.webhook
        if webhook is not None and alert.kind in webhook.kinds:
            self._webhook.put(message_of(alert, webhook, self._host))

    async def _take(self, event: Event) -> None:
        try:
            match event:
                case RunFinished(report=report):
                    await self._finished(report)
                case RunStuck():
                    self._stuck.add(event.run_id)
                    self.tell(alerts.stuck(event.mapping, event.run_id, event.since))
                case RunMoved():
                    self._moves(event.mapping, event.run_id)
        except Exception as error:  # noqa: BLE001  a job boundary: nothing that fails here may end the telling
            _log.debug("an event was not told", exc_info=error)
            told = error.message if isinstance(error, SyncerError) else f"unexpected {type(error).__name__}"
            _log.warning("notifications: an event was not told: %s", told)

    def _moves(self, mapping: str, run_id: str) -> None:
        if run_id in self._stuck:
            self._stuck.discard(run_id)
            self.tell(alerts.moving(mapping, run_id))

    async def _finished(self, report: RunReport) -> None:
        stuck = report.run_id in self._stuck
        self._stuck.discard(report.run_id)
        if not telling(report):
            return
        mapping = self._config.mappings.get(report.mapping)
        earlier = await self._earlier(report)
        found = alerts.alerts_after(report, earlier, max_deviation=mapping.max_deviation if mapping else None)
        good = report.outcome in GOOD
        works_again = any(each.kind is alerts.AlertKind.RECOVERY and each.cause == "run" for each in found)
        if good and stuck:
            found.append(alerts.moving(report.mapping, report.run_id))
        if good and not works_again and await self._was_behind(report, earlier):
            found.append(alerts.caught_up(report))
        for alert in found:
            self.tell(alert)
        self._ping_for(report.mapping, good=good)

    async def _earlier(self, report: RunReport) -> list[RunReport]:
        """The runs before it, from the state and from memory, each once."""
        seen = self._seen[report.mapping]
        try:
            found = await asyncio.to_thread(self._past.runs, report.mapping, RUNS_BACK)
            if report.mode is Mode.FULL and any(run.mode is not Mode.FULL for run in found):
                found = await asyncio.to_thread(self._past.runs, report.mapping, FULL_RUNS_BACK)
        except SyncerError as error:
            _log.debug("the state does not tell the runs before", exc_info=error)
            found = ()
        by_id = {run.run_id: run for run in (*seen, *found)}
        by_id.pop(report.run_id, None)
        seen.append(report)
        return [run for run in by_id.values() if run.started_at <= report.started_at]

    async def _was_behind(self, report: RunReport, earlier: Sequence[RunReport]) -> bool:
        """Whether it was told that the mapping is behind: since the last good run before this one, not since this."""
        mapping = self._config.mappings.get(report.mapping)
        if mapping is None or mapping.max_lag is None:
            return False
        told = await asyncio.to_thread(self._past.last_fire, report.mapping, _LAG)
        good = max((run.started_at for run in earlier if telling(run) and run.outcome in GOOD), default=None)
        if told is None or told >= _whole(alerts.due_of(report.started_at, mapping.max_lag)):
            return False
        return good is None or told >= _whole(alerts.due_of(good, mapping.max_lag))

    async def _look_for_lag(self, now: datetime) -> None:
        limits = {each.name: each.max_lag for each in self._config.mappings.values() if each.max_lag is not None}
        if not limits:
            return
        runs = await asyncio.to_thread(self._past.latest_runs, list(limits), 1, outcomes=GOOD, without=ASIDE)
        for name, max_lag in limits.items():
            good = next((run.started_at for run in runs[name]), None)
            alert = alerts.behind(name, good, self._since, max_lag, now)
            if alert is not None and await self._not_told(name, alerts.due_of(good or self._since, max_lag)):
                self.tell(alert)

    async def _not_told(self, mapping: str, due: datetime) -> bool:
        """Whether nobody told yet that the mapping is behind since then; from now on somebody has."""
        told = await asyncio.to_thread(self._past.last_fire, mapping, _LAG)
        if told is not None and told >= _whole(due):
            return False
        await asyncio.to_thread(self._past.record_fire, mapping, _LAG, _whole(due))
        return True

    def _ping_for(self, mapping: str, *, good: bool) -> None:
        """Pings that are of one mapping go at once; those of all wait for `look`, or for the end."""
        self._some_good |= good
        self._some_bad |= not good
        url = self._ping_url(good=good)
        if url is not None and fields_in(url):
            self._pinged.put(Message(url=fill(url, {"mapping": mapping})))

    async def _ping_for_all(self) -> None:
        some_bad, self._some_bad = self._some_bad, False
        failing, well = self._ping_url(good=False), self._ping_url(good=True)
        if some_bad and failing is not None and not fields_in(failing):
            self._pinged.put(Message(url=fill(failing, {})))
        if self._some_good and well is not None and not fields_in(well):
            all_well = await self._all_well()
            self._some_good = False
            if all_well:
                self._pinged.put(Message(url=fill(well, {})))

    async def _all_well(self) -> bool:
        """Whether the latest run of every mapping was good; those that have never run do not count."""
        names = list(self._config.mappings)
        found = await asyncio.to_thread(self._past.latest_runs, names, 1, outcomes=ENDED, without=ASIDE)
        both = {name: [*found[name], *self._seen[name]] for name in names}
        stood = [max(filter(telling, runs), key=lambda run: run.started_at, default=None) for runs in both.values()]
        return all(run is None or run.outcome in GOOD for run in stood)

    def _ping_url(self, *, good: bool) -> str | None:
        settings = self._config.notifications
        return settings.ping if good else settings.failure_ping


def _whole(at: datetime) -> datetime:
    """To the second: what every state keeps."""
    return at - timedelta(microseconds=at.microsecond)
