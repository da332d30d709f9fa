"""Uploads of the Bulk API as they grow: lines in, gzip out. Nothing is sent here."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import accumulate

from syncer.core.batch import encoded_lines
from syncer.core.model import SegmentObject

#: of 9: beyond it uploads take longer to make, and are hardly smaller
_LEVEL = 4
#: for zlib: a gzip stream
_GZIP = 31


class Part:
    """One upload. Its memory is what it has compressed so far."""

    def __init__(self, collection: str, most: int) -> None:
        """Args:
        most: uncompressed bytes in it, unless a single object is larger.
        """
        #: uncompressed bytes, and objects
        self.size = self.objects = 0
        self._collection = collection
        self._most = most
        self._gzip = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._compressed: list[bytes] = []

    def add(self, objects: Sequence[SegmentObject]) -> int:
        """Take as many of these objects, from the first on, as there is room for; returns how many. Blocks."""
        lines = encoded_lines(self._collection, objects)
        sizes = list(accumulate(map(len, lines)))
        room = self._most - self.size
        taken = len(lines) if sizes and sizes[-1] <= room else sum(size <= room for size in sizes)
        if not taken and not self.objects:
            taken = 1
        if taken:
            self._compressed.append(self._gzip.compress(b"".join(lines[:taken])))
            self.size += sizes[taken - 1]
            self.objects += taken
        return taken

    def close(self) -> bytes:
        """The upload's body. It takes nothing more."""
        self._compressed.append(self._gzip.flush())
        return b"".join(self._compressed)
