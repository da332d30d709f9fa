"""Which objects become tombstones, how they look, and when rather none is sent. Pure."""

from __future__ import annotations

from datetime import datetime

import orjson

from syncer.core.model import CollectionMapping, SegmentObject, TombstoneRule
from syncer.errors import TooManyDeleted

#: stored in place of a fingerprint: the object was marked as deleted
GONE = b"\x00"
#: stored in place of a fingerprint: a tombstone is on its way, so nobody knows which version the API holds
UNSURE = b"\x01"
#: stored in place of a fingerprint: a version of the object is on its way, or nobody knows what became of one
OPEN = b"\x02"

#: stored in place of the digest of the query that the known objects come from: tombstones were held back since
HELD_BACK = "held back"


def living(mapping: CollectionMapping) -> dict[str, object]:
    """What every object that is no tombstone carries, so that a row that returns is alive again without being known."""
    rule = mapping.deletes
    return {rule.is_deleted: False, rule.deleted_at: None} if rule is not None else {}


def tombstone(mapping: CollectionMapping, identifier: str, row: int, at: datetime) -> SegmentObject:
    """The object that marks another as deleted. Its other properties stay as they were, because the API merges."""
    rule = mapping.deletes or TombstoneRule()
    properties = orjson.dumps({rule.is_deleted: True, rule.deleted_at: at.isoformat()})
    return SegmentObject(id=identifier, properties=properties, row=row, key="")


def guard(mapping: CollectionMapping, *, known: int, vanished: int, read: int, edited: bool) -> TooManyDeleted | None:
    """Why the vanished objects are rather not marked as deleted. None: nothing speaks against it.

    Args:
        known: objects that were accepted and are no tombstones.
        vanished: those among them that the query no longer returns.
        read: rows that the query returned.
        edited: the known objects came from another query, key or destination, or an earlier run was held back. What
            that run sent is known now, and would make what vanished look small.
    """
    share = (mapping.deletes or TombstoneRule()).max_share
    told = f"{vanished:,} of {known:,} known objects are not in its result"
    if not vanished:
        return None
    if not read:
        why = f"the query returned no row at all, so {told}"
    elif edited:
        why = f"the query, key or destination changed, or tombstones were held back before, and {told}"
    # divided, not multiplied: 29 of 100 is 29% also as a binary fraction
    elif known < vanished or vanished / known > share:
        why = f"{told}, more than {share:.0%}"
    else:
        return None
    return TooManyDeleted(f"mapping {mapping.name}: {why}; none was marked as deleted", _hint(mapping.name))


def _hint(name: str) -> str:
    return (
        f"look at the source; if the rows are gone for good: syncer run --select {name} --full --allow-deletes; "
        f"to forget what is known instead: syncer state reset {name} --fingerprints"
    )
