"""Who else learns what a command's runs do: those whom `notifications` names, and a collector of traces."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from syncer.config import Config
from syncer.core.alerts import Alert, AlertKind
from syncer.core.events import Event
from syncer.core.model import CollectionMapping
from syncer.core.plan import RunOptions
from syncer.core.templates import fields_in, fill
from syncer.observe.traces import Traces, open_traces
from syncer.run.examine import Finding, Level
from syncer.state.base import Store

if TYPE_CHECKING:
    from syncer.observe.notifications import Notifier


@asynccontextmanager
async def observed(
    config: Config, store: Store, notice: Callable[[Event], None], asked: RunOptions
) -> AsyncIterator[Callable[[Event], None]]:
    """Pass events on to all of them; at the end wait, for a few seconds, until they are told. Before `store` closes.

    A dry run is nobody else's business. A run of some rows is traced, but says nothing of how its mapping stands.
    """
    if asked.dry_run:
        yield notice
        return
    others: list[Notifier | Traces] = []
    if config.notifications.wanted and (asked.limit, asked.start, asked.end) == (None, None, None):
        from syncer.observe.notifications import Notifier  # brings the HTTP library

        others.append(Notifier(config, store))
    traces = open_traces(os.environ)
    others += [traces] if traces is not None else []

    def notice_all(event: Event) -> None:
        notice(event)
        for each in others:
            each.notice(event)

    try:
        yield notice_all
    finally:
        await asyncio.gather(*(each.close() for each in others))


async def try_out(config: Config, mappings: Sequence[CollectionMapping]) -> list[Finding]:
    """Send a test notification and the pings of success, whatever is true; what became of them."""
    from syncer.observe.notifications import message_of
    from syncer.observe.webhook import Message, Outbox

    settings, found = config.notifications, []
    outbox = Outbox("the receiver")
    try:
        if settings.webhook is not None:
            test = message_of(_test(mappings[0].name), settings.webhook)
            found.append(_finding("webhook", await outbox.send(test)))
        if settings.ping is not None:
            names = [each.name for each in mappings] if fields_in(settings.ping) else [""]
            for name in names:
                problem = await outbox.send(Message(url=fill(settings.ping, {"mapping": name})))
                found.append(_finding(f"ping of {name}" if name else "ping", problem))
    finally:
        await outbox.close(0)
    return found


def _test(mapping: str) -> Alert:
    told = "this is a test of notifications; nothing has happened"
    return Alert(kind=AlertKind.RECOVERY, cause="test", mapping=mapping, message=f"{mapping}: {told}")


def _finding(what: str, problem: str | None) -> Finding:
    if problem is None:
        return Finding(level=Level.OK, message=f"{what}: a test was taken")
    key = f"notifications.{what.split()[0]}.url"
    return Finding(level=Level.ERROR, message=f"{what}: the test was not taken: {problem}", hint=f"look at {key}")
