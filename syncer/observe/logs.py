"""Events as log lines: a sentence for people, fields for machines. Row contents and secrets never come here."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import TextIO

from syncer.core.events import (
    BulkChosen,
    DeliveryPaused,
    Event,
    Noticed,
    RequestRetried,
    RunFinished,
    RunProgressed,
    RunStarted,
)
from syncer.core.model import Counts, Outcome, RunReport

_log = logging.getLogger("syncer")

#: libraries that would print rows, statements or headers when asked to be verbose
_QUIET = (
    "httpx",
    "httpcore",
    "sqlalchemy",
    "uvicorn",
    "apscheduler",
    "asyncio",
    "psycopg",
    "pymysql",
)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, and the fields given with it."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """Time in UTC, level unless it is info, sentence."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it where there is one."""
        moment = datetime.fromtimestamp(record.created, UTC)
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = f"{moment:%Y-%m-%dT%H:%M:%SZ} {level}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up_logging(*, style: str, verbose: bool, stream: TextIO | None = None) -> None:
    """Send our own log to standard error in `text` or `json`; other libraries only from warnings up."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    _log.handlers[:] = [handler]
    _log.propagate = False
    _log.setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def tell_counts(counts: Counts) -> str:
    """`1,000 read, 12 sent, 988 unchanged`: what is not zero, and always what was read and sent."""
    always = f"{counts.read:,} read, {counts.sent:,} sent"
    names = ("unchanged", "deleted", "rejected", "skipped", "retried")
    more = [f"{getattr(counts, name):,} {name}" for name in names if getattr(counts, name)]
    return ", ".join([always, *more])


def tell_report(report: RunReport) -> str:
    """One sentence about a finished run."""
    outcome = report.outcome or Outcome.FAILED
    seconds = (report.finished_at - report.started_at).total_seconds() if report.finished_at else 0.0
    told = f"{report.mapping}: {report.mode} run {outcome} in {seconds:.1f} s: {tell_counts(report.counts)}"
    return f"{told}; {report.error}" if report.error else told


class LogObserver:
    """Writes every event to the log. `progress`: also how far a run is, at most every few seconds."""

    def __init__(self, *, progress_every: float = 5.0) -> None:
        self._every = progress_every
        self._told: dict[str, float] = {}

    def notice(self, event: Event) -> None:
        """One line for the event."""
        fields: dict[str, object]
        match event:
            case RunStarted():
                fields = {"event": "run_started", "mapping": event.mapping, "run_id": event.run_id}
                _log.info("%s: %s run started", event.mapping, event.mode, extra={"fields": fields})
            case BulkChosen():
                fields = {"event": "bulk_chosen", "mapping": event.mapping}
                _log.info("%s: by the Bulk API (%s)", event.mapping, event.reason, extra={"fields": fields})
            case RunProgressed():
                self._progress(event)
            case RunFinished(report=report):
                level = logging.INFO if report.outcome in (Outcome.SUCCEEDED, Outcome.PARTIAL) else logging.ERROR
                _log.log(level, "%s", tell_report(report), extra={"fields": _report_fields(report)})
            case Noticed():
                fields = {"event": "noticed", "mapping": event.mapping}
                _log.warning("%s: %s", event.mapping, event.message, extra={"fields": fields})
            case RequestRetried():
                told = "%s: request failed (%s), attempt %d again in %.1f s"
                fields = {
                    "event": "request_retried",
                    "collection": event.collection,
                    "attempt": event.attempt,
                }
                args = (event.collection, event.reason, event.attempt, event.wait)
                _log.warning(told, *args, extra={"fields": fields})
            case DeliveryPaused():
                fields = {"event": "delivery_paused", "wait": event.wait}
                _log.warning(
                    "the API asks for a pause of %.1f s (%s)",
                    event.wait,
                    event.reason,
                    extra={"fields": fields},
                )

    def _progress(self, event: RunProgressed) -> None:
        now = time.monotonic()
        if now - self._told.setdefault(event.run_id, now) >= self._every:
            self._told[event.run_id] = now
            fields = {"event": "run_progressed", "mapping": event.mapping, "run_id": event.run_id}
            _log.info("%s: %s", event.mapping, tell_counts(event.counts), extra={"fields": fields})


def _report_fields(report: RunReport) -> dict[str, object]:
    counts = {name: getattr(report.counts, name) for name in Counts.__slots__}
    return {
        "event": "run_finished", "mapping": report.mapping, "run_id": report.run_id, "mode": report.mode,
        "outcome": report.outcome, "api": report.api,
        "api_reason": report.api_reason, **counts,
    }  # fmt: skip
