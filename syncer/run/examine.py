"""What `syncer check` finds out about one mapping: its query, columns, key, watermark, values. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

from syncer.core.model import CollectionMapping, Column, Kind, Limits, Mode, PropertyType
from syncer.core.plan import RunPlan
from syncer.core.properties import Property, properties_of
from syncer.core.shape import Shaped, Shaper
from syncer.core.watermark import check_kind, lookback_of
from syncer.errors import SourceUnreachable, SyncerError
from syncer.run.contradicting import adoption, contradicting
from syncer.run.shaping import shaper_for
from syncer.source.base import Described, KeyFaults, Source

#: rows whose values are looked at
SAMPLE = 1_000

_NUMBERS = frozenset({Kind.INTEGER, Kind.DECIMAL})
#: integers beyond it are sent exactly, but many readers of JSON round them
_SAFE_INTEGER = 2**53


class Level(StrEnum):
    """How grave a finding is."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that `check` has to say."""

    level: Level
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """Everything found out about a mapping."""

    mapping: CollectionMapping
    columns: tuple[Column, ...]
    #: the key columns, as far as known
    key: tuple[str, ...]
    properties: tuple[Property, ...]
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing has to be mended before it can run."""
        return not any(each.level is Level.ERROR for each in self.findings)


def examine(
    mapping: CollectionMapping,
    source: Source,
    timezone: str,
    stored: Mapping[str, PropertyType] = MappingProxyType({}),
    limits: Limits | None = None,
) -> Examined:
    """Look at a mapping on its database, and at what its properties were sent as before.

    Args:
        timezone: IANA name of the zone of naive timestamps.
        limits: that its objects have to keep to; the Objects API's by default.

    Raises:
        SourceUnreachable: no connection; every mapping of the source would say the same.
    """
    try:
        described = source.describe(mapping)
    except SourceUnreachable:
        raise
    except SyncerError as error:
        return _unsound(mapping, error)
    try:
        properties = properties_of(mapping, described.columns, described.primary_key)
        findings = [
            *_key_findings(mapping, described, source.key_faults(mapping, described)),
            *_watermark_findings(mapping, described),
            *_bound_findings(mapping, described, source),
            *_name_findings(properties),
            *_type_findings(mapping, properties, stored),
            *_value_findings(mapping, described, source, shaper_for(mapping, described, timezone, limits)),
        ]
    except SyncerError as error:
        return _unsound(mapping, error, described)
    return Examined(
        mapping=mapping, columns=described.columns, key=described.primary_key, properties=properties,
        findings=tuple(findings),
    )  # fmt: skip


def _unsound(mapping: CollectionMapping, error: SyncerError, known: Described | None = None) -> Examined:
    finding = Finding(level=Level.ERROR, message=error.message, hint=error.hint)
    return Examined(
        mapping=mapping, columns=known.columns if known else (), key=known.primary_key if known else (), properties=(),
        findings=(finding,),
    )  # fmt: skip


def _key_findings(mapping: CollectionMapping, described: Described, faults: KeyFaults) -> list[Finding]:
    key = ", ".join(described.primary_key)
    found = []
    if faults.duplicates:
        many = "1 id has" if faults.duplicates == 1 else f"{faults.duplicates:,} ids have"
        message = f"key {key}: {many} more than one row; the last one read would win"
        hint = "add a column to `primary_key`, or aggregate in the query"
        found.append(Finding(level=Level.ERROR, message=message, hint=hint))
    if faults.nulls:
        rows = f"{faults.nulls:,} row{'s' if faults.nulls != 1 else ''}"
        message = f"key {key}: NULL in {rows}, which runs would refuse and keep as dead letters"
        hint = "leave those rows out in the query, or choose another key"
        found.append(Finding(level=Level.ERROR, message=message, hint=hint))
    if not found:
        found.append(Finding(level=Level.OK, message=f"key {key}: unique and never NULL"))
    if faults.null_watermarks and mapping.watermark is not None:
        found.append(_null_watermarks(mapping, faults.null_watermarks))
    return found


def _null_watermarks(mapping: CollectionMapping, count: int) -> Finding:
    assert mapping.watermark is not None
    rule = mapping.watermark
    message = f"watermark {rule.column}: NULL in {count:,} rows; `nulls: {rule.nulls}` is what happens to them"
    if rule.nulls == "error":
        return Finding(level=Level.ERROR, message=message, hint="fill the column, or choose `nulls: include` or `skip`")
    return Finding(level=Level.WARNING, message=message, hint="fill the column, so that changes move it")


def _watermark_findings(mapping: CollectionMapping, described: Described) -> list[Finding]:
    rule = mapping.watermark
    if rule is None:
        return [Finding(level=Level.NOTE, message="no watermark: every run reads everything and sends what changed")]
    column = next(each for each in described.columns if each.name == described.watermark)
    check_kind(column.kind, column.name)
    back = lookback_of(rule, column.kind)
    again = f"the last {back.total_seconds():,.0f} s" if isinstance(back, timedelta) else f"the last {back:,}"
    message = f"watermark {rule.column}: {column.sql_type or column.kind}, reads {again} again"
    found = [Finding(level=Level.OK, message=message)]
    if column.kind in _NUMBERS and not back:
        message = f"watermark {rule.column}: numbers are waited for from when they are drawn inside a transaction"
        hint = "where they are drawn ahead (CACHE, blocks of ids), set `lookback` to more than are drawn at once"
        found.append(Finding(level=Level.NOTE, message=message, hint=hint))
    if column.kind is Kind.TEXT:
        message = f"watermark {rule.column}: text has no lookback, so a row that is committed late is missed"
        hint = "use a timestamp of the database's clock, or schedule full runs as well"
        found.append(Finding(level=Level.WARNING, message=message, hint=hint))
    modes = {each.mode for each in mapping.schedules}
    if modes == {Mode.INCREMENTAL}:
        message = "no full run is scheduled: rows that never change are not refreshed, and Segment forgets them in time"
        found.append(Finding(level=Level.WARNING, message=message, hint="add a schedule with `mode: full`"))
    return found


def _bound_findings(mapping: CollectionMapping, described: Described, source: Source) -> list[Finding]:
    """Whether the watermark can wait for transactions that are open."""
    column = next((each for each in described.columns if each.name == described.watermark), None)
    if mapping.watermark is None or column is None:
        return []
    place, horizon = f"watermark {mapping.watermark.column}", source.horizon(numbers=column.kind in _NUMBERS)
    hidden = "this database does not tell which transactions are open" if horizon is None else horizon.uncertain
    if hidden is not None:
        message = f"{place}: {hidden}; only the lookback finds what they commit late"
        numbers = column.kind in _NUMBERS
        enough = "to more numbers than are drawn while one is open" if numbers else "longer than transactions take"
        hint = f"set `lookback` {enough}, in mappings.{mapping.name}.watermark"
        return [Finding(level=Level.WARNING, message=message, hint=hint)]
    if horizon is not None and horizon.held_by is not None:
        message = f"{place}: waits for {horizon.held_by}; until it ends, the rows since are read again by every run"
        return [Finding(level=Level.NOTE, message=message)]
    return [Finding(level=Level.OK, message=f"{place}: waits for open transactions, and none is old now")]


def _name_findings(properties: tuple[Property, ...]) -> list[Finding]:
    found = []
    for each in properties:
        rename = f"set properties.{each.column.name}.rename"
        if each.reserved:
            message = f"property {each.name}: the warehouse keeps this name for itself, so the value is lost there"
            found.append(Finding(level=Level.WARNING, message=message, hint=rename))
        elif not each.name.isascii():
            message = f"property {each.name}: not all warehouses keep letters beyond a to z in column names"
            found.append(Finding(level=Level.NOTE, message=message, hint=rename))
    return found


def _type_findings(
    mapping: CollectionMapping, properties: tuple[Property, ...], stored: Mapping[str, PropertyType]
) -> list[Finding]:
    """What the next run would tell or refuse."""
    found = []
    for each in contradicting(mapping, properties, stored):
        message, hint = f"property {each}", "; ".join(filter(None, (each.remedy, adoption(mapping))))
        if mapping.schema == "freeze":
            found.append(Finding(level=Level.ERROR, message=message, hint=hint))
        elif mapping.schema == "warn" and not each.appeared:
            found.append(Finding(level=Level.WARNING, message=message, hint=hint))
        else:
            found.append(Finding(level=Level.NOTE, message=f"{message}; the next run takes it over"))
    return found


def _value_findings(mapping: CollectionMapping, described: Described, source: Source, shaper: Shaper) -> list[Finding]:
    """What shaping makes of the first rows."""
    plan = RunPlan(mapping=mapping, primary_key=described.primary_key, mode=Mode.FULL, limit=SAMPLE, saves=False)
    with source.read(plan, described) as chunks:
        rows = [row for chunk in chunks for row in chunk.rows]
    found = _rejection_findings(shaper.shape(rows, 0), len(rows))
    for index, column in enumerate(described.columns):
        integers = [value for row in rows if isinstance(value := row[index], int)]
        large = sum(abs(value) > _SAFE_INTEGER for value in integers)
        if large:
            message = f"column {column.name}: {large:,} of {len(rows):,} integers are beyond 2^53, sent exactly"
            hint = f"if a reader rounds them: properties.{column.name}.type: text"
            found.append(Finding(level=Level.NOTE, message=message, hint=hint))
    return found


def _rejection_findings(shaped: Shaped, rows: int) -> list[Finding]:
    if not rows:
        return [Finding(level=Level.NOTE, message="the query returns no rows now")]
    causes = Counter((each.code, each.reason) for each in shaped.rejections)
    found = [
        Finding(level=Level.WARNING, message=f"{count:,} of the first {rows:,} rows would be refused: {code}: {reason}")
        for (code, reason), count in causes.most_common(10)
    ]
    if shaped.non_finite:
        message = f"{shaped.non_finite:,} NaN or infinite numbers in the first {rows:,} rows would go as null"
        found.append(Finding(level=Level.NOTE, message=message))
    if not causes:
        found.append(Finding(level=Level.OK, message=f"the first {rows:,} rows shape without a refusal"))
    return found
