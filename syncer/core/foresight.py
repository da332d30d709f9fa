"""What a run would do, and whether that is more than its mapping allows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from syncer.core.fuse import blown
from syncer.core.model import CollectionMapping, RunReport
from syncer.errors import NearlyAllRejected, SyncerError, TooManyChanges


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """What a run would do."""

    #: of the dry run: what would be sent is counted as skipped in it
    report: RunReport
    #: objects that were never sent, and objects that differ from what was sent
    added: int
    changed: int
    #: tombstones
    deleted: int
    #: rejections by code
    refused: Mapping[str, int]
    requests: int
    #: requests that carry objects to the Bulk API
    uploads: int = 0
    #: of request bodies
    bytes: int
    #: objects that were accepted before and are no tombstones; counted only where `max_change_ratio` asks for it
    known: int
    #: why the tombstones would be held back
    withheld: SyncerError | None
    #: why it is not known
    failure: Exception | None

    @property
    def objects(self) -> int:
        """How many would be sent, and so be billed."""
        return self.added + self.changed + self.deleted

    @property
    def skipped(self) -> int:
        """How many rows are left out by request."""
        return self.report.counts.skipped - self.added - self.changed


def hindrances(mapping: CollectionMapping, found: Foresight) -> list[SyncerError]:
    """Everything that would make the run fail though it could read: guards, and the fuse of rejections."""
    told = [withheld(mapping, found), _fuse(mapping, found), found.withheld]
    return [each for each in told if each is not None]


def _fuse(mapping: CollectionMapping, found: Foresight) -> NearlyAllRejected | None:
    counts = found.report.counts
    if not blown(counts.rejected, counts.skipped + counts.unchanged):
        return None
    return NearlyAllRejected(
        f"mapping {mapping.name}: {counts.rejected:,} of {counts.read:,} rows would be rejected; "
        "a run stops before they fill the dead letters",
        f"look at the objects: syncer preview {mapping.name}",
    )


def withheld(mapping: CollectionMapping, found: Foresight) -> TooManyChanges | None:
    """Why the run rather sends nothing. None: it stays within the mapping's limits."""
    name, most, ratio = mapping.name, mapping.max_objects_per_run, mapping.max_change_ratio
    hint = f"syncer plan --select {name} shows it; if it is meant: syncer run --select {name} --allow-changes"
    if most is not None and found.objects > most:
        return TooManyChanges(
            f"mapping {name}: the run would send {found.objects:,} objects, more than `max_objects_per_run`, {most:,}; "
            "nothing was sent",
            hint,
        )
    known = max(found.known, found.changed)
    # divided, not multiplied: 29 of 100 is 29% also as a binary fraction
    if ratio is not None and found.changed and found.changed / known > ratio:
        return TooManyChanges(
            f"mapping {name}: the run would change {found.changed:,} of {known:,} known objects, more than "
            f"`max_change_ratio`, {ratio:.0%}; nothing was sent",
            hint,
        )
    return None
