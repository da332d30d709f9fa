"""One object traced: what was sent of it and when, what the query holds of it now, and what follows. Reads only.

The row is looked for by the keys its id may stand for, and where those prove nothing, in the whole result. Whether a
run would read it is asked of the database, with the statement of that run narrowed to the row's own place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from syncer.core.fingerprint import fingerprint, scope_of
from syncer.core.model import (
    Checkpoint,
    CollectionMapping,
    DeadLetter,
    Doubt,
    Limits,
    Mode,
    Position,
    Rejection,
    Row,
    RunReport,
    SegmentObject,
    Watermark,
)
from syncer.core.plan import RunOptions, RunPlan, digest_of, plan_run
from syncer.core.seek import keys_of
from syncer.core.shape import Shaper
from syncer.core.tombstone import GONE, OPEN, UNSURE
from syncer.core.watermark import encode
from syncer.errors import CheckpointMismatch, QueryError
from syncer.run.shaping import shaper_for
from syncer.source.base import Described, Source
from syncer.source.describing import column_named
from syncer.source.statements import watermark_column
from syncer.state.base import Fingerprint, Store

#: of a mapping's runs, that are looked at for those in which an object was sent
_NEAR = 5


class Conclusion(StrEnum):
    """What becomes of an object."""

    #: neither state nor source knows the id
    UNKNOWN = "unknown"
    #: the row is gone, and the object was marked as deleted
    DELETED = "deleted"
    #: the query does not return the row
    ABSENT = "absent"
    REJECTED = "rejected"
    #: left out by `nulls` of the watermark
    SKIPPED = "skipped"
    UP_TO_DATE = "up_to_date"
    #: the next run sends it
    DUE = "due"
    #: only a full run reads it
    UNSEEN = "unseen"
    #: no run reads anything before a person has decided
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowNow:
    """What the query returns under an id now."""

    #: how many rows have the id; the last one read would win
    rows: int
    #: None: it is rejected
    object: SegmentObject | None
    rejection: Rejection | None
    #: what the object's fingerprint would be
    fingerprint: bytes | None
    #: None: the mapping has none, it is NULL, or it is a value that never moves the watermark
    watermark: Watermark | None
    #: whether it is NULL
    unmarked: bool
    #: typed key: see `core.watermark.encode_key`
    key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """All there is to say of an object."""

    mapping: CollectionMapping
    id: str
    known: Fingerprint | None
    #: since when it has not been known which version the API holds
    uncertain_since: datetime | None
    #: the run in which it was last sent; several where the time it was sent at does not tell them apart
    runs: Sequence[RunReport]
    row: RowNow | None
    dead_letters: Sequence[DeadLetter]
    doubt: Doubt | None
    checkpoint: Checkpoint | None
    conclusion: Conclusion
    #: the conclusion as a sentence
    told: str
    hint: str | None = None

    @property
    def deleted(self) -> bool:
        """Whether what was last sent marked it as deleted."""
        return self.known is not None and self.known.digest == GONE

    @property
    def unsure(self) -> bool:
        """Whether nobody knows if it was marked as deleted."""
        return self.known is not None and self.known.digest == UNSURE


def trace(
    mapping: CollectionMapping,
    identifier: str,
    *,
    store: Store,
    source: Source,
    timezone: str,
    destination: str,
    now: datetime,
    tell: Callable[[str], None],
    limits: Limits | None = None,
) -> Trace:
    """Trace an object.

    Args:
        limits: that its object has to keep to; the Objects API's by default.
        timezone: IANA name of the zone of naive timestamps.
        destination: its identity, see `core.fingerprint.destination_of`.
        tell: called with a sentence before something that may take long.

    Raises:
        SourceError, MappingError: the row cannot be looked for.
        StateError: nor the state.
    """
    scope = scope_of(destination, mapping.collection)
    search = _Search(mapping, source, timezone, scope, limits)
    letters = store.dead_letters(mapping.name, ids=[identifier])
    row, keys = search.find(identifier, [each.rejection.key for each in letters if each.rejection.key], tell)
    known = store.fingerprints(mapping.name, [identifier]).get(identifier)
    uncertain_since = known.sent_at if known is not None and known.digest == OPEN else None
    if uncertain_since is not None:
        known = None
    checkpoint = store.checkpoint(mapping.name)
    found = Trace(
        mapping=mapping, id=identifier, known=known, uncertain_since=uncertain_since, row=row, dead_letters=letters,
        checkpoint=checkpoint,
        runs=_runs_at(store, mapping.name, known.sent_at) if known is not None else (),
        doubt=next((each for each in store.doubts(mapping.name) if not keys.isdisjoint(each.keys)), None),
        conclusion=Conclusion.UNKNOWN, told="",
    )  # fmt: skip
    return _concluded(found, now, lambda: search.is_read(found, destination))


def _runs_at(store: Store, mapping: str, sent_at: datetime) -> Sequence[RunReport]:
    """The runs during which something was sent at that time; a time without a fraction may be any in its second.

    Runs of a mapping never overlap, so one without an end ended before the next began.
    """
    until = sent_at if sent_at.microsecond else sent_at + timedelta(seconds=1, microseconds=-1)
    found: list[RunReport] = []
    ended = until
    for run in store.runs(mapping, _NEAR, until=until):
        if (run.finished_at or ended) >= sent_at:
            found.append(run)
        ended = run.started_at
    sending = [run for run in found if run.counts.sent or run.counts.deleted]
    return sending or found


class _Search:
    """Looks for the rows of one mapping."""

    def __init__(
        self, mapping: CollectionMapping, source: Source, timezone: str, scope: bytes, limits: Limits | None
    ) -> None:
        self._mapping = mapping
        self._source = source
        self._scope = scope
        self._described = source.describe(mapping)
        self._shaper = _shaper(mapping, self._described, timezone, limits)
        self._whole = RunPlan(
            mapping=mapping, primary_key=self._described.primary_key, mode=Mode.FULL, advances=False, saves=False
        )

    def find(
        self, identifier: str, known: Sequence[str], tell: Callable[[str], None]
    ) -> tuple[RowNow | None, frozenset[str]]:
        """What the query returns under the id, and the keys the id may stand for.

        Args:
            known: keys that rows with this id had before.
        """
        sought = keys_of(identifier, [column_named(self._described.columns, each) for each in self._whole.primary_key])
        keys = tuple(dict.fromkeys([*known, *sought.keys]))
        row, certain = None, sought.certain
        try:
            row = self._among([self._source.read_keys(self._mapping, self._described, keys)], identifier)
        except QueryError:  # such as a text that is no value of the column's type
            certain = False
        if row is None and not certain:
            tell(f"reading the whole query of {self._mapping.name}, because the id does not tell the key of its row")
            with self._source.read(self._whole, self._described) as chunks:
                row = self._among((chunk.rows for chunk in chunks), identifier)
        return row, frozenset(keys if row is None or row.key is None else (*keys, row.key))

    def _among(self, portions: Iterable[Sequence[Row]], identifier: str) -> RowNow | None:
        found: Row | None = None
        count = 0
        for rows in portions:
            for row in rows:
                if self._shaper.id_of(row) == identifier:
                    found = row
                    count += 1
        return None if found is None else self._row_now(count, found)

    def _row_now(self, count: int, row: Row) -> RowNow:
        shaped = self._shaper.shape([row], 0)
        outcomes: list[SegmentObject | Rejection] = [*shaped.objects, *shaped.rejections]
        (outcome,) = outcomes
        sent = outcome if isinstance(outcome, SegmentObject) else None
        column = watermark_column(self._described)
        value = None if column is None else row[self._described.columns.index(column)]
        return RowNow(
            rows=count, object=sent, rejection=outcome if isinstance(outcome, Rejection) else None,
            fingerprint=fingerprint(sent, self._scope) if sent is not None else None,
            watermark=None if column is None else encode(column.kind, value),
            unmarked=column is not None and value is None, key=outcome.key,
        )  # fmt: skip

    def is_read(self, found: Trace, destination: str) -> bool:
        """Whether the next run reads the row. Raises `CheckpointMismatch` when it reads nothing."""
        key = self._described.primary_key
        digest = digest_of(self._mapping, key, self._source.identity(), destination)
        # where it begins does not matter: it reads a circle
        plan = replace(plan_run(self._mapping, key, found.checkpoint, digest, RunOptions(dry_run=True)), after=None)
        if plan.mode is Mode.FULL and plan.start is None:
            return True
        row = found.row
        if row is not None and row.key is not None and (row.watermark is not None or row.unmarked):
            place = Position(watermark=row.watermark, key=row.key)
            try:
                return self._has(replace(plan, after=place, until=place), found.id)
            except QueryError:  # a key that cannot be compared, so its row has no place of its own
                pass
        return self._has(plan, found.id)

    def _has(self, plan: RunPlan, identifier: str) -> bool:
        with self._source.read(plan, self._described) as chunks:
            return self._among((chunk.rows for chunk in chunks), identifier) is not None


def _shaper(mapping: CollectionMapping, described: Described, timezone: str, limits: Limits | None) -> Shaper:
    """The mapping's own, but for rows that it would leave out in silence."""
    rule = mapping.watermark
    told = mapping if rule is None else replace(mapping, watermark=replace(rule, nulls="include"))
    return shaper_for(told, described, timezone, limits)


def _concluded(found: Trace, now: datetime, is_read: Callable[[], bool]) -> Trace:
    """With what follows."""
    conclusion, told, hint = _of_a_row(found, now, is_read) if found.row is not None else _of_no_row(found)
    return replace(found, conclusion=conclusion, told=told, hint=hint)


def _of_no_row(found: Trace) -> tuple[Conclusion, str, str | None]:
    mapping, known = found.mapping, found.known
    uncertain = found.uncertain_since is not None
    if known is None and not found.dead_letters and found.doubt is None and not uncertain:
        told = "nobody knows this id: the query does not return it, and no object of this id was sent"
        return Conclusion.UNKNOWN, told, f"syncer preview {mapping.name}, to see how its ids look"
    if found.deleted:
        return Conclusion.DELETED, "the query does not return its row, and the object was marked as deleted", None
    gone = "the query does not return its row"
    if known is None and not uncertain:
        return Conclusion.ABSENT, f"{gone}, and nothing is known to have been sent", None
    if mapping.deletes is None:
        return Conclusion.ABSENT, f"{gone}; `deletes: ignore` leaves the object as it was sent", None
    return Conclusion.ABSENT, f"{gone}; the next full run marks the object as deleted", _run(mapping, full=True)


def _of_a_row(found: Trace, now: datetime, is_read: Callable[[], bool]) -> tuple[Conclusion, str, str | None]:
    mapping, row = found.mapping, found.row
    assert row is not None
    rule = mapping.watermark
    if rule is not None and row.unmarked and rule.nulls != "include":
        left = "leaves such rows out" if rule.nulls == "skip" else "stops every run that reads it"
        return Conclusion.SKIPPED, f"its watermark is NULL, and `nulls: {rule.nulls}` {left}", None
    if row.rejection is not None:
        told = f"its row is refused now: {row.rejection.code}: {row.rejection.reason}"
        return Conclusion.REJECTED, told, f"mend the row or the query, then run `syncer run --select {mapping.name}`"
    need = _need(found, row, now)
    if need is None:
        return Conclusion.UP_TO_DATE, "the object was sent as its row is now", None
    try:
        read = is_read()
    except CheckpointMismatch as stop:
        return Conclusion.BLOCKED, f"{need}, but runs stop: {stop.message}", stop.hint
    if found.doubt is not None:
        return Conclusion.DUE, f"{need}; a run sends it again once its last request is 30 s old", _run(mapping)
    if read:
        return Conclusion.DUE, f"{need}; the next run reads it and sends it", _run(mapping)
    return Conclusion.UNSEEN, f"{need}, but {_out_of_reach(found)}", _run(mapping, full=True)


def _need(found: Trace, row: RowNow, now: datetime) -> str | None:
    """Why the object has to be sent. None: it has not."""
    known, mapping = found.known, found.mapping
    if found.doubt is not None:
        return "it is in doubt: a request that carried it is on its way, or got no answer"
    if found.uncertain_since is not None:
        return "nobody knows which version of it the API holds"
    if known is None:
        return "it was never sent, or that is forgotten"
    if found.deleted or found.unsure:
        return "it was marked as deleted, or may have been, but its row is there"
    if known.digest != row.fingerprint:
        return "it differs from what was sent"
    if now - known.sent_at >= mapping.refresh_after:
        return "it was last sent longer ago than `refresh_after`"
    return "`send: all` sends whatever is read" if mapping.send == "all" else None


def _out_of_reach(found: Trace) -> str:
    if found.checkpoint is not None and found.checkpoint.watermark is not None:
        return (
            "its watermark lies behind the saved one less the lookback: an incremental run does not read it, "
            "the next full run does"
        )
    return "its watermark lies before `initial`: only a full run reads it"


def _run(mapping: CollectionMapping, *, full: bool = False) -> str:
    return f"syncer run --select {mapping.name}{' --full' if full else ''}"
