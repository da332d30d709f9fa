"""`syncer init`: what it writes is a config that can be checked and run at once."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from inside import Inside
from sqlalchemy import make_url
from support import CommandLine, assert_one_clear_error, runs_of

from syncer.config import load_config
from syncer.sandbox.app import create_app
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse

ENGINES = ["sqlite", "postgres", "mariadb"]

#: names that are trouble in SQL, in YAML, in the API or in the warehouse; `"` quotes them
HOUSE = """
CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT, updated_at TIMESTAMP NOT NULL);
INSERT INTO rooms VALUES (1, 'Attic', '2026-01-01 00:00:00'), (2, 'Boat', '2026-01-02 00:00:00');
CREATE TABLE "Room Lines" (
  "room: id" INTEGER NOT NULL, "line no" INTEGER NOT NULL, beds INTEGER, PRIMARY KEY ("room: id", "line no")
);
INSERT INTO "Room Lines" VALUES (1, 1, 2), (1, 2, 3), (2, 1, 4);
CREATE TABLE "2024" (id INTEGER PRIMARY KEY, "null" TEXT);
INSERT INTO "2024" VALUES (1, 'a');
CREATE TABLE "yes" (id INTEGER PRIMARY KEY, "no" TEXT);
INSERT INTO "yes" VALUES (1, 'a'), (2, 'b');
CREATE TABLE "Größe: #1 ${X} %s" (
  "${KEY}" INTEGER PRIMARY KEY, "a b" INTEGER, a_b INTEGER, "#" INTEGER, "LastUpdate" TIMESTAMP NULL
);
INSERT INTO "Größe: #1 ${X} %s" VALUES (1, 2, 3, 4, '2026-01-01 00:00:00'), (2, 2, 3, 4, NULL);
CREATE TABLE hosts (id INTEGER PRIMARY KEY, email VARCHAR(99), password_hash VARCHAR(99), uuid VARCHAR(99));
INSERT INTO hosts VALUES (1, 'ann@host.test', 'pw-canary', 'u-1');
CREATE TABLE countries (code CHAR(2) NOT NULL UNIQUE, name TEXT);
INSERT INTO countries VALUES ('pt', 'Portugal'), ('is', 'Iceland');
CREATE TABLE log (line TEXT);
CREATE VIEW cheap AS SELECT id FROM rooms;
"""
#: rows of each mapping, by its collection
ROWS = {
    "rooms": 2, "room_lines": 3, "two_zero_two_four": 1, "yes": 2, "grosse_one_x_s": 2, "hosts": 1, "countries": 2,
}  # fmt: skip

Execute = Callable[[str, str], None]


@pytest.fixture
def inside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Inside:
    """The command, called with `-c` of a file that is not there yet."""
    return Inside(folder=tmp_path, capsys=capsys)


@pytest.fixture
def warehouse(monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    """What a sandbox receives that the environment names."""
    with Warehouse(":memory:") as warehouse, running(create_app(warehouse)) as url:
        monkeypatch.setenv("SEGMENT_ENDPOINT", url)
        monkeypatch.setenv("SEGMENT_WRITE_KEY", "a-write-key")
        yield warehouse


def arrived(warehouse: Warehouse, collection: str) -> int:
    """How many objects of a collection are in the warehouse."""
    return int(warehouse.query(f'SELECT count(*) AS n FROM "{collection}"')[0]["n"])


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_written_runs(
    engine: str, request: pytest.FixtureRequest, inside: Inside, warehouse: Warehouse, execute_sql: Execute,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It is valid, `check` finds nothing to mend, and a run brings all rows of all tables that have a key."""
    url: str = request.getfixturevalue(f"{engine}_url")
    execute_sql(url, HOUSE.replace('"', "`") if engine == "mariadb" else HOUSE)
    told = inside("init", "--source", url)
    assert (told.code, told.err) == (0, "")
    assert "Wrote 7 mappings" in told.out
    assert "2 more are commented out" in told.out
    monkeypatch.setenv("APP_DATABASE_URL", url)
    assert inside("check", "--offline").code == 0
    checked = inside("check")
    assert (checked.code, re.findall("^  error.*", checked.out, re.MULTILINE)) == (0, [])
    assert inside("run").code == 0
    assert {collection: arrived(warehouse, collection) for collection in ROWS} == ROWS
    (host,) = warehouse.query("SELECT * FROM hosts")
    assert (host["email"], host["row_uuid"], "password_hash" in host) == ("ann@host.test", "u-1", False)
    sizes = warehouse.query('SELECT key, a_b, a_b_2, "column" FROM grosse_one_x_s')
    assert sorted(list(each.values()) for each in sizes) == [[1, 3, 2, 4], [2, 3, 2, 4]]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_music_shop(
    engine: str, request: pytest.FixtureRequest, inside: Inside, warehouse: Warehouse, execute_sql: Execute,
    datasets: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """All eleven tables of Chinook, spelled differently on each engine, are read; the 15,607 rows of one arrive."""
    url: str = request.getfixturevalue(f"{engine}_url")
    execute_sql(url, (datasets / "chinook" / f"chinook-{engine}.sql").read_text("utf-8-sig"))
    assert inside("init", "--source", url).code == 0
    monkeypatch.setenv("APP_DATABASE_URL", url)
    read = {name: run["read"] for name, run in runs_of(inside("run", "--dry-run", "--output", "json")).items()}
    assert (len(read), sum(read.values())) == (11, 15_607)
    if engine == "sqlite":
        assert inside("run").code == 0
        assert {collection: arrived(warehouse, collection) for collection in read} == read


def test_the_steps_it_names_work(command_line: CommandLine, sample: Path) -> None:
    """In a folder with nothing but a database, each command that it prints does what it says."""
    shutil.copy(sample, command_line.folder / "app.db")
    before = (command_line.folder / "app.db").read_bytes()
    told = command_line("init", "--source", "sqlite:///app.db")
    assert (told.code, told.err) == (0, "")
    assert (command_line.folder / "app.db").read_bytes() == before
    exports = re.findall(r"^  export (\w+)=(\S+)", told.out, re.MULTILINE)
    assert exports[0] == ("APP_DATABASE_URL", "sqlite:///app.db")
    command_line.environment |= {"APP_DATABASE_URL": "sqlite:///app.db", "SEGMENT_WRITE_KEY": "any"}
    # `colliding`, `letters` and others are in the sample for the trouble they make
    named = re.findall(r"^  syncer (.+)$", told.out, re.MULTILINE)
    assert named == ["check", "run --dry-run", "sandbox --db warehouse.db &", "run"]
    assert command_line("check", "--select", "rooms").code == 0
    assert command_line("run", "--dry-run", "--select", "rooms").code == 0
    with Warehouse(":memory:") as warehouse, running(create_app(warehouse)) as url:
        assert command_line("run", "--select", "colliding", "--select", "hosts", SEGMENT_ENDPOINT=url).code == 0
        assert arrived(warehouse, "hosts") == len(warehouse.query("SELECT id FROM hosts")) > 0


def test_the_password_is_nowhere(inside: Inside, postgres_url: str, execute_sql: Execute) -> None:
    """The file has a variable in its place, and what is said has none of it either."""
    execute_sql(postgres_url, "CREATE TABLE rooms (id INT PRIMARY KEY, name TEXT)")
    parsed = make_url(postgres_url).set(password="pw-canary")
    told = inside("init", "--source", parsed.render_as_string(hide_password=False))
    assert told.code == 0
    text = (inside.folder / "syncer.yaml").read_text("utf-8")
    assert "pw-canary" not in text + told.out + told.err
    assert f"postgres@127.0.0.1:{parsed.port}/{parsed.database}" in text
    assert "export APP_DATABASE_URL=...  " in told.out
    assert yaml.safe_load(text)["sources"]["app"]["url"] == "${APP_DATABASE_URL}"


def test_the_url_may_come_from_the_environment(
    inside: Inside, sqlite_url: str, execute_sql: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no list of processes shows the password; without it the option is asked for."""
    monkeypatch.delenv("APP_DATABASE_URL", raising=False)
    assert_one_clear_error(inside("init"), 2, "--source")
    execute_sql(sqlite_url, "CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT)")
    monkeypatch.setenv("APP_DATABASE_URL", sqlite_url)
    assert inside("init").code == 0


def test_an_existing_file_is_kept(inside: Inside, sqlite_url: str, execute_sql: Execute) -> None:
    """It is replaced with `--force` only, and also then not before all went well."""
    execute_sql(sqlite_url, "CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT)")
    target = inside.folder / "syncer.yaml"
    target.write_text("mine", "utf-8")
    assert_one_clear_error(inside("init", "--source", sqlite_url), 2, "is there already", "--force")
    assert_one_clear_error(inside("init", "--force", "--source", "sqlite:///not/here.db"), 1, "no database file")
    assert target.read_text("utf-8") == "mine"
    assert inside("init", "--source", sqlite_url, "--force").code == 0
    assert "table: rooms" in target.read_text("utf-8")


def test_standard_output_has_the_config_alone(inside: Inside, sqlite_url: str, execute_sql: Execute) -> None:
    """What `--output -` says beside it goes to standard error; no file is written."""
    execute_sql(sqlite_url, "CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT)")
    told = inside("init", "--source", sqlite_url, "--output", "-")
    assert told.code == 0
    assert told.err == "Wrote 1 mapping to standard output.\n"
    assert not (inside.folder / "syncer.yaml").exists()
    (inside.folder / "piped.yaml").write_text(told.out, "utf-8")
    config = load_config(inside.folder / "piped.yaml", {"APP_DATABASE_URL": sqlite_url, "SEGMENT_WRITE_KEY": "key"})
    assert list(config.mappings) == ["rooms"]


def test_a_file_elsewhere_is_named_with_every_command(
    inside: Inside, execute_sql: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path of SQLite becomes absolute, because it would be read relative to that file."""
    monkeypatch.chdir(inside.folder)
    (inside.folder / "my configs").mkdir()
    execute_sql(f"sqlite:///{inside.folder}/app.db", "CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT)")
    told = inside("init", "--source", "sqlite:///app.db", "--output", "my configs/app.yaml")
    assert told.code == 0
    assert "  syncer -c 'my configs/app.yaml' check\n" in told.out
    assert f"  export APP_DATABASE_URL=sqlite:///{inside.folder}/app.db\n" in told.out


def test_a_folder_that_is_not_there(inside: Inside, sqlite_url: str, execute_sql: Execute) -> None:
    """The error says so."""
    execute_sql(sqlite_url, "CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT)")
    output = str(inside.folder / "no" / "such.yaml")
    assert_one_clear_error(inside("init", "--source", sqlite_url, "--output", output), 2, "cannot be written")


def test_nothing_but_tables_without_a_key(inside: Inside, sqlite_url: str, execute_sql: Execute) -> None:
    """The file is written all the same, and it is said that one of them must be mended first."""
    execute_sql(sqlite_url, "CREATE TABLE log (line TEXT)")
    told = inside("init", "--source", sqlite_url)
    assert told.code == 0
    assert "No table can be mapped as it is" in told.out
    assert "  # log: " in (inside.folder / "syncer.yaml").read_text("utf-8")


@pytest.mark.parametrize("url", ["nonsense", "postgresql://reader:pw-canary@127.0.0.1:9/app", "nosuch://host/db"])
def test_databases_that_cannot_be_reached(inside: Inside, url: str) -> None:
    """One error with a hint and without the password, and no file."""
    assert_one_clear_error(told := inside("init", "--source", url), 1, "source app: ")
    assert "pw-canary" not in told.err
    assert not (inside.folder / "syncer.yaml").exists()
