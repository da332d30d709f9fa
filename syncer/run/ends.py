"""The two ends of runs: the sources read from, and the API sent to. Opened at their first use and shared by runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from syncer.config.values import DestinationConfig, SourceConfig
from syncer.core.choice import Choice
from syncer.core.events import Event
from syncer.delivery import BulkAt, Pace, open_delivery
from syncer.delivery.base import Delivery
from syncer.run.job import Large
from syncer.run.records import Recorder
from syncer.source import open_source
from syncer.source.base import Source
from syncer.state.base import Store


class Sources:
    """The databases of a configuration."""

    def __init__(self, settings: Mapping[str, SourceConfig]) -> None:
        self.settings = settings
        self._opened: dict[str, Source] = {}

    def source(self, name: str) -> Source:
        """The source of this name."""
        if name not in self._opened:
            settings = self.settings[name]
            self._opened[name] = open_source(name, settings.url, timezone=settings.timezone)
        return self._opened[name]

    async def close(self) -> None:
        """Let go of them."""
        for source in self._opened.values():
            source.close()


class Outlet:
    """The destination of a configuration: one pace and one budget of requests for all that is sent to it."""

    def __init__(
        self,
        settings: DestinationConfig,
        store: Store,
        notice: Callable[[Event], None],
        *,
        elapsed: Callable[[], float],
    ) -> None:
        self.settings = settings
        self._notice = notice
        #: by whether it is the Bulk API's
        self._opened: dict[bool, Delivery] = {}
        self._pace = Pace(requests_per_second=settings.requests_per_second, clock=time.monotonic)
        records = settings.run_records
        #: None: no run records are sent
        self.recorder = Recorder(records, store, notice, elapsed) if records is not None else None
        self._stopped = False

    def delivery(self) -> Delivery:
        """The delivery all mappings share but in large runs."""
        return self.opened(bulk=self.settings.api == "bulk")

    def opened(self, *, bulk: bool) -> Delivery:
        """The delivery by one of the two APIs."""
        if bulk not in self._opened:
            to = self.settings
            at = BulkAt(endpoint=to.bulk_endpoint or "", part_size=to.bulk_part_size) if bulk else None
            self._opened[bulk] = open_delivery(
                write_key=to.write_key, endpoint=to.endpoint, identity=to.identity, bulk=at, synchronous=to.synchronous,
                max_in_flight=to.max_in_flight, retry_for=to.retry_for, notice=self._notice, pace=self._pace,
            )  # fmt: skip
            if self._stopped:
                self._opened[bulk].stop()
        return self._opened[bulk]

    def route(self) -> tuple[Large | None, Choice | None]:
        """What large runs use, if anything else than `delivery`; where nothing does, which API that is, and why."""
        to = self.settings
        if to.api != "auto":
            return None, Choice(api=to.api, reason=f"destination.api is `{to.api}`")
        if to.bulk_endpoint is None:
            unknown = "no address of the Bulk API is known for the region; destination.bulk.endpoint would tell"
            return None, Choice(api="objects", reason=unknown)
        return Large(delivery=lambda: self.opened(bulk=True), threshold=to.bulk_threshold), None

    async def renew(self) -> bool:
        """Let go of deliveries that were refused for good, which may have been mended by now; whether there were any.

        Nobody may be using them.
        """
        before = len(self._opened)
        for bulk, delivery in list(self._opened.items()):
            if delivery.ended:
                del self._opened[bulk]
                await delivery.close()
        return len(self._opened) < before

    def stop(self) -> None:
        """Begin no request more."""
        self._stopped = True
        for delivery in self._opened.values():
            delivery.stop()

    async def close(self) -> None:
        """Let go of the connections."""
        for delivery in self._opened.values():
            await delivery.close()
