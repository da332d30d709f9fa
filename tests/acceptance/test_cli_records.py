"""Run records: every run as an object of a collection of its own. And the history that `runs` shows."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from inside import Inside
from project import Project
from support import CONFIG, RUN_KEYS, assert_one_clear_error, end_of, lines_beginning, query, runs_of, until

RECORDS = CONFIG.replace("  endpoint:", "  run_records: syncer_runs\n  endpoint:")
LETTERS = "  letters: {table: letters, watermark: updatedAt}\n"


@pytest.fixture
def syncer(project: Project, capsys: pytest.CaptureFixture[str]) -> Inside:
    """The command in a folder whose config asks for run records."""
    project.syncer.write("syncer.yaml", RECORDS)
    project.syncer.write(".env", f"ENDPOINT={project.syncer.environment['ENDPOINT']}\n")
    return Inside(folder=project.syncer.folder, capsys=capsys)


def records(project: Project) -> dict[str, dict[str, Any]]:
    """The run records downstream, by run id."""
    return {row["id"]: row for row in project.warehouse.rows("syncer_runs")}


def owed(project: Project) -> int:
    """How many records the state has still to send."""
    return len(query(project.state, "SELECT run_id FROM syncer_unrecorded"))


def test_every_run_is_recorded(project: Project, syncer: Inside) -> None:
    """The records downstream say what `runs` says, property by property, of runs that went well or did not."""
    project.syncer.write("syncer.yaml", RECORDS + LETTERS)
    assert syncer("run").code == 3
    project.syncer.write("syncer.yaml", RECORDS.replace("FROM rooms", "FROM attics") + LETTERS)
    assert syncer("run", "--select", "rooms", "--full").code == 1
    assert owed(project) == 0, "that of a run that failed goes at once, as any other"
    project.change("UPDATE letters SET body = 'short now' WHERE id = 1")
    assert syncer("dead-letters", "retry").code == 0
    runs = json.loads(syncer("runs", "--output", "json").out)["runs"]
    assert [run["outcome"] for run in runs] == ["succeeded", "failed", "partial", "succeeded", "succeeded"]
    assert [run["trigger"] for run in runs] == ["dead-letters retry", "cli", "cli", "cli", "cli"]

    downstream = records(project)
    assert len(downstream) == len(runs)
    for run in runs:
        record = downstream[run.pop("run_id")]
        assert {name: record[name] for name in run} == run
    assert owed(project) == 0


def test_what_is_no_run_is_not_recorded(project: Project, syncer: Inside) -> None:
    """Dry runs, edits of the state, and runs that found the lease held by another leave no record."""
    syncer("run", "--dry-run")
    assert records(project) == {}
    syncer("run", "--select", "hosts")
    syncer("state", "set", "hosts", "--watermark", "2026-01-01 00:00:00")
    assert len(records(project)) == 1
    with project.syncer.started("run", "--select", "rooms", ENDPOINT="http://127.0.0.1:9") as holder:
        until(lambda: query(project.state, "SELECT owner FROM syncer_leases WHERE owner IS NOT NULL"), holder)
        assert syncer("run", "--select", "rooms").code == 4
    assert len(records(project)) == 1
    assert len(runs_of(syncer("runs", "hosts", "--output", "json"))) == 1


def test_records_are_off_unless_asked_for(project: Project, syncer: Inside) -> None:
    """Without the key nothing is recorded, and what was not recorded then is not sent when the key comes."""
    project.syncer.write("syncer.yaml", CONFIG)
    syncer("run")
    assert (records(project), owed(project)) == ({}, 0)
    project.syncer.write("syncer.yaml", RECORDS)
    syncer("run", "--select", "hosts")
    assert len(records(project)) == 1


def test_a_record_that_cannot_be_sent(project: Project, syncer: Inside) -> None:
    """The run is what it was without its record; that it waits is told; the next run sends both."""
    project.syncer.write("syncer.yaml", RECORDS.replace("${RETRY_FOR:-20s}", "1s"))
    assert syncer("run", "--select", "hosts").code == 0
    project.syncer.write(".env", "ENDPOINT=http://127.0.0.1:9\n")
    unsent = syncer("run", "--select", "hosts")
    assert unsent.code == 0
    assert "hosts: its run record goes with the next run: no connection to 127.0.0.1:9" in unsent.err
    assert (owed(project), len(records(project))) == (1, 1)
    project.syncer.write(".env", f"ENDPOINT={project.syncer.environment['ENDPOINT']}\n")
    before = project.received()
    assert syncer("run", "--select", "rooms", "--limit", "1").code == 0
    assert (owed(project), len(records(project))) == (0, 3)
    assert project.received() == before + 2


def test_the_daemon_records_its_runs(project: Project, syncer: Inside) -> None:
    """Runs of `serve` are recorded while it goes on."""
    project.syncer.write("syncer.yaml", RECORDS.replace("tags: [people]", "schedules: [{every: 1h}]"))
    with project.syncer.started("serve", "--port", "0") as daemon:
        until(lambda: records(project), daemon)
        daemon.send_signal(signal.SIGTERM)
        assert end_of(daemon).code == 143
    (record,) = records(project).values()
    assert (record["mapping"], record["trigger"], record["outcome"]) == ("hosts", "schedule", "succeeded")


def test_a_killed_run_is_recorded_by_the_next(project: Project, syncer: Inside) -> None:
    """Whoever takes over from a run that was killed sends its record too: interrupted."""
    syncer("run", "--select", "hosts")
    with project.syncer.started("run", "--select", "rooms", ENDPOINT="http://127.0.0.1:9") as run:
        until(lambda: query(project.state, "SELECT run_id FROM syncer_runs WHERE mapping = 'rooms'"), run)
        run.kill()
    assert syncer("run", "--select", "rooms").code == 0
    told = [record for record in records(project).values() if record["mapping"] == "rooms"]
    assert sorted(record["outcome"] for record in told) == ["interrupted", "succeeded"]
    assert "killed" in next(record["error"] for record in told if record["outcome"] == "interrupted")


@pytest.mark.parametrize(
    ("name", "words"),
    [("rooms", "the mapping `rooms` writes the same collection"), ("Syncer-Runs", "lowercase letters")],
)
def test_a_collection_that_cannot_hold_records(syncer: Inside, name: str, words: str) -> None:
    """A mapping's own collection, or what is no collection's name, is a config problem."""
    (syncer.folder / "syncer.yaml").write_text(RECORDS.replace("syncer_runs", name), encoding="utf-8")
    assert_one_clear_error(syncer("check", "--offline"), 2, "destination.run_records", words)


def test_the_history_adds_up(project: Project, syncer: Inside) -> None:
    """Every run shows where its rows went, in text for 120 columns and in one JSON document; errors are told."""
    config = (
        RECORDS + LETTERS + "  odd: {table: null_keys, watermark: {column: updatedAt, nulls: skip}, primary_key: id}\n"
    )
    project.syncer.write("syncer.yaml", config)
    project.change("INSERT INTO null_keys VALUES (3, 'Cave', NULL)")
    syncer("run")
    project.syncer.write("syncer.yaml", config.replace("FROM rooms", "FROM attics"))
    syncer("run", "--select", "rooms", "--full")
    runs = runs_of(syncer("runs", "--output", "json"))
    assert list(runs["odd"]) == RUN_KEYS
    assert (runs["odd"]["read"], runs["odd"]["skipped"], runs["odd"]["rejected"]) == (3, 1, 1)
    assert runs["letters"]["duration_seconds"] > 0

    told = syncer("runs").out
    assert all(len(line) <= 120 for line in told.splitlines())
    lines = told.splitlines()
    assert lines[0].split() == [
        "started", "by", "mapping", "mode", "outcome", "read", "sent", "unchanged", "requests", "took",
    ]  # fmt: skip
    place = next(number for number, line in enumerate(lines) if " odd " in line)
    assert lines[place].split()[6:9] == ["3", "1", "0"]
    assert lines[place + 1] == "    and 1 rejected, 1 skipped"
    assert "no such table: attics" in lines_beginning("    Error: ", told)[0]
    assert len(syncer("runs", "rooms").out.splitlines()) == 5
    assert syncer("runs", "--limit", "1").out.count("rooms") == 1
