"""The sandbox's bulk API over real HTTP: sessions, what they merge, what is refused, what is noted."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import httpx
import pytest
from bulk_sender import HEADERS, bulk_sandbox, lines, room, sending
from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.sandbox.bulk_rules import BulkLimits
from syncer.sandbox.rules import SetObject, SetRequest
from syncer.sandbox.warehouse import BulkNote, Warehouse

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
NOTE = BulkNote(received_at=NOON, path="/v0/finish", sync_id="1", status=202, size=12)


@pytest.fixture(scope="module")
def strict():
    """One sandbox with low limits for all that is refused."""
    with bulk_sandbox(bulk_limits=BulkLimits(part=1000, object=150)) as both:
        yield both


def test_a_session_is_stored_when_it_is_finished():
    """Start 201, uploads 201, keep-alive 200, finish 202; until then the warehouse has nothing."""
    with bulk_sandbox() as (warehouse, sender):
        sync_id = sender.start()
        parts = [sender.upload(sync_id, room(number), room(number, "hosts")) for number in range(3)]
        assert [part.status_code for part in parts] == [201] * 3
        assert len({part.json()["part_id"] for part in parts}) == 3
        assert sender.keep_alive(sync_id).status_code == 200
        assert warehouse.collections() == {}
        assert sender.finish(sync_id).status_code == 202
        assert warehouse.collections() == {"hosts": 3, "rooms": 3}
        assert warehouse.rows("rooms") == [{"id": str(number), "n": number} for number in range(3)]


def test_parts_are_merged_in_their_order():
    """The last part has the last word, within a part the last line, also between two collections."""
    with bulk_sandbox() as (warehouse, sender):
        sync_id = sender.start()
        sender.upload(sync_id, room(1, name="Beach", size=20), room(1, "hosts", name="Ana"), room(1, name="Bay"))
        sender.upload(sync_id, room(1, size=None), room(2, name="Attic"), room(1, owner="Calvin"))
        sender.finish(sync_id)
        assert warehouse.rows("rooms") == [
            {"id": "1", "name": "Bay", "size": None, "owner": "Calvin"},
            {"id": "2", "name": "Attic", "size": None, "owner": None},
        ]
        assert warehouse.rows("hosts") == [{"id": "1", "name": "Ana"}]


_values = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=3)
_objects = st.tuples(
    st.sampled_from(["rooms", "hosts"]),
    st.builds(
        lambda id, properties: SetObject(id=id, properties=properties),
        st.sampled_from("123"),
        st.dictionaries(st.sampled_from(["a", "A", "id", "b"]), _values, min_size=1),
    ),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_objects, max_size=12))
def test_a_session_ends_as_one_request_per_object_would(objects):
    """The same tables, the same exact properties, the same counts."""
    with Warehouse(":memory:") as one_by_one, Warehouse(":memory:") as together:
        for collection, each in objects:
            asked = SetRequest(collection=collection, objects=(each,))
            one_by_one.record(asked, received_at=NOON, status=200, synchronous=False, size=1)
        together.record_bulk(NOTE, iter(objects))
        for name in one_by_one.collections():
            assert together.rows(name) == one_by_one.rows(name)
        kept = "SELECT * FROM _objects ORDER BY collection, id"
        assert together.query(kept) == one_by_one.query(kept)


@pytest.mark.parametrize("parts", [0, 2])
def test_a_finish_with_an_error_forgets_everything(parts):
    """It is accepted, stores nothing, and the session is over."""
    with bulk_sandbox() as (warehouse, sender):
        sync_id = sender.start()
        for number in range(parts):
            sender.upload(sync_id, room(number))
        assert sender.finish(sync_id, "the source went away").status_code == 202
        assert warehouse.collections() == {}
        answer = sender.upload(sync_id, room(1))
        assert (answer.status_code, "finished with an error" in answer.json()["error"]) == (410, True)


def test_a_session_without_parts_may_be_finished():
    """It stores nothing, and that is no error."""
    with bulk_sandbox() as (warehouse, sender):
        assert sender.finish(sender.start()).status_code == 202
        assert warehouse.collections() == {}


@pytest.mark.parametrize("error", ["", "the source went away"])
def test_the_same_finish_again_is_accepted_and_does_nothing(error):
    """A sender that missed the 202 asks again; the opposite finish comes too late."""
    with bulk_sandbox() as (warehouse, sender):
        sync_id = sender.start()
        sender.upload(sync_id, room(1))
        assert [sender.finish(sync_id, error).status_code for _ in range(3)] == [202] * 3
        assert sender.finish(sync_id, "" if error else "I changed my mind").status_code == 410
        times = [row["times"] for row in warehouse.query("SELECT times FROM _objects")]
        assert times == ([] if error else [1])


@pytest.mark.parametrize("error", ["", "the source went away"])
def test_a_session_that_is_over_takes_nothing_more(error):
    """Uploads and keep-alives of it say what became of it."""
    with bulk_sandbox() as (warehouse, sender):
        sync_id = sender.start()
        sender.finish(sync_id, error)
        for answer in (sender.upload(sync_id, room(1)), sender.keep_alive(sync_id)):
            assert answer.status_code == 410
            assert ("finished with an error" if error else "the session is finished") in answer.json()["error"]
        assert warehouse.collections() == {}


def test_an_unknown_session_is_not_found():
    """Whether it never was, is another write key's, or was of a sandbox that is gone."""
    with Warehouse(":memory:") as warehouse:
        with sending(warehouse) as sender:
            earlier = sender.start()
            sender.upload(earlier, room(1))
        with sending(warehouse) as sender:
            mine = sender.start()
            sender.http.auth = httpx.BasicAuth("another", "")
            for sync_id in ("nonsense", earlier, mine):
                answers = (sender.upload(sync_id, room(1)), sender.keep_alive(sync_id), sender.finish(sync_id))
                assert [each.status_code for each in answers] == [404] * 3
                assert {each.json()["error"] for each in answers} == {
                    "there is no such session for this write key; start one"
                }
            sender.http.auth = httpx.BasicAuth("key", "")
            assert sender.finish(mine).status_code == 202
        assert warehouse.collections() == {}


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (lines(room(1)), {}, 400, "the body is not gzip after line 0"),
        (gzip.compress(lines(room(1), room(2)))[:-3], {}, 400, "the gzip stream ends too early, after line 2"),
        (gzip.compress(lines(room(1)) + b"{"), {}, 400, "line 2: the line is not JSON"),
        (gzip.compress(lines(room(1), room(2, tags=[]))), {}, 400, "line 2: object.properties['tags'] is a list"),
        (gzip.compress(lines(room(1), room(2, "_"))), {}, 400, "line 2: collection must be lowercase"),
        (gzip.compress(lines(room(1), room(2, text="x" * 150))), {}, 400, "line 2 is larger than 150 bytes"),
        (gzip.compress(lines(*map(room, range(50)))), {}, 413, "the part is larger than 1000 bytes"),
        (b"x" * 3_000_000, {}, 413, "the part is larger than 1000 bytes"),
        (gzip.compress(lines(room(1))), {"Content-Type": "application/json"}, 400, "the Content-Type must be"),
        (gzip.compress(lines(room(1))), {"Content-Encoding": "br"}, 400, "the Content-Encoding must be gzip"),
    ],
    ids=["plain", "truncated", "json", "list", "collection", "object", "part", "body", "type", "encoding"],
)
def test_a_refused_part_is_not_part_of_its_session(strict, body, headers, status, says):
    """The answer says what is wrong and where; the session stays open for the others."""
    warehouse, sender = strict
    sync_id = sender.start()
    sender.upload(sync_id, room(7))
    answer = sender.upload_bytes(sync_id, body, **headers)
    assert (answer.status_code, answer.json()["error"][: len(says)]) == (status, says)
    sender.upload(sync_id, room(8))
    assert sender.finish(sync_id).status_code == 202
    *_, refused, _, finished = warehouse.requests()
    assert (refused["status"], refused["bytes"], refused["uploaded"]) == (status, len(body), 0)
    assert finished["objects"] == 2


def test_a_finish_that_says_nothing_ends_nothing():
    """It is refused, and the session can still be finished."""
    with bulk_sandbox() as (warehouse, sender):
        sync_id = sender.start()
        sender.upload(sync_id, room(1))
        assert sender.http.post(f"/v0/finish/{sync_id}").status_code == 400
        assert sender.http.post(f"/v0/finish/{sync_id}", json={}).status_code == 400
        assert warehouse.collections() == {}
        assert sender.finish(sync_id).status_code == 202


def test_every_endpoint_wants_the_write_key():
    """As user name with an empty password, and the one the sandbox was started with; only POST."""
    with bulk_sandbox(write_key="key") as (warehouse, sender):
        for path in ("start", "upload/1", "keep-alive/1", "finish/1"):
            for auth in (httpx.BasicAuth("other", ""), httpx.BasicAuth("key", "word")):
                answer = sender.http.post(f"/v0/{path}", auth=auth, content=b"x" * 300_000)
                assert (answer.status_code, "www-authenticate" in answer.headers) == (401, True)
            assert sender.http.get(f"/v0/{path}").status_code == 405
        assert [row["status"] for row in warehouse.requests()] == [401] * 8


def test_nothing_is_kept_of_parts_that_are_no_longer_needed():
    """Of sessions that are stored, discarded or expired, and of refused parts."""
    now = [0.0]
    with bulk_sandbox(monotonic=lambda: now[0]) as (warehouse, sender):
        stored, discarded, expired = (sender.start() for _ in range(3))
        for sync_id in (stored, discarded, expired, "unknown"):
            sender.upload(sync_id, room(1))
            sender.upload_bytes(sync_id, b"refused")
        held = [bool(list(warehouse.spool.pieces(part))) for part in range(1, 9)]
        assert held == [True, False] * 3 + [False] * 2
        sender.finish(stored)
        sender.finish(discarded, "the source went away")
        now[0] = 600
        sender.start()
        assert not any(list(warehouse.spool.pieces(part)) for part in range(1, 9))


def test_a_large_session_is_stored_whole():
    """Parts larger than any buffer, and more objects than are merged at a time."""
    with bulk_sandbox() as (warehouse, sender):
        sync_id = sender.start()
        for first in range(0, 3000, 1000):
            objects = [room(number, text=str(number) * 500) for number in range(first, first + 1000)]
            body = gzip.compress(lines(*objects), 0)
            assert len(body) > 1_000_000
            assert sender.upload_bytes(sync_id, body).status_code == 201
        sender.finish(sync_id)
        assert warehouse.collections() == {"rooms": 3000}
        assert all(row["text"] == str(row["id"]) * 500 for row in warehouse.rows("rooms"))


def test_a_part_may_come_in_chunks():
    """Streamed while it is made, without a Content-Length."""
    with bulk_sandbox() as (warehouse, sender):
        sync_id = sender.start()
        body = gzip.compress(lines(*map(room, range(1000))))
        pieces = (body[at : at + 100] for at in range(0, len(body), 100))
        answer = sender.http.post(f"/v0/upload/{sync_id}", content=pieces, headers=HEADERS)
        assert answer.status_code == 201
        sender.finish(sync_id)
        assert warehouse.collections() == {"rooms": 1000}


def test_requests_are_noted_with_their_path_and_session():
    """An upload counts what it brings, a finish what it stores."""
    with bulk_sandbox(clock=lambda: NOON) as (warehouse, sender):
        sync_id = sender.start()
        sizes = [len(sender.upload(sync_id, *map(room, range(count))).request.content) for count in (2, 3)]
        sender.upload(sync_id, room(1), room(1, "hosts"))
        sender.keep_alive(sync_id)
        sender.finish(sync_id)
        noted = warehouse.requests()
        assert {row["received_at"] for row in noted} == {NOON.isoformat()}
        columns = ("path", "sync_id", "status", "collection", "uploaded", "objects")
        assert [tuple(row[each] for each in columns) for row in noted] == [
            ("/v0/start", None, 201, None, 0, 0),
            ("/v0/upload", sync_id, 201, "rooms", 2, 0),
            ("/v0/upload", sync_id, 201, "rooms", 3, 0),
            ("/v0/upload", sync_id, 201, None, 2, 0),
            ("/v0/keep-alive", sync_id, 200, None, 0, 0),
            ("/v0/finish", sync_id, 202, None, 0, 7),
        ]
        assert [row["bytes"] for row in noted[1:3]] == sizes
        sync_id = sender.start()
        sender.upload(sync_id, room(1))
        sender.finish(sync_id)
        assert warehouse.requests()[-1]["collection"] == "rooms"


def test_a_file_of_before_the_bulk_api_is_gone_on_with(tmp_path):
    """Its requests are all of `POST /v1/set`."""
    path = tmp_path / "old.db"
    with Warehouse(path) as warehouse:
        warehouse.record(None, received_at=NOON, status=400, synchronous=False, size=5)
    with closing(sqlite3.connect(path)) as connection:
        for column in ("path", "sync_id", "uploaded"):
            connection.execute(f"ALTER TABLE _requests DROP COLUMN {column}")
    for _ in range(2):
        with Warehouse(path) as warehouse:
            warehouse.record_bulk(NOTE)
            noted = [(row["path"], row["sync_id"], row["uploaded"]) for row in warehouse.requests()]
            assert noted[:2] == [("/v1/set", None, 0), ("/v0/finish", "1", 0)]


def test_the_page_lists_the_sessions():
    """The open ones first, what became of the others, and why."""
    now = [0.0]
    with bulk_sandbox(monotonic=lambda: now[0]) as (_, sender):
        assert sender.http.get("/").text.endswith("Bulk sessions:\n  none yet\n")
        expired = sender.start()
        now[0] = 600
        stored, failed, open_ = (sender.start() for _ in range(3))
        sender.upload(stored, room(1), room(2))
        sender.upload(stored, room(3))
        sender.finish(stored)
        sender.upload(failed, room(1))
        sender.finish(failed, "the source\nwent \ud800away".encode("utf-8", "replace").decode())
        page = sender.http.get("/").text
        assert page.endswith(
            "Bulk sessions:\n"
            f"  {open_}  open       0 parts, 0 objects\n"
            f"  {failed}  discarded  1 parts, 1 objects: 'the source\\nwent ?away'\n"
            f"  {stored}  finished   2 parts, 3 objects\n"
            f"  {expired}  expired    0 parts, 0 objects\n"
        )
        for _ in range(30):
            sender.start()
        assert sender.http.get("/").text.endswith("  and 14 older ones\n")


def test_a_session_that_cannot_be_stored_stays_open(tmp_path):
    """Nothing of it is in the warehouse, neither rows nor columns; once it can be stored, it is."""
    path = tmp_path / "warehouse.db"
    with Warehouse(path) as warehouse, sending(warehouse) as sender, closing(sqlite3.connect(path)) as other:
        other.execute(
            "CREATE TRIGGER no_boats BEFORE INSERT ON _objects WHEN new.id = 'boat' "
            "BEGIN SELECT raise(ABORT, 'no boats'); END"
        )
        sync_id = sender.start()
        sender.upload(sync_id, *map(room, range(500)))
        sender.upload(sync_id, room(7, sail=1) | {"id": "boat"})
        answer = sender.finish(sync_id)
        assert (answer.status_code, answer.json()["error"]) == (500, "the warehouse could not be used: no boats")
        assert warehouse.collections() == {}
        other.execute("DROP TRIGGER no_boats")
        assert sender.finish(sync_id).status_code == 202
        assert warehouse.collections() == {"rooms": 501}
        (times,) = warehouse.query("SELECT max(times) AS most FROM _objects")
        assert times == {"most": 1}
