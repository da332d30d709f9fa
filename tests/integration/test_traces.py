"""Runs as OpenTelemetry traces, as a collector on loopback gets them."""

from __future__ import annotations

import asyncio
import gzip
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import http_server
import pytest
from http_server import ScriptedServer, answer, serving
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from syncer.core.events import DeliveryPaused, Event, Noticed, RequestRetried, RunFinished, RunStarted, RunStuck
from syncer.core.model import Counts, Kind, Mode, Outcome, RunReport, Watermark
from syncer.observe.traces import open_traces

CANARY = "a value of a row"


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    """The process's own environment without OpenTelemetry's variables: its libraries read that one."""
    import os

    for name in [each for each in os.environ if each.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    before = logging.getLogger("opentelemetry").level
    yield os.environ
    logging.getLogger("opentelemetry").setLevel(before)


@pytest.fixture
def collector(environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A collector that takes everything, as the environment names it."""
    with serving(http_server.always(answer(200))) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.endpoint)
        yield server


def report(number: int, outcome: Outcome = Outcome.SUCCEEDED, *, mapping: str = "rooms") -> RunReport:
    """A run that has just ended, after two seconds."""
    now = datetime.now(UTC)
    return RunReport(
        run_id=f"{mapping}-{number}", mapping=mapping, collection=mapping, mode=Mode.FULL, outcome=outcome,
        trigger="schedule", started_at=now - timedelta(seconds=2), finished_at=now,
        counts=Counts(read=12, sent=10, rejected=2), watermark=Watermark(kind=Kind.TEXT, text=CANARY),
        error="no connection" if outcome is Outcome.FAILED else None,
    )  # fmt: skip


def traced(environ: Mapping[str, str], *events: Event) -> None:
    """Observe these."""
    traces = open_traces(environ)
    assert traces is not None

    async def close() -> None:
        await traces.close()
        await traces.close()

    for event in events:
        traces.notice(event)
    asyncio.run(close())


def spans_of(collector: ScriptedServer) -> list[Any]:
    """Every span that came."""
    found = []
    for request in collector.requests:
        body = gzip.decompress(request.body) if "gzip" in request.headers.get("content-encoding", "") else request.body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def attributes_of(thing: Any) -> dict[str, object]:
    """Attributes of a span, an event or a resource."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in thing.attributes}


def test_a_run_is_a_span_with_its_parts_below(collector: ScriptedServer, environ: Mapping[str, str]) -> None:
    """From its start to its end, divided where it begins to read; with what the report says, its watermark aside."""
    done = report(1)
    traced(environ, RunStarted(mapping="rooms", run_id="rooms-1", mode=Mode.FULL), RunFinished(report=done))
    assert {request.line for request in collector.requests} == {"POST /v1/traces HTTP/1.1"}
    run, prepare, sync = sorted(spans_of(collector), key=lambda span: ["run", "prepare", "sync"].index(span.name))
    assert (prepare.parent_span_id, sync.parent_span_id, run.parent_span_id) == (run.span_id, run.span_id, b"")
    assert {run.trace_id} == {prepare.trace_id, sync.trace_id}
    began, ended = done.started_at, done.finished_at
    assert ended is not None
    assert (run.start_time_unix_nano, run.end_time_unix_nano) == tuple(
        round(each.timestamp() * 1_000_000) * 1_000 for each in (began, ended)
    )
    assert run.start_time_unix_nano == prepare.start_time_unix_nano
    assert prepare.end_time_unix_nano == sync.start_time_unix_nano
    assert sync.end_time_unix_nano == run.end_time_unix_nano
    told = attributes_of(run)
    assert told["syncer.mapping"] == told["syncer.collection"] == "rooms"
    assert (told["syncer.outcome"], told["syncer.mode"], told["syncer.trigger"]) == ("succeeded", "full", "schedule")
    assert (told["syncer.read"], told["syncer.sent"], told["syncer.rejected"]) == (12, 10, 2)
    assert run.status.code == 0
    assert all(CANARY.encode() not in request.body for request in collector.requests)


def test_a_failed_run_has_the_status_of_an_error(collector: ScriptedServer, environ: Mapping[str, str]) -> None:
    """One that did not even begin to read has the first part only."""
    traced(environ, RunFinished(report=report(1, Outcome.FAILED)))
    spans = {span.name: span for span in spans_of(collector)}
    assert set(spans) == {"run", "prepare"}
    assert (spans["run"].status.code, spans["run"].status.message) == (2, "no connection")
    assert attributes_of(spans["run"])["error.message"] == "no connection"


def test_what_happens_meanwhile_is_told_of_the_run_that_it_concerns(
    collector: ScriptedServer, environ: Mapping[str, str]
) -> None:
    """Of two runs at once, one is retried, and the pause is of both; what comes after their end is of none."""
    rooms, hosts = report(1), report(1, mapping="hosts")
    ended = datetime.now(UTC) + timedelta(hours=1)
    runs = [
        RunReport(**{name: getattr(each, name) for name in each.__slots__} | {"finished_at": ended})
        for each in (rooms, hosts)
    ]
    retried = RequestRetried(collection="rooms", attempt=1, reason="HTTP 500", wait=0.5)
    stuck = RunStuck(mapping="hosts", run_id="hosts-1", since=rooms.started_at)
    noticed = Noticed(mapping="hosts", message="something")
    traced(
        environ, retried, DeliveryPaused(reason="HTTP 429", wait=2.0), stuck, noticed,
        *(RunFinished(report=each) for each in runs), Noticed(mapping="rooms", message="too late"),
    )  # fmt: skip
    found = {attributes_of(span)["syncer.mapping"]: span for span in spans_of(collector) if span.name == "run"}
    told = {name: [each.name for each in span.events] for name, span in found.items()}
    assert told == {
        "rooms": ["request retried", "delivery paused"],
        "hosts": ["delivery paused", "run stuck", "noticed"],
    }
    assert attributes_of(found["rooms"].events[0]) == {"reason": "HTTP 500", "attempt": 1, "wait": 0.5}


def test_the_service_has_a_name(
    collector: ScriptedServer, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`syncer`, unless the environment gives it another."""
    traced(environ, RunFinished(report=report(1)))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
    traced(environ, RunFinished(report=report(2)))
    first, second = (ExportTraceServiceRequest.FromString(each.body) for each in collector.requests)
    assert attributes_of(first.resource_spans[0].resource)["service.name"] == "syncer"
    assert attributes_of(second.resource_spans[0].resource)["service.name"] == "nightly"


def test_a_collector_that_refuses_is_told_once_and_not_where_it_is(
    environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Though each span goes alone, so that it refuses twice."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    with serving(http_server.always(answer(400))) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{server.endpoint}/s3cr3t")
        traced(environ, RunFinished(report=report(1)))
    assert len(server.requests) == 2
    told = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert [each.getMessage() for each in told] == ["the traces' collector did not take them"]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_are_made_only_when_asked_for(variables: Mapping[str, str]) -> None:
    """By the standard variables."""
    assert open_traces(variables) is None


ABSENT = """
import sys
sys.modules["opentelemetry.exporter.otlp.proto.http.trace_exporter"] = None
from syncer.observe.traces import open_traces
assert open_traces({}) is None
assert open_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) is None
"""


def test_without_the_libraries_one_warning_says_how_to_get_them() -> None:
    """And only who asked for traces hears it."""
    told = subprocess.run([sys.executable, "-c", ABSENT], capture_output=True, text=True, check=True, timeout=60)
    (line,) = told.stderr.splitlines()
    assert line.startswith("OTEL_EXPORTER_OTLP_ENDPOINT is set, but the libraries for traces are not installed.")
    assert "pip install 'syncer[otel]'" in line


def test_the_libraries_are_not_loaded_unless_asked_for() -> None:
    """They are slow to import."""
    code = "import sys, syncer.cli.run, syncer.cli.observing; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
