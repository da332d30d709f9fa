"""Objects into batches under a delivery's limits, in row order, and a batch into a request's body. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set

import orjson

from syncer.core.model import Batch, Limits, SegmentObject

#: bytes around one object in a body: {"id":"","properties":},
_FRAME = 24


class Batcher:
    """Gathers objects of one collection; hands out full batches. An id is in a batch at most once."""

    def __init__(self, collection: str, limits: Limits) -> None:
        self._collection = collection
        self._limits = limits
        self._room = limits.body - len(collection) - 32
        self._number = 0
        self._gathered: list[SegmentObject] = []
        self._ids: set[str] = set()
        self._size = 0

    @property
    def first_row(self) -> int | None:
        """First row that waits for a batch."""
        return self._gathered[0].row if self._gathered else None

    def holds(self, ids: Set[str]) -> Set[str]:
        """Those of which an object waits for a batch."""
        return self._ids & ids

    def add(self, objects: Iterable[SegmentObject]) -> Iterator[Batch]:
        """Gather objects; yields every batch that is full. A repeated id begins a new batch, so the last wins."""
        for each in objects:
            # six bytes is what JSON makes of the most costly character
            size = len(each.properties) + 6 * len(each.id) + _FRAME
            if self._gathered and (each.id in self._ids or self._size + size > self._room):
                yield self._take()
            self._gathered.append(each)
            self._ids.add(each.id)
            self._size += size
            if len(self._gathered) == self._limits.objects:
                yield self._take()

    def flush(self) -> Iterator[Batch]:
        """Yield what is left, if anything is."""
        if self._gathered:
            yield self._take()

    def _take(self) -> Batch:
        batch = Batch(number=self._number, collection=self._collection, objects=tuple(self._gathered))
        self._number += 1
        self._gathered, self._size = [], 0
        self._ids.clear()
        return batch


def encoded(collection: str, objects: Sequence[SegmentObject]) -> bytes:
    """The body of `POST /v1/set`. Properties are encoded already and go in as they are."""
    items = b",".join(b'{"id":%b,"properties":%b}' % (orjson.dumps(each.id), each.properties) for each in objects)
    return b'{"collection":%b,"objects":[%b]}' % (orjson.dumps(collection), items)


def encoded_lines(collection: str, objects: Sequence[SegmentObject]) -> list[bytes]:
    """The lines of an upload to the Bulk API, one for each object."""
    form = b'{"id":%%b,"collection":%b,"properties":%%b}\n' % orjson.dumps(collection).replace(b"%", b"%%")
    return [form % (orjson.dumps(each.id), each.properties) for each in objects]
