"""Digests of objects as sent, and the question which objects changed. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

from syncer.core.model import SegmentObject


class Known(Protocol):
    """What is remembered of an accepted object."""

    @property
    def digest(self) -> bytes:
        """Digest of what was accepted."""

    @property
    def sent_at(self) -> datetime:
        """When it was."""


def destination_of(endpoint: str, write_key: str, known_as: str | None = None) -> str:
    """What makes a destination the same tomorrow: a digest of host and write key that tells nothing of the key.

    Args:
        known_as: its `destination_id` under an earlier write key; counts for that id's own host only.
    """
    host = urlsplit(endpoint).hostname or ""
    known_host, _, digest = (known_as or "").rpartition("/")
    if digest and known_host == host:
        return digest
    return hashlib.blake2b(f"{host}\0{write_key}".encode(), digest_size=16).hexdigest()


def destination_id(endpoint: str, write_key: str, known_as: str | None = None) -> str:
    """The destination's name for `destination.id`: its host, and `destination_of`."""
    return f"{urlsplit(endpoint).hostname or ''}/{destination_of(endpoint, write_key, known_as)}"


def scope_of(destination: str, collection: str) -> bytes:
    """Key of the fingerprints of one collection at one destination: what went elsewhere says nothing here."""
    return hashlib.blake2b(f"{destination}\0{collection}".encode(), digest_size=16).digest()


def fingerprint(each: SegmentObject, scope: bytes) -> bytes:
    """16 bytes of BLAKE2b over the properties exactly as they go on the wire, keyed by their `scope_of`."""
    return hashlib.blake2b(each.properties, digest_size=16, key=scope).digest()


def fingerprints(objects: Iterable[SegmentObject], scope: bytes) -> list[bytes]:
    """The `fingerprint` of each, with the key worked in once for all of them."""
    keyed = hashlib.blake2b(digest_size=16, key=scope)
    digests: list[bytes] = []
    for each in objects:
        one = keyed.copy()
        one.update(each.properties)
        digests.append(one.digest())
    return digests


def changed(
    objects: Sequence[SegmentObject],
    known: Mapping[str, Known],
    scope: bytes,
    now: datetime,
    refresh_after: timedelta,
) -> list[SegmentObject]:
    """The objects that must be sent: unknown, different, or accepted so long ago that Segment may expire them.

    An id that comes twice is sent whenever it comes again: what is known of it is no longer the last word.
    """
    seen: set[str] = set()
    found: list[SegmentObject] = []
    expired = now - refresh_after
    remembered = [known.get(each.id) for each in objects]
    digests = iter(fingerprints((each for each, before in zip(objects, remembered, strict=True) if before), scope))
    for each, before in zip(objects, remembered, strict=True):
        if before is None or before.digest != next(digests) or before.sent_at <= expired or each.id in seen:
            found.append(each)
            seen.add(each.id)
    return found
