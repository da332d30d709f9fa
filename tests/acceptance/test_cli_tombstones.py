"""`deletes: tombstone` from the command line, over every database, as the warehouse shows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from inside import Inside
from support import assert_one_clear_error, runs_of

from syncer.sandbox.app import create_app
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse

MAPPING = """\
version: 1
sources: {app: {url: "%s"}}
destination: {write_key: k, endpoint: "%s"}
mappings:
  rooms: {table: rooms, watermark: version, deletes: %s}
"""
ROOMS = "CREATE TABLE rooms (id INTEGER PRIMARY KEY, name VARCHAR(40), version INTEGER NOT NULL);"


class House:
    """Twenty rooms in a database, and the warehouse that they go to."""

    def __init__(self, syncer: Inside, warehouse: Warehouse, execute: Callable[[str], None], endpoint: str) -> None:
        self.syncer = syncer
        self.warehouse = warehouse
        self.execute = execute
        self.endpoint = endpoint

    def gone(self) -> list[str]:
        """Ids of the rows that are marked as deleted."""
        return sorted(str(row["id"]) for row in self.warehouse.rows("rooms") if row["is_deleted"])

    def full(self, *more: str) -> dict[str, object]:
        """The report of a full run that is not refused."""
        return runs_of(self.syncer("run", "--full", "--output", "json", *more))["rooms"]


@pytest.fixture(params=["sqlite_url", "postgres_url", "mariadb_url"])
def house(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    execute_sql: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
) -> Iterator[House]:
    """A house that was synced once."""
    url = request.getfixturevalue(request.param)
    values = ", ".join(f"({number}, 'room {number}', {number})" for number in range(1, 21))
    execute_sql(url, f"{ROOMS} INSERT INTO rooms VALUES {values};")
    with Warehouse(":memory:") as warehouse, running(create_app(warehouse)) as endpoint:
        (tmp_path / "syncer.yaml").write_text(MAPPING % (url, endpoint, "tombstone"))
        house = House(Inside(folder=tmp_path, capsys=capsys), warehouse, lambda sql: execute_sql(url, sql), endpoint)
        assert house.full()["sent"] == 20
        yield house


def test_from_planned_to_marked_to_revived(house: House) -> None:
    """`plan` says how many vanished, the run marks them, and a row that returns is alive again."""
    house.execute("DELETE FROM rooms WHERE id IN (3, 7)")
    (planned,) = json.loads(house.syncer("plan", "--full", "--output", "json").out)["plans"]
    assert (planned["deleted"], planned["requests"]) == (2, 1)
    report = house.full()
    assert [report[name] for name in ("outcome", "deleted", "sent", "requests")] == ["succeeded", 2, 0, 1]
    assert house.gone() == ["3", "7"]
    assert house.full()["requests"] == 0
    house.execute("INSERT INTO rooms VALUES (7, 'room 7', 7)")
    assert house.full()["sent"] == 1
    assert house.gone() == ["3"]


def test_half_the_table_gone(house: House) -> None:
    """Nothing is marked and the exit code is 1, until a person says that it is meant."""
    house.execute("DELETE FROM rooms WHERE id > 10")
    told = house.syncer("run", "--full")
    assert_one_clear_error(told, 1, "10 of 20 known objects are not in its result, more than 20%", "--allow-deletes")
    assert house.gone() == []
    assert house.full("--allow-deletes")["deleted"] == 10
    assert len(house.gone()) == 10
