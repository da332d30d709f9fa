"""Runs as objects of a collection of their own: the run records."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import orjson

from syncer.core.events import Event, Noticed
from syncer.core.model import Batch, Kind, Outcome, RunReport, SegmentObject
from syncer.core.run_fields import fields_of
from syncer.core.watermark import encode_key
from syncer.delivery.base import Delivery, send_alone
from syncer.errors import EndpointUnreachable, SyncerError
from syncer.state.base import Store

_log = logging.getLogger("syncer.run")

#: run records in a request: what the Objects API takes
AT_ONCE = 10
#: seconds for which attempts to send them begin: what waits can as well go with the next run
PATIENCE = 10.0
#: and after a run that failed
SHORT_PATIENCE = 2.0
#: characters of a text in a record; a value must stay far below the API's 32 KB
_LONGEST = 2_000


def record_of(report: RunReport, row: int = 0) -> SegmentObject:
    """The run record: the run's id, and all else there is to say as its properties."""
    fields = fields_of(report)
    del fields["run_id"]
    texts = {name: _sendable(value) for name, value in fields.items() if isinstance(value, str)}
    key = encode_key([Kind.TEXT], [report.run_id])
    return SegmentObject(id=report.run_id, properties=orjson.dumps(fields | texts), row=row, key=key)


def _sendable(text: str) -> str:
    return text[:_LONGEST].encode("utf-8", "replace").decode()


class Recorder:
    """Sends what run records are owed, those of earlier runs too. Used from one event loop; never fails a run."""

    def __init__(
        self, collection: str, store: Store, notice: Callable[[Event], None], monotonic: Callable[[], float]
    ) -> None:
        self._collection = collection
        self._store = store
        self._notice = notice
        self._monotonic = monotonic
        #: runs that end together do not send the same records
        self._turn = asyncio.Lock()

    async def record(self, report: RunReport, delivery: Delivery) -> None:
        """Send all that are owed, after a run. What cannot be sent is told, and stays owed.

        After a run that failed it is not tried for long: the API may be what it failed for.
        """
        mapping = report.mapping
        patience = PATIENCE if report.outcome in (Outcome.SUCCEEDED, Outcome.PARTIAL) else SHORT_PATIENCE
        try:
            async with self._turn:
                await self._send_owed(mapping, delivery, patience)
        except Exception as error:  # noqa: BLE001  the job boundary: the run is over, whatever becomes of its record
            _log.debug("a run record was not sent", exc_info=error)
            told = error.message if isinstance(error, SyncerError) else f"unexpected {type(error).__name__}"
            self._tell(mapping, f"its run record goes with the next run: {told}")

    async def _send_owed(self, mapping: str, delivery: Delivery, patience: float) -> None:
        while owed := await asyncio.to_thread(self._store.unrecorded, AT_ONCE):
            batch = _batch(self._collection, owed)
            receipt = await send_alone(delivery, batch, forbidden=self._limit(patience))
            refused = [each.id for each in receipt.rejections if each.id is not None]
            await asyncio.to_thread(self._store.recorded, [*(each.id for each in receipt.accepted), *refused])
            for each in receipt.rejections:
                self._tell(mapping, f"the run record of {each.id} is left out: {each.reason}")
            if receipt.failure is not None:
                raise receipt.failure

    def _limit(self, patience: float) -> Callable[[], SyncerError | None]:
        """Forbids further attempts once so many seconds have passed."""
        until = self._monotonic() + patience

        def forbidden() -> SyncerError | None:
            late = self._monotonic() >= until
            return EndpointUnreachable("the API did not take it in time") if late else None

        return forbidden

    def _tell(self, mapping: str, message: str) -> None:
        self._notice(Noticed(mapping=mapping, message=message))


def _batch(collection: str, reports: Sequence[RunReport]) -> Batch:
    records = (record_of(report, row) for row, report in enumerate(reports))
    return Batch(number=0, collection=collection, objects=tuple(records))
