"""Bad input, one row each: one clear error, what to try, the exit code, and nothing lost."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import http_server
import pytest
from conftest import Project
from sqlalchemy.engine import make_url
from support import CONFIG, CommandLine, Told, assert_one_clear_error, execute, lines_beginning, progress

from syncer.sandbox.app import create_app
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse


def refused(syncer: CommandLine, arguments: Sequence[str], code: int, *words: str, **environment: str) -> Told:
    """Run a command that must fail clearly and leave the state as it was."""
    state = syncer.folder / "syncer.db"
    before = progress(state)
    assert before["checkpoints"]
    assert before["dead_letters"]
    told = syncer(*arguments, **environment)
    assert_one_clear_error(told, code, *words)
    assert progress(state) == before
    return told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rum"], ["there is no command 'rum'", "Try: syncer run"]),
        (["synchronise"], ["there is no command 'synchronise'", "Try: syncer --help"]),
        (["run", "--ful"], ["--ful", "Did you mean '--full'?", "Try: syncer run --help"]),
        (["run", "--limit", "none"], ["--limit", "Try: syncer run --help"]),
        (["run", "--output", "xml"], ["--output", "Try: syncer run --help"]),
        (["preview"], ["MAPPING", "Try: syncer preview --help"]),
        (["run", "--from", "2026-01-01", "--full"], ["--from and --to do not go with --full"]),
        (["run", "--select", "room"], ["there is no mapping `room`", "did you mean `rooms`?"]),
        (["run", "--select", "tag:cores"], ["no mapping has the tag `cores`", "did you mean `core`?"]),
        (["run", "--select", "rooms", "--exclude", "tag:core"], ["leaves no mapping"]),
        (["run", "--from", "yesterday", "--select", "rooms"], ["'yesterday' is no time", "rooms"]),
        (["serve"], ["no mapping has a schedule", "schedules:"]),
        (["preview", "room"], ["there is no mapping `room`"]),
        (["runs", "room"], ["there is no mapping `room`"]),
        (["state", "show", "room"], ["there is no mapping `room`"]),
        (["state", "set", "rooms"], ["--watermark VALUE or --adopt"]),
        (["state", "set", "rooms", "--watermark", "yesterday"], ["'yesterday' is no time"]),
        (["state", "reset", "room"], ["there is no mapping `room`"]),
        (["dead-letters", "list", "room"], ["there is no mapping `room`"]),
        (["dead-letters", "show", "99"], ["there is no dead letter 99", "Try: syncer dead-letters list"]),
        (["dead-letters", "discard"], ["say which dead letters"]),
        (["sandbox", "--fail", "2"], ["--fail", "Try: syncer sandbox --help"]),
        (["sandbox", "--host", "0.0.0.0", "--port", "0"], ["open to the network", "write key"]),
        (["-c", "absent.yaml", "run"], ["the file absent.yaml, which -c names, does not exist"]),
    ],
    ids=" ".join,
)
def test_usage(used: CommandLine, arguments: list[str], words: list[str]) -> None:
    """A command line that cannot be meant is exit code 2 and says what could be."""
    refused(used, arguments, 2, *words)


def test_no_config_at_all(command_line: CommandLine) -> None:
    """A folder without a config file says which names were looked for."""
    assert_one_clear_error(command_line("status"), 2, "there is no syncer.yaml and no config.yaml here")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  odd: {table: letters\n", ["syncer.yaml:18", "not YAML"]),
        ("  odd:\n\ttable: letters\n", ["syncer.yaml:18", "not YAML", "tabs"]),
        (
            "  odd: {table: letters, watermrak: updatedAt}\n",
            [":17: mappings.odd.watermrak", "did you mean `watermark`?"],
        ),
        ("  odd: {table: letters, refresh_after: soon}\n", [":17: mappings.odd.refresh_after", "a duration such as"]),
        ("  odd: {table: letters, watermark: [updatedAt]}\n", [":17: mappings.odd.watermark"]),
        ("  odd: {table: letters, send: change}\n", [":17: mappings.odd.send", "did you mean `changed`?"]),
        ("  odd: {table: letters, tags: core}\n", [":17: mappings.odd.tags", "a list"]),
        ("  odd: {table: letters, collection: letters2}\n", [":17: mappings.odd.collection", "lowercase letters and"]),
        ("  odd2: {table: letters}\n", [":17: mappings.odd2", "cannot be its collection", "Try: set `collection`"]),
        ("  odd: {table: letters, query: SELECT 1}\n", [":17: mappings.odd", "`query` is written too"]),
        ("  odd: {query: SELECT id FROM letters}\n", [":17: mappings.odd", "`primary_key` is required"]),
        ("  odd: {table: '${ROOM_TABLE}'}\n", [":17: mappings.odd.table", "the variable ROOM_TABLE is not set"]),
        ("  odd: {table: letters, source: apps}\n", [":17: mappings.odd.source", "did you mean `app`?"]),
        ("  odd: {table: letters, schedules: [{cron: every night}]}\n", [":17: mappings.odd.schedules"]),
        ("  rooms: {table: rooms}\n", [":17: mappings.rooms", "12"]),
    ],
    ids=lambda value: value.strip() if isinstance(value, str) else "",
)
def test_config(used: CommandLine, text: str, words: list[str]) -> None:
    """A config that is wrong is exit code 2 and named by file, line and key path."""
    used.write("syncer.yaml", CONFIG + text)
    refused(used, ["run"], 2, *words)


def test_all_problems_of_a_config_at_once(used: CommandLine) -> None:
    """Three mistakes are three lines below one error."""
    used.write("syncer.yaml", CONFIG + "  odd: {tabel: letters, sent: all}\n  even: {table: rooms, nulls: drop}\n")
    told = refused(used, ["check", "--offline"], 2, "mappings.odd.tabel", "mappings.odd.sent", "mappings.even.nulls")
    assert len([line for line in told.err.splitlines() if line.startswith("  ") and ": mappings." in line]) >= 3


@pytest.mark.parametrize(
    ("mapping", "code", "words"),
    [
        ("table: leters", 2, ["there is no table leters", "did you mean letters?"]),
        ("table: keyless", 2, ["keyless has no primary key", "primary_key"]),
        ("{query: SELECT id FROM letters LIMIT 5, primary_key: id}", 2, ["its own LIMIT", "syncer run --limit"]),
        ("{query: 'SELECT id FROM letters; SELECT 1', primary_key: id}", 2, ["several statements"]),
        ("{query: DELETE FROM letters, primary_key: id}", 2, ["does not begin with SELECT"]),
        ("{query: SELECT id FROM letters, primary_key: ident}", 2, ["primary_key ident is no column", "mean id?"]),
        ("{table: letters, watermark: changed_at}", 2, ["watermark changed_at is no column of the query"]),
        ("{table: letters, watermark: {column: updatedAt, lookback: 5}}", 2, ["has no unit", "5s"]),
        ("{table: colliding}", 2, ["'hostID' and 'host_id' both become the property 'host_id'", "rename"]),
        ("{table: letters, properties: {bodi: {drop: true}}}", 2, ["does not return: bodi", "body"]),
        ("{table: twice, primary_key: id}", 2, ["(id) is not unique", "1 id has more than one row"]),
        ("{query: SELECT id bodyy FROM letters WHERE no_such > 1, primary_key: id}", 1, ["no such column: no_such"]),
        ("{query: SELECT id FROM FROM letters, primary_key: id}", 1, ['near "FROM": syntax error']),
    ],
)
def test_mapping(used: CommandLine, mapping: str, code: int, words: list[str]) -> None:
    """A mapping that does not fit its database is told with the mapping's name, before anything is sent."""
    keys = mapping if mapping.startswith("{") else f"{{{mapping}}}"
    used.write("syncer.yaml", CONFIG + f"  odd: {keys}\n")
    told = refused(used, ["run", "--select", "odd"], code, *words)
    assert "mapping odd: " in lines_beginning("Error: ", told.err)[0]


def test_range_without_a_watermark(used: CommandLine) -> None:
    """--from means nothing to a mapping without a watermark."""
    used.write("syncer.yaml", CONFIG + "  odd: {table: letters}\n")
    refused(used, ["run", "--select", "odd", "--from", "2026"], 2, "mapping odd has no watermark")


def test_changed_query(used: CommandLine) -> None:
    """A checkpoint of another query is not built upon: exit code 2, and the two ways on."""
    used.write("syncer.yaml", CONFIG.replace("reviewCount, ", ""))
    refused(used, ["run", "--select", "rooms"], 2, "the query, watermark, key or database changed", "--full", "--adopt")


def test_no_database_file(used: CommandLine) -> None:
    """A SQLite file that is not there is not created, and both mappings that read it share one error."""
    told = refused(used, ["run"], 1, "hosts, rooms", "no database file", SOURCE_URL="sqlite:///absent.db")
    assert "absent.db" in told.err
    assert not (used.folder / "absent.db").exists()


@pytest.mark.parametrize("command", [["run"], ["check"], ["preview", "hosts"], ["dead-letters", "retry"]], ids=" ".join)
def test_unreachable_database(used: CommandLine, command: list[str]) -> None:
    """Every command that reads says where it could not connect, and never the password."""
    used.write("syncer.yaml", CONFIG + "  letters: {table: letters, watermark: updatedAt}\n")
    url = "postgresql://reader:pw-canary@127.0.0.1:9/app"
    told = refused(used, command, 1, "source app: no connection to 127.0.0.1:9/app", SOURCE_URL=url)
    assert "canary" not in told.out + told.err


def test_unknown_role(used: CommandLine, postgres_url: str) -> None:
    """PostgreSQL's own words about a role that does not exist."""
    url = make_url(postgres_url).set(username="nobody_here", password="pw-canary")
    told = refused(
        used, ["run"], 1, "nobody_here", "does not exist", SOURCE_URL=url.render_as_string(hide_password=False)
    )
    assert "canary" not in told.out + told.err


def test_wrong_password(used: CommandLine, mariadb_url: str, execute_sql: Callable[[str, str], None]) -> None:
    """MariaDB's own words about a wrong password, without the password."""
    url = make_url(mariadb_url).set(username="reader", password="pw-canary")
    execute_sql(mariadb_url, "CREATE USER IF NOT EXISTS reader@'127.0.0.1' IDENTIFIED BY 'the right one'")
    told = refused(used, ["run"], 1, "Access denied for user", SOURCE_URL=url.render_as_string(hide_password=False))
    assert "canary" not in told.out + told.err


@pytest.mark.parametrize("engine", ["postgres", "mariadb"])
def test_sql_error_of_a_server(used: CommandLine, engine: str, request: pytest.FixtureRequest) -> None:
    """The server's own words about a query it refuses."""
    used.write("syncer.yaml", CONFIG + "  odd: {query: SELECT id FROM attics, primary_key: id}\n")
    url = request.getfixturevalue(f"{engine}_url")
    refused(used, ["run", "--select", "odd"], 1, "attics", "exist", SOURCE_URL=url)


def test_row_values_stay_out_of_the_database_s_words(
    used: CommandLine, postgres_url: str, execute_sql: Callable[[str, str], None]
) -> None:
    """A conversion that fails in the middle of the rows is told without the value it fails for."""
    execute_sql(
        postgres_url, "CREATE TABLE rooms (id int PRIMARY KEY, name text); INSERT INTO rooms VALUES (1, 'canary')"
    )
    used.write(
        "syncer.yaml", CONFIG + "  odd: {query: 'SELECT id, CAST(name AS int) AS n FROM rooms', primary_key: id}\n"
    )
    told = refused(used, ["run", "--select", "odd"], 1, "invalid input syntax", SOURCE_URL=postgres_url)
    assert "canary" not in told.out + told.err


@contextmanager
def guarded() -> Iterator[str]:
    """A sandbox that knows one write key."""
    with Warehouse(":memory:") as warehouse, running(create_app(warehouse, write_key="the-right-one")) as url:
        yield url


@contextmanager
def redirecting() -> Iterator[str]:
    """A server that answers 301."""
    moved = http_server.answer(301, b"", ("Location", "https://example.com/v1/set"))
    with http_server.serving(http_server.always(moved)) as server:
        yield server.endpoint


@pytest.mark.parametrize("verbose", [[], ["-v"], ["-v", "--log-format", "json"]], ids=" ".join)
def test_wrong_write_key(used: CommandLine, verbose: list[str]) -> None:
    """Both mappings stop with one error, and the write key is nowhere in it."""
    with guarded() as url:
        arguments = [*verbose, "run", "--full", "--resend"]
        told = refused(used, arguments, 1, "refuses the write key", "401", ENDPOINT=url, WRITE_KEY="key-canary")
    assert "canary" not in told.out + told.err


def test_wrong_endpoint_path(used: CommandLine) -> None:
    """404 is no Objects API: exit code 2, because the config has to be mended."""
    with guarded() as url:
        refused(used, ["run", "--resend"], 2, "not the Objects API", "404", ENDPOINT=f"{url}/api")


def test_redirect(used: CommandLine) -> None:
    """A redirect is not followed: the write key would travel with it."""
    with redirecting() as url:
        refused(used, ["run", "--resend"], 2, "not the Objects API", "301", "destination.endpoint", ENDPOINT=url)


def test_unreachable_endpoint(used: CommandLine) -> None:
    """A closed port ends the run by itself, although a run waits minutes for an API it has heard from."""
    refused(used, ["run", "--resend", "--select", "hosts"], 1, "no connection to 127.0.0.1:9", RETRY_FOR="1h")


def test_state_of_a_later_version(used: CommandLine) -> None:
    """A state file that a later syncer wrote is left alone: exit code 2."""
    execute(used.folder / "syncer.db", "UPDATE syncer_meta SET content = '99' WHERE name = 'version'")
    refused(used, ["run"], 2, "version 99", "upgrade syncer")


@pytest.mark.parametrize("command", [["run"], ["status"], ["state", "export"], ["serve"]], ids=" ".join)
def test_state_that_is_something_else(used: CommandLine, command: list[str]) -> None:
    """A database of another application is not taken for the state."""
    used.write("syncer.yaml", CONFIG.replace("tags: [people]", "schedules: [{every: 1h}]"))
    shutil.copy(used.environment["SOURCE_URL"].removeprefix("sqlite:///"), used.folder / "other.db")
    refused(used, command, 1, "other.db is a database of another application", STATE_URL="sqlite:///other.db")


def test_state_without_a_folder(used: CommandLine) -> None:
    """A state file is not put into folders of our own making."""
    refused(used, ["run"], 1, "there is no folder", "mkdir -p", STATE_URL="sqlite:///absent/syncer.db")


def test_unreachable_state(used: CommandLine) -> None:
    """A state server that does not answer is named, and its password is not."""
    url = "postgresql://keeper:pw-canary@127.0.0.1:9/state"
    told = refused(used, ["-v", "run"], 1, "127.0.0.1:9", "cannot be reached", STATE_URL=url)
    assert "canary" not in told.out + told.err


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
        room = shutil.disk_usage(disk).free
        (disk / "ballast").write_bytes(bytes(room))
        told = used("run", STATE_URL=f"sqlite:///{disk}/syncer.db")
        (disk / "ballast").unlink()
        assert_one_clear_error(told, 1, "disk is full", "free some space")
        assert progress(disk / "syncer.db") == before


def test_read_only_disk(used: CommandLine) -> None:
    """A state that cannot be written is an error before anything is sent; reading it still works."""
    with small_disk(used.folder / "disk", used.folder / "syncer.db") as disk:
        before = progress(disk / "syncer.db")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        url = f"sqlite:///{disk}/syncer.db"
        assert_one_clear_error(used("run", STATE_URL=url), 1, "syncer.db", "give this user the right")
        assert "hosts" in used("status", STATE_URL=url).out
        assert progress(disk / "syncer.db") == before


@pytest.mark.parametrize("arguments", [[], ["-v"], ["--log-format", "json", "-v"]], ids=" ".join)
def test_secrets_in_a_config_that_is_wrong(used: CommandLine, arguments: list[str]) -> None:
    """Problems beside secrets, or in them, are told without a piece of them."""
    bad = CONFIG.replace("retry_for:", "retry_fro:")
    used.write("syncer.yaml", bad)
    told = used(
        *arguments, "run", SOURCE_URL="postgresql://reader:pw-canary@[bad/app", WRITE_KEY="key canary",
        ENDPOINT="https://user:canary@example.com", STATE_URL="canary",
    )  # fmt: skip
    assert_one_clear_error(told, 2, "sources.app.url", "destination.write_key", "destination.endpoint", "state.url")
    assert "canary" not in told.out + told.err


@pytest.mark.parametrize(
    ("mapping", "reason", "sent"),
    [
        ("{table: null_keys, primary_key: id, watermark: updatedAt}", "NULL_KEY", "1"),
        ("{table: letters, watermark: updatedAt}", "VALUE_TOO_LARGE", "2"),
    ],
    ids=["null key", "oversized value"],
)
def test_rows_that_cannot_be_sent(project: Project, mapping: str, reason: str, sent: str) -> None:
    """The good row is sent, the bad one is a dead letter, and the error says how many and where to look."""
    project.syncer.write("syncer.yaml", CONFIG + f"  odd: {mapping}\n")
    told = project.syncer("run", "--select", "odd")
    assert_one_clear_error(told, 3, "mapping odd: 1 object was refused", "Try: syncer dead-letters list odd")
    assert [row["id"] for row in project.warehouse.rows("odd")] == [sent]
    state = project.progress()
    assert (len(state["fingerprints"]), len(state["dead_letters"]), len(state["checkpoints"])) == (1, 1, 1)
    assert reason in project.syncer("dead-letters", "list", "odd").out
