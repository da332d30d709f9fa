"""On real databases no type changes by itself: whatever rows come and go, a query's properties stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from syncer.core.model import CollectionMapping
from syncer.core.properties import properties_of
from syncer.core.property_types import contradictions, types_after, types_of
from syncer.source import open_source

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENGINES = ["sqlite", "postgres", "mariadb"]

#: what depends on values where an engine is careless; two rooms, then one that is NULL, then none, then a large one
EXPRESSIONS = """
SELECT id, beds + 1 AS more, beds / 2 AS half, price * beds AS total, coalesce(price, 0) AS known,
  CASE WHEN beds > 1 THEN beds ELSE NULL END AS several, (SELECT avg(price) FROM rooms) AS mean,
  (SELECT sum(beds) FROM rooms) AS beds_in_all, (SELECT count(*) FROM rooms) AS rooms, NULL AS blank, 'x' AS letter,
  name IS NULL AS nameless, max(price) OVER () AS dearest
FROM rooms
"""
ROWS = [
    "INSERT INTO rooms VALUES (1, 'Attic', 2, 10.50), (2, 'Boat', 1, 99.99)",
    "DELETE FROM rooms; INSERT INTO rooms VALUES (3, NULL, NULL, NULL)",
    "DELETE FROM rooms",
    "INSERT INTO rooms VALUES (2000000000, '7', 2000000000, 9999999.99)",
]


def words(url: str, mapping: CollectionMapping) -> dict[str, str]:
    """As what the mapping's properties are sent now."""
    source = open_source("app", url)
    try:
        described = source.describe(mapping)
        return types_of(properties_of(mapping, described.columns, described.primary_key))
    finally:
        source.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_every_type_of_every_engine(
    request: pytest.FixtureRequest, engine: str, execute_sql: Callable[[str, str], None], zoo: Path
) -> None:
    """Full of extremes and empty, a table has the same types."""
    url = request.getfixturevalue(f"{engine}_url")
    execute_sql(url, (zoo / f"types-zoo-{engine}.sql").read_text())
    mapping = CollectionMapping(name="animals", source="app", table="zoo", primary_key=("id",))
    full = words(url, mapping)
    execute_sql(url, "DELETE FROM zoo")
    assert len(full) > 14
    assert words(url, mapping) == full


@pytest.mark.parametrize("engine", ENGINES)
def test_expressions(request: pytest.FixtureRequest, engine: str, execute_sql: Callable[[str, str], None]) -> None:
    """What a query computes has one type whatever the rows, NULL or none at all."""
    url = request.getfixturevalue(f"{engine}_url")
    execute_sql(url, "CREATE TABLE rooms (id INTEGER PRIMARY KEY, name VARCHAR(20), beds INTEGER, price DECIMAL(9, 2))")
    mapping = CollectionMapping(name="rooms", source="app", query=EXPRESSIONS, primary_key=("id",))
    first = words(url, mapping)
    stored = types_after({}, first, (), "freeze", NOW)
    for rows in ROWS:
        execute_sql(url, rows)
        assert contradictions(stored, words(url, mapping)) == ()
    assert len(first) == 12
