"""What became of the objects of one batch so far. Every object goes into exactly one of the receipt's lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from syncer.core.model import Receipt, Rejection, SegmentObject
from syncer.core.verdict import Verdict
from syncer.delivery.base import permitted
from syncer.errors import SyncerError


class Tally:
    """Gathers one receipt, until sending is `forbidden`."""

    def __init__(self, forbidden: Callable[[], SyncerError | None] = permitted) -> None:
        self.forbidden = forbidden
        self.failure: SyncerError | None = None
        self._accepted: list[SegmentObject] = []
        self._rejections: list[Rejection] = []
        self._unsettled: list[SegmentObject] = []
        self._doubted: set[str] = set()
        self._late: set[str] = set()
        self._requests = self._retried = self._bytes = 0

    def requested(self, *, size: int, again: bool) -> None:
        """A request with a body of so many bytes was made, perhaps not for the first time."""
        self._requests += 1
        self._retried += again
        self._bytes += size

    def doubt(self, objects: Sequence[SegmentObject], *, late: bool) -> None:
        """They may have landed. With `late` they may land yet, even after a later request was accepted."""
        ids = {each.id for each in objects}
        self._doubted |= ids
        if late:
            self._late |= ids

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

    def give_up(self, objects: Sequence[SegmentObject], failure: SyncerError) -> None:
        """They stay unsettled."""
        self.failure = self.failure or failure
        self._unsettled.extend(objects)

    def receipt(self) -> Receipt:
        """The receipt of the whole batch."""
        return Receipt(
            accepted=tuple(self._accepted), rejections=tuple(self._rejections), unsettled=tuple(self._unsettled),
            in_doubt=self._in_doubt(), failure=self.failure,
            requests=self._requests, retried=self._retried, bytes=self._bytes,
        )  # fmt: skip

    def _in_doubt(self) -> frozenset[str]:
        """Of the unsettled objects all that may have landed, of the accepted ones those that may land once more.

        Of the rejected ones none: the request that went on holds the same object, and the API refuses it there too.
        """
        unsettled = self._doubted.intersection(each.id for each in self._unsettled)
        return frozenset(unsettled.union(self._late.intersection(each.id for each in self._accepted)))
