"""The sandbox's warehouse file among other programs, processes, threads and mistakes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime

import pytest

from syncer.errors import UsageError
from syncer.sandbox.rules import SetObject, SetRequest
from syncer.sandbox.warehouse import Warehouse

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "warehouse.db"


@pytest.fixture
def warehouse(path):
    with Warehouse(path) as opened:
        yield opened


def put(warehouse: Warehouse, *ids: str, **properties: object) -> None:
    """Record one request that gives the rooms of these ids, or room 1, these properties."""
    objects = tuple(SetObject(id=id, properties=properties) for id in ids or ("1",))
    asked = SetRequest(collection="rooms", objects=objects)
    warehouse.record(asked, received_at=NOON, status=200, synchronous=False, size=100)


def test_tables_dropped_by_another_program_are_made_again(path, warehouse):
    """The file belongs to the user, who may empty it while the sandbox runs."""
    put(warehouse, city="Austin")
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE rooms")
    assert warehouse.collections() == {}
    put(warehouse, "2", city="Lihue")
    assert warehouse.rows("rooms") == [{"id": "2", "city": "Lihue"}]


def test_two_sandboxes_may_share_a_file(path, warehouse):
    """Columns that one adds are known to the other."""
    with Warehouse(path) as second:
        put(warehouse, city="Austin")
        put(second, size=20)
        put(warehouse, size=21, owner="Calvin")
        assert second.rows("rooms") == [{"id": "1", "city": "Austin", "size": 21, "owner": "Calvin"}]


def test_another_process_reads_while_the_sandbox_writes(path, warehouse):
    """A reader sees every committed request, and its open snapshot does not stop the next one."""
    put(warehouse, city="Austin")
    script = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN')\n"
        "def show():\n"
        "    print(*(city for city, in connection.execute(sys.argv[2])), flush=True)\n"
        "for _ in range(2):\n"
        "    show()\n"
        "    sys.stdin.readline()\n"
        "connection.execute('COMMIT')\n"
        "show()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path), "SELECT city FROM rooms ORDER BY id"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout.readline() == "Austin\n"
        put(warehouse, "2", city="Lihue")
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "Austin\n"
        rest, _ = reader.communicate("\n", timeout=30)
    assert rest == "Austin Lihue\n"


def test_threads_may_write_and_read_together(warehouse):
    """Nothing is lost or torn: each reader sees whole requests."""
    torn: list[int] = []

    def write(first: int) -> None:
        for number in range(first, first + 50):
            put(warehouse, f"{number}a", f"{number}b", n=number)

    def read() -> None:
        while writing.is_set():
            count = warehouse.collections().get("rooms", 0)
            torn.extend([count] if count % 2 else [])

    writing = threading.Event()
    writing.set()
    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 50, 100)]
    for each in (reader, *writers):
        each.start()
    for each in writers:
        each.join()
    writing.clear()
    reader.join()
    assert torn == []
    assert warehouse.collections() == {"rooms": 300}
    assert len(warehouse.requests()) == 150


def test_a_database_of_something_else_is_refused_and_left_alone(path):
    """The state store given by mistake is not merged into."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE checkpoints (mapping TEXT)")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="database of something else") as caught:
        Warehouse(path)
    assert caught.value.hint
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(path):
    """As is one that cannot be opened at all."""
    path.write_text("version: 1\n" * 100)
    with pytest.raises(UsageError, match="not a database"):
        Warehouse(path)
    with pytest.raises(UsageError, match="unable to open"):
        Warehouse(path / "below")


def test_a_request_that_fails_leaves_nothing(path, warehouse):
    """Neither the row, nor its new column, nor the note of the request stays; the next one works."""
    put(warehouse, city="Austin")
    with closing(sqlite3.connect(path)) as other:
        other.execute(
            "CREATE TRIGGER no_boats BEFORE INSERT ON _objects WHEN new.id = 'boat' "
            "BEGIN SELECT raise(ABORT, 'no boats'); END"
        )
    with pytest.raises(sqlite3.IntegrityError, match="no boats"):
        put(warehouse, "boat", sail=1)
    assert warehouse.rows("rooms") == [{"id": "1", "city": "Austin"}]
    assert len(warehouse.requests()) == 1
    put(warehouse, "2", sail=2)
    assert warehouse.rows("rooms")[1] == {"id": "2", "city": None, "sail": 2}
