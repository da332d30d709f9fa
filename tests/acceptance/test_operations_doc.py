"""docs/operations.md: every command on the page is run, and comes to what the page says."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from operations import PAGE, Operator, sections
from project import Project
from sqlalchemy import make_url
from support import CONFIG, query, runs_of

LETTERS = "  letters: {table: letters, watermark: updatedAt}\n"
#: what the tests below run; a new section with commands needs a test
TESTED = {
    "Upgrade", "Back up the state", "Restore the state", "Rotate the write key", "Backfill",
    "Move the state to PostgreSQL", "What the alerts mean", "SyncerDown", "SyncerFailing", "SyncerOverdue",
    "SyncerWatermarkHeld", "SyncerDeadLetters", "SyncerInDoubt", "SyncerReloadFailed",
}  # fmt: skip


def test_every_section_with_commands_has_a_test() -> None:
    """Nothing on the page is only written."""
    assert set(sections()) == TESTED


def operator(project: Project, section: str) -> Operator:
    """Somebody who reads this section."""
    return Operator(syncer=project.syncer, section=section)


def everything_sent(project: Project) -> int:
    """Objects that a full run would send now."""
    told = project.syncer("plan", "--full", "--output", "json")
    assert told.code == 0, told
    return sum(plan["objects"] for plan in json.loads(told.out)["plans"])


def price_downstream(project: Project, room: int) -> float:
    """What the warehouse says."""
    return next(float(row["nightly_price"]) for row in project.warehouse.rows("rooms") if row["id"] == str(room))


def test_upgrade(project: Project) -> None:
    """Every command of the page works on a state that is in use; the steps themselves are tested with the state."""
    assert project.syncer("run").code == 0
    reader = operator(project, "Upgrade")
    reader.does("syncer --version", "syncer check", "syncer run")
    reader.does("syncer status")
    reader.has_done_everything()


def test_a_sqlite_state_is_backed_up_and_restored(project: Project) -> None:
    """A row that went back to what it was is put right by the range that the page says, and by nothing less."""
    project.syncer.write("syncer.yaml", CONFIG + "    properties: {updatedAt: {drop: true}}\n")
    assert project.syncer("run").code == 0
    keeper, restorer = operator(project, "Back up the state"), operator(project, "Restore the state")
    with closing(sqlite3.connect(project.state)) as writer:
        writer.execute("BEGIN IMMEDIATE")  # as a run that is just saving
        keeper.does("python3", "syncer state export")
    assert (project.syncer.folder / "syncer-backup.db").stat().st_mode & 0o777 == 0o600
    assert json.loads(project.syncer.read("state.json"))["checkpoints"]
    before = price_downstream(project, 1)
    for price, moment in ((before + 1000, "2026-03-02 00:00:00"), (before, "2026-03-02 01:00:00")):
        project.change(f"UPDATE rooms SET nightlyPrice = {price}, updatedAt = '{moment}' WHERE id = 1")
        if price != before:
            assert project.syncer("run").code == 0
    restorer.does("rm ", "cp ")
    assert project.syncer("run", "--full").code == 0
    assert price_downstream(project, 1) == before + 1000
    restorer.does("syncer run --resend", "syncer run")
    assert price_downstream(project, 1) == before
    assert everything_sent(project) == 0
    assert restorer.done[-1].endswith("--full --resend")


def test_a_postgresql_state_is_backed_up_and_restored(project: Project, postgres_url: str) -> None:
    """The tables come back as they were, over those that are there."""
    project.syncer.environment["STATE_URL"] = plain(postgres_url)
    assert project.syncer("run").code == 0
    operator(project, "Back up the state").does("pg_dump")
    shown = project.syncer("state", "show").out
    project.change("UPDATE rooms SET reviewCount = 0, updatedAt = '2026-03-02 00:00:00' WHERE id = 1")
    assert project.syncer("run").code == 0
    assert project.syncer("state", "show").out != shown
    operator(project, "Restore the state").does("psql")
    assert project.syncer("state", "show").out == shown
    assert runs_of(project.syncer("run", "--output", "json"))["rooms"]["sent"] == 1


def test_no_command_of_backing_up_and_restoring_is_left_out() -> None:
    """The two tests above run them all."""
    for section in ("Back up the state", "Restore the state"):
        begun = ("python3", "pg_dump", "syncer state export", "rm ", "cp ", "psql", "syncer run")
        assert [each for each in sections()[section] if not each.startswith(begun)] == []


def test_the_write_key_is_rotated(project: Project) -> None:
    """With the id nothing is sent again; without it every run asks, and after adopting a full run sends everything."""
    keyed = CONFIG.replace("  write_key:", "  id: ${DESTINATION_ID:-}\n  write_key:")
    project.syncer.write("syncer.yaml", keyed)
    assert project.syncer("run").code == 0
    reader = operator(project, "Rotate the write key")
    (told,) = reader.does("syncer check")
    word, found = told.out.splitlines()[1].split()
    assert word == "destination"
    project.syncer.environment["WRITE_KEY"] = "another-key"
    assert project.syncer("run").code == 2
    project.syncer.environment["DESTINATION_ID"] = found
    project.change("UPDATE rooms SET reviewCount = 0, updatedAt = '2026-03-02 00:00:00' WHERE id = 1")
    assert everything_sent(project) == 1
    reader.does("syncer plan --full", "syncer run")
    assert everything_sent(project) == 0
    assert project.warehouse.requests()[-1]

    del project.syncer.environment["DESTINATION_ID"]
    assert project.syncer("run", "--select", "rooms").code == 2
    reader.does("syncer state set", "syncer plan --select", "syncer run --select")
    assert everything_sent(project) > 400
    reader.has_done_everything()


def test_backfill(project: Project) -> None:
    """Ranges compare or do not, as the page says; none moves the checkpoint."""
    assert project.syncer("run").code == 0
    shown = project.syncer("state", "show").out
    reader = operator(project, "Backfill")
    ranged = "syncer run --select rooms --from"
    reader.does("syncer plan")
    compared, resent = reader.does(ranged)
    assert (" 0 sent" in compared.err, " 0 sent" in resent.err) == (True, False)
    assert project.syncer("state", "show").out == shown
    full, everything = reader.does("syncer run --select rooms --full")
    assert " 0 sent" in full.err
    assert " 400 sent" in everything.err
    reader.has_done_everything()


def test_the_state_moves_to_postgresql(project: Project, postgres_url: str) -> None:
    """Nothing is sent again, dead letters keep their numbers, and the next change is sent once."""
    project.syncer.write("syncer.yaml", CONFIG + LETTERS)
    assert project.syncer("run").code == 3
    letters = project.syncer("dead-letters", "list").out
    project.syncer.environment["STATE_URL"] = plain(postgres_url)
    reader = operator(project, "Move the state to PostgreSQL")
    (copied,) = reader.does("syncer state copy")
    assert copied.out == "Copied: 3 checkpoints, 461 fingerprints, 1 dead letters, 3 runs.\n"
    reader.does("syncer status", "syncer plan")
    assert project.syncer("dead-letters", "list").out == letters
    assert everything_sent(project) == 0
    project.change("UPDATE rooms SET reviewCount = 0, updatedAt = '2026-03-02 00:00:00' WHERE id = 1")
    assert runs_of(project.syncer("run", "--select", "rooms", "--output", "json"))["rooms"]["sent"] == 1
    again = project.syncer("state", "copy", "--from", "sqlite:///syncer.db")
    assert (again.code, "not empty" in again.err) == (2, True)
    reader.has_done_everything()


def test_what_the_alerts_say_to_look_at(project: Project) -> None:
    """The commands that look, on a project that works."""
    assert project.syncer("run").code == 0
    for section in ("What the alerts mean", "SyncerDown", "SyncerFailing", "SyncerOverdue", "SyncerWatermarkHeld",
                    "SyncerInDoubt", "SyncerReloadFailed"):  # fmt: skip
        reader = operator(project, section)
        reader.does("syncer ")
        reader.has_done_everything()


def test_dead_letters_are_mended_and_forgotten(project: Project) -> None:
    """Retrying sends the row as it is now; what is discarded is gone."""
    project.syncer.write("syncer.yaml", CONFIG + LETTERS)
    assert project.syncer("run").code == 3
    reader = operator(project, "SyncerDeadLetters")
    reader.does("syncer dead-letters list", "syncer dead-letters show", "syncer trace")
    reader.does("syncer dead-letters retry", code=3)
    project.change("UPDATE letters SET body = 'short now' WHERE id = 1")
    reader.does("syncer dead-letters retry")
    assert {row["id"] for row in project.warehouse.rows("letters")} == {"1", "2"}
    project.change("UPDATE letters SET body = hex(zeroblob(20000)), updatedAt = '2026-03-02 00:00:00' WHERE id = 2")
    assert project.syncer("run", "--select", "letters").code == 3
    reader.does("syncer dead-letters discard")
    assert query(project.state, "SELECT * FROM syncer_dead_letters") == []
    reader.has_done_everything()


def test_every_alert_has_its_section() -> None:
    """The anchors that alerts point to are headings of the page, and each heading of an alert has one."""
    import yaml

    rules = yaml.safe_load((PAGE.parents[1] / "deploy/prometheus/alerts.yaml").read_text("utf-8"))
    told = {rule["annotations"]["runbook_url"] for group in rules["groups"] for rule in group["rules"]}
    headings = [line[4:] for line in PAGE.read_text("utf-8").splitlines() if line.startswith("### Syncer")]
    assert told == {f"docs/operations.md#{each.lower()}" for each in headings}


def plain(url: str) -> str:
    """The URL as PostgreSQL's own programs take it too."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
