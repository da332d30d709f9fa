"""What arrives equals what the source holds: real databases, every table, row by row and digit by digit.

The comparison shares nothing with syncer: the `reference_*` files read the source with plain drivers, have the
rules of rows and objects a second time, and predict what each run reads, sends, leaves out and refuses. `World.run`
compares all of that; the tests add the numbers a person can check.
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
import reference_mariadb
import reference_postgres
import reference_sqlite
from reference_dumps import load_chinook, load_pagila, load_sakila
from reference_model import Expected
from reference_rules import Row, Table, property_name
from reference_world import World, write_config

from syncer.config import load_config
from syncer.sandbox.app import create_app
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "chinook.yaml"
READERS = {"postgres": reference_postgres.read, "mariadb": reference_mariadb.read, "sqlite": reference_sqlite.read}
WATERMARKS = ("updated_at", "updatedAt", "last_update")
ENGINES = ["sqlite", "postgres", "mariadb"]

Execute = Callable[[str, str], None]
Tables = Mapping[str, Table]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A sandbox, and a folder for everything of one test."""

    folder: Path
    endpoint: str

    def whole(self, url: str, engine: str, timezone: str = "UTC", unfit: str = "") -> World:
        """Every table of a database that has a key, mapped whole; the table `unfit` without its watermark."""
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
        timeless = partial(without_watermark, read, unfit)
        return World(config, {"SOURCE_URL": url, "SEGMENT_ENDPOINT": self.endpoint}, tables, timeless, self.warehouse)

    def example(self, url: str, engine: str) -> World:
        """The Chinook of the documentation, on this database."""
        config = self.folder / "chinook.yaml"
        shutil.copy(EXAMPLE, config)
        environ = {"CHINOOK_DATABASE_URL": url, "SEGMENT_ENDPOINT": self.endpoint, "SEGMENT_WRITE_KEY": "key"}
        mappings = load_config(config, environ).mappings.values()
        tables = {each.name: each.table or each.name for each in mappings}
        return World(config, environ, tables, partial(with_catalogue, url, engine), self.warehouse)

    @property
    def warehouse(self) -> Path:
        """The sandbox's file."""
        return self.folder / "warehouse.db"


def collection_of(table: str) -> str:
    """A table's name as a collection's: letters for digits."""
    return property_name(table).translate(str.maketrans("0123456789", "abcdefghij"))


def without_watermark(read: Callable[[], Tables], unfit: str) -> Tables:
    """The tables, one of them as if it had no watermark."""
    found = dict(read())
    if unfit:
        rows = [replace(row, moment=None) for row in found[unfit].rows]
        found[unfit] = replace(found[unfit], rows=rows, watermark=None)
    return found


def with_catalogue(url: str, engine: str) -> Tables:
    """Chinook's tables, and the example's query joined by hand."""
    tables = READERS[engine](url, ZoneInfo("UTC"), ())
    of = {name: {row.id: row.properties for row in tables[name].rows} for name in ("Album", "Artist", "Genre")}
    rows: list[Row] = []
    for row in tables["Track"].rows:
        track = row.properties
        album = of["Album"][track["album_id"]]
        told = {
            "track_id": track["track_id"], "name": track["name"], "artist": of["Artist"][album["artist_id"]]["name"],
            "album": album["title"], "genre": of["Genre"][track["genre_id"]]["name"],
            "milliseconds": track["milliseconds"], "price": track["unit_price"],
        }  # fmt: skip
        rows.append(replace(row, properties=told))
    return {**tables, "catalogue": Table(key=("TrackId",), watermark=None, rows=rows)}


def sent(expected: Mapping[str, Expected]) -> dict[str, set[str]]:
    """What a run sent, without the collections of which it sent nothing."""
    return {name: set(each.sent) for name, each in expected.items() if each.sent}


def refused(expected: Mapping[str, Expected]) -> dict[str, int]:
    """How many rows a run refused, without the collections that are fine."""
    return {name: each.rejected for name, each in expected.items() if each.rejected}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with ExitStack() as stack:
        warehouse = stack.enter_context(Warehouse(tmp_path / "warehouse.db"))
        endpoint = stack.enter_context(running(create_app(warehouse)))
        yield Lab(folder=tmp_path, endpoint=endpoint)


# --- Chinook: no column tells when a row changed, so every run is full --------------------------------------------

CHINOOK_CHANGES = """
    UPDATE Customer SET Company = 'zoë & søn', Fax = NULL WHERE CustomerId = 1;
    UPDATE Customer SET Email = Email WHERE CustomerId = 2;
    UPDATE Employee SET BirthDate = '1899-12-31 23:59:59' WHERE EmployeeId = 3;
    UPDATE Invoice SET Total = Total + 1 WHERE InvoiceId <= 25;
    UPDATE InvoiceLine SET UnitPrice = 2 WHERE InvoiceLineId = 9;
    INSERT INTO Artist VALUES (276, '日本語 – ελληνικά');
    INSERT INTO Genre VALUES (26, NULL);
    INSERT INTO PlaylistTrack VALUES (18, 1);
    DELETE FROM PlaylistTrack WHERE PlaylistId = 17;
"""


def chinook_changes(engine: str) -> str:
    """PostgreSQL's edition has snake_case names."""
    if engine != "postgres":
        return CHINOOK_CHANGES
    return re.sub(r"\b(?:[A-Z][a-z]+)+\b", lambda found: property_name(found[0]), CHINOOK_CHANGES)


@pytest.mark.parametrize("engine", ENGINES)
def test_chinook(engine: str, request: pytest.FixtureRequest, execute_sql: Execute, datasets: Path, lab: Lab) -> None:
    """The music shop arrives whole; changes, additions and a cleared column follow; a deleted row stays; then calm."""
    url = request.getfixturevalue(f"{engine}_url")
    load_chinook(datasets, url, engine, execute_sql)
    world = lab.whole(url, engine) if engine == "postgres" else lab.example(url, engine)
    first = world.run()
    assert sum(len(each.sent) for name, each in first.items() if name != "catalogue") == 15_607
    execute_sql(url, chinook_changes(engine))
    followed = sorted(map(sorted, sent(world.run()).values()))
    invoices = sorted(str(number) for number in range(1, 26))
    assert followed == sorted([["1"], ["3"], ["9"], ["26"], ["276"], ["18:1"], invoices])
    assert sent(world.run()) == {}


@pytest.mark.parametrize("edition", ["sqlite", "mariadb"])
def test_names_are_those_a_person_gave_them(edition: str, datasets: Path) -> None:
    """Chinook's PostgreSQL edition has its columns in snake_case; ours of the other editions are the same."""

    def columns(engine: str) -> list[str]:
        dump = (datasets / "chinook" / f"chinook-{engine}.sql").read_text("utf-8-sig")
        tables = re.findall(r"CREATE TABLE \W?\w+\W?\s\((.*?)\n\);", dump, re.DOTALL)
        assert len(tables) == 11
        return [name for table in tables for name in re.findall(r"^ +[\[`]?(\w+)[\]`]? [A-Z]+", table, re.MULTILINE)]

    theirs = [name for name in columns("postgres") if name not in ("CONSTRAINT", "FOREIGN")]
    ours = [property_name(name) for name in columns(edition) if name not in ("CONSTRAINT", "FOREIGN")]
    assert len(ours) == 64
    assert sorted(ours) == sorted(theirs)


# --- Pagila and Sakila: sixteen thousand rentals share one watermark ----------------------------------------------

#: the one rental that is newer than the others joins them, so that the watermark itself is a tie
PAGILA_TIE = """
    SET session_replication_role = replica;
    UPDATE rental SET last_update = '2022-02-16 02:30:53+00' WHERE rental_id = 14098;
"""
#: under `replica` the triggers that move last_update sleep
PAGILA_CHANGES = """
    UPDATE actor SET last_name = 'ÖLÇÜ' WHERE actor_id = 5;
    UPDATE film SET special_features = '{"a,b","c\\"d",NULL,""}', rating = NULL, length = NULL WHERE film_id = 2;
    UPDATE film SET rental_rate = 10, release_year = 1901 WHERE film_id = 3;
    UPDATE staff SET picture = decode(repeat('ff', 30000), 'hex') WHERE staff_id = 1;
    UPDATE staff SET picture = decode(repeat('00', 1000), 'hex'), active = false WHERE staff_id = 2;
    SET session_replication_role = replica;
    INSERT INTO language VALUES (7, 'Klingon', '2022-02-15 10:02:19+00');
    INSERT INTO country VALUES (110, 'Long ago', '1999-01-01 00:00:00+00');
    UPDATE country SET country = 'Tied' WHERE country_id = 1;
    UPDATE customer SET last_update = NULL, email = '' WHERE customer_id = 7;
    UPDATE address SET address2 = 'unseen' WHERE address_id = 9;
    UPDATE address SET last_update = '2022-02-15 09:40:30+00', district = 'edge of the lookback' WHERE address_id = 1;
    UPDATE address SET last_update = '2022-02-15 09:40:29.999999+00', district = 'beyond it' WHERE address_id = 2;
    UPDATE rental SET return_date = NULL WHERE rental_id = 5;
    DELETE FROM film_actor WHERE actor_id = 1;
    INSERT INTO payment VALUES (1, 1, 1, 1, 0.1, '2022-03-01 00:00:00.5+05:30');
    UPDATE payment SET amount = -amount WHERE payment_id = 16051;
"""
PAGILA_REPAIRS = "UPDATE staff SET picture = '' WHERE staff_id = 1"


def test_pagila(postgres_url: str, execute_sql: Execute, datasets: Path, lab: Lab) -> None:
    """Enums, arrays, tsvector, domains and partitions arrive; ties are read again and only what changed is sent."""
    load_pagila(datasets, postgres_url, execute_sql)
    execute_sql(postgres_url, PAGILA_TIE)
    world = lab.whole(postgres_url, "postgres", timezone="Asia/Kolkata")
    first = world.run()
    assert {name: len(first[name].sent) for name in ("rental", "payment", "film")} == {
        "rental": 16_044, "payment": 16_049, "film": 1_000,
    }  # fmt: skip

    execute_sql(postgres_url, "UPDATE rental SET return_date = now() WHERE rental_id = 2")
    one = world.run()
    assert (one["rental"].read, one["rental"].unchanged) == (16_043, 16_042)
    assert sent(one) == {"rental": {"2"}}

    execute_sql(postgres_url, PAGILA_CHANGES)
    followed = world.run()
    assert refused(followed) == {"staff": 1}
    print({n: s for n, s in sent(followed).items()})
    execute_sql(postgres_url, PAGILA_REPAIRS)
    print({n: s for n, s in sent(world.run(full=True)).items()})
    assert sent(world.run()) == {}


SAKILA_CHANGES = """
    SET time_zone = '+00:00';
    UPDATE film SET title = 'ÖLÇÜ', special_features = '', rating = NULL, release_year = 1901 WHERE film_id = 2;
    UPDATE customer SET active = 0, email = NULL WHERE customer_id = 3;
    INSERT INTO language VALUES (7, 'Klingon', (SELECT last_update FROM language l WHERE l.language_id = 1));
    INSERT INTO country VALUES (110, 'Long ago', '1999-01-01 00:00:00');
    UPDATE country SET country = 'Tied', last_update = last_update WHERE country_id = 1;
    UPDATE store SET last_update = '2030-01-01 00:00:00' WHERE store_id = 1;
    DELETE FROM film_actor WHERE actor_id = 1;
    UPDATE rental SET rental_date = '2005-10-30 01:30:00', return_date = '2005-04-03 02:30:00' WHERE rental_id = 4;
"""


def test_sakila(mariadb_url: str, execute_sql: Execute, datasets: Path, lab: Lab) -> None:
    """Unsigned, ENUM, SET, YEAR, BLOB and TIMESTAMP arrive; local times get the source's zone, also as clocks change."""
    load_sakila(datasets, mariadb_url, execute_sql)
    world = lab.whole(mariadb_url, "mariadb", timezone="America/New_York")
    first = world.run()
    print({n: (len(e.sent), e.rejected) for n, e in first.items()})
    execute_sql(mariadb_url, SAKILA_CHANGES)
    print(sent(world.run()))
    print(sent(world.run(full=True)))
    assert sent(world.run()) == {}


# --- the types zoo: every type at its extremes, hostile names, keys and values that must be refused ---------------

ZOO_CHANGES = {
    "postgres": """
        SET timezone = 'UTC';
        UPDATE zoo SET c_date = 'infinity' WHERE id = 1;
        UPDATE zoo SET c_date = '0001-01-01', c_ts = '0001-01-01', c_tstz = '9999-12-31 23:59:59.999999Z' WHERE id = -1;
        UPDATE zoo SET c_text = repeat('é', 16383) || 'x', updated_at = '2024-01-01 00:00:00.000002Z'
            WHERE id = 9007199254740993;
        INSERT INTO zoo (id, note, c_text, c_num, c_real, c_double, c_interval, c_jsonb, c_textarr, updated_at) VALUES
            (6, 'one byte too much', repeat('é', 16384), 0, 0, 0, '0', '0', '{}', '2024-01-01'),
            (7, 'more', E'\\u2028\\u0001\\u007f', 1e30, 16777217, 1e22, '-00:00:00.000001', '"\\" :  \\\\"', '{"\\\\\\\""}',
             '2023-12-31 23:55:00.000001Z'),
            (8, 'late', 'unseen', 1, 1, 1, '1 mon', '1', '{}', '2023-12-31 23:54:59.999999Z');
        UPDATE zoo_ck SET v = 'seen' WHERE tenant = 'ключ';
        UPDATE zoo_ck SET v = 'unseen' WHERE tenant = 't0' AND "orderNo" = 0;
        INSERT INTO zoo_ck VALUES ('a\\', 1, 'backslash', '2024-02-01Z'), ('a:b ', 1, 'blank', '2024-02-01Z'),
            ('A', -1, 'capital', '2024-02-01Z'), (repeat('long', 30), 1, 'digest', '2024-02-01Z'),
            (repeat('long', 30) || 'er', 1, 'another', '2024-02-01Z'), ('', 1, 'tie', '2024-02-01Z');
        UPDATE "MixedCase Table" SET "order" = 4, "$price" = 12 WHERE "Id" = 2;
        INSERT INTO zoo_empty VALUES (0, 'first');
        UPDATE zoo_wide SET c400 = NULL;
    """,
    "mariadb": """
        SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO';
        UPDATE zoo SET c_dt = '0000-00-00' WHERE id = 1;
        UPDATE zoo SET c_date = '0001-01-01', c_dt = '0001-01-01' WHERE id = 0;
        UPDATE zoo SET c_text = CONCAT(REPEAT('é', 16383), 'x'), c_blob = REPEAT('x', 24573),
            updated_at = '2024-01-01 00:00:00.000002' WHERE id = 18446744073709551615;
        INSERT INTO zoo (id, note, c_text, c_double, c_bit12, c_varbin, c_time, c_json, updated_at) VALUES
            (6, 'one byte too much', REPEAT('é', 16384), 0, 0, '', '0', '0', '2024-01-01'),
            (7, 'more', '\\0 \\Z', 1e22, 4095, '\\0', '-00:00:00.000001', '"\\\\" :  \\\\\\\\"', '2023-12-31 23:55:00.000001'),
            (8, 'late', 'unseen', 1, 1, '1', '1', '1', '2023-12-31 23:54:59.999999');
        UPDATE zoo_ck SET v = 'seen', updated_at = updated_at WHERE tenant = 'ключ';
        UPDATE zoo_ck SET v = 'unseen', updated_at = updated_at WHERE tenant = 't0' AND orderNo = 0;
        INSERT INTO zoo_ck VALUES ('a\\\\', 1, 'backslash', '2024-02-01'), (' a:b', 1, 'blank', '2024-02-01'),
            ('A', -2, 'capital', '2024-02-01'), ('', 1, 'tie', '2024-02-01');
        UPDATE `MixedCase Table` SET `order` = 4, `$price` = 12 WHERE `Id` = 2;
        INSERT INTO zoo_empty VALUES (0, 'first');
    """,
    "sqlite": """
        UPDATE zoo SET c_int = 'abc' WHERE id = 1;
        UPDATE zoo SET c_int = 1, c_big = 2, c_real = 9e999, c_dec = 100, c_bool = 0, c_date = '2024-02-29',
            c_dt = '0001-01-01', c_ts = '9999-12-31 23:59:59.999999+14:00', c_json = ' [ 1e400 , "a \\" b" ] '
            WHERE id = -1;
        UPDATE zoo SET c_dt = '2024-02-29', c_text = c_text || x'00' WHERE id = 5;
        INSERT INTO zoo (id, note, c_text, c_blob, c_none, c_weird, updated_at) VALUES
            (6, 'one byte too much', printf('%.*c', 32768, 'x'), NULL, NULL, NULL, '2024-01-01'),
            (7, 'just fits', printf('%.*c', 32767, 'x'), zeroblob(24573), 1e22, -0.0, '2024-01-01'),
            (8, 'a float in a text column is text', 1.0, x'', 1, 1.0, '2024-01-01');
        UPDATE zoo_ck SET v = 'seen' WHERE tenant = 'ключ';
        UPDATE zoo_ck SET v = 'unseen' WHERE tenant = 't0' AND orderNo = 0;
        INSERT INTO zoo_ck VALUES ('a\\', 1, 'backslash', '2024-02-01T00:00:00Z'), ('a:b ', 1, 'blank', '2024-02-01T00:00:00Z'),
            ('A', -1, 'capital', '2024-02-01T00:00:00Z'), ('', 1, 'tie', '2024-02-01T00:00:00Z');
        UPDATE "MixedCase Table" SET "order" = 4, "$price" = 12 WHERE "Id" = 2;
        INSERT INTO zoo_empty VALUES (0, 'first');
        UPDATE zoo_nullpk SET k = 'now it has one' WHERE v = 'twice';
    """,
}
#: what was refused becomes what it was before, byte for byte
ZOO_REPAIRS = {
    "postgres": "UPDATE zoo SET c_date = '2024-02-29' WHERE id = 1; DELETE FROM zoo WHERE id = 6",
    "mariadb": "UPDATE zoo SET c_dt = '2024-02-29 13:14:15.123456' WHERE id = 1; DELETE FROM zoo WHERE id = 6",
    "sqlite": "UPDATE zoo SET c_int = 1 WHERE id = 1; DELETE FROM zoo WHERE id = 6",
}


@pytest.mark.parametrize("engine", ENGINES)
def test_zoo(engine: str, request: pytest.FixtureRequest, execute_sql: Execute, zoo: Path, lab: Lab) -> None:
    url = request.getfixturevalue(f"{engine}_url")
    execute_sql(url, (zoo / f"types-zoo-{engine}.sql").read_text())
    world = lab.whole(url, engine, unfit="zoo" if engine == "sqlite" else "")
    first = world.run()
    print({n: (len(e.sent), e.rejected) for n, e in first.items()})
    execute_sql(url, ZOO_CHANGES[engine])
    f = world.run()
    print(sent(f), refused(f))
    execute_sql(url, ZOO_REPAIRS[engine])
    f = world.run(full=True)
    print(sent(f), refused(f))
    assert sent(world.run()) == {}
