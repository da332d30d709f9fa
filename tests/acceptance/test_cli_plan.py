"""`syncer plan`: what it tells is what `syncer run` then does; it sends nothing and writes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from inside import Inside
from project import Project
from support import CONFIG, Told, assert_one_clear_error, end_of, lines_beginning, runs_of, until

LETTERS = "  letters: {table: letters, watermark: updatedAt}\n"
#: of every kind: moved and unmoved changes, new rows, rows that are gone, and one more that is refused
CHANGES = """
UPDATE rooms SET name = 'elsewhere', updatedAt = '2026-08-01 00:00:00' WHERE id IN (3, 9);
UPDATE rooms SET name = 'unmoved' WHERE id IN (1, 2);
INSERT INTO rooms SELECT 1000 + id, hostID, name, location, nightlyPrice, rating, reviewCount, '2026-08-02 00:00:00'
    FROM rooms WHERE id BETWEEN 11 AND 22;
DELETE FROM hosts WHERE id IN (4, 5);
INSERT INTO letters VALUES (3, hex(zeroblob(20000)), '2026-02-01 00:00:00');
"""
#: the keys of a plan in `--output json`, as the README has them
KEYS = re.findall(
    r'"(\w+)"',
    (Path(__file__).parents[2] / "README.md").read_text("utf-8").split('`{"plans":', 1)[1].split("}]", 1)[0],
)
NUMBERS = KEYS[KEYS.index("read") : KEYS.index("seconds") + 1]


@pytest.fixture
def syncer(project: Project, capsys: pytest.CaptureFixture[str]) -> Inside:
    """The command in a folder where nothing ran yet, with the two mappings of the sample."""
    project.syncer.write(".env", f"ENDPOINT={project.syncer.environment['ENDPOINT']}\n")
    return Inside(folder=project.syncer.folder, capsys=capsys)


def configure(syncer: Inside, config: str) -> None:
    """Write another config."""
    (syncer.folder / "syncer.yaml").write_text(config, "utf-8")


def plans_of(told: Told, code: int = 0) -> dict[str, dict[str, Any]]:
    """The plans by mapping in a command's JSON. Standard output must be that document and nothing else."""
    assert told.code == code, told
    document = json.loads(told.out)
    assert list(document) == ["plans", "budget"]
    assert all(list(each) == KEYS for each in document["plans"])
    return {each["mapping"]: each for each in document["plans"]}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder that holds something; SQLite readers of a state share a little memory in its `-shm`."""
    files = (each for each in folder.rglob("*") if each.is_file() and not each.name.endswith("-shm"))
    return {str(each.relative_to(folder)): found for each in files if (found := each.read_bytes())}


def assert_foreseen(plan: dict[str, Any], run: dict[str, Any]) -> None:
    """Every number of the plan is the number that the run reports."""
    names = ("mode", "read", "unchanged", "deleted", "rejected", "skipped", "requests", "bytes")
    assert {name: plan[name] for name in names} == {name: run[name] for name in names}
    assert plan["added"] + plan["changed"] == run["sent"]
    assert plan["objects"] == run["sent"] + run["deleted"]


def test_a_plan_of_a_fresh_folder(project: Project) -> None:
    """Nothing is sent, no state file and nothing else is made; the first run does what was told."""
    before = contents(project.syncer.folder)
    told = project.syncer("plan", "--output", "json")
    plans = plans_of(told)
    assert (contents(project.syncer.folder), project.received()) == (before, 0)
    assert [(name, each["added"], each["changed"]) for name, each in plans.items()] == [
        ("hosts", 60, 0), ("rooms", 400, 0),
    ]  # fmt: skip
    for name, run in runs_of(project.syncer("run", "--output", "json")).items():
        assert_foreseen(plans[name], run)


@pytest.mark.parametrize("options", [[], ["--full"], ["--resend"], ["--limit", "7"], ["--full", "--select", "rooms"]])
def test_a_plan_over_a_state(project: Project, syncer: Inside, options: list[str]) -> None:
    """Of changes, new, vanished and refused rows: each option does in the plan what it does in the run."""
    configure(syncer, CONFIG.replace("tags: [people]", "deletes: tombstone") + LETTERS)
    assert syncer("run").code == 3
    project.change(CHANGES)
    before, received = contents(syncer.folder), project.received()
    plans = plans_of(syncer("plan", "--output", "json", *options))
    assert (contents(syncer.folder), project.received()) == (before, received)
    runs = runs_of(syncer("run", "--output", "json", *options))
    assert list(plans) == list(runs)
    for name, run in runs.items():
        assert_foreseen(plans[name], run)


def test_what_is_counted(project: Project, syncer: Inside) -> None:
    """Added, changed, unchanged, deleted and refused rows, each as what it is, in text and in JSON."""
    configure(syncer, CONFIG.replace("tags: [people]", "deletes: tombstone") + LETTERS)
    syncer("run")
    project.change(CHANGES)
    plans = plans_of(syncer("plan", "--full", "--output", "json"))
    names = ("read", "added", "changed", "unchanged", "deleted", "rejected", "skipped", "objects", "requests")
    assert {name: [each[key] for key in names] for name, each in plans.items()} == {
        "hosts": [58, 0, 0, 58, 2, 0, 0, 2, 1],
        "rooms": [412, 12, 4, 396, 0, 0, 0, 16, 2],
        "letters": [3, 0, 0, 1, 0, 2, 0, 0, 0],
    }
    assert plans["letters"]["rejections"] == {"VALUE_TOO_LARGE": 2}
    told = syncer("plan", "--full")
    assert told.code == 0, "the plan itself did not fail; the run would end with 3"
    assert "and 2 rejected (2 VALUE_TOO_LARGE)" in told.out
    assert "In all: 18 objects to be sent and billed, 3 requests" in told.out
    assert "letters: 2 objects would be refused; `syncer preview letters` shows them" in told.err


def test_what_cannot_be_read_is_not_guessed(syncer: Inside) -> None:
    """Reading failed: exit code 1, an error with what to try, no numbers; the others are told all the same."""
    configure(syncer, CONFIG.replace("FROM rooms", "FROM attics"))
    told = syncer("plan")
    assert_one_clear_error(told, 1, "no such table: attics")
    assert "In all, but for rooms: 60 objects" in told.out
    rooms = plans_of(syncer("plan", "--output", "json"), 1)["rooms"]
    assert {name: rooms[name] for name in NUMBERS} == dict.fromkeys(NUMBERS)
    assert "attics" in rooms["error"]


@pytest.mark.parametrize(
    ("config", "arguments", "told"),
    [
        (CONFIG, ["--full", "--from", "2026-01-01"], "--from and --to do not go with --full"),
        (CONFIG, ["--select", "attics"], "attics"),
        (CONFIG + "  odd: {table: twice, primary_key: id}\n", ["--select", "odd"], "is not unique"),
        (CONFIG.replace("write_key", "budget: some\n  write_key"), [], "destination.budget: expected a whole number"),
    ],
    ids=["usage", "selection", "mapping", "config"],
)
def test_what_is_wrong_in_what_was_written(syncer: Inside, config: str, arguments: list[str], told: str) -> None:
    """Exit code 2."""
    configure(syncer, config)
    answer = syncer("plan", *arguments)
    assert (answer.code, told in answer.err) == (2, True), answer
    assert lines_beginning("Try: ", answer.err)


@pytest.mark.parametrize(
    ("keys", "change", "told", "flag"),
    [
        ("max_objects_per_run: 3", "UPDATE hosts SET email = 'x' WHERE id <= 4", "more than `max_objects_per_run`, 3",
         "--allow-changes"),
        ("max_change_ratio: 5%", "UPDATE hosts SET email = 'x' WHERE id <= 4", "more than `max_change_ratio`, 5%",
         "--allow-changes"),
        ("deletes: tombstone", "DELETE FROM hosts WHERE id <= 20", "20 of 60 known objects are not in its result",
         "--allow-deletes"),
    ],
)  # fmt: skip
def test_what_would_stop_the_run(
    project: Project, syncer: Inside, keys: str, change: str, told: str, flag: str
) -> None:
    """A guard is foreseen with the flag that lets the run pass; the run then stops for it, or passes with the flag."""
    configure(syncer, CONFIG.replace("tags: [people]", keys))
    asked = ["--select", "hosts", "--full"]
    assert syncer("run", *asked, "--allow-changes").code == 0
    project.change(change)
    plan = syncer("plan", *asked)
    assert plan.code == 0
    assert told in lines_beginning("Warning: ", plan.err)[0]
    assert flag in lines_beginning("Try: ", plan.err)[0]
    held = plans_of(syncer("plan", *asked, "--output", "json"))["hosts"]["held_back"]
    assert [(told in each["error"], flag in each["hint"]) for each in held] == [(True, True)]
    received = project.received()
    run = syncer("run", *asked, "--output", "json")
    assert (run.code, runs_of(run)["hosts"]["sent"], project.received()) == (1, 0, received)
    assert told in run.err
    assert "failed" in syncer("runs", "hosts", "--limit", "1").out
    assert told in json.loads(syncer("runs", "hosts", "--limit", "1", "--output", "json").out)["runs"][0]["error"]
    assert syncer("run", *asked, flag).code == 0


def test_allowed_deletes_are_foreseen(project: Project, syncer: Inside) -> None:
    """`plan --allow-deletes` tells what `run --allow-deletes` does: without it no tombstone would be sent."""
    configure(syncer, CONFIG.replace("tags: [people]", "deletes: tombstone"))
    asked = ["--select", "hosts", "--full"]
    syncer("run", *asked)
    project.change("DELETE FROM hosts WHERE id <= 20")
    plan = plans_of(syncer("plan", *asked, "--output", "json"))["hosts"]
    assert (plan["deleted"], plan["objects"], plan["requests"]) == (0, 0, 0)
    plan = plans_of(syncer("plan", *asked, "--allow-deletes", "--output", "json"))["hosts"]
    assert (plan["deleted"], plan["requests"], plan["held_back"]) == (20, 2, [])
    assert_foreseen(plan, runs_of(syncer("run", *asked, "--allow-deletes", "--output", "json"))["hosts"])


def test_the_budget_of_the_month(project: Project, syncer: Inside) -> None:
    """What runs sent this month counts, whichever mapping is looked at; exactly the budget fits."""
    configure(syncer, CONFIG.replace("  write_key", "  budget: 463\n  write_key"))
    assert "Budget: 0 of 463 objects were sent in 20" in syncer("plan").out
    assert syncer("run").code == 0
    project.change("UPDATE rooms SET name = 'elsewhere' WHERE id <= 3")
    told = syncer("plan", "--full", "--select", "rooms")
    assert "Budget: 460 of 463 objects" in told.out
    assert "; 463 after this." in told.out
    assert "Warning" not in told.err
    project.change("UPDATE rooms SET name = 'elsewhere' WHERE id = 4")
    told = syncer("plan", "--full", "--select", "rooms")
    assert told.code == 0
    assert "Warning: it would make 464 objects this month, 1 more than `destination.budget`, 463\nTry: " in told.err
    budget = json.loads(syncer("plan", "--full", "--output", "json").out)["budget"]
    assert [budget[name] for name in ("limit", "used", "after", "over")] == [463, 460, 464, 1]
    assert json.loads(syncer("plan", "--output", "json").out)["budget"]["after"] == 460


def test_how_long_it_would_take(syncer: Inside) -> None:
    """Unknown before the first run, then at its speed; where a rate is configured, at that."""
    told = syncer("plan", "--select", "rooms")
    assert "time: unknown." in told.out
    assert "Note: rooms: how fast it sends is not known before its first run" in told.err
    ran = runs_of(syncer("run", "--output", "json"))["rooms"]
    rooms = plans_of(syncer("plan", "--resend", "--output", "json"))["rooms"]
    assert rooms["rate"] == "measured"
    assert rooms["requests_per_second"] == pytest.approx(40 / ran["duration_seconds"])
    configure(syncer, CONFIG.replace("  write_key", "  requests_per_second: 0.01\n  write_key"))
    rooms = plans_of(syncer("plan", "--resend", "--output", "json"))["rooms"]
    assert (rooms["rate"], rooms["requests_per_second"], rooms["seconds"]) == ("configured", 0.01, 4_000)
    assert "1h 6m" in syncer("plan", "--resend").out


def test_an_interrupted_plan(project: Project) -> None:
    """SIGINT ends the database's work; what was not read is not told."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e13)"
    query = f"{endless} SELECT 1 AS id, count(*) AS nap FROM n"
    project.syncer.write("syncer.yaml", f'{CONFIG}  naps: {{query: "{query}", primary_key: id}}\n')
    with project.syncer.started("plan", "--select", "naps") as process:
        until(lambda: _reads(process.pid), process)
        process.send_signal(signal.SIGINT)
        told = end_of(process)
    assert (told.code, "Stopping" in told.err, "In all" in told.out, "Traceback" in told.err) == (
        130,
        True,
        False,
        False,
    )
    assert not project.state.exists()


def _reads(pid: int) -> bool:
    """Whether a process has the source open."""
    folder = Path(f"/proc/{pid}/fd")
    return any(os.path.basename(os.path.realpath(each)) == "app.db" for each in folder.iterdir())
