"""Events as log lines: each has a sentence, and the fields that docs/logs.md promises."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from syncer.core.events import (
    BulkChosen,
    DeliveryPaused,
    Event,
    Noticed,
    RequestRetried,
    RunFinished,
    RunMoved,
    RunProgressed,
    RunStarted,
    RunStuck,
)
from syncer.core.model import Counts, Kind, Mode, Outcome, RunReport, Watermark
from syncer.observe.lines import line_of
from syncer.observe.logs import LogObserver, set_up_logging

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "logs.md").read_text("utf-8")
DAWN = datetime(2026, 1, 1, tzinfo=UTC)
CANARY = "a value of a row"


def report(outcome: Outcome) -> RunReport:
    """A finished run."""
    return RunReport(
        run_id="1", mapping="rooms", collection="rooms", mode=Mode.FULL, outcome=outcome, trigger="cli",
        started_at=DAWN, finished_at=DAWN, counts=Counts(read=3, sent=3), error="no connection",
        watermark=Watermark(kind=Kind.TEXT, text=CANARY),
    )  # fmt: skip


EVENTS: list[Event] = [
    RunStarted(mapping="rooms", run_id="1", mode=Mode.FULL),
    RunProgressed(mapping="rooms", run_id="1", counts=Counts(read=3, sent=2, unchanged=1)),
    BulkChosen(mapping="rooms", reason="it is large"),
    Noticed(mapping="rooms", message="something"),
    RequestRetried(collection="rooms", attempt=1, reason="HTTP 500", wait=0.5),
    DeliveryPaused(reason="HTTP 429", wait=2.0),
    RunStuck(mapping="rooms", run_id="1", since=DAWN),
    RunMoved(mapping="rooms", run_id="1"),
    RunFinished(report=report(Outcome.FAILED)),
]


def test_what_another_daemon_has_taken_is_no_error() -> None:
    """Several on one state meet at every fire; a person who asked for the run hears an error."""
    locked = report(Outcome.LOCKED)
    levels = [line_of(RunFinished(report=replace(locked, trigger=by))).level for by in ("schedule", "catch-up", "cli")]
    assert levels == [logging.INFO, logging.INFO, logging.ERROR]


def promised() -> dict[str, tuple[str, list[str]]]:
    """Level and fields of every event in the table of the page."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]*)\|$", DOC, re.MULTILINE)
    return {name: (level.strip(), re.findall(r"`(\w+)`", fields)) for name, level, fields in rows[1:]}


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged as JSON; logging is put back as it was."""
    log = logging.getLogger("syncer")
    before = (log.handlers[:], log.propagate, log.level)
    stream = io.StringIO()
    set_up_logging(style="json", verbose=False, stream=stream)
    yield stream
    log.handlers[:], log.propagate, log.level = before


def test_every_event_is_tried() -> None:
    """So that none can be added without its line."""
    assert {type(each) for each in EVENTS} == set(get_args(Event))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_json_line_has_the_promised_fields(event: Event, logged: io.StringIO) -> None:
    """Time, level and message, and behind them those of the page, in its order; and no value of a row."""
    LogObserver(progress_every=0).notice(event)
    line: dict[str, Any] = json.loads(logged.getvalue())
    level, fields = promised()[line["event"]]
    assert list(line) == ["time", "level", "message", "event", *fields]
    assert line["level"] in level
    assert line["message"]
    assert CANARY not in logged.getvalue()


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_run_that_did_not_succeed_is_an_error(outcome: Outcome) -> None:
    """Dead letters are told otherwise."""
    fine = outcome in (Outcome.SUCCEEDED, Outcome.PARTIAL)
    assert line_of(RunFinished(report=report(outcome))).level == (logging.INFO if fine else logging.ERROR)


def test_progress_is_logged_now_and_then(logged: io.StringIO) -> None:
    """Not at once, and not every time."""
    observer = LogObserver(progress_every=3600)
    for event in EVENTS[:2] * 3:
        observer.notice(event)
    assert [json.loads(each)["event"] for each in logged.getvalue().splitlines()] == ["run_started"] * 3


def test_the_page_lists_the_lines_that_are_no_events() -> None:
    """All that is logged with fields elsewhere than in `lines`."""
    files = [path for path in (ROOT / "syncer").rglob("*.py") if path.name != "lines.py"]
    others = {name for path in files for name in re.findall(r'\{"event": "(\w+)"', path.read_text("utf-8"))}
    assert others == set(promised()) - {str(line_of(each).fields["event"]) for each in EVENTS}
