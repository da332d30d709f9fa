"""What the pages show, what the buttons do, and what becomes of trouble."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, event
from web_client import BEARER, BROWSER, TOKEN, Client
from web_control import NOON, StillControl
from web_sample import CONFIG, sample_config

from syncer.core.model import Counts, DeadLetter, Mode, Outcome, Rejection, RunReport
from syncer.errors import LeaseHeld, StateCorrupt, UsageError
from syncer.service.control import Reload, Running
from syncer.service.web import Watch
from syncer.state import Commit, MemoryStore, Store, open_store

Sample = tuple[StillControl, Watch]
HOSTILE = "<script>alert(1)</script>\"><img src=x onerror=alert(2)>'{{ 7919 * 7919 }}"


@pytest.fixture
def client(sample: Sample) -> Client:
    """The page of the sample."""
    return Client(control=sample[0], watch=sample[1])


def text_of(page: str) -> str:
    """What is read, without markup and with single blanks."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_overview_tells_every_state(client: Client) -> None:
    """Each mapping with its state as a word, and how many of each there are, the most pressing first."""
    page = client("GET", "/", BROWSER).text
    words = dict(re.findall(r'<a class="name"[^>]*>(\w+)</a>.*?<span>([\w ]+)</span></span>', page, re.DOTALL))
    assert words == {
        "hosts": "ok", "rooms": "running", "reviews": "partial", "cities": "failed", "amenities": "paused",
        "photos": "waiting",
    }  # fmt: skip
    assert "1 failed 1 partial 1 running 1 waiting 1 paused 1 ok" in text_of(page)
    assert "21,770 of about 38,612 rows read, 56 %, 386 sent, for 19s" in text_of(page)
    assert "the server at db.internal, port 5432, refused it" in page


@pytest.mark.parametrize(
    ("change", "told"),
    [({"waits": ["hosts"]}, "waiting"), ({"pauses": {"hosts": NOON}}, "paused")],
)
def test_a_state_that_hides_the_last_outcome(client: Client, change: dict[str, object], told: str) -> None:
    """Waiting and paused are told before how the last run ended."""
    for name, value in change.items():
        setattr(client.control, name, value)
    assert f"<span>{told}</span>" in client("GET", "/mappings/hosts", BROWSER).text


def test_a_run_that_does_not_move(client: Client) -> None:
    """It is called stuck, with when it moved last."""
    control = client.control
    control.runs = [replace(control.runs[0], stuck=True, moved_at=NOON - timedelta(minutes=20))]
    page = text_of(client("GET", "/", BROWSER).text)
    assert "1 stuck" in page
    assert "has not moved since 20m ago" in page


def test_a_run_of_another_process(tmp_path: Path) -> None:
    """Who holds a lease that is not ours runs the mapping elsewhere, until the lease expires."""
    store = MemoryStore()
    store.acquire("hosts", "another host", NOON, timedelta(minutes=1))
    client = Client(control=StillControl(config=sample_config(tmp_path), store=store))
    assert "1 running elsewhere" in text_of(client("GET", "/").text)
    client.now, client.later = NOON + timedelta(minutes=2), 2.0
    assert "running elsewhere" not in client("GET", "/").text


def test_a_mapping_that_never_ran(tmp_path: Path) -> None:
    """Pages of an empty state are pages."""
    client = Client(control=StillControl(config=sample_config(tmp_path), store=MemoryStore()))
    assert "6 never ran" in text_of(client("GET", "/").text)
    assert "It has not run yet." in client("GET", "/mappings/photos").text


def test_a_mapping_with_its_runs_and_dead_letters_by_cause(client: Client) -> None:
    """Counts of the runs, and of the dead letters the most frequent cause first, with a way to each."""
    page = client("GET", "/mappings/reviews", BROWSER).text
    run = client.control.store.runs("reviews", 1)[0]
    assert re.findall(r'/dead-letters/(\w+)"', page) == ["API_400", "VALUE_TOO_LARGE", "NULL_KEY"]
    assert f'href="/runs/{run.run_id}"' in page
    assert "every 15m" in page
    assert page.count('<tr data-key="20') == 25


def test_dead_letters_hide_the_row_without_the_token(client: Client) -> None:
    """Code, reason and times are for everybody who may read; id, object and the API's answer take the token."""
    path = "/mappings/reviews/dead-letters/API_400"
    hidden = ("43:3", "Siobhán O&#39;Brien", "property … is not allowed")
    public, whole = client("GET", path, BROWSER).text, client("GET", path, BROWSER | BEARER).text
    for text in ("the API refused the object", "API_400", "the API answered 400"):
        assert text in public
        assert text in whole
    assert [word in public for word in hidden] == [False] * 3
    assert [word in whole for word in hidden] == [True] * 3


def test_dead_letters_by_pages(tmp_path: Path) -> None:
    """Fifty at a time, then further ones, each of them once."""
    store = MemoryStore()
    _refuse(store, "hosts", [Rejection(code="NULL_KEY", reason="no key", row=n, id=str(n)) for n in range(120)])
    client = Client(control=StillControl(config=sample_config(tmp_path), store=store))
    path, seen = "/mappings/hosts/dead-letters/NULL_KEY", []
    query = ""
    while True:
        page = client("GET", path + query, BROWSER).text
        seen.append(re.findall(r'id="letter-(\d+)"', page))
        more = re.search(r'href="(\?after=\d+)"', page)
        if more is None:
            break
        query = more[1]
    assert [len(each) for each in seen] == [50, 50, 20]
    assert len({number for each in seen for number in each}) == 120


def _refuse(store: Store, mapping: str, rejections: list[Rejection], **fields: object) -> RunReport:
    """Record a run with these dead letters."""
    run = RunReport(
        run_id="run-1", mapping=mapping, collection=mapping, mode=Mode.FULL, outcome=Outcome.PARTIAL, trigger="cli",
        started_at=NOON - timedelta(minutes=1), finished_at=NOON, counts=Counts(read=1, rejected=1), **fields,  # type: ignore[arg-type]
    )  # fmt: skip
    letters = [
        DeadLetter(mapping=mapping, collection=mapping, run_id="run-1", created_at=NOON, rejection=each)
        for each in rejections
    ]
    lease = store.acquire(mapping, "me", NOON - timedelta(hours=1), timedelta(minutes=1))
    store.commit(lease, Commit(run=run, dead_letters=letters))
    store.release(lease)
    return run


def test_hostile_texts_are_only_text(tmp_path: Path) -> None:
    """Markup in rows, codes, errors, hints and the file's problems comes out escaped on every page."""
    store = MemoryStore()
    body = json.dumps({"name": HOSTILE}).encode()
    code = HOSTILE.replace("/", "|")
    refused = Rejection(
        code=code, reason=HOSTILE, row=1, id=HOSTILE, key="k", properties=body, status=400, response=HOSTILE
    )
    _refuse(store, "hosts", [refused], error=HOSTILE, hint=HOSTILE, held_by=HOSTILE, api="bulk", api_reason=HOSTILE)
    control = StillControl(config=sample_config(tmp_path), store=store, reload=Reload(at=NOON, problem=HOSTILE))
    client = Client(control=control)
    for path in ("/", "/mappings/hosts", "/runs/run-1", f"/mappings/hosts/dead-letters/{quote(code)}"):
        page = client("GET", path, BROWSER | BEARER).text
        assert "&lt;script&gt;alert(1)&lt;" in page, path
        assert "alert(1)</script>" not in page, path
        assert "<img src=x" not in page, path
        assert "62710561" not in page, path


def test_a_runs_timeline(client: Client) -> None:
    """Of a run that goes on, what happened in it so far, with how often; of one that is over, how it ended."""
    control = client.control
    going = text_of(client("GET", f"/runs/{control.runs[0].run_id}", BROWSER).text)
    told = ("Started full run, by page", "a request failed (503) and was sent again, 2 times",
            "the API asked for a pause of 1.5 s (429)", "Read 21,770 rows", "386 sent", "21,384 unchanged",
            "Not finished yet", "21,770 rows read in 19.0 s")  # fmt: skip
    assert [words for words in told if words not in going] == []
    over = text_of(client("GET", f"/runs/{control.store.runs('cities', 1)[0].run_id}", BROWSER).text)
    assert "Failed after 31s" in over
    assert "Try: check that the database runs, then `syncer check`" in over


def test_what_is_not_there(client: Client) -> None:
    """Unknown mappings, runs and paths: 404 for programs and people."""
    for path in ("/mappings/none", "/runs/none", "/none", "/static/none", "/static/..%2Fapp.py", "/mappings/hosts/"):
        assert client("GET", path).status_code == 404, path
        answer = client("GET", path, BROWSER)
        assert (answer.status_code, "Try: " in answer.text) == (404, True)
    assert client("POST", "/mappings/none/run", BEARER).status_code == 404


def test_actions(client: Client) -> None:
    """Each button asks the daemon for what it says, and leads back to where it was pressed."""
    session = client.session()
    asked = [
        ("run", {"mode": "full"}, ("run", "reviews", Mode.FULL)),
        ("run", {}, ("run", "reviews", Mode.INCREMENTAL)),
        ("pause", {}, ("pause", "reviews")),
        ("resume", {}, ("resume", "reviews")),
        ("retry", {}, ("retry", "reviews", None)),
        ("retry", {"number": "4"}, ("retry", "reviews", (4,))),
        ("retry", {"code": "VALUE_TOO_LARGE"}, ("retry", "reviews", (1, 2))),
    ]
    for action, form, expected in asked:
        answer = client("POST", f"/mappings/reviews/{action}", session, back="/?x=1", **form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/?x=1")
        assert client.control.asked[-1] == expected
    assert len(client.control.asked) == len(asked)


def test_actions_that_make_no_sense(client: Client) -> None:
    """An unknown mode, no number, a cause without dead letters, a form that is too long: nothing is asked for."""
    answer = client("POST", "/mappings/reviews/run", BEARER, mode="half")
    assert (answer.status_code, answer.text) == (400, "there is no mode 'half'\nTry: incremental or full\n")
    for number in ("", "four", "-4", "4 or 5", "9" * 30):
        assert client("POST", "/mappings/reviews/retry", BEARER, number=number).status_code == 400, number
    assert client("POST", "/mappings/reviews/retry", BEARER, code="NONE").status_code == 404
    assert client("POST", "/login", {"Origin": f"http://{client.host}"}, token="x" * 100_000).status_code == 413
    assert client("POST", "/mappings/reviews/run", BEARER, mode="full", back="x" * 100_000).status_code == 413
    many = {f"n{each}": "1" for each in range(30)}
    assert client("POST", "/mappings/reviews/run", BEARER, **many).status_code == 413
    assert client.control.asked == []


def test_the_daemons_refusals_are_told(client: Client) -> None:
    """What it says, with its hint; a state that fails is 503."""
    client.control.refusal = UsageError("the daemon is stopping", "try again later")
    answer = client("POST", "/mappings/hosts/run", BEARER)
    assert (answer.status_code, answer.text) == (409, "the daemon is stopping\nTry: try again later\n")
    client.control.refusal = StateCorrupt("the state is damaged", "restore it")
    assert client("POST", "/mappings/hosts/pause", BEARER | BROWSER).status_code == 503


def test_a_retry_that_fails_is_told_on_the_mappings_page(client: Client) -> None:
    """It runs behind, so its trouble shows where one looks for what became of it, until it is tried again."""
    client.control.refusal = LeaseHeld("another process runs reviews", "wait for it")
    assert client("POST", "/mappings/reviews/retry", BEARER).status_code == 303
    assert "another process runs reviews" in client("GET", "/mappings/reviews", BROWSER).text
    client.control.refusal = None
    client("POST", "/mappings/reviews/retry", BEARER)
    assert "another process runs reviews" not in client("GET", "/mappings/reviews", BROWSER).text


def test_a_state_that_cannot_be_read(tmp_path: Path) -> None:
    """503 with what happened and what to do; never a traceback."""
    place = tmp_path / "syncer.db"
    store = open_store(f"sqlite:///{place}")
    client = Client(control=StillControl(config=sample_config(tmp_path), store=store))
    store.close()
    place.write_bytes(b"this is no database " * 500)
    for headers in ({}, BROWSER):
        answer = client("GET", "/", headers)
        assert (answer.status_code, "Try: " in answer.text, "Traceback" in answer.text) == (503, True, False)
    assert client("GET", "/healthz").status_code == 200


def test_an_unexpected_error_tells_strangers_nothing(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the answer nor the log holds its text: that may be a row's."""
    client.control.refusal = RuntimeError("room 42 belongs to ada@example.com")
    with caplog.at_level(logging.INFO, "syncer"):
        answer = client("POST", "/mappings/hosts/run", BEARER)
    assert (answer.status_code, answer.text) == (500, "something went wrong; the log has it\n")
    assert [record.getMessage() for record in caplog.records] == ["the page failed: unexpected RuntimeError"]


def test_health_and_readiness(client: Client) -> None:
    """200, or 503 with why; for everybody, also while the other is bad."""
    assert [client("GET", path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    client.control.not_ready = "it is stopping"
    assert (client("GET", "/readyz").status_code, client("GET", "/readyz").text) == (503, "it is stopping\n")
    assert client("GET", "/healthz").status_code == 200
    client.control.dead = "the timer is dead"
    assert (client("GET", "/healthz").status_code, client("GET", "/healthz").text) == (503, "the timer is dead\n")


def test_a_file_that_could_not_be_taken_over(client: Client) -> None:
    """Every page says that the configuration before it stays in force, and why."""
    client.control.reload = Reload(at=NOON, problem="syncer.yaml:3: no such key `sauces`")
    for path in ("/", "/mappings/hosts"):
        assert "no such key `sauces`" in client("GET", path).text


@pytest.mark.parametrize("path", ["/", "/mappings/city_aa", "/metrics"])
def test_the_number_of_mappings_costs_no_statements(tmp_path: Path, path: str) -> None:
    """A page of a hundred mappings asks the state as often as one of a single mapping, and looking again not at all."""

    def statements(mappings: int) -> int:
        names = ["city_" + "abcdefghij"[n // 10] + "abcdefghij"[n % 10] for n in range(mappings)]
        lines = "".join(f"  {name}: {{table: cities, schedules: [{{every: 1h}}]}}\n" for name in names)
        config = sample_config(tmp_path, CONFIG.partition("  hosts:")[0] + lines)
        store = open_store(f"sqlite:///{tmp_path / f'{mappings}.db'}")
        client = Client(control=StillControl(config=config, store=store))
        asked: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            asked.append(statement)

        event.listen(Engine, "before_cursor_execute", note)
        try:
            assert client("GET", path).status_code == 200
            once = len(asked)
            client("GET", "/")
            assert len(asked) == once
        finally:
            event.remove(Engine, "before_cursor_execute", note)
            store.close()
        return once

    assert statements(100) == statements(1) < 20


def test_the_token_is_nowhere(client: Client) -> None:
    """No page, no answer and no representation holds it."""
    for path in ("/", "/mappings/hosts", "/login", "/metrics"):
        assert TOKEN not in client("GET", path, BROWSER | BEARER).text
    assert TOKEN not in repr(client.sessions)


def test_estimates_that_were_wrong(client: Client) -> None:
    """More rows than were expected: no share is told, rather than more than all."""
    counts = Counts(read=50_000, sent=1)
    control = client.control
    control.runs = [
        Running(mapping="hosts", run_id="r", mode=Mode.FULL, trigger="page", started_at=NOON - timedelta(hours=1),
                counts=counts, estimate=40_000, moved_at=NOON, stuck=False),
    ]  # fmt: skip
    page = text_of(client("GET", "/", BROWSER).text)
    assert "50,000 rows read, 1 sent, for 1h" in page
    assert "%" not in page
    assert "Not finished yet" in client("GET", "/runs/r", BROWSER).text
