"""Runs as OpenTelemetry spans, for who has a collector: asked for by its standard environment variables, never else.

The libraries come with the extra `otel` and are imported only then. No row contents and no watermarks are told.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from syncer import __version__
from syncer.core.events import (
    BulkChosen,
    DeliveryPaused,
    Event,
    Noticed,
    RequestRetried,
    RunFinished,
    RunMoved,
    RunStarted,
    RunStuck,
)
from syncer.core.model import Counts, Outcome, RunReport

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

_log = logging.getLogger("syncer.traces")

#: either asks for traces
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: seconds for an export with its retries, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise
PATIENCE: Final = 5.0
#: moments that are remembered until their run is over
_MOST: Final = 1_000


def open_traces(environ: Mapping[str, str]) -> Traces | None:
    """An observer that sends a trace of every run, when the environment asks for it. None otherwise.

    Where it is asked for and the libraries are missing, that is said once.
    """
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    asked = next((name for name in ENDPOINTS if environ.get(name)), None)
    if asked is None or disabled:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        told = "%s is set, but the libraries for traces are not installed. Try: pip install 'syncer[otel]'"
        _log.warning(told, asked, extra={"fields": {"event": "traces_missing"}})
        return None
    patient = any("OTLP" in name and name.endswith("TIMEOUT") for name in environ)
    return Traces(OTLPSpanExporter(timeout=None if patient else PATIENCE))


class Traces:
    """An observer that makes a span of every run, with the parts of the run below it. Export is in a thread."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # it says with its own words, and with the address, what is said once below
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        # what the environment says of the service comes first
        known = Resource({"service.name": "syncer", "service.version": __version__})
        named = Resource.create()
        if str(named.attributes.get("service.name", "")).startswith("unknown_service"):
            named = Resource({key: value for key, value in named.attributes.items() if key != "service.name"})
        self._provider = TracerProvider(resource=known.merge(named), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_told_once(exporter)))
        self._tracer = self._provider.get_tracer("syncer", __version__)
        self._begun: dict[str, int] = {}
        self._moments: deque[tuple[int, Event]] = deque(maxlen=_MOST)

    def notice(self, event: Event) -> None:
        """Remember it, or make the spans of a run that is over."""
        now = _nanoseconds(datetime.now(UTC))
        match event:
            case RunStarted():
                self._begun[event.run_id] = now
            case RunFinished(report=report):
                self._trace(report, self._begun.pop(report.run_id, None))
            case BulkChosen() | Noticed() | RequestRetried() | DeliveryPaused() | RunStuck() | RunMoved():
                self._moments.append((now, event))
            case _:
                pass

    def _trace(self, report: RunReport, begun: int | None) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        start = _nanoseconds(report.started_at)
        end = max(start, _nanoseconds(report.finished_at or report.started_at))
        span = self._tracer.start_span("run", kind=SpanKind.CLIENT, start_time=start, attributes=_attributes(report))
        # one clock may have been set meanwhile, and a part stays within its whole
        between = min(max(begun, start), end) if begun is not None else end
        inside = set_span_in_context(span)
        parts = [("prepare", start, between)] + ([("sync", between, end)] if begun is not None else [])
        for name, first, last in parts:
            self._tracer.start_span(name, context=inside, start_time=first).end(last)
        self._tell_moments(span, report, start, end)
        if report.outcome is Outcome.FAILED:
            span.set_status(Status(StatusCode.ERROR, report.error))
        span.end(end)

    def _tell_moments(self, span: Span, report: RunReport, start: int, end: int) -> None:
        for at, event in list(self._moments):
            if start <= at <= end and _concerns(event, report):
                name, fields = _moment(event)
                span.add_event(name, fields, timestamp=at)

    async def close(self) -> None:
        """Export what is left, within a few seconds. Idempotent."""
        await asyncio.to_thread(self._provider.shutdown)


def _attributes(report: RunReport) -> dict[str, str | int]:
    told: dict[str, str | int | None] = {
        "syncer.mapping": report.mapping, "syncer.collection": report.collection, "syncer.run_id": report.run_id,
        "syncer.mode": str(report.mode), "syncer.trigger": report.trigger, "syncer.api": report.api,
        "syncer.outcome": str(report.outcome) if report.outcome else None, "error.message": report.error,
    }  # fmt: skip
    told |= {f"syncer.{name}": getattr(report.counts, name) for name in Counts.__slots__}
    return {name: value for name, value in told.items() if value is not None}


def _concerns(event: Event, report: RunReport) -> bool:
    match event:
        case RequestRetried(collection=collection):
            return collection == report.collection
        case RunStuck(run_id=run_id) | RunMoved(run_id=run_id):
            return run_id == report.run_id
        case BulkChosen(mapping=mapping) | Noticed(mapping=mapping):
            return mapping == report.mapping
        case _:
            # a pause is of the whole write key
            return True


def _moment(event: Event) -> tuple[str, dict[str, str | int | float]]:
    match event:
        case RequestRetried():
            return "request retried", {"reason": event.reason, "attempt": event.attempt, "wait": event.wait}
        case DeliveryPaused():
            return "delivery paused", {"reason": event.reason, "wait": event.wait}
        case BulkChosen():
            return "bulk chosen", {"reason": event.reason}
        case Noticed():
            return "noticed", {"message": event.message}
        case RunStuck():
            return "run stuck", {"since": event.since.isoformat()}
        case _:
            return "run moved", {}


def _told_once(exporter: SpanExporter) -> SpanExporter:
    """The exporter, which says in our own log that it fails: once until it works again, without the address."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class ToldOnce(SpanExporter):
        """Passes spans on."""

        told = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            """Export, and say when that fails."""
            result = exporter.export(spans)
            failed = result is not SpanExportResult.SUCCESS
            if failed and not self.told:
                told = "the traces' collector did not take them"
                _log.warning(told, extra={"fields": {"event": "traces_lost"}})
            self.told = failed
            return result

        def shutdown(self) -> None:
            """Let go of the connections."""
            exporter.shutdown()

    return ToldOnce()


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1_000
