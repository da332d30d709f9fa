"""Which converter a column gets: decided once per mapping, by the column's kind."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal

from syncer.core.model import Column, Kind
from syncer.core.moments import to_date, to_interval, to_time, to_timestamp
from syncer.core.values import (
    Converter,
    Value,
    compact_json,
    shortest_single,
    to_base64,
    to_bits,
    to_boolean,
    to_decimal,
    to_float,
    to_integer,
    to_json,
    to_text,
)


def by_value(zone: tzinfo) -> Converter:
    """For columns without a declared type: what the value is decides."""
    rules: tuple[tuple[type | tuple[type, ...], Converter], ...] = (
        (float, to_float),
        (Decimal, to_decimal(None)),
        (datetime, to_timestamp(zone)),
        (date, to_date),
        ((time,), to_time),
        (timedelta, to_interval),
        ((bytes, bytearray, memoryview), to_base64),
        ((dict, list, tuple, set, frozenset), to_json),
    )

    def convert(value: object) -> Value:
        if isinstance(value, str | int):
            return value
        for types, converter in rules:
            if isinstance(value, types):
                return converter(value)
        return to_text(value)

    return convert


def converter_for(column: Column, zone: tzinfo) -> Converter | None:
    """The column's converter; None when the driver's values are JSON scalars already."""
    if column.exact and column.kind in (Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN):
        return None
    converter = _converters(column, zone)[column.kind]
    return (lambda value: converter(shortest_single(value))) if column.single else converter


def _converters(column: Column, zone: tzinfo) -> dict[Kind, Converter]:
    return {
        Kind.TEXT: to_text,
        Kind.INTEGER: to_integer,
        Kind.FLOAT: to_float,
        Kind.DECIMAL: to_decimal(column.scale),
        Kind.BOOLEAN: to_boolean,
        Kind.TIMESTAMP: to_timestamp(zone),
        Kind.INSTANT: to_timestamp(UTC),
        Kind.DATE: to_date,
        Kind.TIME: to_time,
        Kind.INTERVAL: to_interval,
        Kind.BYTES: to_base64,
        Kind.JSON: compact_json if column.exact else to_json,
        Kind.BITS: to_bits(column.width),
        Kind.ANY: by_value(zone),
    }
