"""Reads MariaDB for the reference: information_schema, and SQL that prints every value as text. No syncer here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, tzinfo

import pymysql
import reference_rules as rules
from reference_rules import Column, Rule, Table
from sqlalchemy.engine import make_url

ISO = "%Y-%m-%dT%H:%i:%s.%f"

COLUMNS = """
SELECT column_name, data_type, numeric_scale, numeric_precision, datetime_precision
FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = %s ORDER BY ordinal_position
"""
KEYS = """
SELECT table_name, column_name FROM information_schema.statistics
WHERE table_schema = DATABASE() AND index_name = 'PRIMARY' ORDER BY table_name, seq_in_index
"""

INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint", "year"}
BINARIES = {"binary", "varbinary", "blob", "point", "geometry"}


def read(url: str, zone: tzinfo, watermarks: Sequence[str]) -> Mapping[str, Table]:
    """Every table with a key, by name. The first of `watermarks` that a table has is its watermark."""
    parsed = make_url(url)
    connection = pymysql.connect(
        host=parsed.host, port=parsed.port, user=parsed.username, database=parsed.database, charset="utf8mb4"
    )
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute(KEYS)
        keys: dict[str, list[str]] = {}
        for name, column in cursor.fetchall():
            keys.setdefault(name, []).append(column)
        return {name: _table(cursor, name, key, zone, watermarks) for name, key in keys.items()}


def _table(
    cursor: pymysql.cursors.Cursor, name: str, key: Sequence[str], zone: tzinfo, watermarks: Sequence[str]
) -> Table:
    cursor.execute(COLUMNS, [name])
    known = cursor.fetchall()
    items = ", ".join(_printed(column, sort, bits) for column, sort, _, bits, _ in known)
    cursor.execute(f"SELECT {items} FROM `{name}`")
    columns = [Column(name=column, rule=_rule(sort, scale, digits, zone)) for column, sort, scale, _, digits in known]
    watermark = next((column for column in watermarks if column in {each.name for each in columns}), None)
    return rules.table(columns, key, watermark, cursor.fetchall())


def _printed(column: str, sort: str, bits: int | None) -> str:
    """The expression that reads a column; NULL stays NULL."""
    place = f"`{column}`"
    if sort in BINARIES:
        return f"TO_BASE64({place})"
    if sort == "bit":
        return f"LPAD(BIN({place}), {bits}, '0')"
    if sort in ("datetime", "timestamp"):
        return f"DATE_FORMAT({place}, '{ISO}')"
    if sort == "date":
        return f"DATE_FORMAT({place}, '%Y-%m-%d')"
    if sort == "float":
        # by itself it is printed with six digits
        return f"CAST(CAST({place} AS DOUBLE) AS CHAR)"
    return f"CAST({place} AS CHAR)"


def _rule(sort: str, scale: int | None, digits: int | None, zone: tzinfo) -> Rule:
    if sort in INTEGERS:
        return rules.integer
    if sort in BINARIES:
        return rules.encoded
    found: Mapping[str, Rule] = {
        "decimal": rules.decimal(scale),
        "double": rules.floating,
        "float": rules.single,
        "date": rules.day,
        "datetime": rules.moment(zone, digits),
        "timestamp": rules.moment(UTC, digits),
    }
    return found.get(sort, rules.text)
