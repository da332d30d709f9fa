"""The table of rooms on SQLite, PostgreSQL and MariaDB, and mappings of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from syncer.core.model import CollectionMapping, Mode, WatermarkRule
from syncer.core.plan import RunPlan
from syncer.source.base import Chunk
from syncer.source.sql import SqlSource

ROOMS = """
CREATE TABLE rooms (
  id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(60), location VARCHAR(60), review_count INTEGER, price DECIMAL(10,2),
  updated_at {moment});
CREATE INDEX rooms_updated_at ON rooms (updated_at);
INSERT INTO rooms VALUES
  (1, 'Sea view',  'Lisbon', 12, 80.50, '2026-01-01 10:00:00.000001'),
  (2, 'Loft',      'Porto',   0, 60.00, '2026-01-01 10:00:00.000002'),
  (3, 'Attic',     'Lisbon',  3, 45.25, '2026-01-01 10:10:00.000000'),
  (4, 'Cabin',     'Faro',    7, 30.00, '2026-01-01 10:10:00.000000'),
  (5, 'Old suite', 'Porto',   1, 99.99, NULL);
"""
MOMENTS = {"sqlite": "DATETIME", "postgres": "TIMESTAMP(6)", "mariadb": "DATETIME(6)"}
#: a later transaction on the same table, while a read goes on
SIXTH = "INSERT INTO rooms VALUES (6, 'New', 'Faro', 0, 10.00, '2026-01-01 10:20:00')"


@dataclass(frozen=True, kw_only=True)
class House:
    """A database with the rooms, and a source on it."""

    engine: str
    url: str
    source: SqlSource
    execute: Callable[[str, str], None]

    def run(self, sql: str) -> None:
        """Change something."""
        self.execute(self.url, sql)

    def read(self, mapping: CollectionMapping, **plan: object) -> list[Chunk]:
        """All chunks of a plan."""
        described = self.source.describe(mapping)
        given = {"mode": Mode.FULL, **plan}
        with self.source.read(RunPlan(mapping=mapping, primary_key=described.primary_key, **given), described) as read:
            return list(read)

    def ids(self, mapping: CollectionMapping, **plan: object) -> list[object]:
        """The first column of all rows of a plan, in read order."""
        return [row[0] for chunk in self.read(mapping, **plan) for row in chunk.rows]


QUERY = "SELECT id, name, location, review_count, updated_at FROM rooms"
WATERMARK = WatermarkRule(column="updated_at", lookback=timedelta(0))
ROOMS_MAPPING = CollectionMapping(name="rooms", source="app", query=QUERY, primary_key=("id",), watermark=WATERMARK)
PLAIN = replace(ROOMS_MAPPING, watermark=None)
