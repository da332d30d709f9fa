"""What arrives equals what the source holds: real databases, every table, row by row and digit by digit.

The comparison shares nothing with syncer: the `reference_*` files read the source with plain drivers, have the
rules of rows and objects a second time, and predict what each run reads, sends, leaves out and refuses. `World.run`
compares all of that; the tests add what a person can check by looking at the changes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import reference_changes as changes
import reference_mariadb
import reference_postgres
import reference_sqlite
from reference_dumps import load_chinook, load_pagila, load_sakila
from reference_model import Expected
from reference_rules import Table, property_name

from syncer.config import load_config
from syncer.sandbox.app import create_app
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse

pytest.register_assert_rewrite("reference_world")
from reference_world import World, write_config  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "chinook.yaml"
READERS = {"postgres": reference_postgres.read, "mariadb": reference_mariadb.read, "sqlite": reference_sqlite.read}
WATERMARKS = ("updated_at", "updatedAt", "last_update")
ENGINES = ["sqlite", "postgres", "mariadb"]

Execute = Callable[[str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A sandbox, and a folder for everything of one test."""

    folder: Path
    endpoint: str
    execute_sql: Execute

    def whole(self, url: str, engine: str, *, timezone: str = "UTC", unfit: str = "") -> World:
        """Every table of a database that has a key, mapped whole; the one named `unfit` without its watermark."""
        read = partial(READERS[engine], url, ZoneInfo(timezone), WATERMARKS)
        found = read()
        tables = {collection_of(name): name for name in found}
        watermarks = {
            name: watermark
            for name, table in tables.items()
            if (watermark := found[table].watermark) is not None and table != unfit
        }
        config = self.folder / "syncer.yaml"
        write_config(config, tables, watermarks, timezone)
        return self._world(config, {"SOURCE_URL": url}, tables, frozenset(watermarks), read)

    def example(self, url: str, engine: str) -> World:
        """The Chinook of the documentation, on this database."""
        config = self.folder / "chinook.yaml"
        shutil.copy(EXAMPLE, config)
        environ = {"CHINOOK_DATABASE_URL": url, "SEGMENT_WRITE_KEY": "key"}
        mappings = load_config(config, environ).mappings.values()
        tables = {each.name: each.table or each.name for each in mappings}
        return self._world(config, environ, tables, frozenset(), partial(with_catalogue, url, engine))

    def _world(
        self,
        config: Path,
        environ: Mapping[str, str],
        tables: Mapping[str, str],
        watermarked: frozenset[str],
        read: Callable[[], Mapping[str, Table]],
    ) -> World:
        url = next(value for name, value in environ.items() if name.endswith("_URL"))
        return World(
            load_config(config, {**environ, "SEGMENT_ENDPOINT": self.endpoint}), tables, watermarked, read,
            execute=partial(self.execute_sql, url), warehouse=self.folder / "warehouse.db",
        )  # fmt: skip


def collection_of(table: str) -> str:
    """A table's name as a collection's: letters for digits."""
    return property_name(table).translate(str.maketrans("0123456789", "abcdefghij"))


def with_catalogue(url: str, engine: str) -> Mapping[str, Table]:
    """Chinook's tables, and the example's query joined by hand."""
    tables = READERS[engine](url, ZoneInfo("UTC"), ())
    albums, artists, genres = (
        {row.id: row.properties for row in tables[name].rows} for name in ("Album", "Artist", "Genre")
    )

    def joined(track: Mapping[str, str]) -> Mapping[str, str]:
        album = albums[track["album_id"]]
        return {
            "track_id": track["track_id"], "name": track["name"], "artist": artists[album["artist_id"]]["name"],
            "album": album["title"], "genre": genres[track["genre_id"]]["name"],
            "milliseconds": track["milliseconds"], "price": track["unit_price"],
        }  # fmt: skip

    rows = [replace(row, properties=joined(row.properties)) for row in tables["Track"].rows]
    return {**tables, "catalogue": Table(key=("TrackId",), watermark=None, rows=rows)}


def sent(expected: Mapping[str, Expected]) -> dict[str, set[str]]:
    """What a run sent, without the collections of which it sent nothing."""
    return {name: set(each.sent) for name, each in expected.items() if each.sent}


def refused(expected: Mapping[str, Expected]) -> dict[str, int]:
    """How many rows a run refused, without the collections that are fine."""
    return {name: each.rejected for name, each in expected.items() if each.rejected}


@pytest.fixture
def lab(tmp_path: Path, execute_sql: Execute) -> Iterator[Lab]:
    with ExitStack() as stack:
        warehouse = stack.enter_context(Warehouse(tmp_path / "warehouse.db"))
        endpoint = stack.enter_context(running(create_app(warehouse)))
        yield Lab(folder=tmp_path, endpoint=endpoint, execute_sql=execute_sql)


@pytest.mark.parametrize("engine", ENGINES)
def test_chinook(engine: str, request: pytest.FixtureRequest, execute_sql: Execute, datasets: Path, lab: Lab) -> None:
    """The shop arrives whole; without a watermark every run reads all of it and sends what changed, also NULLs."""
    url = request.getfixturevalue(f"{engine}_url")
    load_chinook(datasets, url, engine, execute_sql)
    world = lab.whole(url, engine) if engine == "postgres" else lab.example(url, engine)
    first = world.run()
    assert sum(len(each.sent) for name, each in first.items() if name != "catalogue") == 15_607
    world.change(changes.chinook(engine))
    followed = world.run()
    invoices = {str(number) for number in range(1, 26)}
    ids = ({"1"}, {"3"}, {"9"}, {"26"}, {"276"}, {"18:1"}, invoices)
    assert set(map(frozenset, sent(followed).values())) == set(map(frozenset, ids))
    assert sent(world.run()) == {}


@pytest.mark.parametrize("edition", ["sqlite", "mariadb"])
def test_names_are_those_a_person_gave_them(edition: str, datasets: Path) -> None:
    """Chinook's PostgreSQL edition has its columns in snake_case: the reference makes the same of the others'."""

    def columns(engine: str) -> list[str]:
        dump = (datasets / "chinook" / f"chinook-{engine}.sql").read_text("utf-8-sig")
        tables = re.findall(r"CREATE TABLE \W?\w+\W?\s\((.*?)\n\);", dump, re.DOTALL)
        names = re.findall(r"^ +[\[`]?(\w+)[\]`]? [A-Z]+", "".join(tables), re.MULTILINE)
        return [name for name in names if name not in ("CONSTRAINT", "FOREIGN")]

    ours = sorted(map(property_name, columns(edition)))
    assert (len(ours), ours) == (64, sorted(columns("postgres")))


def test_pagila(postgres_url: str, execute_sql: Execute, datasets: Path, lab: Lab) -> None:
    """Enums, arrays, tsvector, domains and partitions arrive; ties are read again and only what changed is sent."""
    load_pagila(datasets, postgres_url, execute_sql)
    execute_sql(postgres_url, changes.PAGILA_TIE)
    world = lab.whole(postgres_url, "postgres")
    first = world.run()
    assert [len(first[name].sent) for name in ("rental", "payment", "film")] == [16_044, 16_049, 1_000]

    world.change(changes.PAGILA_ONE)
    one = world.run()
    assert (one["rental"].read, one["rental"].unchanged) == (16_043, 16_042)
    assert sent(one) == {"rental": {"2"}}

    world.change(changes.PAGILA)
    followed = world.run()
    assert refused(followed) == {"staff": 1}
    assert sent(followed) == {
        "actor": {"5"}, "address": {"1", "9"}, "country": {"1"}, "customer": {"7"}, "film": {"2", "3"},
        "language": {"7"}, "staff": {"2"},
        "payment": {r"2022-01-29T01\:58\:52.222594+00\:00:16051", r"2022-02-28T18\:30\:00.5+00\:00:1"},
    }  # fmt: skip

    world.change(changes.PAGILA_REPAIRS)
    assert sent(world.run(full=True)) == {"address": {"2"}, "country": {"110"}, "rental": {"5"}, "staff": {"1"}}
    assert sent(world.run()) == {}


def test_sakila(mariadb_url: str, execute_sql: Execute, datasets: Path, lab: Lab) -> None:
    """Unsigned, ENUM, SET, YEAR and BLOB arrive; local times get the source's zone, also as clocks change."""
    load_sakila(datasets, mariadb_url, execute_sql)
    execute_sql(mariadb_url, changes.SAKILA_LESS)
    world = lab.whole(mariadb_url, "mariadb", timezone="America/New_York")
    first = world.run()
    assert (len(first["film"].sent), refused(first)) == (1_000, {"staff": 1})

    world.change(changes.SAKILA)
    assert sent(world.run()) == {
        "country": {"1"}, "customer": {"3"}, "film": {"2"}, "film_text": {"2"}, "language": {"7"}, "rental": {"4"},
    }  # fmt: skip

    world.change(changes.SAKILA_REPAIRS)
    assert sent(world.run(full=True)) == {"country": {"110"}, "staff": {"1"}}
    assert sent(world.run()) == {}


@pytest.mark.parametrize("engine", ENGINES)
def test_zoo(engine: str, request: pytest.FixtureRequest, execute_sql: Execute, zoo: Path, lab: Lab) -> None:
    """Every type at its extremes arrives or is refused with its code; so do hostile names and keys; then calm."""
    url = request.getfixturevalue(f"{engine}_url")
    execute_sql(url, (zoo / f"types-zoo-{engine}.sql").read_text())
    world = lab.whole(url, engine, unfit="zoo" if engine == "sqlite" else "")
    first = world.run()
    assert sum(refused(first).values()) == {"sqlite": 5, "postgres": 2, "mariadb": 3}[engine]

    world.change(changes.ZOO[engine])
    followed = world.run()
    assert {"7"} < followed["zoo"].sent
    assert {"ключ:1", r"a\\:1", ":1", "t0:1"} < followed["zoo_ck"].sent
    assert followed["zoo_empty"].sent == {"0"}

    world.change(changes.ZOO_LATER[engine])
    assert sent(world.run()) == {"zoo_ck": {"now:1"}}

    world.change(changes.ZOO_REPAIRS[engine])
    unseen = {"1"} if engine == "sqlite" else {"1", "8"}
    assert sent(world.run(full=True)) == {"zoo": unseen, "zoo_ck": {"t0:0"}}
    assert sent(world.run()) == {}


def test_a_refused_row_that_becomes_what_it_was_leaves_no_dead_letter(sqlite_url: str, lab: Lab) -> None:
    """The destination holds the row as it is, so there is nothing left to complain about, and nothing to send."""
    lab.execute_sql(
        sqlite_url, "CREATE TABLE rooms (id INTEGER PRIMARY KEY, beds INT); INSERT INTO rooms VALUES (1, 2)"
    )
    world = lab.whole(sqlite_url, "sqlite")
    world.run()
    world.change("UPDATE rooms SET beds = 'two'")
    assert refused(world.run()) == {"rooms": 1}
    world.change("UPDATE rooms SET beds = 2")
    assert sent(world.run()) == {}
