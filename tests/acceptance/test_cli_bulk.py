"""`destination.api` from the command line: what goes by which API, and that both fill one warehouse."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from http_server import Reply, Request, answer, serving
from inside import Inside
from project import Project
from support import CONFIG, Told, assert_one_clear_error, runs_of

from syncer.sandbox.app import create_app
from syncer.sandbox.faults import NO_ANSWER, Fault, Faults, PlannedFault
from syncer.sandbox.server import running

#: fourteen texts of 30 KB each: more than an object may be by bulk, and less than a request of the Objects API
LARGE = "  large:\n    query: SELECT id, " + ", ".join(
    f"printf('%.*c', 30000, 'x') AS t{number}" for number in range(14)
) + " FROM letters\n    primary_key: id\n"  # fmt: skip


@pytest.fixture
def syncer(project: Project, capsys: pytest.CaptureFixture[str]) -> Inside:
    """The command in a folder where nothing ran yet, with the two mappings of the sample: 60 hosts, 400 rooms."""
    project.syncer.write(".env", f"ENDPOINT={project.syncer.environment['ENDPOINT']}\n")
    return Inside(folder=project.syncer.folder, capsys=capsys)


def configure(syncer: Inside, destination: str, mappings: str = "") -> None:
    """These keys of the destination as well, and these mappings."""
    text = CONFIG.replace("  retry_for", f"  {destination}\n  retry_for", 1) + mappings
    (syncer.folder / "syncer.yaml").write_text(text, "utf-8")


def ran(syncer: Inside, *words: str) -> dict[str, dict[str, object]]:
    """The runs of `syncer run`."""
    return runs_of(syncer("run", "--output", "json", *words))


def paths(project: Project) -> Counter[str]:
    """How often each endpoint was asked."""
    return Counter(str(each["path"]) for each in project.warehouse.requests())


def test_api_bulk(project: Project, syncer: Inside) -> None:
    """Every run is a session: start, an upload, finish. What did not change is not sent, and then there is none."""
    configure(syncer, "api: bulk")
    runs = ran(syncer)
    assert {name: (run["outcome"], run["sent"], run["requests"]) for name, run in runs.items()} == {
        "hosts": ("succeeded", 60, 3), "rooms": ("succeeded", 400, 3),
    }  # fmt: skip
    assert {(run["api"], run["api_reason"]) for run in runs.values()} == {("bulk", "destination.api is `bulk`")}
    assert paths(project) == {"/v0/start": 2, "/v0/upload": 2, "/v0/finish": 2}
    assert sum(int(str(run["bytes"])) for run in runs.values()) == sum(
        int(str(each["bytes"])) for each in project.warehouse.requests()
    )
    assert project.warehouse.collections() == {"hosts": 60, "rooms": 400}
    project.change("UPDATE rooms SET nightlyPrice = 99.5, updatedAt = '2026-03-09 08:00:00' WHERE id = 40")
    assert [run["sent"] for run in ran(syncer).values()] == [0, 1]
    assert paths(project)["/v0/start"] == 3
    (room,) = [row for row in project.warehouse.rows("rooms") if row["id"] == "40"]
    assert room["nightly_price"] == 99.5


def test_many_parts(project: Project, syncer: Inside) -> None:
    """A load larger than a part goes in as many as it needs, of which none is larger."""
    configure(syncer, "api: bulk\n  bulk: {part_size: 5KB}")
    rooms = ran(syncer, "--select", "rooms")["rooms"]
    assert rooms["sent"] == 400
    uploads = [each for each in project.warehouse.requests() if each["path"] == "/v0/upload"]
    assert rooms["requests"] == len(uploads) + 2
    assert len(uploads) > 10
    assert all(int(str(each["bytes"])) < 5_000 for each in uploads)
    assert project.warehouse.collections() == {"rooms": 400}


def test_api_auto(project: Project, syncer: Inside) -> None:
    """A run that is large enough goes by bulk, all others by requests of ten, and each says why."""
    configure(syncer, "bulk: {threshold: 100}")
    runs = ran(syncer)
    assert {name: (run["api"], run["api_reason"], run["requests"]) for name, run in runs.items()} == {
        "hosts": ("objects", "60 rows to read; bulk from 100 on", 6),
        "rooms": ("bulk", "at least 100 rows to read; bulk from 100 on", 3),
    }
    assert paths(project) == {"/v1/set": 6, "/v0/start": 1, "/v0/upload": 1, "/v0/finish": 1}
    project.change("UPDATE rooms SET updatedAt = '2026-08-01 00:00:00'")
    told = [ran(syncer, "--select", "rooms", *words)["rooms"]["api_reason"] for words in ((), (), ("--full",))]
    assert told == [
        "at least 100 rows to read; bulk from 100 on",
        "the last incremental run sent 400 objects; bulk from 100 on",
        "the last full run sent 400 objects; bulk from 100 on",
    ]
    assert ran(syncer, "--select", "rooms", "--full")["rooms"]["api"] == "objects"


@pytest.mark.parametrize(
    ("words", "api", "reason"),
    [
        (("--resend",), "bulk", "at least 100 rows to read; bulk from 100 on"),
        (("--resend", "--limit", "40"), "objects", "40 rows to read; bulk from 100 on"),
        (("--full", "--limit", "40"), "objects", "the last full run sent 40 objects; bulk from 100 on"),
        (("--from", "2026-08-01"), "bulk", "the last full run sent 400 objects; bulk from 100 on"),
    ],
)
def test_what_is_expected_of_a_run(
    project: Project, syncer: Inside, words: tuple[str, ...], api: str, reason: str
) -> None:
    """Everything is counted where everything is sent, never more than `--limit`; else the run before is a guide."""
    configure(syncer, "bulk: {threshold: 100}")
    ran(syncer, "--select", "rooms")
    rooms = ran(syncer, "--select", "rooms", *words)["rooms"]
    assert (rooms["api"], rooms["api_reason"]) == (api, reason)


def test_text_and_log_tell_the_api(syncer: Inside) -> None:
    """The table has a column for it when a run went by bulk, and the log says why it does."""
    configure(syncer, "bulk: {threshold: 100}")
    first, second = syncer("run"), syncer("run")
    header, _, hosts, rooms = first.out.splitlines()[:4]
    assert " api " in header
    assert (" objects " in hosts, " bulk " in rooms) == (True, True)
    assert "rooms: by the Bulk API (at least 100 rows to read; bulk from 100 on)" in first.err
    assert " api " not in second.out
    assert "Bulk" not in second.err


def test_both_apis_fill_the_same_tables(project: Project, syncer: Inside) -> None:
    """Changing the API sends nothing again and needs no decision: the destination is the same."""
    for api in ("objects", "bulk", "auto"):
        configure(syncer, f"api: {api}")
        assert [run["sent"] for run in ran(syncer, "--full").values()] == ([60, 400] if api == "objects" else [0, 0])
        assert [run["outcome"] for run in ran(syncer).values()] == ["succeeded"] * 2


def test_a_large_object_is_a_dead_letter_by_bulk(project: Project, syncer: Inside) -> None:
    """400 KB an object is what the Bulk API takes; the Objects API takes a little more."""
    configure(syncer, "api: bulk", LARGE)
    told = syncer("run", "--select", "large", "--output", "json")
    assert told.code == 3
    assert runs_of(told)["large"]["rejected"] == 2
    assert "OBJECT_TOO_LARGE" in syncer("dead-letters", "list").out
    configure(syncer, "api: objects", LARGE)
    assert ran(syncer, "--select", "large")["large"]["sent"] == 2


@pytest.mark.parametrize(("destination", "refused"), [("api: bulk", 2), ("api: auto", 2), ("api: objects", 0)])
def test_check_and_preview_know_what_is_too_large(
    project: Project, syncer: Inside, destination: str, refused: int
) -> None:
    """As the runs of any size would have it; a preview is of a small one."""
    configure(syncer, destination, LARGE)
    told = syncer("check", "--select", "large")
    assert ("2 of the first 2 rows would be refused: OBJECT_TOO_LARGE" in told.out) == bool(refused), told
    shown = syncer("preview", "large")
    assert ("OBJECT_TOO_LARGE" in shown.err) == (destination == "api: bulk")
    traced = json.loads(syncer("trace", "large", "1", "--output", "json").out)
    assert traced["conclusion"] == ("rejected" if destination == "api: bulk" else "due")


def test_preview_is_what_is_uploaded(syncer: Inside) -> None:
    """The lines that it prints are, byte for byte, what an upload holds."""
    configure(syncer, "api: bulk")
    printed = syncer("preview", "rooms", "--limit", "400")
    replies = {"start": (201, b'{"sync_id":"one"}'), "upload": (201, b'{"part_id":"one-1"}'), "finish": (202, b"{}")}

    def api(request: Request) -> Reply:
        status, body = replies[request.line.split("/")[2].split()[0]]
        return answer(status, body, ("Content-Type", "application/json"))

    with serving(api) as server:
        text = (syncer.folder / "syncer.yaml").read_text("utf-8").replace("${ENDPOINT}", server.endpoint)
        (syncer.folder / "syncer.yaml").write_text(text, "utf-8")
        assert syncer("run", "--select", "rooms").code == 0
    (upload,) = [request for request in server.requests if "/v0/upload" in request.line]
    assert gzip.decompress(upload.body) == printed.out.encode()


def test_preview_tells_of_the_other_form(syncer: Inside) -> None:
    """Where the size of a run decides."""
    configure(syncer, "bulk: {threshold: 100}")
    shown = syncer("preview", "rooms", "--limit", "1")
    assert json.loads(shown.out)["collection"] == "rooms"
    assert shown.err == "A run of 100 objects or more uploads the same objects, one a line.\n"


def plans_of(told: Told) -> dict[str, dict[str, object]]:
    """The plans by mapping."""
    assert told.code == 0, told
    return {each["mapping"]: each for each in json.loads(told.out)["plans"]}


@pytest.mark.parametrize(
    ("destination", "mapping"),
    [
        ("api: bulk", ""), ("api: bulk\n  bulk: {part_size: 5KB}", ""), ("bulk: {threshold: 100}", ""),
        ("bulk: {threshold: 100}", "max_objects_per_run: 100000"), ("bulk: {threshold: 100}", "deletes: tombstone"),
    ],
)  # fmt: skip
def test_plan_tells_what_the_run_takes(project: Project, syncer: Inside, destination: str, mapping: str) -> None:
    """The same API, uploads, requests and bytes, for tombstones as well; nothing is sent by it."""
    configure(syncer, destination, f"defaults: {{{mapping}}}\n")
    syncer("run", "--select", "hosts")
    before = project.received()
    for change in ("", "DELETE FROM hosts WHERE id < 5; UPDATE rooms SET name = 'elsewhere' WHERE id % 2 = 0"):
        if change:
            project.change(change)
        plans = plans_of(syncer("plan", "--full", "--output", "json"))
        assert project.received() == before
        runs = ran(syncer, "--full")
        names = ("api", "requests", "bytes")
        assert {key: [plan[name] for name in names] for key, plan in plans.items()} == {
            key: [run[name] for name in names] for key, run in runs.items()
        }
        uploads = [each for each in project.warehouse.requests()[before:] if each["path"] == "/v0/upload"]
        assert sum(int(str(plan["uploads"])) for plan in plans.values()) == len(uploads)
        before = project.received()


def test_plan_says_so_to_people(syncer: Inside) -> None:
    """Below the mapping that would go by bulk."""
    configure(syncer, "bulk: {threshold: 100}")
    lines = syncer("plan").out.splitlines()
    assert lines[4] == "    by the Bulk API, 1 upload: at least 100 rows to read; bulk from 100 on"
    assert not any("Bulk" in line for line in lines[:4])


def test_where_the_address_is_not_known(syncer: Inside) -> None:
    """In dublin `auto` does without, and says so; `bulk` is an error that says what to set."""
    text = CONFIG.replace("endpoint: ${ENDPOINT}", "region: dublin")
    (syncer.folder / "syncer.yaml").write_text(text, "utf-8")
    rooms = plans_of(syncer("plan", "--output", "json"))["rooms"]
    assert (rooms["api"], rooms["uploads"]) == ("objects", 0)
    assert "destination.bulk.endpoint would tell" in str(rooms["api_reason"])
    (syncer.folder / "syncer.yaml").write_text(text.replace("region", "api: bulk\n  region"), "utf-8")
    told = syncer("run")
    assert (told.code, "destination.bulk.endpoint" in told.err) == (2, True), told
    known = text.replace("region", "api: bulk\n  bulk: {endpoint: 'https://bulk.example'}\n  region")
    (syncer.folder / "syncer.yaml").write_text(known, "utf-8")
    assert plans_of(syncer("plan", "--output", "json"))["rooms"]["api"] == "bulk"


def test_tombstones_go_by_bulk(project: Project, syncer: Inside) -> None:
    """A run uses one API from its first object to its last tombstone."""
    configure(syncer, "api: bulk", "defaults: {deletes: tombstone}\n")
    ran(syncer)
    project.change("DELETE FROM hosts WHERE id IN (4, 5)")
    assert ran(syncer, "--full", "--select", "hosts")["hosts"]["deleted"] == 2
    assert {"4", "5"} == {row["id"] for row in project.warehouse.rows("hosts") if row["is_deleted"]}
    assert "/v1/set" not in paths(project)


def test_run_records_go_by_bulk(project: Project, syncer: Inside) -> None:
    """`api: bulk` is for everything."""
    configure(syncer, "api: bulk\n  run_records: syncer_runs")
    ran(syncer)
    assert project.warehouse.collections()["syncer_runs"] == 2
    assert "/v1/set" not in paths(project)


# --- trouble


@contextmanager
def failing(project: Project, *faults: PlannedFault) -> Iterator[None]:
    """Another sandbox on the same warehouse, that fails as planned."""
    with running(create_app(project.warehouse, Faults(planned=faults))) as url:
        project.syncer.write(".env", f"ENDPOINT={url}\n")
        yield
    project.syncer.write(".env", f"ENDPOINT={project.syncer.environment['ENDPOINT']}\n")


@pytest.mark.parametrize("status", [500, 503, NO_ANSWER])
@pytest.mark.parametrize("stores", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("step", "number"), [("start", 1), ("upload", 1), ("upload", 4), ("upload", 7), ("finish", 1)])
def test_a_request_that_fails_once(
    project: Project, syncer: Inside, step: str, number: int, stores: bool, status: int
) -> None:
    """Whichever it is, and whether it took effect or not: it is tried again, and everything arrives."""
    configure(syncer, "api: bulk\n  bulk: {part_size: 10KB}")
    fault = PlannedFault(path=f"/v0/{step}", number=number, fault=Fault(status=status, stores=stores))
    with failing(project, fault):
        rooms = ran(syncer, "--select", "rooms")["rooms"]
    assert (rooms["outcome"], rooms["sent"], rooms["retried"]) == ("succeeded", 400, 1)
    assert project.warehouse.collections() == {"rooms": 400}
    if (step, status) == ("finish", NO_ANSWER):
        assert "in doubt" in syncer("status").out


def test_an_upload_that_is_refused_as_too_large(project: Project, syncer: Inside) -> None:
    """A proxy that takes less than a part: smaller parts are sent."""
    configure(syncer, "api: bulk")
    fault = PlannedFault(path="/v0/upload", fault=Fault(status=413, stores=False))
    with failing(project, fault):
        rooms = ran(syncer, "--select", "rooms")["rooms"]
    assert (rooms["outcome"], rooms["sent"], rooms["rejected"]) == ("succeeded", 400, 0)
    assert project.warehouse.collections() == {"rooms": 400}


def test_a_key_that_is_refused(project: Project, syncer: Inside) -> None:
    """One clear error, nothing lost: the next run sends it."""
    configure(syncer, "api: bulk")
    with failing(project, PlannedFault(path="/v0/upload", fault=Fault(status=401, stores=False))):
        assert_one_clear_error(syncer("run", "--select", "rooms"), 1, "refuses the write key")
    assert project.warehouse.collections() == {}
    assert ran(syncer, "--select", "rooms")["rooms"]["sent"] == 400
