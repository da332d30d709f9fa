"""What a run will read, decided before anything is read. Pure; the source renders it in its dialect."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from syncer.core.model import Checkpoint, CollectionMapping, Mode, Position, Watermark, WatermarkRule
from syncer.errors import CheckpointMismatch, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line or the schedule asked for."""

    mode: Mode = Mode.INCREMENTAL
    #: text bounds of `--from` (inclusive) and `--to` (exclusive) on the watermark column
    start: str | None = None
    end: str | None = None
    #: rows to read at most
    limit: int | None = None
    dry_run: bool = False
    #: also ignore fingerprints
    resend: bool = False
    #: whatever the guards of tombstones, of `max_objects_per_run` and of `max_change_ratio` say
    allow_deletes: bool = False
    allow_changes: bool = False
    #: read these rows only: keys as `core.watermark.encode_key` wrote them
    keys: tuple[str, ...] | None = None
    #: numbers of the dead letters that a complete run of `keys` settles
    resolves: tuple[int, ...] = ()
    trigger: str = "cli"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """The read of one run. Rows come ordered by watermark, where there is one, then by key."""

    mapping: CollectionMapping
    #: names of the key columns as the result has them
    primary_key: tuple[str, ...]
    mode: Mode
    #: the saved watermark; the source reads from `>= watermark - lookback`
    watermark: Watermark | None = None
    #: text bounds on the watermark column, inclusive and exclusive, in the database's own format
    start: str | None = None
    end: str | None = None
    limit: int | None = None
    #: read these rows and no others
    keys: tuple[str, ...] | None = None
    #: read from here on, and up to here; both included
    after: Position | None = None
    until: Position | None = None
    #: the bound of an earlier snapshot of the same run, which holds for later ones too
    ceiling: Watermark | None = None
    #: whether the progress may be saved before the run is complete
    advances: bool = True
    #: whether the end of the run is saved at all (ranges and dry runs save nothing)
    saves: bool = True

    @property
    def whole(self) -> bool:
        """Whether every row of the query's result is read."""
        return self.mode is Mode.FULL and self.limit is None and self.start is None and self.end is None

    @property
    def legs(self) -> tuple[RunPlan, ...]:
        """What is read one after the other. A run that goes on where another was cut short reads a circle:

        from there to the end, then from the beginning to there, so that it too has seen every row when it is complete.
        """
        if self.after is None:
            return (self,)
        return (self, replace(self, after=None, until=self.after))

    @property
    def rule(self) -> WatermarkRule | None:
        """The mapping's watermark, if it has one."""
        return self.mapping.watermark


def digest_of(mapping: CollectionMapping, primary_key: tuple[str, ...], source: str, destination: str) -> str:
    """Digest of what a checkpoint belongs to: query, watermark, key, collection, and the identities of both ends.

    The text of the query counts as written, without the blanks around it and the semicolon at its end.
    """
    query = (mapping.query or f"table {mapping.table}").strip().rstrip(";").strip()
    watermark = mapping.watermark.column if mapping.watermark else ""
    parts = (query, watermark, mapping.collection, source, destination, *primary_key)
    told = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def plan_run(
    mapping: CollectionMapping,
    primary_key: tuple[str, ...],
    checkpoint: Checkpoint | None,
    digest: str,
    options: RunOptions,
) -> RunPlan:
    """Decide what a run reads.

    Cases, first match wins:
    1. Single rows by their keys: no checkpoint saved.
    2. `--from`/`--to`: that range, no checkpoint saved.
    3. No watermark, `--full`, or no checkpoint: everything. Progress is saved as it goes only when there is
       no older watermark of the same query that could be lowered by it.
    4. A checkpoint of the same query: from its watermark on.
    5. A checkpoint of another query, database or destination: refused, the person decides.

    In 3 and 4 a run begins where the one before it was cut short; see `RunPlan.legs`.

    Raises:
        CheckpointMismatch: case 5.
        UsageError: a range without a watermark to apply it to.
    """
    rule = mapping.watermark
    saves = not options.dry_run
    if options.keys is not None:
        return RunPlan(
            mapping=mapping, primary_key=primary_key, mode=Mode.INCREMENTAL, keys=options.keys, advances=False,
            saves=False,
        )  # fmt: skip
    if options.start is not None or options.end is not None:
        return _range(mapping, primary_key, options)
    known = checkpoint is not None and checkpoint.digest == digest
    after = checkpoint.position if known and checkpoint is not None else None
    full = options.mode is Mode.FULL or rule is None or checkpoint is None or checkpoint.watermark is None
    if full:
        lowers = known and checkpoint is not None and checkpoint.watermark is not None
        return RunPlan(
            mapping=mapping, primary_key=primary_key, mode=Mode.FULL, limit=options.limit,
            start=rule.initial if rule and options.mode is not Mode.FULL else None, after=after,
            advances=not lowers, saves=saves,
        )  # fmt: skip
    if not known:
        raise CheckpointMismatch(
            f"mapping {mapping.name}: the query, watermark, key, database or destination changed since the checkpoint",
            f"syncer run --select {mapping.name} --full reads everything again; "
            f"syncer state set {mapping.name} --adopt continues at the saved watermark; "
            "with a new write key of the same Segment source, `destination.id` keeps what is known",
        )
    assert checkpoint is not None
    return RunPlan(
        mapping=mapping, primary_key=primary_key, mode=Mode.INCREMENTAL, watermark=checkpoint.watermark,
        limit=options.limit, after=after, saves=saves,
    )  # fmt: skip


def _range(mapping: CollectionMapping, primary_key: tuple[str, ...], options: RunOptions) -> RunPlan:
    if mapping.watermark is None:
        raise UsageError(
            f"mapping {mapping.name} has no watermark, so --from and --to mean nothing to it",
            f"add `watermark: COLUMN` to mappings.{mapping.name}, or run it without --from and --to",
        )
    return RunPlan(
        mapping=mapping, primary_key=primary_key, mode=Mode.FULL, start=options.start, end=options.end,
        limit=options.limit, advances=False, saves=False,
    )  # fmt: skip
