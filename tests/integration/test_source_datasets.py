"""Others' databases, read where they are present: every table of Chinook on every engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from syncer.core.model import CollectionMapping, Mode
from syncer.core.plan import RunPlan
from syncer.source import inspection, open_source
from syncer.source.base import KeyFaults

#: rows of the music shop's eleven tables together
ROWS = 15_607


@pytest.mark.parametrize("engine", ["sqlite", "postgres", "mariadb"])
def test_chinook_is_read_whole(
    engine: str, request: pytest.FixtureRequest, execute_sql: Callable[[str, str], None], datasets: Path
) -> None:
    """Every table has its own sound key, and all of its rows are read."""
    url = request.getfixturevalue(f"{engine}_url")
    execute_sql(url, (datasets / "chinook" / f"chinook-{engine}.sql").read_text("utf-8-sig"))
    source = open_source("shop", url)
    rows = 0
    for table in inspection.tables(source):
        mapping = CollectionMapping(name=table.name, source="shop", table=table.name)
        described = source.describe(mapping)
        assert source.key_faults(mapping, described) == KeyFaults()
        with source.read(RunPlan(mapping=mapping, primary_key=table.primary_key, mode=Mode.FULL), described) as chunks:
            rows += sum(len(chunk.rows) for chunk in chunks)
    assert rows == ROWS
