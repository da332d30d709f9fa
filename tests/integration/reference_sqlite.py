"""Reads SQLite for the reference: the plain driver, and what each declared type of the datasets means. No syncer."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import date, datetime, tzinfo
from decimal import Decimal

import reference_rules as rules
from reference_rules import Column, Refused, Rule, Table, Token
from sqlalchemy.engine import make_url

TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?)?")


def read(url: str, zone: tzinfo, watermarks: Sequence[str]) -> Mapping[str, Table]:
    """Every table with a key, by name. The first of `watermarks` that a table has is its watermark."""
    with closing(sqlite3.connect(str(make_url(url).database))) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: _table(connection, name, zone, watermarks) for name in names}
    return {name: each for name, each in found.items() if each.key}


def _table(connection: sqlite3.Connection, name: str, zone: tzinfo, watermarks: Sequence[str]) -> Table:
    known = connection.execute(f'SELECT name, type, pk FROM pragma_table_xinfo("{name}")').fetchall()
    rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
    key = [column for column, _, place in sorted(known, key=lambda each: each[2]) if place]
    columns = [Column(name=column, rule=_rule(declared, zone)) for column, declared, _ in known]
    watermark = next((column for column in watermarks if column in {each.name for each in columns}), None)
    return rules.table(columns, key, watermark, rows)


def _rule(declared: str, zone: tzinfo) -> Rule:
    """What a declared type means; a type that the datasets do not have is a KeyError."""
    found: Mapping[str, Rule] = {
        "INTEGER": _integer, "INT": _integer, "BIGINT": _integer, "REAL": _real, "BOOLEAN": _boolean, "BOOL": _boolean,
        "NUMERIC": _number, "NUMERIC(10,2)": _number, "DECIMAL(10,2)": _number, "TEXT": _text, "NVARCHAR": _text,
        "BLOB": _blob, "DATE": _day, "DATETIME": _moment(zone), "TIMESTAMP": _moment(zone), "JSON": _document,
        "": _anything, "FOO BAR(3)": _anything,
    }  # fmt: skip
    return found["NVARCHAR" if declared.startswith("NVARCHAR(") else declared]


def _mismatch() -> Refused:
    return Refused("TYPE_MISMATCH")


def _integer(value: object) -> Token:
    if not isinstance(value, int):
        raise _mismatch()
    return str(value)


def _real(value: object) -> Token:
    if not isinstance(value, int | float):
        raise _mismatch()
    return rules.floating(repr(value))


def _number(value: object) -> Token:
    if not isinstance(value, int | float):
        raise _mismatch()
    return rules.floating(repr(value)) if isinstance(value, float) else f"{value}.0"


def _boolean(value: object) -> Token:
    """0 and 1; text that reads true or false says no less."""
    found = {0: "false", 1: "true", "false": "false", "true": "true"}.get(value)  # type: ignore[call-overload]
    if found is None:
        raise _mismatch()
    return str(found)


def _text(value: object) -> Token:
    if not isinstance(value, str):
        raise _mismatch()
    return rules.text(value)


def _blob(value: object) -> Token:
    """Bytes; text is its bytes in UTF-8."""
    if isinstance(value, str):
        return rules.binary(value.encode())
    if not isinstance(value, bytes):
        raise _mismatch()
    return rules.binary(value)


def _day(value: object) -> Token:
    if not isinstance(value, str) or not TIME.fullmatch(value):
        raise _mismatch()
    return rules.text(date.fromisoformat(value[:10]).isoformat())


def _moment(zone: tzinfo) -> Rule:
    def rule(value: object) -> Token:
        parts = TIME.fullmatch(value) if isinstance(value, str) else None
        if parts is None:
            raise _mismatch()
        told = datetime.fromisoformat(f"{parts[1]}T{parts[2] or '00:00:00'}{parts[4] or ''}")
        told = told if told.tzinfo else told.replace(tzinfo=zone)
        return rules.text(told.isoformat()[:19] + (parts[3] or "") + told.isoformat()[19:])

    return rule


def _document(value: object) -> Token:
    try:
        json.loads(str(value))
    except ValueError:
        raise _mismatch() from None
    return rules.document(str(value))


def _anything(value: object) -> Token:
    if isinstance(value, bytes):
        return rules.binary(value)
    if isinstance(value, float):
        return rules.floating(str(Decimal(repr(value))))
    return rules.token(value)
