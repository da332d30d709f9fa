"""What `syncer init` sees in real databases: tables, keys, indexes, and what it passes over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import Engine, event, make_url

from syncer.config.suggest import key_of
from syncer.config.surveyed import Survey, SurveyedTable
from syncer.core.model import Kind
from syncer.errors import UsageError
from syncer.source import open_source
from syncer.source.survey import survey

ENGINES = ["sqlite", "postgres", "mariadb"]

ROOMS = """
CREATE TABLE rooms (
  id INTEGER NOT NULL PRIMARY KEY, code VARCHAR(20) NOT NULL, host_id INTEGER, price DECIMAL(10,2), big BOOLEAN,
  note TEXT, opened DATE, updated_at TIMESTAMP NOT NULL, seen_at TIMESTAMP NULL,
  CONSTRAINT by_code UNIQUE (code)
);
CREATE INDEX by_update ON rooms (updated_at, id);
CREATE INDEX by_host ON rooms (host_id, seen_at);
CREATE TABLE stays (room_id INTEGER NOT NULL, guest VARCHAR(20) NOT NULL, nights INTEGER, PRIMARY KEY (guest, room_id));
CREATE TABLE log (line TEXT);
CREATE VIEW cheap AS SELECT id, code FROM rooms WHERE price < 50;
CREATE TABLE syncer_runs (id INTEGER PRIMARY KEY);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A database to look at."""

    engine: str
    url: str
    execute_sql: Callable[[str, str], None]

    def run(self, sql: str) -> None:
        """Change it."""
        self.execute_sql(self.url, sql)

    def look(self, schema: str | None = None) -> Survey:
        """What is seen."""
        source = open_source("app", self.url)
        try:
            return survey(source, schema)
        finally:
            source.close()

    def tables(self, schema: str | None = None) -> dict[str, SurveyedTable]:
        """The tables that are seen."""
        return {each.name: each for each in self.look(schema).tables}


@pytest.fixture(params=ENGINES)
def house(request: pytest.FixtureRequest, execute_sql: Callable[[str, str], None]) -> House:
    """An empty database of each engine."""
    return House(engine=request.param, url=request.getfixturevalue(f"{request.param}_url"), execute_sql=execute_sql)


@pytest.fixture
def postgres(postgres_url: str, execute_sql: Callable[[str, str], None]) -> House:
    """An empty PostgreSQL database."""
    return House(engine="postgres", url=postgres_url, execute_sql=execute_sql)


@pytest.fixture
def mariadb(mariadb_url: str, execute_sql: Callable[[str, str], None]) -> House:
    """An empty MariaDB database."""
    return House(engine="mariadb", url=mariadb_url, execute_sql=execute_sql)


@pytest.fixture
def sqlite(sqlite_url: str, execute_sql: Callable[[str, str], None]) -> House:
    """A SQLite file that does not exist yet."""
    return House(engine="sqlite", url=sqlite_url, execute_sql=execute_sql)


def test_tables_with_columns_and_keys(house: House) -> None:
    """Every table and view is there by name, but for syncer's own; keys in their own order."""
    house.run(ROOMS)
    seen = house.look()
    tables = {each.name: each for each in seen.tables}
    assert list(tables) == ["cheap", "log", "rooms", "stays"]
    assert [name for name, each in tables.items() if each.view] == ["cheap"]
    rooms, stays = tables["rooms"], tables["stays"]
    assert (rooms.primary_key, stays.primary_key, key_of(tables["log"])) == (("id",), ("guest", "room_id"), ())
    assert (rooms.unique, rooms.indexed) == ((("code",),), {"id", "code", "updated_at", "host_id"})
    nullable = [each.name for each in rooms.columns if each.nullable]
    assert nullable == ["host_id", "price", "big", "note", "opened", "seen_at"]
    kinds = [each.kind for each in rooms.columns]
    flag = Kind.INTEGER if house.engine == "mariadb" else Kind.BOOLEAN
    assert kinds == [
        Kind.INTEGER, Kind.TEXT, Kind.INTEGER, Kind.DECIMAL, flag, Kind.TEXT, Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMP,
    ]  # fmt: skip
    assert seen.typed is (house.engine != "sqlite")


def test_estimates_after_the_database_counted(house: House) -> None:
    """The catalogue's own count, where there is one; nothing is counted for it."""
    rows = ", ".join(f"({number}, 'r{number}', '2026-01-01 00:00:00')" for number in range(50))
    house.run(f"{ROOMS} INSERT INTO rooms (id, code, updated_at) VALUES {rows};")
    if house.engine != "mariadb":  # which counts by itself, sooner or later
        assert house.tables()["rooms"].rows is None
    house.run({"mariadb": "ANALYZE TABLE rooms, log"}.get(house.engine, "ANALYZE"))
    tables = house.tables()
    assert (tables["rooms"].rows, tables["log"].rows, tables["cheap"].rows) == (50, None, None)


def test_an_empty_database_is_an_error(house: House) -> None:
    """There is nothing to write a config of."""
    house.run("CREATE TABLE syncer_meta (name INTEGER PRIMARY KEY)")
    with pytest.raises(UsageError, match="no tables or views"):
        house.look()


def test_a_schema_that_is_not_there(house: House) -> None:
    """The error names those that are."""
    house.run(ROOMS)
    with pytest.raises(UsageError, match="no schema sales") as raised:
        house.look("sales")
    assert {"sqlite": "main", "postgres": "public"}.get(house.engine, "test_") in str(raised.value.hint)


def test_the_password_is_not_seen(postgres: House) -> None:
    """Neither it nor the URL's options, which may be secrets too."""
    postgres.run(ROOMS)
    url = make_url(postgres.url).set(password="pw-canary", query={"sslpassword": "ssl-canary"})
    seen = survey(open_source("app", url.render_as_string(hide_password=False)))
    assert seen.url == make_url(postgres.url).render_as_string()


def test_other_schemas(postgres: House) -> None:
    """One schema is looked at, the others are named; its tables are written with its name."""
    postgres.run(f"{ROOMS} CREATE SCHEMA sales; CREATE TABLE sales.deals (id INT PRIMARY KEY, name TEXT)")
    assert (postgres.look().other_schemas, "deals" in postgres.tables()) == (("sales",), False)
    seen = postgres.look("sales")
    assert ([each.path for each in seen.tables], seen.other_schemas) == (["sales.deals"], ("public",))
    assert [each.path for each in postgres.look("public").tables] == ["cheap", "log", "rooms", "stays"]


def test_another_database_of_the_server(mariadb: House) -> None:
    """What MariaDB calls a database is a schema; without one in the URL, `--schema` says which."""
    mariadb.run(ROOMS)
    name = str(make_url(mariadb.url).database)
    nowhere = make_url(mariadb.url).set(database="").render_as_string(hide_password=False)
    source = open_source("app", nowhere)
    with pytest.raises(UsageError, match="names no database") as raised:
        survey(source)
    assert name in str(raised.value.hint)
    assert [each.path for each in survey(source, name).tables] == [
        f"{name}.{each}" for each in ("cheap", "log", "rooms", "stays")
    ]


def test_partitions_belong_to_their_table(postgres: House) -> None:
    """They are passed over, and counted with it; old-fashioned children are tables of their own."""
    postgres.run("""
        CREATE TABLE stays (id INT, day DATE, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
        CREATE TABLE stays_early PARTITION OF stays FOR VALUES FROM ('2020-01-01') TO ('2025-01-01');
        CREATE TABLE stays_late PARTITION OF stays FOR VALUES FROM ('2025-01-01') TO ('2030-01-01');
        INSERT INTO stays SELECT n, date '2024-12-01' + n FROM generate_series(1, 60) n;
        ANALYZE;
    """)
    assert {name: each.rows for name, each in postgres.tables().items()} == {"stays": 60}


def test_materialized_views_are_views(postgres: House) -> None:
    """They have no key either."""
    postgres.run(f"{ROOMS} CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM rooms")
    assert postgres.tables()["totals"].view


def test_indexes_that_do_not_hold_every_row_do_not_count(postgres: House) -> None:
    """Partial ones, and what begins with an expression; a unique one of those is no key."""
    postgres.run("""
        CREATE TABLE rooms (a INT NOT NULL, b INT NOT NULL, c TEXT NOT NULL, d INT NOT NULL);
        CREATE UNIQUE INDEX partial ON rooms (a) WHERE b > 0;
        CREATE UNIQUE INDEX expression ON rooms (lower(c));
        CREATE UNIQUE INDEX mixed ON rooms (d, lower(c));
    """)
    rooms = postgres.tables()["rooms"]
    assert (key_of(rooms), rooms.indexed) == ((), {"d"})


def test_tables_that_may_not_be_read(postgres: House) -> None:
    """The database is asked, so that no run has to fail first."""
    postgres.run(f"{ROOMS} DROP ROLE IF EXISTS survey_reader; CREATE ROLE survey_reader LOGIN; "
                 "GRANT SELECT ON rooms, cheap TO survey_reader")  # fmt: skip
    url = make_url(postgres.url).set(username="survey_reader").render_as_string(hide_password=False)
    try:
        seen = survey(open_source("app", url))
    finally:
        postgres.run("DROP OWNED BY survey_reader; DROP ROLE survey_reader")
    assert {each.name: each.readable for each in seen.tables} == {
        "cheap": True, "log": False, "rooms": True, "stays": False,
    }  # fmt: skip


def test_invisible_columns_are_not_there(mariadb: House) -> None:
    """`SELECT *` leaves them out, so nothing may be said of them; nor can they be the key."""
    mariadb.run("CREATE TABLE rooms (id INT INVISIBLE PRIMARY KEY AUTO_INCREMENT, name TEXT, pwd TEXT INVISIBLE)")
    rooms = mariadb.tables()["rooms"]
    assert ([each.name for each in rooms.columns], key_of(rooms)) == (["name"], ())


def test_types_nobody_knows_are_no_trouble(house: House) -> None:
    """They are of any kind."""
    kind = {"sqlite": "mystery", "postgres": "tsrange", "mariadb": "inet6"}[house.engine]
    house.run(f"CREATE TABLE rooms (id INT PRIMARY KEY, odd {kind})")
    assert [each.name for each in house.tables()["rooms"].columns] == ["id", "odd"]


def test_full_text_indexes_of_sqlite(sqlite: House) -> None:
    """A virtual table and the inner tables that hold its content are passed over."""
    sqlite.run(f"{ROOMS} CREATE VIRTUAL TABLE notes USING fts5(body)")
    assert list(sqlite.tables()) == ["cheap", "log", "rooms", "stays"]


def test_a_broken_view_is_no_trouble(sqlite: House) -> None:
    """Views are not looked into."""
    sqlite.run("CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE VIEW v AS SELECT * FROM a; DROP TABLE a")
    assert list(sqlite.tables()) == ["v"]


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that are executed meanwhile."""
    statements: list[str] = []

    def note(*told: object) -> None:
        statements.append(str(told[2]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_many_tables_take_no_more_questions(postgres: House) -> None:
    """Sixty tables are asked for together, as two are."""

    def questions() -> int:
        with counted() as statements:
            postgres.look()
        return len(statements)

    create = "CREATE TABLE rooms_{} (id INT PRIMARY KEY, updated_at TIMESTAMP);"
    postgres.run("".join(map(create.format, range(2))))
    few = questions()
    postgres.run("".join(map(create.format, range(2, 60))))
    assert (questions(), len(postgres.look().tables)) == (few, 60)
