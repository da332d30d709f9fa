"""Write key, database password and row values are told nowhere, whatever goes wrong; dead letters hold objects."""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import http_server
import pytest
from acceptance.support import CommandLine, Told, end_of, until
from campaign import rounds
from canaries import (
    PASSWORD,
    PASSWORD_IN_URL,
    VALUE,
    WRITE_KEY,
    assert_tells_nothing,
    letters_in,
    secrets_in,
    state_without_letters,
    values_in,
)
from http_server import Reply, Request, Script, ScriptedServer, answer, serving
from sqlalchemy.engine import make_url

from syncer.state import open_store

#: two of four in the short form, evenly over the cases; of any two neighbours one is verbose
STYLES = (
    ["-v", "--log-format", "json"], ["--log-format", "text"], ["-v", "--log-format", "text"], ["--log-format", "json"]
)  # fmt: skip
_turns = itertools.count()

CONFIG = """\
version: 1
sources:
  app: {url: "${SOURCE_URL:-sqlite:///app.db}"}
  spare: {url: "${SPARE_URL}"}
destination: {write_key: "${WRITE_KEY}", endpoint: "${ENDPOINT}", retry_for: 1s}
state: {url: "${STATE_URL:-sqlite:///syncer.db}"}
defaults: {source: app}
mappings:
"""
ROOMS = "  rooms: {table: rooms, watermark: updated_at}\n"
TABLE = """
CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT, updated_at TIMESTAMP);
INSERT INTO rooms VALUES (1, {name}, '2026-01-01 00:00:00'), (2, 'Attic', '2026-01-02 00:00:00');
"""


@pytest.fixture
def syncer(tmp_path: Path) -> CommandLine:
    """The command in a folder with a database that holds the value; the key and a password are in its environment."""
    environment = {"WRITE_KEY": WRITE_KEY, "SPARE_URL": f"postgresql://reader:{PASSWORD_IN_URL}@127.0.0.1:9/app"}
    made = CommandLine(folder=tmp_path, environment=environment)
    made.write("syncer.yaml", CONFIG + ROOMS)
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.executescript(TABLE.format(name=quoted(VALUE)))
    return made


def quoted(text: str) -> str:
    """As SQL."""
    return "'" + text.replace("'", "''") + "'"


def styles() -> Sequence[list[str]]:
    """The options that this case is tried with."""
    turn = next(_turns)
    return [STYLES[(turn + each) % len(STYLES)] for each in range(rounds(2, 4))]


def fails(syncer: CommandLine, *words: str, codes: Sequence[int] = (1,), command: str = "run", **more: str) -> None:
    """A command that fails with these words, in every style, and tells nothing."""
    for style in styles():
        told = syncer(*style, *command.split(), **more)
        assert told.code in codes, told
        assert [word for word in words if word not in told.err] == [], told
        assert ("Traceback" in told.err) <= ("-v" in style), told
        assert_tells_nothing(told, syncer.folder)


# --- the API


def echo(status: int, *headers: tuple[str, str]) -> Script:
    """A server that repeats all it was sent, in every form it can think of."""

    def script(request: Request) -> Reply:
        sent = {name: request.headers[name] for name in ("authorization", "user-agent")}
        told = {
            "error": f"cannot take {request.body.decode()}", "headers": sent, "key": WRITE_KEY,
            "url": quote(WRITE_KEY, safe=""), "object": VALUE, "objects": json.loads(request.body)["objects"],
        }  # fmt: skip
        return answer(status, json.dumps(told).encode(), *headers)

    return script


def page(request: Request) -> Reply:
    """A web page with what was sent in it."""
    return answer(200, b"<html>" + request.body + request.headers["authorization"].encode() + VALUE.encode())


def no_http(request: Request) -> Reply:
    """The request itself, instead of an answer."""
    return Reply(parts=[request.headers["authorization"].encode() + request.body], then=http_server.Then.CLOSE)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (echo(401), 1), (echo(403), 1), (echo(500), 1), (echo(503, ("Retry-After", "1")), 1), (echo(404), 2),
        (echo(302, ("Location", f"http://x:{quote(WRITE_KEY, safe='')}@127.0.0.1:9/")), 2), (page, 1), (no_http, 1),
        (http_server.always(http_server.RESET), 1),
        (echo(429, ("Retry-After", WRITE_KEY)), 1),
    ],
    ids=["401", "403", "500", "503", "404", "302", "page", "no HTTP", "reset", "429"],
)  # fmt: skip
def test_api(syncer: CommandLine, script: Script, code: int) -> None:
    """An API that refuses, fails or is another, and repeats everything, gets nothing told."""
    with serving(script) as server:
        fails(syncer, "mapping rooms: ", codes=(code,), ENDPOINT=server.endpoint)


def test_nobody_listens(syncer: CommandLine) -> None:
    """A refused connection tells host and port and nothing else."""
    fails(syncer, "no connection to 127.0.0.1:9", ENDPOINT="http://127.0.0.1:9")


def test_refused_objects(syncer: CommandLine) -> None:
    """A refused object is in its dead letter, and is shown when asked for; elsewhere, and of the key, nothing is."""
    with serving(echo(400)) as server:
        syncer.environment["ENDPOINT"] = server.endpoint
        fails(syncer, "mapping rooms: 2 objects were refused", codes=(3,))
        assert letters_in(syncer.folder / "syncer.db") == 2
        for command in ("dead-letters list", "dead-letters list --output json", "dead-letters retry", "status",
                        "runs", "state show", "state export", "plan"):  # fmt: skip
            for style in styles():
                told = syncer(*style, *command.split())
                assert told.code in (0, 3), (command, told)
                assert_tells_nothing(told, syncer.folder)
        numbers = [each["number"] for each in json.loads(syncer("dead-letters", "list", "--output", "json").out)[
            "dead_letters"]]  # fmt: skip
        shown = [syncer("-v", "dead-letters", "show", str(number)) for number in numbers]
    for told in shown:
        assert_tells_nothing(told, syncer.folder, shows_objects=True)
    assert values_in("".join(told.out for told in shown).encode())


def test_all_is_well(syncer: CommandLine) -> None:
    """Where nothing goes wrong nothing is told either, whatever is asked; a preview shows the objects, not the key."""
    with serving(http_server.always(http_server.ACCEPTED)) as server:
        syncer.environment["ENDPOINT"] = server.endpoint
        for command in ("plan", "run", "run --full --resend --output json", "run --dry-run", "status", "runs",
                        "state show", "state export", "check --exclude spare", "schema"):  # fmt: skip
            told = syncer("-v", *command.split())
            assert_tells_nothing(told, syncer.folder)
        previewed = syncer("-v", "preview", "rooms")
        traced = syncer("-v", "trace", "rooms", "1")
    assert values_in(previewed.out.encode())
    for told in (previewed, traced):
        assert_tells_nothing(told, syncer.folder, shows_objects=True)


# --- databases


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
        "not UTF-8": Query(sql="SELECT id, CAST(CAST(name AS BLOB) || x'ff' AS TEXT) AS x FROM rooms"),
        "no time": Query(
            sql="SELECT id, name, name AS updated_at FROM rooms", key="primary_key: id, watermark: updated_at"
        ),
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
        "expression": Query(sql="SELECT id, 'x' REGEXP CONCAT('(', name) AS x FROM rooms"),
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


# --- the state


def locked(path: Path) -> None:
    """Nothing: the lock is held by the test."""


def corrupt(path: Path) -> None:
    """Its middle is noise."""
    content = bytearray(path.read_bytes())
    content[100:-100] = bytes(len(content) - 200)
    path.write_bytes(bytes(content))


def foreign(path: Path) -> None:
    """Something else than a database."""
    path.write_text("hosts, rooms, reviews\n" * 100)


def folder(path: Path) -> None:
    """Not even a file."""
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [corrupt, foreign, folder])
def test_damaged_state(syncer: CommandLine, damage: Callable[[Path], None]) -> None:
    """A state that cannot be used is told as such."""
    state = syncer.folder / "syncer.db"
    with serving(http_server.always(http_server.ACCEPTED)) as server:
        assert syncer("run", ENDPOINT=server.endpoint).code == 0
        for each in syncer.folder.glob("syncer.db-*"):
            each.unlink()
        damage(state)
        fails(syncer, codes=(1, 2), ENDPOINT=server.endpoint)
        fails(syncer, codes=(1, 2), command="status", ENDPOINT=server.endpoint)


def test_locked_state(syncer: CommandLine) -> None:
    """A state that another holds locked for too long is told as such."""
    with serving(http_server.always(http_server.ACCEPTED)) as server:
        syncer("run", ENDPOINT=server.endpoint)
        with closing(sqlite3.connect(syncer.folder / "syncer.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            told = syncer("-v", "run", ENDPOINT=server.endpoint)
            other.execute("ROLLBACK")
    assert told.code == 1
    assert_tells_nothing(told, syncer.folder)


def test_read_only_state(syncer: CommandLine, postgres_url: str, execute_sql: Callable[[str, str], None]) -> None:
    """A state that may only be read is told as such."""
    database = make_url(postgres_url).database
    secret = make_url(postgres_url).set(password=PASSWORD).render_as_string(hide_password=False)
    with serving(http_server.always(http_server.ACCEPTED)) as server:
        assert syncer("run", ENDPOINT=server.endpoint, STATE_URL=secret).code == 0
        execute_sql(postgres_url, f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
        fails(syncer, ENDPOINT=server.endpoint, STATE_URL=secret)


def test_held_lease(syncer: CommandLine) -> None:
    """A lease that another holds is told with its owner."""
    with serving(http_server.always(http_server.ACCEPTED)) as server:
        syncer("run", ENDPOINT=server.endpoint)
        with closing(open_store(f"sqlite:///{syncer.folder / 'syncer.db'}")) as store:
            store.acquire("rooms", "elsewhere:1:x", datetime.now(UTC), timedelta(hours=1))
            fails(syncer, "mapping rooms", codes=(4,), ENDPOINT=server.endpoint)


# --- the end of a process


@contextmanager
def stalled(syncer: CommandLine, *arguments: str) -> Iterator[tuple[ScriptedServer, Callable[[int], None], list[Told]]]:
    """A command whose first request is not answered; what it said when it ended."""
    told: list[Told] = []
    slow = Reply(parts=http_server.ACCEPTED.parts, delay=2)
    with (
        serving(http_server.always(slow)) as server,
        syncer.started(*arguments, ENDPOINT=server.endpoint) as process,
    ):
        until(lambda: server.requests, process)
        yield server, process.send_signal, told
        told.append(end_of(process))


@pytest.mark.parametrize("style", STYLES[: rounds(2, 4)], ids=" ".join)
@pytest.mark.parametrize(
    "signals",
    [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT], [signal.SIGKILL]],
    ids=["SIGINT", "SIGTERM", "SIGINT twice", "SIGKILL"],
)
def test_signals(syncer: CommandLine, signals: Sequence[signal.Signals], style: list[str]) -> None:
    """However a run ends, nothing is told, and nothing is left in the state."""
    with stalled(syncer, *style, "run") as (_, send, ends):
        for number in signals:
            send(number)
    assert ends[0].code != 0
    assert_tells_nothing(ends[0], syncer.folder)


def test_serve(syncer: CommandLine) -> None:
    """A daemon whose key is refused, and which goes on, tells nothing."""
    syncer.write("syncer.yaml", CONFIG + ROOMS.replace("}\n", ", schedules: [{every: 1s}]}\n"))
    with serving(echo(401)) as server, syncer.started("-v", "serve", ENDPOINT=server.endpoint) as process:
        until(lambda: len(server.requests) >= 2, process)
        process.terminate()
        told = end_of(process)
    assert "refuses the write key" in told.err
    assert_tells_nothing(told, syncer.folder)


# --- the config


def _changed(old: str, new: str) -> str:
    assert old in CONFIG
    return CONFIG.replace(old, new) + ROOMS


CONFIGS = {
    "no end of quotes": _changed('"${WRITE_KEY}"', f"'{WRITE_KEY}"),
    "no end of braces": _changed('"${WRITE_KEY}", ', f"{json.dumps(WRITE_KEY)} "),
    "no blank behind a colon": _changed('write_key: "${WRITE_KEY}"', f"write_key:{WRITE_KEY[:15]}"),
    "a list": _changed('"${WRITE_KEY}"', f"[{json.dumps(WRITE_KEY)}]"),
    "an anchor": _changed('"${WRITE_KEY}"', f"*{WRITE_KEY[:15]}"),
    "a tag": _changed('"${WRITE_KEY}"', f"!{WRITE_KEY[:15]} x"),
    "a blank": _changed('"${WRITE_KEY}"', json.dumps(f"{WRITE_KEY} {WRITE_KEY}")),
    "another key": _changed("write_key", "writekey"),
    "a key as a region": _changed("endpoint", f"region: {json.dumps(WRITE_KEY)}, endpoint"),
    "a key as a duration": _changed("1s", json.dumps(WRITE_KEY)),
    "a key twice": _changed("retry_for", f"write_key: {json.dumps(WRITE_KEY)}, retry_for"),
    "a url without a scheme": _changed('"${SPARE_URL}"', json.dumps(f"reader:{PASSWORD}@127.0.0.1/app")),
    "a password that is not encoded": _changed('"${SPARE_URL}"', json.dumps(f"postgresql://reader:{PASSWORD}@h:x/app")),
    "a url with a bad port": _changed('"${SPARE_URL}"', f"postgresql://reader:{PASSWORD_IN_URL}@127.0.0.1:port/app"),
    "a url of no driver": _changed("${SOURCE_URL:-sqlite:///app.db}", f"nosql://reader:{PASSWORD_IN_URL}@127.0.0.1/a"),
    "a url of parts": _changed('"${SPARE_URL}"', f"{{password: {json.dumps(PASSWORD)}}}"),
    "a url as a name": _changed("source: app", f"source: postgresql://reader:{PASSWORD_IN_URL}@127.0.0.1/app"),
    "an endpoint with a password": _changed('"${ENDPOINT}"', f"https://reader:{PASSWORD_IN_URL}@example.com"),
    "a state url without a scheme": _changed('"${STATE_URL:-sqlite:///syncer.db}"', json.dumps(PASSWORD)),
    "a variable of this name": _changed('"${WRITE_KEY}"', f'"${{{WRITE_KEY}}}"'),
    "a variable with a bad default": _changed('"${WRITE_KEY}"', f'"${{ABSENT:?{WRITE_KEY}}}"'),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_config(syncer: CommandLine, name: str) -> None:
    """A config that cannot be used, with the secrets written into it, is told without them."""
    syncer.write("syncer.yaml", CONFIGS[name])
    fails(syncer, codes=(1, 2), ENDPOINT="http://127.0.0.1:9")


@pytest.mark.parametrize("line", [f"WRITE_KEY {WRITE_KEY}", f'WRITE_KEY="{WRITE_KEY}', f"{WRITE_KEY}", f"={PASSWORD}"])
def test_dotenv(syncer: CommandLine, line: str) -> None:
    """A `.env` file with a line that cannot be read is told without the line."""
    del syncer.environment["WRITE_KEY"]
    syncer.write(".env", line + "\n")
    fails(syncer, codes=(1, 2), ENDPOINT="http://127.0.0.1:9")


# --- the judge


@pytest.mark.parametrize("secret", [WRITE_KEY, PASSWORD])
def test_the_judge(secret: str) -> None:
    """All of this rests on it: a secret is recognised raw, in a URL, in JSON, in base64 wherever it begins, in part."""
    import base64

    raw = secret.encode()
    told = [raw, quote(secret).encode(), json.dumps({"x": secret}).encode(), raw[:20], raw[-20:], raw.hex().encode()]
    told += [base64.b64encode(b"user:"[:skip] + raw + b":") for skip in range(4)]
    assert [text for text in told if not secrets_in(text)] == []
    assert values_in(json.dumps({"x": VALUE}).encode())
    assert values_in(VALUE.encode("utf-8"))
    assert secrets_in(b"rooms") == values_in(b"rooms") == []


def test_the_judge_of_states(tmp_path: Path) -> None:
    """Of a state the dead letters are left out, and nothing else is."""
    with closing(sqlite3.connect(tmp_path / "syncer.db")) as connection:
        connection.execute("CREATE TABLE syncer_dead_letters (x)")
        connection.execute("INSERT INTO syncer_dead_letters VALUES (?)", (VALUE,))
        connection.commit()
        assert values_in(state_without_letters(tmp_path / "syncer.db")) == []
        connection.execute("CREATE TABLE syncer_runs (x)")
        connection.execute("INSERT INTO syncer_runs VALUES (?)", (VALUE,))
        connection.commit()
    assert values_in(state_without_letters(tmp_path / "syncer.db"))
