"""Reads PostgreSQL for the reference: catalogue views, and SQL that prints every value as text. No syncer here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo

import psycopg
import reference_rules as rules
from reference_rules import Column, Rule, Table
from sqlalchemy.engine import make_url

SETTINGS = "-c timezone=UTC -c extra_float_digits=1 -c lc_monetary=C -c datestyle=ISO -c intervalstyle=postgres"
ISO = 'YYYY-MM-DD"T"HH24:MI:SS.US'

#: tables that have a primary key, partitions aside
TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.relname
"""
COLUMNS = """
SELECT c.column_name, c.data_type, c.numeric_scale, t.typtype = 'c'
FROM information_schema.columns c JOIN pg_type t ON t.typname = c.udt_name
JOIN pg_namespace n ON n.oid = t.typnamespace AND n.nspname = c.udt_schema
WHERE c.table_schema = 'public' AND c.table_name = %s ORDER BY c.ordinal_position
"""
KEYS = """
SELECT k.column_name FROM information_schema.key_column_usage k
JOIN information_schema.table_constraints c USING (constraint_schema, constraint_name, table_name)
WHERE c.constraint_type = 'PRIMARY KEY' AND c.table_schema = 'public' AND c.table_name = %s
ORDER BY k.ordinal_position
"""

INTEGERS = {"smallint", "integer", "bigint"}
FLOATS = {"real", "double precision"}
JSON = {"json", "jsonb"}


def read(url: str, zone: tzinfo, watermarks: Sequence[str], only: Sequence[str] | None = None) -> Mapping[str, Table]:
    """Every table with a key, by name. The first of `watermarks` that a table has is its watermark."""
    parsed = make_url(url)
    with psycopg.connect(
        host=parsed.host, port=parsed.port, user=parsed.username, dbname=parsed.database, options=SETTINGS
    ) as connection:
        names = [name for (name,) in connection.execute(TABLES)] if only is None else only
        return {name: _table(connection, name, zone, watermarks) for name in names}


def _table(connection: psycopg.Connection, name: str, zone: tzinfo, watermarks: Sequence[str]) -> Table:
    known = connection.execute(COLUMNS, [name]).fetchall()
    key = [column for (column,) in connection.execute(KEYS, [name])]
    items = ", ".join(_printed(column, sort, composite) for column, sort, _, composite in known)
    rows = connection.execute(f'SELECT {items} FROM public."{name}"').fetchall()
    columns = [
        Column(name=column, rule=_rule(sort, scale, composite, zone)) for column, sort, scale, composite in known
    ]
    watermark = next((column for column in watermarks if column in {each.name for each in columns}), None)
    return rules.table(columns, key, watermark, rows)


def _printed(column: str, sort: str, composite: bool) -> str:
    """The expression that reads a column; NULL stays NULL."""
    place = f'"{column}"'
    if sort == "ARRAY":
        return place
    if sort == "bytea":
        return f"encode({place}, 'base64')"
    if composite:
        return f"CAST(row_to_json({place}) AS text)"
    if sort == "interval":
        return f"CAST(extract(epoch FROM {place}) AS text)"
    if sort == "date" or sort.startswith("timestamp"):
        form = "YYYY-MM-DD" if sort == "date" else ISO
        fit = f"isfinite({place}) AND extract(year FROM {place}) BETWEEN 1 AND 9999"
        return f"CASE WHEN {fit} THEN to_char({place}, '{form}') WHEN {place} IS NOT NULL THEN 'beyond' END"
    # format() prints as the type does, where a cast to text would cut the blanks of char(n)
    return f"CASE WHEN {place} IS NOT NULL THEN format('%s', {place}) END"


def _rule(sort: str, scale: int | None, composite: bool, zone: tzinfo) -> Rule:
    if sort in INTEGERS:
        return rules.integer
    if sort in FLOATS:
        return rules.floating
    if sort in JSON or composite:
        return rules.document
    found: Mapping[str, Rule] = {
        "ARRAY": rules.listed,
        "bytea": rules.encoded,
        "numeric": rules.decimal(scale),
        "boolean": lambda value: {"t": "true", "f": "false"}[value],
        "date": rules.day,
        "timestamp without time zone": rules.moment(zone, None),
        "timestamp with time zone": rules.moment(UTC, None),
        "interval": rules.seconds,
    }
    return found.get(sort, rules.text)
