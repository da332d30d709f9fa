"""A database that quotes a row, or is not reached, gets neither the row value nor the password told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import http_server
import pytest
from acceptance.support import CommandLine
from canaries import (
    PASSWORD,
    VALUE,
)
from http_server import serving
from secret_world import CONFIG, TABLE, fails, prepared, quoted
from sqlalchemy.engine import make_url


@pytest.fixture
def syncer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """The command in a folder with canaries."""
    return prepared(tmp_path, capfd)


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query that fails for the value of a row, and what the database says."""

    sql: str
    words: tuple[str, ...] = ("mapping odd: ",)
    codes: tuple[int, ...] = (1,)
    key: str = "primary_key: id"


VALUES = {
    "sqlite": {
        "path": Query(sql="SELECT id, json_extract('{}', name) AS x FROM rooms"),
        "JSON": Query(sql="SELECT id, json(name) AS x FROM rooms"),
        "not UTF-8": Query(sql="SELECT id, CAST(CAST(name AS BLOB) || x'ff' AS TEXT) AS x FROM rooms", codes=(3,)),
        "overflow": Query(sql="SELECT id, abs(-9223372036854775808) AS x, name FROM rooms"),
        "same id": Query(sql="SELECT 1 AS id, name FROM rooms", codes=(2,)),
        "no id": Query(sql="SELECT NULL AS id, name FROM rooms", codes=(2, 3)),
        "too large": Query(sql="SELECT id, name || hex(zeroblob(40000)) AS x FROM rooms", codes=(3,)),
        "no integer": Query(
            sql="SELECT id, name FROM rooms", key="primary_key: id, properties: {name: {type: integer}}",
            codes=(0, 1, 2, 3), words=(),
        ),
        "no column": Query(sql="SELECT id, nome FROM rooms"),
    },
    "postgres": {
        "cast": Query(sql="SELECT id, CAST(name AS integer) AS x FROM rooms"),
        "zero": Query(sql="SELECT id, name, 1 / (id - 1) AS x FROM rooms"),
        "date": Query(sql="SELECT id, CAST(name AS date) AS x FROM rooms"),
        "JSON": Query(sql="SELECT id, CAST(name AS jsonb) AS x FROM rooms"),
        "expression": Query(sql="SELECT id, regexp_replace('x', '(' || name, '') AS x FROM rooms"),
        "same id": Query(sql="SELECT 1 AS id, name FROM rooms", codes=(2,)),
        "no id": Query(sql="SELECT CAST(NULL AS integer) AS id, name FROM rooms", codes=(2, 3)),
        "too large": Query(sql="SELECT id, name || repeat('x', 40000) AS x FROM rooms", codes=(3,)),
    },
    "mariadb": {
        "XPATH": Query(sql="SELECT id, EXTRACTVALUE('<a/>', CONCAT('~', name)) AS x FROM rooms"),
        "range": Query(sql="SELECT id, name, EXP(710 + id) AS x FROM rooms"),
        "subquery": Query(sql="SELECT id, (SELECT name FROM rooms) AS x FROM rooms"),
        "too large": Query(sql="SELECT id, CONCAT(name, REPEAT('x', 40000)) AS x FROM rooms", codes=(3,)),
    },
}  # fmt: skip


@pytest.mark.parametrize(("engine", "name"), [(engine, name) for engine, each in VALUES.items() for name in each])
def test_query(
    syncer: CommandLine, engine: str, name: str, request: pytest.FixtureRequest,
    execute_sql: Callable[[str, str], None],
) -> None:  # fmt: skip
    """A query that fails for a row's value, or a row that is refused, tells the failure without the value."""
    query = VALUES[engine][name]
    syncer.write("odd.sql", query.sql)
    syncer.write("syncer.yaml", f"{CONFIG}  odd: {{query_file: odd.sql, {query.key}}}\n")
    environment = {}
    if engine != "sqlite":
        environment["SOURCE_URL"] = request.getfixturevalue(f"{engine}_url")
        execute_sql(environment["SOURCE_URL"], _table(engine))
    with serving(http_server.always(http_server.ACCEPTED)) as server:
        fails(syncer, *query.words, codes=query.codes, ENDPOINT=server.endpoint, **environment)


def _table(engine: str) -> str:
    name = quoted(VALUE.replace("\\", "\\\\") if engine == "mariadb" else VALUE)
    return TABLE.format(name=name)


PLACES = {
    "password": lambda url: url.set(password=PASSWORD),
    "user": lambda url: url.set(username="nobody_here", password=PASSWORD),
    "database": lambda url: url.set(database="attics", password=PASSWORD),
    "port": lambda url: url.set(port=9, password=PASSWORD),
    "host": lambda url: url.set(host="rooms.invalid", password=PASSWORD),
    "option": lambda url: url.set(password=PASSWORD).update_query_dict({"attic": PASSWORD}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("engine", ["postgres", "mariadb"])
@pytest.mark.parametrize("role", ["SOURCE_URL", "STATE_URL"])
def test_connection(syncer: CommandLine, role: str, engine: str, place: str, request: pytest.FixtureRequest) -> None:
    """A source or a state that cannot be connected to is told without its password."""
    url = PLACES[place](make_url(request.getfixturevalue(f"{engine}_url")))
    if engine == "postgres" and place == "password":
        pytest.skip("the server of the tests trusts whoever comes from here")
    more = {role: url.render_as_string(hide_password=False), "ENDPOINT": "http://127.0.0.1:9"}
    fails(syncer, codes=(1, 2), **more)
