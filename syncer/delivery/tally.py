"""What became of the objects of one batch so far. Every object goes into exactly one of the receipt's lists."""

from __future__ import annotations

from collections.abc import Sequence

from syncer.core.model import Receipt, Rejection, SegmentObject
from syncer.core.verdict import Verdict
from syncer.errors import DeliveryError


class Tally:
    """Gathers one receipt."""

    def __init__(self) -> None:
        self.failure: DeliveryError | None = None
        self._accepted: list[SegmentObject] = []
        self._rejections: list[Rejection] = []
        self._unsettled: list[SegmentObject] = []
        self._doubted: set[str] = set()
        self._requests = self._retried = self._bytes = 0

    def requested(self, *, size: int, again: bool) -> None:
        """A request with a body of so many bytes was made, perhaps not for the first time."""
        self._requests += 1
        self._retried += again
        self._bytes += size

    def doubt(self, objects: Sequence[SegmentObject]) -> None:
        """They may have landed, whatever becomes of them."""
        self._doubted.update(each.id for each in objects)

    def accept(self, objects: Sequence[SegmentObject]) -> None:
        """The API took them."""
        self._accepted.extend(objects)

    def reject(self, refused: SegmentObject, verdict: Verdict) -> None:
        """The API refused it while it stood alone."""
        status = verdict.status or 0
        self._rejections.append(
            Rejection(
                code=f"API_{status}" if status >= 400 else "API_ERROR",
                reason=f"the API refused it: {verdict.reason}",
                row=refused.row, id=refused.id, key=refused.key, properties=refused.properties,
                status=verdict.status, response=verdict.response,
            )
        )  # fmt: skip

    def give_up(self, objects: Sequence[SegmentObject], failure: DeliveryError) -> None:
        """They stay unsettled."""
        self.failure = self.failure or failure
        self._unsettled.extend(objects)

    def receipt(self) -> Receipt:
        """The receipt of the whole batch."""
        return Receipt(
            accepted=tuple(self._accepted), rejections=tuple(self._rejections), unsettled=tuple(self._unsettled),
            in_doubt=frozenset(self._doubted.intersection(each.id for each in self._unsettled)), failure=self.failure,
            requests=self._requests, retried=self._retried, bytes=self._bytes,
        )  # fmt: skip
