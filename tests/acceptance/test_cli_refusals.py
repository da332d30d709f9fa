"""Bad input: one clear error, what to try, the exit code, and nothing lost. Most of it stands in `rows`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import http_server
import pytest
from project import Project
from rows import BAD_INPUT, Answer, Row, ask
from sqlalchemy.engine import make_url
from support import CONFIG, CommandLine, Told, assert_one_clear_error, execute, progress, query

from syncer.sandbox.app import create_app
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse


@pytest.mark.parametrize("row", BAD_INPUT, ids=str)
def test_refused(answers: Mapping[str, Future[Answer]], row: Row) -> None:
    """Bad input is one clear error with its exit code; the state stays as it was, and no secret is told."""
    judge(answers[row.name].result(), row)


def judge(answer: Answer, row: Row) -> Told:
    """What holds for every answer. Returns what was said."""
    assert_one_clear_error(answer.told, row.code, *row.words, verbose="-v" in row.arguments)
    assert "canary" not in answer.told.out + answer.told.err
    assert answer.before["checkpoints"]
    assert answer.before["dead_letters"]
    kept = answer.before.keys() - ({"fingerprints"} if row.sends else set())
    assert {name: answer.after[name] for name in kept} == {name: answer.before[name] for name in kept}
    return answer.told


def refused(syncer: CommandLine, row: Row) -> Told:
    """As the rows of the table, for those that need a server."""
    return judge(ask(syncer, row), row)


def test_no_config_at_all(command_line: CommandLine) -> None:
    """A folder without a config file says which names were looked for."""
    assert_one_clear_error(command_line("status"), 2, "there is no syncer.yaml and no config.yaml here")


def test_unknown_role(used: CommandLine, postgres_url: str) -> None:
    """PostgreSQL's own words about a role that does not exist."""
    url = make_url(postgres_url).set(username="nobody_here", password="pw-canary").render_as_string(hide_password=False)
    words = ["mappings hosts, rooms: ", 'role "nobody_here" does not exist']
    refused(used, Row(name="role", arguments=["run"], code=1, words=words, environment={"SOURCE_URL": url}))


def test_wrong_password(used: CommandLine, mariadb_url: str, execute_sql: Callable[[str, str], None]) -> None:
    """MariaDB's own words about a wrong password, without the password."""
    execute_sql(mariadb_url, "CREATE USER IF NOT EXISTS reader@'127.0.0.1' IDENTIFIED BY 'the right one'")
    url = make_url(mariadb_url).set(username="reader", password="pw-canary").render_as_string(hide_password=False)
    words = ["mappings hosts, rooms: ", "Access denied for user 'reader'"]
    refused(used, Row(name="password", arguments=["run"], code=1, words=words, environment={"SOURCE_URL": url}))


@pytest.mark.parametrize("engine", ["postgres", "mariadb"])
def test_sql_error_of_a_server(used: CommandLine, engine: str, request: pytest.FixtureRequest) -> None:
    """The server's own words about a query it refuses."""
    url: str = request.getfixturevalue(f"{engine}_url")
    config = CONFIG + "  odd: {query: SELECT id FROM attics, primary_key: id}\n"
    words = ["mapping odd: source app: the database refused the query: ", "attics", "exist"]
    row = Row(name="sql", arguments=["run", "--select", "odd"], code=1, words=words, config=config)
    refused(used, Row(**{**vars(row), "environment": {"SOURCE_URL": url}}))


def test_row_values_stay_out_of_the_database_s_words(
    used: CommandLine, postgres_url: str, execute_sql: Callable[[str, str], None]
) -> None:
    """A conversion that fails in the middle of the rows is told without the value it fails for."""
    execute_sql(postgres_url, "CREATE TABLE rooms (id int PRIMARY KEY, name text)")
    execute_sql(postgres_url, "INSERT INTO rooms VALUES (1, 'canary')")
    config = CONFIG + "  odd: {query: 'SELECT id, CAST(name AS int) AS n FROM rooms', primary_key: id}\n"
    words = ["mapping odd: source app: the database refused the query: invalid input syntax"]
    environment = {"SOURCE_URL": postgres_url}
    arguments = ["run", "--select", "odd"]
    refused(used, Row(name="v", arguments=arguments, code=1, words=words, config=config, environment=environment))


@contextmanager
def guarded() -> Iterator[str]:
    """A sandbox that knows one write key."""
    with Warehouse(":memory:") as warehouse, running(create_app(warehouse, write_key="the-right-one")) as url:
        yield url


@pytest.mark.parametrize("options", ["", "-v --log-format json"])
def test_wrong_write_key(used: CommandLine, options: str) -> None:
    """Both mappings stop with one error, and the write key is nowhere in it."""
    words = ["mappings hosts, rooms: ", "refuses the write key: HTTP 401", "Try: check destination.write_key"]
    arguments = [*options.split(), "run", "--resend"]
    with guarded() as url:
        environment = {"ENDPOINT": url, "WRITE_KEY": "key-canary"}
        refused(used, Row(name="key", arguments=arguments, code=1, words=words, environment=environment, sends=True))


def test_wrong_endpoint_path(used: CommandLine) -> None:
    """404 is no Objects API: exit code 2, because the config has to be mended."""
    words = ["mappings hosts, rooms: ", "is not the Objects API: HTTP 404", "Try: check destination.region or"]
    with guarded() as url:
        environment = {"ENDPOINT": f"{url}/api"}
        refused(
            used,
            Row(name="path", arguments=["run", "--resend"], code=2, words=words, environment=environment, sends=True),
        )


def test_redirect(used: CommandLine) -> None:
    """A redirect is not followed: the write key would travel with it."""
    moved = http_server.answer(301, b"", ("Location", "https://example.com/v1/set"))
    words = ["mappings hosts, rooms: ", "is not the Objects API: HTTP 301", "Try: check destination.region or"]
    with http_server.serving(http_server.always(moved)) as server:
        environment = {"ENDPOINT": server.endpoint}
        refused(
            used,
            Row(name="301", arguments=["run", "--resend"], code=2, words=words, environment=environment, sends=True),
        )


def test_state_of_a_later_version(used: CommandLine) -> None:
    """A state file that a later syncer wrote is left alone: exit code 2."""
    execute(used.folder / "syncer.db", "UPDATE syncer_meta SET content = '99' WHERE name = 'version'")
    refused(used, Row(name="later", arguments=["run"], code=2, words=["has version 99", "Try: upgrade syncer"]))


@contextmanager
def small_disk(folder: Path, state: Path) -> Iterator[Path]:
    """A disk of its own with the state file on it."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        shutil.copy(state, folder / "syncer.db")
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk(used: CommandLine) -> None:
    """Without room for the state nothing of it changes, and the error says so."""
    with small_disk(used.folder / "disk", used.folder / "syncer.db") as disk:
        before = progress(disk / "syncer.db")
        (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free))
        told = used("run", STATE_URL=f"sqlite:///{disk}/syncer.db")
        (disk / "ballast").unlink()
        assert_one_clear_error(told, 1, "the disk is full", "Try: free some space")
        assert progress(disk / "syncer.db") == before


def test_read_only_disk(used: CommandLine) -> None:
    """A state that cannot be written is an error before anything is sent; reading it still works."""
    with small_disk(used.folder / "disk", used.folder / "syncer.db") as disk:
        before = progress(disk / "syncer.db")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        url = f"sqlite:///{disk}/syncer.db"
        assert_one_clear_error(used("run", STATE_URL=url), 1, "syncer.db", "Try: give this user the right")
        assert "hosts" in used("status", STATE_URL=url).out
        assert progress(disk / "syncer.db") == before


def test_all_problems_of_a_config_at_once(used: CommandLine) -> None:
    """Three mistakes are three lines below one error."""
    config = CONFIG + "  odd: {tabel: letters, sent: all}\n  even: {table: rooms, nulls: drop}\n"
    words = ["mappings.odd.tabel", "mappings.odd.sent", "mappings.even.nulls"]
    told = refused(used, Row(name="all", arguments=["check", "--offline"], code=2, words=words, config=config))
    lines = [line for line in told.err.splitlines() if ": mappings." in line]
    assert len(lines) == int(told.err.removeprefix("Error: ").split()[0])


def test_row_without_a_key(project: Project) -> None:
    """The good row is sent, the bad one is a dead letter, and the error says how many and where to look."""
    project.syncer.write("syncer.yaml", CONFIG + "  odd: {table: null_keys, primary_key: id, watermark: updatedAt}\n")
    told = project.syncer("run", "--select", "odd")
    assert_one_clear_error(told, 3, "mapping odd: 1 object was refused", "Try: syncer dead-letters list odd")
    assert [row["id"] for row in project.warehouse.rows("odd")] == ["1"]
    state = project.progress()
    assert (len(state["fingerprints"]), len(state["dead_letters"]), len(state["checkpoints"])) == (1, 1, 1)
    assert query(project.state, "SELECT code FROM syncer_dead_letters") == [("NULL_KEY",)]
