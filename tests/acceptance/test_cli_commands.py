"""Every command but `run` and `serve`: its help, and what it does when all is well."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import closing

import jsonschema
import pytest
import yaml
from project import Earlier, Project
from rows import FINDINGS, HELP, Answer, Row
from support import CONFIG, CommandLine, assert_one_clear_error, end_of, line_with, lines_beginning, query, runs_of

from syncer.cli.app import COMMANDS

LETTERS = CONFIG + "  letters: {table: letters, watermark: updatedAt}\n"


@pytest.mark.parametrize("row", HELP, ids=str)
def test_help(answers: Mapping[str, Future[Answer]], row: Row) -> None:
    """Every command explains itself with an example."""
    told = answers[row.name].result().told
    assert told.code == 0
    assert told.out.startswith(f"Usage: syncer {row.arguments[0]} ")
    assert re.search(rf"Examples?:\n    syncer {row.arguments[0]}", told.out), told.out


def test_help_of_the_whole(command_line: CommandLine) -> None:
    """`syncer --help` lists every command; `syncer` alone shows the same and is exit code 2."""
    told, bare = command_line("--help"), command_line()
    assert (told.code, bare.code) == (0, 2)
    listed = re.findall(r"^  ([a-z-]+)  ", told.out.partition("Commands:")[2], re.MULTILINE)
    assert listed == list(COMMANDS)
    assert "Commands:" in bare.err


def test_hints_name_commands_that_exist(command_line: CommandLine) -> None:
    """What an error tells the person to run can be run."""
    command_line.write("empty.yaml", "")
    told = command_line("run").err + command_line("-c", "empty.yaml", "run").err
    assert set(re.findall(r"`syncer ([a-z-]+)", told)) <= set(COMMANDS), told


def test_check(project: Project) -> None:
    """A sound config is exit code 0: columns with their types and properties, key, watermark, next fire times."""
    project.syncer.write(
        "syncer.yaml", CONFIG.replace("tags: [people]", "schedules: [{cron: '0 2 * * *', mode: full}]")
    )
    told = project.syncer("check")
    assert (told.code, told.err) == (0, "")
    for words in (
        "2 mappings", "hosts -> hosts", "id            INTEGER        (the id)       integer",
        "nightlyPrice  DECIMAL(10,2)  nightly_price  decimal", "ok       key id: unique and never NULL",
        "watermark updatedAt: TIMESTAMP", "no index begins with it", "Try: CREATE INDEX hosts_updatedAt ON hosts",
        "ok       full runs next at ",
    ):  # fmt: skip
        assert words in told.out
    assert not list(project.syncer.folder.glob("syncer.db*"))


@pytest.mark.parametrize("row", FINDINGS, ids=str)
def test_check_finds(answers: Mapping[str, Future[Answer]], row: Row) -> None:
    """What has to be mended is exit code 2, with what to try; the other mappings are looked at all the same."""
    told = answers[row.name].result().told
    assert told.code == row.code, told
    assert [word for word in row.words if word not in told.out] == [], told.out
    assert told.out.index("odd -> odd") < told.out.index("even -> even")
    assert "key roomID, reviewNo: unique and never NULL" in told.out


def test_check_offline(project: Project) -> None:
    """--offline connects to nothing, and still finds a LIMIT."""
    nowhere = {"SOURCE_URL": "postgresql://reader@127.0.0.1:9/app"}
    assert project.syncer("check", "--offline", **nowhere).code == 0
    project.syncer.write("syncer.yaml", CONFIG.replace("FROM rooms", "FROM rooms LIMIT 5"))
    told = project.syncer("check", "--offline", **nowhere)
    assert (told.code, "its own LIMIT" in told.out) == (2, True)


def test_check_of_a_server(project: Project, postgres_url: str) -> None:
    """For a server it says which rights suffice."""
    project.syncer.write("syncer.yaml", CONFIG.partition("  rooms:")[0])
    told = project.syncer("check", SOURCE_URL=postgres_url)
    assert told.code == 2
    assert "there is no table hosts" in told.out
    assert "GRANT USAGE ON SCHEMA public TO postgres;" in told.out
    assert "GRANT SELECT ON hosts TO postgres;" in told.out


def test_preview(project: Project) -> None:
    """Preview prints the bodies, says which rows would be refused, sends nothing and writes nothing."""
    project.syncer.write("syncer.yaml", LETTERS)
    told = project.syncer("preview", "letters")
    assert told.code == 0
    assert json.loads(told.out) == {
        "collection": "letters",
        "objects": [{"id": "2", "properties": {"body": "short", "updated_at": "2026-01-02T00:00:00+00:00"}}],
    }
    assert "Row 1 would be refused: VALUE_TOO_LARGE" in told.err
    assert project.received() == 0
    assert not list(project.syncer.folder.glob("syncer.db*"))


def test_status_and_runs(used: CommandLine) -> None:
    """Status tells each mapping's last run and where it stands, runs the history, newest first."""
    used.write("syncer.yaml", CONFIG.replace("FROM rooms", "FROM attics"))
    assert used("run", "--select", "rooms", "--full").code == 1
    hosts, rooms = json.loads(used("status", "--output", "json").out)["mappings"]
    assert (hosts["outcome"], rooms["outcome"]) == ("succeeded", "failed")
    assert "no such table" in rooms["error"]
    assert rooms["last_success"] < rooms["last_run"]
    assert hosts["watermark"].startswith("2026-02-")
    text = used("status")
    assert len(lines_beginning("Error: ", text.err)) == 1
    assert [line.split()[0] for line in text.out.splitlines()[2:]] == ["hosts", "rooms"]
    history = used("runs", "rooms")
    failed, why, succeeded = history.out.splitlines()[2:]
    assert [line.split()[5] for line in (failed, succeeded)] == ["failed", "succeeded"]
    assert "    Error: " in why
    assert "no such table" in why
    assert runs_of(used("runs", "hosts", "--limit", "1", "--output", "json"))["hosts"]["sent"] == 60


def test_before_the_first_run(project: Project) -> None:
    """Looking creates nothing: there are no runs, no dead letters, and each mapping is listed without any."""
    (line,) = lines_beginning("rooms ", project.syncer("status").out)
    assert line.split()[1:] == ["-", "-", "-", "-", "-", "-", "0", "0"]
    assert project.syncer("dead-letters", "retry").out == "No dead letters.\n"
    assert not project.state.exists()


def test_state(project: Project) -> None:
    """A checkpoint can be shown, exported, set back, adopted by a changed query, and forgotten."""
    syncer = project.syncer
    syncer("run", "--select", "rooms")
    (exported,) = json.loads(syncer("state", "export").out)["checkpoints"]
    assert (exported["mapping"], exported["watermark"]["kind"]) == ("rooms", "timestamp")
    assert exported["watermark"]["text"] in syncer("state", "show", "rooms").out

    assert syncer("state", "set", "rooms", "--watermark", "2026-01-01 00:00:00").code == 0
    again = runs_of(syncer("run", "--select", "rooms", "--output", "json"))["rooms"]
    assert (again["mode"], again["sent"], again["unchanged"]) == ("incremental", 0, again["read"])
    assert 1 < again["read"] < 400

    syncer.write("syncer.yaml", CONFIG.replace("reviewCount, ", ""))
    assert syncer("run", "--select", "rooms").code == 2
    assert syncer("state", "set", "rooms", "--adopt").code == 0
    assert syncer("run", "--select", "rooms").code == 0

    assert syncer("state", "reset", "rooms", "--fingerprints").code == 0
    anew = runs_of(syncer("run", "--select", "rooms", "--output", "json"))["rooms"]
    assert (anew["mode"], anew["sent"]) == ("full", 400)
    assert project.progress()["leases"] == []


def test_state_set_of_an_untyped_watermark(project: Project) -> None:
    """A watermark set by hand on a column without a type is compared as the column's own values are."""
    project.change("CREATE TABLE loose (id INTEGER PRIMARY KEY, n)")
    project.change("INSERT INTO loose SELECT id, id FROM rooms")
    project.syncer.write("syncer.yaml", CONFIG + "  loose: {table: loose, watermark: n}\n")
    assert project.syncer("state", "set", "loose", "--watermark", "391").code == 0
    run = runs_of(project.syncer("run", "--select", "loose", "--output", "json"))["loose"]
    assert (run["mode"], run["read"]) == ("incremental", 10)


@pytest.fixture
def lettered(project: Project, earlier: Earlier) -> Project:
    """The project with the state of an earlier run, which refused a row of `letters`."""
    shutil.copy(earlier.state, project.state)
    project.syncer.write("syncer.yaml", LETTERS)
    return project


def test_dead_letters(lettered: Project) -> None:
    """A refused row is listed and shown; retry sends the row as it is now, and then the list is empty."""
    syncer = lettered.syncer
    (letter,) = json.loads(syncer("dead-letters", "list", "letters", "--output", "json").out)["dead_letters"]
    assert (letter["id"], letter["code"]) == ("1", "VALUE_TOO_LARGE")
    shown = json.loads(syncer("dead-letters", "show", str(letter["number"])).out)
    assert {**shown, **letter} == shown

    still = syncer("dead-letters", "retry")
    assert (still.code, still.out) == (3, "letters: 0 sent, 1 refused again, 0 no longer in the source\n")
    assert len(lettered.progress()["dead_letters"]) == 1

    lettered.change("UPDATE letters SET body = 'mended' WHERE id = 1")
    mended = syncer("dead-letters", "retry", "--mapping", "letters")
    assert (mended.code, mended.out) == (0, "letters: 1 sent, 0 refused again, 0 no longer in the source\n")
    assert [row["body"] for row in lettered.warehouse.rows("letters")] == ["mended"]
    assert lettered.warehouse.requests()[-1]["synchronous"] == 1
    assert syncer("dead-letters", "list").out == "No dead letters.\n"


def test_dead_letter_of_a_row_that_is_gone(lettered: Project) -> None:
    """Retry drops the dead letter of a row that the source no longer has."""
    lettered.change("DELETE FROM letters WHERE id = 1")
    told = lettered.syncer("dead-letters", "retry")
    assert (told.code, told.out) == (0, "letters: 0 sent, 0 refused again, 1 no longer in the source\n")
    assert lettered.progress()["dead_letters"] == []


def test_dead_letters_of_a_mapping_that_left_the_config(lettered: Project) -> None:
    """Retry names the mapping instead of doing nothing; its dead letters stay, and can be discarded."""
    lettered.syncer.write("syncer.yaml", CONFIG)
    before = lettered.progress()
    assert_one_clear_error(lettered.syncer("dead-letters", "retry"), 2, "letters", "no longer has")
    assert lettered.progress() == before
    assert lettered.syncer("dead-letters", "discard", "--mapping", "letters").out == "1 discarded.\n"


def test_dead_letters_that_cannot_be_sent(lettered: Project) -> None:
    """A retry that the endpoint does not answer is exit code 1 and leaves the dead letter; discard forgets it."""
    lettered.change("UPDATE letters SET body = 'mended' WHERE id = 1")
    before = lettered.progress()
    told = lettered.syncer("dead-letters", "retry", "1", ENDPOINT="http://127.0.0.1:9", RETRY_FOR="1s")
    assert_one_clear_error(told, 1, "no connection to 127.0.0.1:9")
    assert lettered.progress() == before
    assert query(lettered.state, "SELECT outcome FROM syncer_runs ORDER BY number DESC LIMIT 1") == [("failed",)]
    assert lettered.syncer("dead-letters", "discard", "1").out == "1 discarded.\n"
    assert lettered.progress()["dead_letters"] == []


def test_dead_letter_without_a_key(project: Project) -> None:
    """A row without a key cannot be found again: retry says so, is exit code 3, and keeps the dead letter."""
    project.syncer.write("syncer.yaml", CONFIG + "  odd: {table: null_keys, primary_key: id}\n")
    project.syncer("run", "--select", "odd")
    told = project.syncer("dead-letters", "retry")
    assert (told.code, "1 without a key" in told.out) == (3, True)
    assert len(project.progress()["dead_letters"]) == 1


def test_schema(command_line: CommandLine) -> None:
    """The schema is a JSON Schema that a whole config satisfies and a mistyped key does not."""
    schema = json.loads(command_line("schema").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    config = yaml.safe_load(CONFIG)
    jsonschema.validate(config, schema)
    config["mappings"]["hosts"]["watermrak"] = "updatedAt"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, schema)


def test_reader_that_leaves(command_line: CommandLine) -> None:
    """`syncer schema | head -1` ends quietly."""
    with command_line.started("schema") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_sandbox(project: Project) -> None:
    """The sandbox takes what a run sends into its file, refuses another write key, and ends on SIGTERM."""
    with project.syncer.started("sandbox", "--port", "0", "--db", "warehouse.db", "--write-key", "sesame") as sandbox:
        url = line_with("Sandbox on", sandbox.stdout).split()[2].rstrip(",")
        assert project.syncer("run", "--select", "hosts", ENDPOINT=url, WRITE_KEY="mellon").code == 1
        assert project.syncer("run", "--select", "hosts", ENDPOINT=url, WRITE_KEY="sesame").code == 0
        sandbox.send_signal(signal.SIGTERM)
        told = end_of(sandbox)
    assert (told.code, told.err) == (0, "")
    with closing(sqlite3.connect(project.syncer.folder / "warehouse.db")) as warehouse:
        assert warehouse.execute("SELECT count(*) FROM hosts").fetchone() == (60,)


def test_config_from_elsewhere(project: Project) -> None:
    """The config is found by -c, by $SYNCER_CONFIG and as config.yaml, and its paths are relative to itself."""
    below = project.syncer.folder / "below"
    below.mkdir()
    elsewhere = CommandLine(folder=below, environment=project.syncer.environment)
    assert elsewhere("-c", "../syncer.yaml", "run", "--select", "hosts").code == 0
    assert project.state.exists()
    assert "hosts" in elsewhere("status", SYNCER_CONFIG="../syncer.yaml").out
    (project.syncer.folder / "syncer.yaml").rename(project.syncer.folder / "config.yaml")
    assert "hosts" in project.syncer("status").out


def test_write_key_from_a_dotenv_file(project: Project) -> None:
    """Variables may stand in `.env` beside the config; the environment wins over it."""
    project.syncer.write("syncer.yaml", CONFIG.replace("${WRITE_KEY:-a-write-key}", "${FROM_DOTENV}"))
    project.syncer.write(".env", "FROM_DOTENV='a key'\n")
    assert "destination.write_key" in project.syncer("check", "--offline").err
    assert project.syncer("check", "--offline", FROM_DOTENV="a-key").code == 0


def test_demo(command_line: CommandLine) -> None:
    """The demo runs twice, shows tables and next steps, and can be had again in the same folder."""
    told = command_line("demo", "--dir", "try")
    assert told.code == 0, told
    assert [line.split()[2:5] for line in lines_beginning("rooms ", told.out)] == [
        ["succeeded", "400", "400"], ["succeeded", "11", "10"],
    ]  # fmt: skip
    for words in ("1. First run", "2. 23 rows change", "3. What the warehouse holds", "nightly_price", "cd try"):
        assert words in told.out
    steps = re.findall(r"^  syncer ([a-z-]+)", told.out, re.MULTILINE)
    assert steps
    assert set(steps) <= set(COMMANDS)
    again = command_line("demo", "--dir", "try")
    assert again.code == 0, again
    assert "warehouse.db" in [each.name for each in (command_line.folder / "try").iterdir()]


def test_next_steps_of_the_demo(command_line: CommandLine) -> None:
    """What the demo tells to try works: check, preview, a full run that sends nothing."""
    told = command_line("demo")
    there = CommandLine(folder=command_line.folder / "syncer-demo")
    (step,) = re.findall(r"^  syncer (sandbox [^&]+) &", told.out, re.MULTILINE)
    with there.started(*step.split()) as sandbox:
        line_with("Sandbox on", sandbox.stdout)
        assert there("check").code == 0
        assert json.loads(there("preview", "rooms", "--limit", "1").out)["collection"] == "rooms"
        runs = runs_of(there("run", "--full", "--output", "json"))
        assert list(runs) == ["hosts", "rooms", "reviews"]
        assert {(run["outcome"], run["sent"]) for run in runs.values()} == {("succeeded", 0)}


def test_demo_refuses_a_foreign_folder(command_line: CommandLine) -> None:
    """A folder or file that no demo made is left alone."""
    command_line.write("notes.txt", "mine")
    (command_line.folder / "mine").mkdir()
    (command_line.folder / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    for place in ("mine", "notes.txt"):
        assert_one_clear_error(command_line("demo", "--dir", place), 2, place, "syncer demo --dir ANOTHER_FOLDER")
    assert command_line.read("mine/notes.txt") == command_line.read("notes.txt") == "mine"
