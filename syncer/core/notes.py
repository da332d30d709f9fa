"""Alerts as notes: the fields a template may name, the text that goes out, and the JSON around it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from syncer.core.alerts import Alert
from syncer.core.run_fields import fields_of
from syncer.core.templates import Json, Value, fill, fill_tree

#: what of a run may be named; not its watermark, which is a value of a row
_OF_RUN: Final = (
    "collection", "mode", "outcome", "trigger", "read", "sent", "unchanged", "deleted", "rejected", "skipped",
    "retried", "requests", "started_at", "finished_at", "duration_seconds", "error",
)  # fmt: skip
#: what a template may name
FIELDS: Final = ("kind", "cause", "mapping", "message", "hint", "run_id", "host", *_OF_RUN)
#: what a body may name besides: the text
TEXT: Final = "text"

#: characters of a field; a chat takes a few thousand in all
_LONGEST = 2_000
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a receiver wants to get."""

    #: None: message and hint
    template: str | None = None
    #: None: `{"text": ...}`, as Slack and what is like it want it
    body: Mapping[str, Json] | None = None


def values_of(alert: Alert, host: str) -> dict[str, Value]:
    """What each field holds. Of an alert that no run made known, those of a run hold nothing."""
    of_run = fields_of(alert.report) if alert.report is not None else {}
    found: dict[str, object] = {
        "kind": str(alert.kind), "cause": alert.cause, "mapping": alert.mapping, "message": alert.message,
        "hint": alert.hint, "run_id": alert.run_id, "host": host, **{name: of_run.get(name) for name in _OF_RUN},
    }  # fmt: skip
    return {name: _short(value) for name, value in found.items()}


def text_of(alert: Alert, host: str, template: str | None) -> str:
    """The text as a person reads it."""
    return _text(alert, values_of(alert, host), template)


def payload(alert: Alert, host: str, form: Form) -> Json:
    """What is sent, to be encoded as JSON.

    Without a body of one's own the fields are escaped as Slack asks for, so that no error text can address a whole
    channel; the template's own words are not, so that a person can.
    """
    values = values_of(alert, host)
    if form.body is None:
        return {"text": _text(alert, {name: _escaped(value) for name, value in values.items()}, form.template)}
    return fill_tree(dict(form.body), values | {TEXT: _text(alert, values, form.template)})


def _text(alert: Alert, values: Mapping[str, Value], template: str | None) -> str:
    if template is not None:
        return fill(template, values)
    return fill("syncer: {message}\nTry: {hint}" if alert.hint else "syncer: {message}", values)


def _short(value: object) -> Value:
    if isinstance(value, str):
        # half a character, which a file name can leave in an error, is no JSON
        whole = value.encode("utf-8", "replace").decode()
        return whole if len(whole) <= _LONGEST else whole[: _LONGEST - 1] + "…"
    assert value is None or isinstance(value, int | float)
    return value


def _escaped(value: Value) -> Value:
    if not isinstance(value, str):
        return value
    return "".join(_ESCAPED.get(each, each) for each in value)
