"""Templates, and what becomes of alerts in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.core.alerts import Alert, AlertKind, alerts_after, stuck
from syncer.core.model import Counts, Kind, Mode, Outcome, RunReport, Watermark
from syncer.core.notes import FIELDS, Form, payload, text_of, values_of
from syncer.core.run_fields import fields_of
from syncer.core.templates import fields_in, fill, fill_tree

DAWN = datetime(2026, 1, 1, 2, tzinfo=UTC)
TEXTS = st.text(max_size=40)


def failed(error: str = "no connection", hint: str | None = "syncer check") -> Alert:
    """The alert of a run that failed."""
    report = RunReport(
        run_id="20260101T020000Z-0a1b2c3d", mapping="rooms", collection="rooms", mode=Mode.FULL, outcome=Outcome.FAILED,
        trigger="schedule", started_at=DAWN, finished_at=DAWN, counts=Counts(read=12, sent=10, rejected=2),
        watermark=Watermark(kind=Kind.TEXT, text="a value of a row"), error=error, hint=hint,
    )  # fmt: skip
    return alerts_after(report, [])[0]


def test_fields_are_filled_in_and_doubled_braces_are_braces() -> None:
    """As in Python's own format."""
    assert fill("{{{mapping}}} {error}.", {"mapping": "rooms", "error": None}) == "{rooms} ."
    assert fields_in("{mapping} {{not}} {error}") == ["mapping", "error"]


@pytest.mark.parametrize(
    "text", ["{", "}", "{}", "{0}", "{mapping!r}", "{mapping:>9}", "{mapping.x}", "{a b}", "{mapping[0]}", "{mapping"]
)
def test_nothing_but_names_stands_between_braces(text: str) -> None:
    """No attributes, no formats, no positions: a template reaches nothing but its fields."""
    with pytest.raises(ValueError, match=r"write `\{\{` and `\}\}`"):
        fields_in(text)


@given(TEXTS)
def test_any_text_with_its_braces_doubled_is_itself(text: str) -> None:
    """So every text can be written."""
    assert fill(text.replace("{", "{{").replace("}", "}}"), {}) == text


@given(st.lists(st.tuples(st.sampled_from(["{a}", "{b}", "{{", "}}", "x "]), TEXTS), max_size=5), TEXTS, TEXTS)
def test_what_a_field_holds_is_not_read_again(parts: list[tuple[str, str]], first: str, second: str) -> None:
    """Braces in a value are only characters: the result is the pieces side by side."""
    template = "".join(part for part, _ in parts)
    pieces = {"{a}": first, "{b}": second, "{{": "{", "}}": "}", "x ": "x "}
    assert fill(template, {"a": first, "b": second}) == "".join(pieces[part] for part, _ in parts)


TREES = st.recursive(
    st.sampled_from(["{error}", "{read}", "plain", "{mapping}: {error}", "{hint}"]) | st.integers(-5, 5) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(TREES, TEXTS)
def test_a_body_is_json_whatever_the_values_hold(tree: Any, error: str) -> None:
    """Encoded and decoded again it has the shape of the template, and every text is what its fields say."""
    values = {"error": error, "read": 12, "mapping": "rooms", "hint": None}

    def expected(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: expected(each) for key, each in part.items()}
        if isinstance(part, list):
            return [expected(each) for each in part]
        whole = {"{error}": error, "{read}": 12, "{hint}": None, "{mapping}: {error}": f"rooms: {error}"}
        return whole.get(part, part) if isinstance(part, str) else part

    assert json.loads(json.dumps(fill_tree(tree, values))) == expected(tree)


@given(st.text(st.characters(), max_size=60))
def test_any_error_text_can_be_sent(error: str) -> None:
    """Quotes, line breaks, control characters and halves of characters included."""
    body = orjson.dumps(payload(failed(error), "host", Form(body={"summary": "{error}", "rows": "{read}"})))
    assert json.loads(body) == {"summary": error.encode("utf-8", "replace").decode(), "rows": 12}


@given(st.text(alphabet="<>&!channel@U1| ", max_size=30))
def test_an_error_text_cannot_address_a_channel(error: str) -> None:
    """Slack reads `<!channel>` as a call to all: in what fields hold, no `<` or `>` is left."""
    told = payload(failed(error), "host", Form(template="<!here> {error}"))
    assert isinstance(told, dict)
    rest = str(told["text"]).removeprefix("<!here> ")
    assert "<" not in rest
    assert ">" not in rest
    assert rest.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == error


def test_without_a_template_the_message_and_the_hint_are_told() -> None:
    """The hint on a line of its own, where there is one."""
    assert text_of(failed(), "host", None) == "syncer: rooms: the full run failed: no connection\nTry: syncer check"
    calm = Alert(kind=AlertKind.RECOVERY, cause="run", mapping="rooms", message="rooms: works again")
    assert text_of(calm, "host", None) == "syncer: rooms: works again"


def test_a_body_may_name_the_text() -> None:
    """As the template makes it, without what Slack would escape."""
    form = Form(template="{mapping} <{kind}>", body={"summary": "{text}!", "text": "{text}"})
    assert payload(failed(), "host", form) == {"summary": "rooms <failure>!", "text": "rooms <failure>"}


def test_every_field_has_a_value_in_every_alert() -> None:
    """Also where no run made it known: then those of a run hold nothing."""
    of_run, of_none = values_of(failed(), "db-1"), values_of(stuck("rooms", "1", DAWN), "db-1")
    assert tuple(of_run) == tuple(of_none) == FIELDS
    assert of_run["read"] == 12
    assert of_run["host"] == "db-1"
    assert of_none["read"] is None
    assert of_none["run_id"] == "1"


def test_a_long_value_is_cut() -> None:
    """A chat takes only so much."""
    assert str(values_of(failed("x" * 5_000), "host")["error"]) == "x" * 1_999 + "…"


def test_the_watermark_is_no_field() -> None:
    """It is a value of a row; all else that is said of a run can be named, or is known otherwise."""
    report = failed().report
    assert report is not None
    assert set(fields_of(report)) - set(FIELDS) == {"watermark", "bytes", "api", "api_reason"}
    assert "a value of a row" not in str(values_of(failed(), "host"))
