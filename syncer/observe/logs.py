"""Events to the log, as text or JSON. What a line says is in `lines`."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import TextIO

from syncer.core.events import Event, RunFinished, RunProgressed
from syncer.observe.lines import line_of

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


class LogObserver:
    """Writes every event to the log. `progress`: also how far a run is, at most every few seconds."""

    def __init__(self, *, progress_every: float = 5.0) -> None:
        self._every = progress_every
        self._told: dict[str, float] = {}

    def notice(self, event: Event) -> None:
        """One line for the event."""
        if isinstance(event, RunProgressed) and not self._due(event.run_id):
            return
        if isinstance(event, RunFinished):
            self._told.pop(event.report.run_id, None)
        line = line_of(event)
        _log.log(line.level, "%s", line.sentence, extra={"fields": line.fields})

    def _due(self, run_id: str) -> bool:
        now = time.monotonic()
        due = now - self._told.setdefault(run_id, now) >= self._every
        if due:
            self._told[run_id] = now
        return due
