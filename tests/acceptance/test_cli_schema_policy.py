"""A table that changes its columns under its mappings, on real databases, through the command line."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
from support import CommandLine, Told, assert_one_clear_error, lines_beginning, query, runs_of

from syncer.cli.app import invoke
from syncer.sandbox.app import create_app
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse

HEAD = """\
version: 1
sources: {app: {url: "${SOURCE_URL}"}}
destination: {write_key: a-write-key, endpoint: "${ENDPOINT}", retry_for: 1s}
state: {url: "${STATE_URL:-sqlite:///syncer.db}"}
mappings:
"""
POLICIES = """\
  evolving: {table: rooms, schema: evolve}
  warned: {table: rooms}
  frozen: {table: rooms, schema: freeze}
"""

ROOMS = """
CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT, beds INTEGER, city TEXT);
INSERT INTO rooms VALUES (1, 'Attic', 2, 'Bonn'), (2, 'Boat', 1, 'Kiel'), (3, 'Cabin', 4, NULL);
"""
#: beds become text, the city goes, stars come
ALTERED = {
    "postgres": "ALTER TABLE rooms ALTER COLUMN beds TYPE text; ALTER TABLE rooms DROP COLUMN city;"
    "ALTER TABLE rooms ADD COLUMN stars integer; UPDATE rooms SET beds = 'many', stars = 5;",
    "sqlite": "ALTER TABLE rooms RENAME TO before;"
    "CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT, beds TEXT, stars INTEGER);"
    "INSERT INTO rooms SELECT id, name, 'many', 5 FROM before; DROP TABLE before;",
}
CITY_GONE = "ALTER TABLE rooms DROP COLUMN city;"

BEDS = "beds was sent as integer since "
CITY = "city was sent as text since "
STARS = "stars is new, sent as integer"


class Inside(CommandLine):
    """The command in this process, which spares its start."""

    def __call__(self, *arguments: str, **environment: str) -> Told:
        """Run a command to its end."""
        out, err = io.StringIO(), io.StringIO()
        with (
            chdir(self.folder), patch.dict(os.environ, self.environ(environment), clear=True),
            redirect_stdout(out), redirect_stderr(err), restored_log(),
        ):  # fmt: skip
            code = invoke(arguments)
        return Told(code, out.getvalue(), err.getvalue())


@contextmanager
def restored_log() -> Iterator[None]:
    """A command sets up the log for a process of its own."""
    log = logging.getLogger("syncer")
    handlers, propagate, level = log.handlers[:], log.propagate, log.level
    try:
        yield
    finally:
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


@dataclass(frozen=True, kw_only=True)
class House:
    """A database with rooms in it, a config for it, and what the sandbox received."""

    syncer: CommandLine
    warehouse: Warehouse
    database: str
    change: Callable[[str], None]

    def mappings(self, text: str) -> None:
        """Write the config."""
        self.syncer.write("syncer.yaml", HEAD + text)

    def run(self, code: int = 0) -> Told:
        """Run all mappings."""
        told = self.syncer("run", "--full", "--output", "json")
        assert told.code == code, told
        return told

    def column(self, collection: str, name: str) -> list[object]:
        """A column of the warehouse, by id."""
        rows = sorted(self.warehouse.rows(collection), key=lambda row: str(row["id"]))
        return [row[name] for row in rows]


@pytest.fixture(params=["sqlite", "postgres"])
def house(request: pytest.FixtureRequest, tmp_path: Path, execute_sql: Callable[[str, str], None]) -> Iterator[House]:
    """Rooms in each kind of database."""
    syncer = Inside(folder=tmp_path)
    url = request.getfixturevalue(f"{request.param}_url")
    execute_sql(url, ROOMS)
    with Warehouse(":memory:") as warehouse, running(create_app(warehouse)) as endpoint:
        syncer.environment |= {"SOURCE_URL": url, "ENDPOINT": endpoint}
        yield House(
            syncer=syncer, warehouse=warehouse, database=request.param,
            change=lambda sql: execute_sql(url, sql),
        )  # fmt: skip


def notices(told: Told) -> dict[str, str]:
    """What was told of the properties in a run, by mapping; each mapping tells at most once."""
    lines = re.findall(r" warning: (\w+: its properties changed: .*)", told.err)
    found = dict(line.split(": its properties changed: ") for line in lines)
    assert len(found) == len(lines)
    return found


def test_each_policy(house: House) -> None:
    """A type that changes, a column that goes and one that comes: taken over, told until resolved, or refused."""
    house.mappings(POLICIES)
    house.run()
    assert notices(house.run()) == {}

    house.change(ALTERED[house.database])
    told = house.run(2)
    outcomes = {name: (run["outcome"], run["read"]) for name, run in runs_of(told).items()}
    assert outcomes == {"evolving": ("succeeded", 3), "warned": ("succeeded", 3), "frozen": ("failed", 0)}
    assert_one_clear_error(
        told, 2, "mapping frozen: its properties changed, and `schema: freeze` sends nothing then: ", BEDS, CITY, STARS,
        "Try: ", "`properties: {beds: {type: integer}}`", "`properties: {city: {retired: null}}`",
        "`properties: {stars: {drop: true}}`", "`syncer state set frozen --adopt`",
    )  # fmt: skip
    first = notices(told)
    assert list(first) == ["evolving", "warned"]
    assert all(each in notice for each in (BEDS, CITY, STARS) for notice in first.values())
    assert "; taken over" in first["evolving"]
    assert "`syncer state set warned --adopt`" in first["warned"]
    assert house.column("evolving", "stars") == house.column("warned", "stars") == [5, 5, 5]
    assert house.column("frozen", "beds") == [2, 1, 4]

    again = notices(house.run(2))
    assert list(again) == ["warned"]
    assert [each in again["warned"] for each in (BEDS, CITY, STARS)] == [True, True, False]

    for name, new in (("warned", 2), ("frozen", 3)):
        adopted = house.syncer("state", "set", name, "--adopt")
        assert (adopted.code, len(lines_beginning(f"{name}: adopted: ", adopted.out))) == (0, new), adopted
    assert notices(house.run()) == {}
    assert house.column("frozen", "stars") == [5, 5, 5]


def test_check(house: House) -> None:
    """It tells beforehand what a run would tell or refuse, and stores nothing."""
    house.mappings(POLICIES)
    house.run()
    house.change(ALTERED[house.database])
    for _ in range(2):
        told = house.syncer("check")
        assert told.code == 2
        parts = told.out.split(" -> ")
        levels = [re.findall(r"^ +(\w+) +property (?:beds|city|stars) ", part, re.MULTILINE) for part in parts[1:]]
        assert levels == [["note"] * 3, ["warning", "warning", "note"], ["error"] * 3]
    assert told.out.count("Try: `properties: {beds: {type: integer}}` sends it as before; `syncer state set ") == 2


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
def test_check_without_state(house: House) -> None:
    """Before the first run there is nothing to compare; an unreadable state is told, and the rest checked."""
    house.mappings(POLICIES)
    fresh = house.syncer("check")
    assert (fresh.code, "was sent as" in fresh.out, list(house.syncer.folder.glob("syncer.db*"))) == (0, False, [])
    broken = house.syncer("check", STATE_URL=house.syncer.environment["SOURCE_URL"])
    assert_one_clear_error(broken, 1, "is a database of another application")
    assert broken.out.count("ok       key id: unique and never NULL") == 3


@pytest.mark.parametrize("nulls", ["send", "omit"])
def test_retired(house: House, nulls: str) -> None:
    """Null goes out once in every object, clears the warehouse column, and then nothing is left to tell or send."""
    plain = f"  rooms: {{table: rooms, nulls: {nulls}}}\n"
    retired = f"  rooms: {{table: rooms, nulls: {nulls}, properties: {{city: {{retired: null}}}}}}\n"
    house.mappings(plain)
    house.run()
    assert house.column("rooms", "city") == ["Bonn", "Kiel", None]
    house.mappings(retired)
    assert_one_clear_error(house.run(2), 2, "mapping rooms: `properties` retires what is still sent: city")

    house.change(CITY_GONE)
    house.mappings(plain)
    assert CITY in notices(house.run())["rooms"]
    assert house.column("rooms", "city") == ["Bonn", "Kiel", None]

    house.mappings(retired)
    sent = []
    for _ in range(3):
        told = house.run()
        assert notices(told) == {}
        sent.append(runs_of(told)["rooms"]["sent"])
    assert sent == [3, 0, 0]
    assert house.column("rooms", "city") == [None, None, None]
    house.mappings(plain)
    assert notices(house.run()) == {}


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
def test_a_type_that_the_mapping_keeps(house: House) -> None:
    """`type` sends it as before, so there is nothing to tell under any policy."""
    house.mappings("  rooms: {table: rooms, schema: freeze}\n")
    house.run()
    house.change("ALTER TABLE rooms RENAME TO before; CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT, "
                 "beds TEXT, city TEXT); INSERT INTO rooms SELECT * FROM before; DROP TABLE before;")  # fmt: skip
    house.run(2)
    house.mappings("  rooms: {table: rooms, schema: freeze, properties: {beds: {type: integer}}}\n")
    told = house.run()
    assert (notices(told), runs_of(told)["rooms"]["unchanged"]) == ({}, 3)


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
def test_adopted_before_anything_was_accepted(house: House) -> None:
    """A first run that failed leaves types but no checkpoint; they can be adopted, and the next run is a first one."""
    house.mappings("  rooms: {table: rooms, schema: freeze}\n")
    assert house.syncer("run", ENDPOINT="http://127.0.0.1:9").code == 1
    house.change(ALTERED["sqlite"])
    house.run(2)
    adopted = house.syncer("state", "set", "rooms", "--adopt")
    assert (adopted.code, adopted.out.count("adopted: ")) == (0, 3)
    assert json.loads(house.syncer("state", "export").out)["checkpoints"] == []
    assert runs_of(house.syncer("run", "--output", "json"))["rooms"]["sent"] == 3


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
def test_forgotten_with_the_fingerprints(house: House) -> None:
    """`state reset --fingerprints` forgets the types too, and a plain reset does not."""
    types = "SELECT property, type FROM syncer_properties ORDER BY number"
    house.mappings("  rooms: {table: rooms, schema: freeze}\n")
    house.run()
    state = house.syncer.folder / "syncer.db"
    assert query(state, types) == [("name", "text"), ("beds", "integer"), ("city", "text")]
    house.change(CITY_GONE)
    assert house.syncer("state", "reset", "rooms").code == 0
    house.run(2)
    assert house.syncer("state", "reset", "rooms", "--fingerprints").code == 0
    house.run()
    assert query(state, types) == [("name", "text"), ("beds", "integer")]
