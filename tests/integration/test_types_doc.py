"""docs/types.md, line by line: a column of that type with that value becomes what the table says."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

from syncer.core.model import CollectionMapping, Mode
from syncer.core.plan import RunPlan
from syncer.core.shape import compile_shape
from syncer.source import open_source

DOC = Path(__file__).parents[2] / "docs" / "types.md"

SET_UP = {
    "PostgreSQL": "CREATE TYPE mood AS ENUM ('sad','ok','happy'); CREATE TYPE addr AS (street text, n int); "
    "CREATE DOMAIN posint AS int CHECK (VALUE > 0); SET lc_monetary = 'C'; SET timezone = 'UTC';",
    "MariaDB and MySQL": "SET sql_mode='ALLOW_INVALID_DATES'; SET time_zone='+00:00';",
    "SQLite": "",
}


def documented(section: str) -> list[tuple[str, str, str]]:
    """Type, value and outcome of every line of a section's table."""
    text = DOC.read_text("utf-8").split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    lines = re.findall(r"^\| `(.+?)`(?: \(\w+\))? \| `(.+?)` \| `(.+?)` \|$", text, re.MULTILINE)
    assert len(lines) == text.count("\n| `"), "a line of the table is not understood"
    return lines


def verify(url: str, section: str, execute_sql: Callable[[str, str], None]) -> None:
    """Fill a table per line, shape it, and compare with the document."""
    lines = documented(section)
    tables = "".join(
        f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, v {sql_type});"
        f"INSERT INTO t{number} (id, v) VALUES (1, {value});\n"
        for number, (sql_type, value, _) in enumerate(lines)
    )
    execute_sql(url, SET_UP[section] + tables)
    source = open_source("doc", url, timezone="UTC")
    try:
        found = [(sql_type, value, becomes(source, f"t{number}")) for number, (sql_type, value, _) in enumerate(lines)]
    finally:
        source.close()
    assert found == lines


def becomes(source: object, table: str) -> str:
    """The JSON of the only property, or the code of the rejection."""
    mapping = CollectionMapping(name=table, source="doc", table=table, collection="things")
    described = source.describe(mapping)  # type: ignore[attr-defined]
    shaper = compile_shape(mapping, described.columns, described.primary_key, UTC)
    plan = RunPlan(mapping=mapping, primary_key=described.primary_key, mode=Mode.FULL)
    with source.read(plan, described) as chunks:  # type: ignore[attr-defined]
        shaped = shaper.shape([row for chunk in chunks for row in chunk.rows], 0)
    if shaped.rejections:
        return shaped.rejections[0].code
    return shaped.objects[0].properties.decode()[len('{"v":') : -1]


def test_postgresql(postgres_url: str, execute_sql: Callable[[str, str], None]) -> None:
    """PostgreSQL's table holds."""
    verify(postgres_url, "PostgreSQL", execute_sql)


def test_mariadb(mariadb_url: str, execute_sql: Callable[[str, str], None]) -> None:
    """MariaDB's table holds."""
    verify(mariadb_url, "MariaDB and MySQL", execute_sql)


def test_sqlite(sqlite_url: str, execute_sql: Callable[[str, str], None]) -> None:
    """SQLite's table holds."""
    verify(sqlite_url, "SQLite", execute_sql)


def test_every_code_is_documented() -> None:
    """The codes that shaping can give are those of the table."""
    core = Path(__file__).parents[2] / "syncer" / "core"
    used = {
        code for path in core.glob("*.py") for code in re.findall(r'Refusal\(\s*"([A-Z_]+)"', path.read_text("utf-8"))
    }
    table = DOC.read_text("utf-8").split("## Codes of refused rows", 1)[1]
    assert used == {code for code in re.findall(r"`([A-Z_]+)`", table) if not code.startswith("API_")}
