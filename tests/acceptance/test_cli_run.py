"""`syncer run`: what it sends, what it says, and every exit code it promises."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import http_server
import pytest
from project import Project
from support import CONFIG, assert_one_clear_error, lines_beginning, query, runs_of

from syncer.state import open_store
from syncer.state.owner import current_owner

LETTERS = "  letters: {table: letters, watermark: updatedAt}\n"


def test_first_and_second_run(project: Project) -> None:
    """The first run sends everything, the second nothing but what changed in between."""
    first = project.syncer("run", FORCE_COLOR="1")
    assert first.code == 0, first
    assert project.warehouse.collections() == {"hosts": 60, "rooms": 400}
    assert "\x1b" not in first.out + first.err, "no control characters where there is no terminal"
    assert "rooms: full run succeeded" in first.err
    project.change("UPDATE rooms SET nightlyPrice = 99.5, updatedAt = '2026-03-09 08:00:00' WHERE id = 40")
    second = runs_of(project.syncer("run", "--output", "json"))
    assert {name: run["sent"] for name, run in second.items()} == {"hosts": 0, "rooms": 1}
    assert {run["mode"] for run in second.values()} == {"incremental"}
    (room,) = [row for row in project.warehouse.rows("rooms") if row["id"] == "40"]
    assert (room["nightly_price"], room["updated_at"]) == (99.5, "2026-03-09T08:00:00+00:00")


def test_json_of_success(project: Project) -> None:
    """Success is exit code 0 and one JSON document with the documented keys; log lines go to standard error."""
    told = project.syncer("--log-format", "json", "run", "--output", "json")
    runs = runs_of(told)
    assert told.code == 0
    assert list(runs) == ["hosts", "rooms"]
    rooms = runs["rooms"]
    assert (rooms["outcome"], rooms["read"], rooms["sent"], rooms["requests"]) == ("succeeded", 400, 400, 40)
    assert (rooms["collection"], rooms["mode"], rooms["error"], rooms["deleted"]) == ("rooms", "full", None, 0)
    assert rooms["bytes"] == sum(
        each["bytes"] for each in project.warehouse.requests() if each["collection"] == "rooms"
    )
    started, finished = (datetime.fromisoformat(rooms[name]) for name in ("started_at", "finished_at"))
    assert started.utcoffset() == timedelta(0)
    assert finished >= started
    ((latest,),) = query(project.syncer.folder / "app.db", "SELECT max(updatedAt) FROM rooms")
    assert rooms["watermark"] == latest
    lines = [json.loads(line) for line in told.err.splitlines()]
    assert [line["event"] for line in lines] == ["run_started", "run_finished"] * 2
    assert [lines[3][name] for name in ("mapping", "outcome", "read", "sent")] == ["rooms", "succeeded", 400, 400]


def test_json_of_a_partial_run(project: Project) -> None:
    """A refused row is exit code 3 and outcome `partial`; the good rows of its query are delivered."""
    project.syncer.write("syncer.yaml", CONFIG + LETTERS)
    told = project.syncer("run", "--select", "letters", "--output", "json")
    letters = runs_of(told)["letters"]
    assert [letters[name] for name in ("outcome", "read", "sent", "rejected")] == ["partial", 2, 1, 1]
    assert_one_clear_error(told, 3, "mapping letters: 1 object was refused", "Try: syncer dead-letters list letters")


def test_json_of_a_failed_run(project: Project) -> None:
    """A failed mapping decides the exit code, 1, and leaves the others alone, the partial one included."""
    project.syncer.write("syncer.yaml", CONFIG.replace("FROM rooms", "FROM attics") + LETTERS)
    told = project.syncer("run", "--output", "json")
    runs = runs_of(told)
    assert told.code == 1
    assert [run["outcome"] for run in runs.values()] == ["succeeded", "failed", "partial"]
    assert "no such table: attics" in runs["rooms"]["error"]
    assert len(lines_beginning("Error: ", told.err)) == len(lines_beginning("Try: ", told.err)) == 2
    assert project.warehouse.collections() == {"hosts": 60, "letters": 1}


def test_json_of_a_locked_mapping(project: Project) -> None:
    """A mapping that another process runs is exit code 4 and outcome `locked`; the others run all the same."""
    store = open_store(f"sqlite:///{project.state}")
    lease = store.acquire("hosts", current_owner(), datetime.now(UTC), timedelta(minutes=5))
    told = project.syncer("run", "--output", "json")
    runs = runs_of(told)
    assert told.code == 4
    assert {name: run["outcome"] for name, run in runs.items()} == {"hosts": "locked", "rooms": "succeeded"}
    assert "hosts is being run by process" in str(runs["hosts"]["error"])
    assert project.warehouse.collections() == {"rooms": 400}
    assert_one_clear_error(project.syncer("state", "reset", "hosts"), 4, "hosts is being run by process")
    store.release(lease)
    store.close()
    assert project.syncer("run").code == 0
    assert project.warehouse.collections() == {"hosts": 60, "rooms": 400}


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["-s", "tag:core", "-s", "hosts"], ["hosts", "rooms"]),
        (["--exclude", "tag:core"], ["hosts"]),
    ],
    ids=" ".join,
)
def test_selection(project: Project, arguments: list[str], names: list[str]) -> None:
    """Names and tags choose mappings, which run in the order of the file."""
    told = project.syncer("run", *arguments, "--output", "json")
    assert (told.code, list(runs_of(told))) == (0, names)
    assert list(project.warehouse.collections()) == names


def test_full_and_resend(project: Project) -> None:
    """--full reads everything and sends what changed; --resend sends everything; neither loses the watermark."""
    before = runs_of(project.syncer("run", "--output", "json"))["hosts"]
    project.change("UPDATE hosts SET email = 'unmoved@example.com' WHERE id = 3")  # the watermark stays
    asked = ["run", "--select", "hosts", "--output", "json"]
    full = runs_of(project.syncer(*asked, "--full"))["hosts"]
    resent = runs_of(project.syncer(*asked, "--resend"))["hosts"]
    assert [full[name] for name in ("mode", "read", "sent", "unchanged")] == ["full", 60, 1, 59]
    assert [resent[name] for name in ("mode", "read", "sent", "unchanged")] == ["full", 60, 60, 0]
    assert {before["watermark"]} == {full["watermark"], resent["watermark"]}
    assert project.warehouse.query("SELECT email FROM hosts WHERE id = '3'") == [{"email": "unmoved@example.com"}]


def test_range(project: Project) -> None:
    """--from is inclusive, --to exclusive, and a range saves no checkpoint but does remember what it sent."""
    ((low, high),) = query(project.syncer.folder / "app.db", "SELECT min(updatedAt), max(updatedAt) FROM rooms")
    asked = ["run", "--select", "rooms", "--output", "json", "--from", low, "--to", high]
    run = runs_of(project.syncer(*asked))["rooms"]
    ((below,),) = query(project.syncer.folder / "app.db", f"SELECT count(*) FROM rooms WHERE updatedAt < '{high}'")
    assert (run["read"], run["sent"], run["watermark"]) == (below, below, None)
    assert 0 < below < 400
    assert project.progress()["checkpoints"] == []
    rest = runs_of(project.syncer("run", "--select", "rooms", "--output", "json"))["rooms"]
    assert (rest["read"], rest["sent"], rest["unchanged"]) == (400, 400 - below, below)


def test_limit(project: Project) -> None:
    """--limit reads the first rows by the watermark; the next run goes on behind them."""
    asked = ["run", "--select", "rooms", "--output", "json"]
    first = runs_of(project.syncer(*asked, "--limit", "100"))["rooms"]
    assert (first["read"], first["sent"], project.warehouse.collections()) == (100, 100, {"rooms": 100})
    second = runs_of(project.syncer(*asked))["rooms"]
    assert (second["mode"], second["sent"]) == ("incremental", 300)
    assert project.warehouse.collections() == {"rooms": 400}


def test_dry_run_of_a_fresh_folder(project: Project) -> None:
    """A dry run reads and compares; it sends nothing and creates no state file."""
    project.syncer.write("syncer.yaml", CONFIG + LETTERS)
    told = project.syncer("run", "--dry-run")
    assert (told.code, project.received()) == (0, 0)
    assert "Note: letters: 1 object would be refused; `syncer preview letters` shows them" in told.err
    assert not list(project.syncer.folder.glob("syncer.db*"))


def test_dry_run_over_a_state(project: Project) -> None:
    """With a state, a dry run tells what would be sent, and leaves state and history as they were."""
    project.syncer("run")
    before, sent = project.progress(), project.received()
    project.change("UPDATE rooms SET reviewCount = 7, updatedAt = '2026-03-09 08:00:00' WHERE id IN (1, 2)")
    told = project.syncer("run", "--dry-run")
    (line,) = lines_beginning("rooms ", told.out)
    assert line.split()[:6] == ["rooms", "incremental", "succeeded", "3", "0", "1"]
    assert "skipped" in told.out
    assert (project.progress(), project.received()) == (before, sent)
    assert query(project.state, "SELECT count(*) FROM syncer_runs") == [(2,)]


@pytest.mark.parametrize(("options", "names"), [([], ["hosts", "rooms"]), (["--fail-fast"], ["hosts"])])
def test_fail_fast(project: Project, options: list[str], names: list[str]) -> None:
    """A failure does not keep other mappings from running, unless asked for."""
    project.syncer.write("syncer.yaml", CONFIG.replace("table: hosts", "table: guests"))
    told = project.syncer("run", "--output", "json", *options)
    assert (told.code, list(runs_of(told))) == (2, names)
    assert list(project.warehouse.collections()) == names[1:]


def test_watermark_in_another_case(project: Project) -> None:
    """A watermark and a key spelled in another case than the column are the column."""
    project.syncer.write("syncer.yaml", CONFIG + "  odd: {table: hosts, primary_key: ID, watermark: updatedat}\n")
    told = project.syncer("run", "--select", "odd", "--output", "json")
    assert (told.code, runs_of(told)["odd"]["sent"]) == (0, 60)
    assert project.syncer("state", "set", "odd", "--watermark", "2026-01-01").code == 0


def test_row_that_every_full_run_refuses_is_one_dead_letter(project: Project) -> None:
    """A nightly reload does not pile up dead letters, and the letter goes once the row was accepted."""
    project.syncer.write("syncer.yaml", CONFIG + LETTERS)
    project.syncer("run", "--select", "letters")
    project.syncer("run", "--select", "letters", "--full")
    assert len(project.progress()["dead_letters"]) == 1
    project.change("UPDATE letters SET body = 'mended' WHERE id = 1")
    assert project.syncer("run", "--select", "letters", "--full").code == 0
    assert project.progress()["dead_letters"] == []


def test_preview_is_what_is_sent(project: Project) -> None:
    """The bodies that preview prints are, byte for byte, those the endpoint gets."""
    printed = project.syncer("preview", "rooms", "--limit", "35")
    assert printed.code == 0
    with http_server.serving(http_server.always(http_server.ACCEPTED)) as server:
        told = project.syncer("run", "--select", "rooms", "--limit", "35", ENDPOINT=server.endpoint)
    assert told.code == 0, told
    assert sorted(printed.out.encode().splitlines()) == sorted(request.body for request in server.requests)
    assert len(server.requests) == 4
    assert {request.line for request in server.requests} == {"POST /v1/set HTTP/1.1"}
