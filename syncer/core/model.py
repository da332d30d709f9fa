"""The frozen values that travel down the main path. No behaviour beyond arithmetic on themselves lives here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Literal, NamedTuple, TypeAlias

#: One row as the driver returned it, in the order of the columns.
Row: TypeAlias = Sequence[object]


class Kind(StrEnum):
    """What a column's SQL type means to us. Decided once per column by the source, never by a value."""

    TEXT = "text"
    INTEGER = "integer"
    FLOAT = "float"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    #: date and time without a zone; the source's `timezone` says which it is
    TIMESTAMP = "timestamp"
    #: an instant; the driver returns it in UTC
    INSTANT = "instant"
    DATE = "date"
    TIME = "time"
    #: a length of time, sent as seconds
    INTERVAL = "interval"
    BYTES = "bytes"
    #: JSON text, arrays and composites included
    JSON = "json"
    #: bit strings; `Column.width` is their length
    BITS = "bits"
    #: no declared type (SQLite expressions, drivers that do not tell): each value by its Python type
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a query's result."""

    name: str
    kind: Kind
    #: the database's own name of the type, for people
    sql_type: str = ""
    #: digits behind the point of a DECIMAL; None: not declared
    scale: int | None = None
    #: bits in a BITS column
    width: int | None = None
    #: a FLOAT of 32 bits that the driver returns as one of 64
    single: bool = False
    #: the driver guarantees the Python type that belongs to the kind (SQLite does not)
    exact: bool = True


class Mode(StrEnum):
    """How much of the query a run reads."""

    FULL = "full"
    INCREMENTAL = "incremental"


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    #: finished, but some objects became dead letters
    PARTIAL = "partial"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    #: another process holds the mapping's lease
    LOCKED = "locked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """How far a mapping has read: the database's own text of the value, lossless, with its kind."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in the order in which a query is read: by watermark, where there is one, then by key."""

    #: None: no watermark, or a row where it is NULL
    watermark: Watermark | None
    #: as `core.watermark.encode_key` wrote it
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a run has come."""

    watermark: Watermark | None = None
    position: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatermarkRule:
    """The `watermark` key of a mapping."""

    column: str
    #: re-read this far behind the saved watermark; a number for integer watermarks; None: the kind's default
    lookback: timedelta | int | None = None
    #: where the first run starts; text in the database's own format
    initial: str | None = None
    nulls: Literal["include", "skip", "error"] = "include"


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyRule:
    """What a mapping changes about one property."""

    rename: str | None = None
    type: Kind | None = None
    drop: bool = False
    mask: Literal["hash", "redact"] | None = None
    flatten: bool = False
    #: the query no longer returns it: every object carries null under this name, whatever becomes of the column
    retired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TombstoneRule:
    """The `deletes` key of a mapping that marks vanished rows."""

    #: names of the two properties
    is_deleted: str = "is_deleted"
    deleted_at: str = "deleted_at"
    #: no tombstone is sent when more than this part of the known objects vanished at once
    max_share: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a mapping runs by itself: `cron` or `every`, exactly one of them."""

    cron: str | None = None
    every: timedelta | None = None
    mode: Mode = Mode.INCREMENTAL
    timezone: str = "UTC"
    #: a fire comes later by less than this; see `core.calendar.due_at`
    jitter: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackout:
    """A time of day at which schedules begin no run."""

    #: local times; one that ends when it begins, or before, ends on the next day
    start: time
    end: time
    #: weekdays on which it begins; 0 is Sunday
    days: frozenset[int] = frozenset(range(7))
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionMapping:
    """One YAML entry: a query and the collection it becomes."""

    name: str
    source: str
    #: SQL text; None with `table`
    query: str | None = None
    table: str | None = None
    collection: str = ""
    #: column names; empty with `table`: the table's own key
    primary_key: tuple[str, ...] = ()
    watermark: WatermarkRule | None = None
    schedules: tuple[Schedule, ...] = ()
    #: names of mappings that run first
    after: tuple[str, ...] = ()
    #: a run that lasts longer is stopped in order; None: it may last
    timeout: timedelta | None = None
    blackouts: tuple[Blackout, ...] = ()
    send: Literal["changed", "all"] = "changed"
    refresh_after: timedelta = timedelta(days=50)
    #: None: `deletes: ignore`
    deletes: TombstoneRule | None = None
    #: a run that would send more sends nothing; None: no limit
    max_objects_per_run: int | None = None
    #: a run that would change a larger part of the known objects it reads sends nothing; None: no limit
    max_change_ratio: float | None = None
    #: it is told when the last good run began longer ago; None: never
    max_lag: timedelta | None = None
    #: it is told when a full run's rows differ from the usual number by a larger part of that; None: never
    max_deviation: float | None = None
    nulls: Literal["send", "omit"] = "send"
    #: by property name, or by the column's own name
    properties: Mapping[str, PropertyRule] = field(default_factory=dict)
    #: what happens when the properties' types are not those that were sent before
    schema: Literal["evolve", "warn", "freeze"] = "warn"
    tags: tuple[str, ...] = ()


class SegmentObject(NamedTuple):
    """One object as it goes on the wire: encoded once, never again. A tuple, because millions of them are made."""

    id: str
    #: JSON text of the properties
    properties: bytes
    #: position of its row in the run's read order, from 0
    row: int
    #: typed key values, to find the row again: see `core.watermark.encode_key`
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """An object that cannot be or was not accepted. Stored, it is a dead letter."""

    #: stable, upper case: NULL_KEY, VALUE_TOO_LARGE, API_400, ...
    code: str
    #: one sentence for people; never a value of the row
    reason: str
    row: int
    id: str | None = None
    key: str | None = None
    #: the object as JSON text, where one could be made
    properties: bytes | None = None
    #: what the API answered, where it did
    status: int | None = None
    response: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is sent and settled together: objects of one collection with distinct ids, in row order."""

    number: int
    collection: str
    objects: tuple[SegmentObject, ...]

    @property
    def first_row(self) -> int:
        """Position of the earliest row in it."""
        return self.objects[0].row


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a batch. Every object of the batch is in exactly one of the three lists."""

    accepted: tuple[SegmentObject, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    #: objects whose request failed for good or was given up
    unsettled: tuple[SegmentObject, ...] = ()
    #: ids, accepted or unsettled, of which an earlier request may have landed or may land yet
    in_doubt: frozenset[str] = frozenset()
    #: why there are unsettled objects
    failure: Exception | None = None
    requests: int = 0
    retried: int = 0
    #: body bytes sent
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyType:
    """As what a property was first sent."""

    #: a word of `core.property_types`
    type: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The durable state of one mapping."""

    mapping: str
    #: of query, watermark column, key and source identity; see `core.plan.digest_of`
    digest: str
    #: None: a mapping without watermark, or nothing read yet
    watermark: Watermark | None
    updated_at: datetime
    #: where a run that was cut short goes on; None: at the beginning
    position: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Rows of which nobody knows for certain which version the API holds, or will come to hold."""

    run_id: str
    #: counts the doubts of the run
    part: int
    #: when their last request was known to be over; None: on their way, noted before the first request went out
    since: datetime | None
    #: as `core.watermark.encode_key` wrote them
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Where the rows of a run went: read = sent + unchanged + rejected + skipped."""

    read: int = 0
    sent: int = 0
    unchanged: int = 0
    rejected: int = 0
    #: by request: NULL watermarks with `nulls: skip`, dry runs
    skipped: int = 0
    #: tombstones, which are sent but not read
    deleted: int = 0
    retried: int = 0
    requests: int = 0
    bytes: int = 0
    #: NaN and Infinity, sent as null
    non_finite: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every row read is accounted for."""
        return self.read == self.sent + self.unchanged + self.rejected + self.skipped

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run of one mapping, as stored and as shown."""

    run_id: str
    mapping: str
    collection: str
    mode: Mode
    #: None while it is going on
    outcome: Outcome | None
    #: what started it: `cli`, `schedule`, `catch-up`, `demo`
    trigger: str
    started_at: datetime
    finished_at: datetime | None = None
    counts: Counts = Counts()
    watermark: Watermark | None = None
    #: by the source's clock: what was committed before it was seen; the watermark stays behind it
    bound: datetime | None = None
    #: what kept the watermark from moving at all, in the source's words; there is no bound then
    held_by: str | None = None
    #: `objects` or `bulk`: the API it uses; None: it was not chosen yet
    api: str | None = None
    #: why, for people
    api_reason: str | None = None
    error: str | None = None
    hint: str | None = None
    #: the exit code its error asks for; 0 without one
    exit_code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A stored rejection."""

    #: given by the store; 0 before that
    number: int = 0
    mapping: str
    collection: str
    run_id: str
    created_at: datetime
    rejection: Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to run a mapping. `epoch` grows with every holder and fences every write."""

    mapping: str
    owner: str
    epoch: int
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a delivery may carry at once."""

    #: objects in a batch
    objects: int = 10
    #: bytes of a batch, encoded
    body: int = 500_000
    #: bytes of one object with all that stands around it
    object: int = 500_000
    #: uncompressed bytes of an upload, which carries many batches or a part of one; None: every batch is a request
    part: int | None = None


#: bytes of one object that the Bulk API takes, as Segment documents it
BULK_OBJECT = 400_000
