"""Gathers what changed until a note of it is worth a transaction: each waits for the disk. Pure but for a clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from syncer.core.model import SegmentObject
from syncer.state.base import Fingerprint

#: bytes of properties that are enough
_ENOUGH = 4_000_000


class Gathering:
    """Objects that must be sent and are not noted yet, in row order, and what was accepted before of those it replaces.

    `most`: so many objects are enough. None waits longer than `seconds` while chunks keep coming, or the API would
    have nothing to do.
    """

    def __init__(self, *, most: int, seconds: float, monotonic: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._monotonic = monotonic
        self._objects: list[SegmentObject] = []
        self._before: dict[str, Fingerprint | None] = {}
        #: of what waits here, and of what was taken out and is in no batch yet
        self._ids: Counter[str] = Counter()
        self._size = 0
        self._since = 0.0

    @property
    def first_row(self) -> int | None:
        """First row that waits here."""
        return self._objects[0].row if self._objects else None

    def holds(self, ids: Set[str]) -> Set[str]:
        """Those of which an object waits here, or was taken out and not handed on yet."""
        return self._ids.keys() & ids

    @property
    def enough(self) -> bool:
        """Whether it is time to take everything out."""
        if not self._objects:
            return False
        late = self._monotonic() - self._since >= self._seconds
        return late or len(self._objects) >= self._most or self._size >= _ENOUGH

    def add(self, objects: Sequence[SegmentObject], before: Mapping[str, Fingerprint | None]) -> None:
        """What must be sent of the rows that were read last."""
        if objects and not self._objects:
            self._since = self._monotonic()
        self._objects.extend(objects)
        self._before.update(before)
        self._ids.update(each.id for each in objects)
        self._size += sum(len(each.properties) for each in objects)

    def take(self) -> tuple[list[SegmentObject], dict[str, Fingerprint | None]]:
        """Everything that waits; nothing does then. Its ids are held until it was handed on."""
        taken = self._objects, self._before
        self._objects, self._before, self._size = [], {}, 0
        return taken

    def handing_on(self, objects: Sequence[SegmentObject]) -> Iterator[SegmentObject]:
        """What was taken, one by one; each is held until the next is asked for."""
        for each in objects:
            yield each
            self._ids[each.id] -= 1
            if not self._ids[each.id]:
                del self._ids[each.id]
