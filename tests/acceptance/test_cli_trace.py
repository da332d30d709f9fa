"""`syncer trace`: why a row is not, or differently, in the warehouse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from inside import Inside
from project import Project
from support import CONFIG, Told, assert_one_clear_error, execute, query, runs_of

from syncer.core.naming import object_id

MORE = """\
  letters: {table: letters, watermark: updatedAt}
  nights: {table: nights}
  odd: {table: null_keys, primary_key: name, watermark: {column: updatedAt, nulls: skip}}
"""
NIGHTS = """
CREATE TABLE nights (room INTEGER, day TEXT, price DECIMAL(10,2), PRIMARY KEY (room, day));
INSERT INTO nights VALUES (1, 'a:b', 120.50), (1, 'c\\d', 99), (2, '2026-01-01', 12345678901234567890);
"""


@pytest.fixture
def syncer(project: Project, capsys: pytest.CaptureFixture[str]) -> Inside:
    """The command in a folder where nothing ran yet."""
    project.syncer.write("syncer.yaml", CONFIG + MORE)
    project.syncer.write(".env", f"ENDPOINT={project.syncer.environment['ENDPOINT']}\n")
    project.change(NIGHTS)
    return Inside(folder=project.syncer.folder, capsys=capsys)


def traced(told: Told, code: int = 0) -> dict[str, Any]:
    """The document of a trace: one, and nothing else on standard output."""
    assert told.code == code, told
    document: dict[str, Any] = json.loads(told.out)
    return document


@pytest.fixture
def trace(syncer: Inside) -> Callable[..., dict[str, Any]]:
    """Trace an object of `rooms`."""
    return lambda identifier="42", mapping="rooms", code=0: traced(
        syncer("trace", mapping, identifier, "--output", "json"), code
    )


def test_a_row_from_its_first_day_to_its_last(
    project: Project, syncer: Inside, trace: Callable[..., dict[str, Any]]
) -> None:
    """Each conclusion is what the next run then does: due, up to date, unseen, due again, absent."""
    before = trace()
    assert (before["conclusion"], before["sent"], before["checkpoint"]) == ("due", None, None)
    assert not project.state.exists()

    run = runs_of(syncer("run", "--select", "rooms", "--output", "json"))["rooms"]
    sent = trace()
    assert sent["conclusion"] == "up_to_date"
    assert sent["sent"]["runs"] == [{"run_id": run["run_id"], "mode": "full", "trigger": "cli", "outcome": "succeeded"}]
    assert run["started_at"][:19] <= sent["sent"]["at"][:19] <= run["finished_at"][:19]
    assert sent["sent"]["fingerprint"] == sent["row"]["fingerprint"] == before["row"]["fingerprint"]
    assert sent["row"]["watermark"] <= sent["checkpoint"]["watermark"] == run["watermark"]
    (downstream,) = (row for row in project.warehouse.rows("rooms") if row["id"] == "42")
    assert sent["row"]["properties"].items() <= downstream.items()

    project.change("UPDATE rooms SET name = 'Quiet change' WHERE id = 42")
    unseen = trace()
    assert (unseen["conclusion"], unseen["hint"]) == ("unseen", "syncer run --select rooms --full")
    assert unseen["row"]["properties"]["name"] == "Quiet change"
    assert unseen["row"]["fingerprint"] != unseen["sent"]["fingerprint"] == sent["sent"]["fingerprint"]
    assert runs_of(syncer("run", "--select", "rooms", "--output", "json"))["rooms"]["sent"] == 0
    again = runs_of(syncer("run", "--select", "rooms", "--full", "--output", "json"))["rooms"]
    assert again["sent"] == 1
    assert trace()["sent"]["runs"][0]["run_id"] == again["run_id"]

    project.change("UPDATE rooms SET name = 'Loud', updatedAt = '2026-06-01 00:00:00' WHERE id = 42")
    assert trace()["conclusion"] == "due"
    assert runs_of(syncer("run", "--select", "rooms", "--output", "json"))["rooms"]["sent"] == 1
    assert trace()["conclusion"] == "up_to_date"

    project.change("DELETE FROM rooms WHERE id = 42")
    gone = trace()
    assert (gone["conclusion"], gone["row"]) == ("absent", None)
    assert "`deletes: ignore`" in gone["told"]


def test_as_text(project: Project, syncer: Inside) -> None:
    """For people: every line of the story, its end in a sentence, what to try on standard error."""
    syncer("run", "--select", "rooms")
    project.change("UPDATE rooms SET name = 'Quiet change' WHERE id = 42")
    told = syncer("trace", "rooms", "42")
    assert told.code == 0
    for pattern in (
        r"rooms 42 -> rooms\n", r"  last sent +20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ\n",
        r"  in run +\d{8}T\d{6}Z-[0-9a-f]{8} \(full, cli, succeeded\)\n", r"  fingerprint +[0-9a-f]+\n",
        r'  row now +\{"name":"Quiet change",.+\}\n', r"  fingerprint now +[0-9a-f]+\n", r"  watermark now +2026-",
        r"  checkpoint +2026-.+, saved 20", r"In short: it differs from what was sent, but its watermark lies behind",
    ):  # fmt: skip
        assert re.search(pattern, told.out), (pattern, told.out)
    assert told.err.endswith("Try: syncer run --select rooms --full\n")


def test_nobody_knows_the_id(project: Project, syncer: Inside) -> None:
    """An id that neither the state nor the source knows is exit code 1, and says so; nothing is created."""
    told = syncer("trace", "rooms", "4711")
    assert told.code == 1
    assert "In short: nobody knows this id" in told.out
    assert "reading the whole query of rooms" in told.err
    assert traced(syncer("trace", "rooms", "--output", "json", "--", "-5"), 1)["conclusion"] == "unknown"
    assert not project.state.exists()


def test_an_unknown_mapping(syncer: Inside) -> None:
    """It names the nearest one."""
    assert_one_clear_error(syncer("trace", "room", "42"), 2, "there is no mapping `room`", "did you mean `rooms`?")


def test_a_refused_row(project: Project, syncer: Inside, trace: Callable[..., dict[str, Any]]) -> None:
    """It tells why the row is refused now, and the dead letter with the number to look at it; mended, it is due."""
    assert syncer("run", "--select", "letters").code == 3
    refused = trace("1", "letters")
    assert (refused["conclusion"], refused["row"]["properties"], refused["sent"]) == ("rejected", None, None)
    assert refused["row"]["rejection"]["code"] == "VALUE_TOO_LARGE"
    (letter,) = refused["dead_letters"]
    shown = json.loads(syncer("dead-letters", "show", str(letter["number"])).out)
    assert letter.items() <= shown.items()
    assert f"syncer dead-letters show {letter['number']}" in syncer("trace", "letters", "1").out

    project.change("UPDATE letters SET body = 'short now', updatedAt = '2026-03-01 00:00:00' WHERE id = 1")
    mended = trace("1", "letters")
    assert (mended["conclusion"], mended["dead_letters"]) == ("due", refused["dead_letters"])
    assert trace("2", "letters")["dead_letters"] == []


def test_a_row_that_is_left_out(project: Project, syncer: Inside, trace: Callable[..., dict[str, Any]]) -> None:
    """A NULL watermark under `nulls: skip` is named as the reason."""
    project.change("UPDATE null_keys SET updatedAt = NULL WHERE name = 'Boat'")
    left_out = trace("Boat", "odd")
    assert (left_out["conclusion"], left_out["row"]["properties"]["id"]) == ("skipped", None)
    assert "`nulls: skip`" in left_out["told"]
    assert "watermark now     NULL" in syncer("trace", "odd", "Boat").out


@pytest.mark.parametrize(
    ("identifier", "price"), [(r"1:a\:b", "120.5"), (r"1:c\\d", "99.0"), ("2:2026-01-01", "12345678901234567000.0")]
)
def test_composite_ids_and_exact_numbers(syncer: Inside, identifier: str, price: str) -> None:
    """An id of several parts is taken apart; numbers are shown exactly as they would be sent."""
    told = syncer("trace", "nights", identifier, "--output", "json")
    assert traced(told)["conclusion"] == "due"
    assert f'"price":{price}' in told.out.replace(" ", "")
    assert told.err == ""


def test_a_checkpoint_of_another_query(project: Project, syncer: Inside, trace: Callable[..., dict[str, Any]]) -> None:
    """When the next run would stop, the trace says that, and with the run's own hint."""
    syncer("run", "--select", "rooms")
    project.syncer.write("syncer.yaml", (CONFIG + MORE).replace("reviewCount, ", ""))
    blocked = trace()
    assert blocked["conclusion"] == "blocked"
    assert "changed since the checkpoint" in blocked["told"]
    assert "--adopt" in blocked["hint"]


def test_rows_before_the_initial_watermark(
    project: Project, syncer: Inside, trace: Callable[..., dict[str, Any]]
) -> None:
    """Before the first run, a row older than `initial` is out of its reach, and the others are not."""
    project.syncer.write(
        "syncer.yaml",
        CONFIG.replace("    watermark: updatedAt", "    watermark: {column: updatedAt, initial: 2026-02-01}"),
    )
    database = syncer.folder / "app.db"
    execute(database, "UPDATE rooms SET updatedAt = '2026-01-31 23:59:59' WHERE id = 42")
    execute(database, "UPDATE rooms SET updatedAt = '2026-02-01 00:00:00' WHERE id = 43")
    assert (trace("42")["conclusion"], trace("43")["conclusion"]) == ("unseen", "due")
    assert "`initial`" in trace("42")["told"]
    run = runs_of(syncer("run", "--select", "rooms", "--output", "json"))["rooms"]
    assert run["read"] == query(database, "SELECT count(*) FROM rooms WHERE updatedAt >= '2026-02-01'")[0][0]
    assert (trace("42")["sent"], trace("43")["conclusion"]) == (None, "up_to_date")


def test_a_deleted_object(project: Project, syncer: Inside, trace: Callable[..., dict[str, Any]]) -> None:
    """A tombstone is told with its time and run; when the row is back, the next full run revives the object."""
    project.syncer.write("syncer.yaml", (CONFIG + MORE).replace("tags: [core]", "deletes: tombstone"))
    syncer("run", "--select", "rooms")
    project.change("CREATE TABLE gone AS SELECT * FROM rooms WHERE id = 42")
    project.change("DELETE FROM rooms WHERE id = 42")
    assert "the next full run marks the object as deleted" in trace()["told"]
    run = runs_of(syncer("run", "--select", "rooms", "--full", "--output", "json"))["rooms"]
    assert (run["read"], run["deleted"]) == (399, 1)
    deleted = trace()
    assert (deleted["conclusion"], deleted["sent"]["deleted"]) == ("deleted", True)
    assert deleted["sent"]["runs"][0]["run_id"] == run["run_id"]
    assert re.search(r"deleted +downstream at 20", syncer("trace", "rooms", "42").out)

    project.change("INSERT INTO rooms SELECT * FROM gone")
    back = trace()
    assert (back["conclusion"], back["hint"]) == ("unseen", "syncer run --select rooms --full")
    assert runs_of(syncer("run", "--select", "rooms", "--full", "--output", "json"))["rooms"]["sent"] == 1
    assert trace()["conclusion"] == "up_to_date"


def test_what_is_traced_is_not_logged(project: Project, syncer: Inside) -> None:
    """Row contents stand on standard output alone, also with -v."""
    told = syncer("-v", "trace", "rooms", "42")
    (name,) = query(syncer.folder / "app.db", "SELECT name FROM rooms WHERE id = 42")[0]
    assert name in told.out
    assert name not in told.err
    assert project.received() == 0


POSTGRES = """
CREATE TABLE by_uuid (id uuid PRIMARY KEY, city text, changed timestamptz);
INSERT INTO by_uuid VALUES ('6f9619ff-8b86-d011-b42d-00c04fc964ff', 'Oslo', '2026-01-01 00:00:00.000001+00');
CREATE TABLE by_pair (host bigint, room uuid, city text, changed timestamptz, PRIMARY KEY (host, room));
INSERT INTO by_pair
VALUES (-9223372036854775808, '6f9619ff-8b86-d011-b42d-00c04fc964ff', 'Rome', '2026-01-01 00:00:00.000001+00');
CREATE TABLE by_amount (id numeric(10,3) PRIMARY KEY, city text, changed timestamptz);
INSERT INTO by_amount VALUES (1.500, 'Bern', '2026-01-01 00:00:00.000001+00');
CREATE TABLE by_time (id timestamptz PRIMARY KEY, city text, changed timestamptz);
INSERT INTO by_time VALUES ('2026-01-01 12:00:00.5+00', 'Kyiv', '2026-01-01 00:00:00.000001+00');
CREATE TABLE by_length (id text PRIMARY KEY, city text, changed timestamptz);
INSERT INTO by_length VALUES (repeat('long ', 30), 'Riga', '2026-01-01 00:00:00.000001+00');
CREATE TABLE by_padding (id char(5) PRIMARY KEY, city text, changed timestamptz);
INSERT INTO by_padding VALUES ('ab', 'Lima', '2026-01-01 00:00:00.000001+00');
"""
UUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
LONG = object_id(["long " * 30])
TABLES = ("by_uuid", "by_pair", "by_amount", "by_time", "by_length", "by_padding")


@pytest.fixture
def on_postgres(
    syncer: Inside, project: Project, postgres_url: str, execute_sql: Callable[[str, str], None]
) -> Callable[[str], None]:
    """The config over tables with keys of PostgreSQL's types; returns what executes SQL there."""
    execute_sql(postgres_url, POSTGRES)
    config = CONFIG.partition("  hosts:")[0] + "".join(
        f"  {table}: {{table: {table}, watermark: {{column: changed, lookback: 1s}}}}\n" for table in TABLES
    )
    project.syncer.write("syncer.yaml", config)
    project.syncer.write(".env", f"ENDPOINT={project.syncer.environment['ENDPOINT']}\nSOURCE_URL={postgres_url}\n")
    return lambda sql: execute_sql(postgres_url, sql)


def test_keys_of_postgres(syncer: Inside, on_postgres: Callable[[str], None]) -> None:
    """Every row is found by its id; only where the id does not tell the key is the whole query read, and said so."""
    found = {
        (table, identifier): syncer("trace", "--output", "json", "--", table, identifier)
        for table, identifier in [
            ("by_uuid", UUID), ("by_pair", f"-9223372036854775808:{UUID}"), ("by_amount", "1.5"),
            ("by_time", "2026-01-01T12:00:00.5+00:00"), ("by_length", LONG), ("by_padding", "ab   "),
        ]
    }  # fmt: skip
    cities = {table: traced(told)["row"]["properties"]["city"] for (table, _), told in found.items()}
    assert list(cities.values()) == ["Oslo", "Rome", "Bern", "Kyiv", "Riga", "Lima"]
    assert [table for (table, _), told in found.items() if told.err] == ["by_time", "by_length"]


def test_ids_that_no_row_of_postgres_has(syncer: Inside, on_postgres: Callable[[str], None]) -> None:
    """What is no row's id is nobody's; only where the id does not tell the key for certain is the query read."""
    for table, identifier, reads_all in [
        ("by_uuid", "00000000-0000-0000-0000-000000000000", False), ("by_uuid", "no uuid", True),
        ("by_uuid", UUID.upper(), False), ("by_pair", f"1:{UUID}", False), ("by_pair", "1", False),
        ("by_pair", f"x:{UUID}", False), ("by_pair", f"9223372036854775808:{UUID}", True),
        ("by_amount", "2.5", True), ("by_padding", "ab", False), ("by_length", "long", False),
    ]:  # fmt: skip
        told = syncer("trace", table, identifier, "--output", "json")
        assert (traced(told, 1)["conclusion"], bool(told.err)) == ("unknown", reads_all), (table, identifier)


def test_watermarks_of_postgres(syncer: Inside, on_postgres: Callable[[str], None]) -> None:
    """The database itself says whether an incremental run reads the row: to the microsecond, lookback included."""
    on_postgres("INSERT INTO by_uuid VALUES (gen_random_uuid(), 'Graz', '2026-01-02 00:00:00.000003+00')")
    assert syncer("run", "--select", "by_uuid").code == 0
    said = {}
    for changed in ("2026-01-01 23:59:59.000002+00", "2026-01-01 23:59:59.000003+00"):
        on_postgres(f"UPDATE by_uuid SET city = 'Brno', changed = '{changed}' WHERE id = '{UUID}'")
        told = traced(syncer("trace", "by_uuid", UUID, "--output", "json"))
        said[told["row"]["watermark"][-5:]] = told["conclusion"]
    assert list(said.values()) == ["unseen", "due"]
    assert runs_of(syncer("run", "--select", "by_uuid", "--output", "json"))["by_uuid"]["sent"] == 1
    assert traced(syncer("trace", "by_uuid", UUID, "--output", "json"))["conclusion"] == "up_to_date"
