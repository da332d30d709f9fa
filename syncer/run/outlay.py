"""What sending would take: requests, uploads and bytes, counted without sending anything."""

from __future__ import annotations

from collections.abc import Sequence

from syncer.core.batch import Batcher, encoded
from syncer.core.model import Batch, Limits, SegmentObject
from syncer.delivery.base import Delivery
from syncer.delivery.bulk_session import GOOD
from syncer.delivery.parts import Part


class Outlay:
    """Objects of one collection in the batches, uploads and sessions in which a delivery would send them.

    Versions of one id that wait for each other are not foreseen: they make a session shorter.
    """

    def __init__(self, collection: str, delivery: Delivery) -> None:
        self.requests = self.uploads = self.bytes = 0
        self._collection = collection
        self._limits: Limits = delivery.limits
        #: batches in a session
        self._most = delivery.max_in_flight
        self._batcher = Batcher(collection, self._limits)
        self._batches = 0
        self._part = self._new_part()

    def add(self, objects: Sequence[SegmentObject]) -> None:
        """They would be sent. Blocks, because uploads are compressed to know how large they are."""
        for batch in self._batcher.add(objects):
            self._send(batch)

    def cut(self) -> None:
        """What was added goes before anything else is looked at."""
        for batch in self._batcher.flush():
            self._send(batch)

    def end(self) -> None:
        """Nothing more comes before everything is settled."""
        self.cut()
        self._finish()

    def _new_part(self) -> Part:
        return Part(self._collection, self._limits.part or 0)

    def _send(self, batch: Batch) -> None:
        if self._limits.part is None:
            self._request(len(encoded(batch.collection, batch.objects)))
            return
        self._batches += 1
        objects = batch.objects
        while objects:
            objects = objects[self._part.add(objects) :]
            if objects:
                self._upload()
        if self._batches == self._most:
            self._finish()

    def _request(self, size: int) -> None:
        self.requests += 1
        self.bytes += size

    def _upload(self) -> None:
        self.uploads += 1
        self._request(len(self._part.close()))
        self._part = self._new_part()

    def _finish(self) -> None:
        if not self._batches:
            return
        if self._part.objects:
            self._upload()
        self._request(0)
        self._request(len(GOOD))
        self._batches = 0
