"""What each answer of the API means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncer.core.model import SegmentObject
from syncer.core.verdict import LARGEST_ANSWER, Action, Answer, Fault, NoAnswer, Verdict, judge

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ROOM = SegmentObject(
    id="guest@rooms.example", row=0, key="k",
    properties=orjson.dumps(
        {"name": "Charming Beach Room", "review_count": 4711, "price": 12.5, "city": "Zürich", "pets": None}
    ),
)  # fmt: skip


def verdict(status: int, body: bytes = b"", **headers: str) -> Verdict:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return judge(Answer(status=status, headers=named, body=body), now=NOW, sent=(ROOM,), secrets=("canary-key",))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"  \r\n", b"{}", b'{"success":true}', b'{"success":true,"error":""}', b'{"errors":[]}', b'{"error":null}',
        b'"OK"', b"[]", b'{"success":1}', b'{"message":"error"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_accepts(status: int, body: bytes) -> None:
    """A success with no body, or with JSON that reports no error, is an acceptance."""
    assert (Action.ACCEPT, False) == (verdict(status, body).action, verdict(status, body).in_doubt)


@pytest.mark.parametrize(
    "body",
    [
        b'{"success":false}', b'{"success":"false"}', b'{"error":"no such collection"}', b'{"errors":["name"]}',
        b'{"success":true,"error":{"code":1}}', b'{"errors":{"id":"too long"}}', b'{"success":0}',
    ],
)  # fmt: skip
def test_success_that_reports_an_error_is_a_rejection(body: bytes) -> None:
    """A 200 whose body says that nothing was taken splits the batch as a 400 does."""
    assert (Action.SPLIT, False) == (verdict(200, body).action, verdict(200, body).in_doubt)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Please log in</html>", b"OK", b'{"success":tr', b'{"success":true', b"\xff\xfe\x00",
        b"\x1f\x8b\x08\x00", b"NaN", b'"' + b"a" * LARGEST_ANSWER + b'"',
        b" " * (LARGEST_ANSWER + 1),  # what comes after it is not read
    ],
)  # fmt: skip
def test_success_of_something_else_is_in_doubt(body: bytes) -> None:
    """A 200 that is not JSON, is cut off or never ends is not the API's: retried, in doubt."""
    judged = verdict(200, body, retry_after="5")
    assert (Action.RETRY, True, True, True, None) == (
        judged.action, judged.in_doubt, judged.late, judged.foreign, judged.wait,
    )  # fmt: skip
    assert "not the API" in judged.reason


@pytest.mark.parametrize(
    ("status", "action", "in_doubt"),
    [
        *((status, Action.SPLIT, False) for status in (400, 402, 406, 411, 412, 413, 414, 418, 422, 428, 451, 499)),
        *((status, Action.STOP, False) for status in (401, 403)),
        *((status, Action.MISCONFIGURED, False) for status in (300, 301, 302, 303, 304, 307, 308, 399)),
        *((status, Action.MISCONFIGURED, False) for status in (404, 405, 407, 410, 415, 421, 426, 501, 505)),
        (429, Action.PAUSE, False),
        *((status, Action.RETRY, True) for status in (408, 409, 425, 500, 502, 503, 504, 511, 520, 529, 599)),
        *((status, Action.RETRY, True) for status in (0, 100, 101, 199, 600, 999)),
    ],
)  # fmt: skip
def test_status(status: int, action: Action, in_doubt: bool) -> None:
    """Every status has its action, whatever the body says."""
    for body in (b"", b"{}", b"<html>", b'{"success":true}'):
        judged = verdict(status, body)
        assert (action, in_doubt, status) == (judged.action, judged.in_doubt, judged.status)


LATE = {408, 502, 504, *range(512, 600)}


@pytest.mark.parametrize("status", [*range(100, 610), 999])
def test_only_what_a_gateway_gave_up_may_land_late(status: int) -> None:
    """408, 502, 504, unregistered 5xx and what is no answer at all leave a request going on; nothing else does."""
    foreign = not 200 <= status < 600
    assert (status in LATE or foreign) == verdict(status).late
    assert (status in LATE or foreign) == verdict(status, b"", retry_after="7").late


@pytest.mark.parametrize(
    ("fault", "action", "in_doubt"),
    [
        (Fault.NOT_SENT, Action.RETRY, False),
        (Fault.IN_DOUBT, Action.RETRY, True),
        (Fault.UNTRUSTED, Action.MISCONFIGURED, False),
    ],
)
def test_no_answer(fault: Fault, action: Action, in_doubt: bool) -> None:
    """What never left is retried without doubt, what may have landed or land yet with it, a bad certificate stops."""
    judged = judge(NoAnswer(fault=fault, detail="connection\nrefused"), now=NOW)
    assert (action, in_doubt, in_doubt, "connection refused") == (
        judged.action, judged.in_doubt, judged.late, judged.reason,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("007", 7.0),
        ("900", 900.0),
        ("901", 900.0),  # capped
        ("9" * 5000, 900.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        ("Sun, 01 Mar 2026 12:00:05 -0000", 5.0),
        ("Sun, 01 Mar 2026 13:00:05 +0100", 5.0),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), 900.0),
        (format_datetime(NOW - timedelta(seconds=1), usegmt=True), None),  # past
        ("0", None),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("7, 9", None),
        ("1.5", None),
        ("٧", None),  # a digit, but not of HTTP
        ("Sun, 99 Mar 2026 12:00:05 GMT", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(status: int, text: str, wait: float | None) -> None:
    """Retry-After is read as seconds or a date, capped, and ignored when past or nonsense."""
    assert wait == verdict(status, b"", retry_after=text).wait
    assert wait == verdict(status, b"", Retry_After=text).wait


def test_retry_after_pauses() -> None:
    """A 503 that says how long to wait pauses the write key, and stays in doubt."""
    judged = verdict(503, b"", retry_after="7")
    assert (Action.PAUSE, True) == (judged.action, judged.in_doubt)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404])
def test_retry_after_elsewhere_means_nothing(status: int) -> None:
    """Retry-After on an answer that is not to be retried changes nothing."""
    assert verdict(status, b"", retry_after="7") == verdict(status, b"")


def test_reason_tells_status_and_words() -> None:
    """The reason holds the status and what the server said."""
    assert 'HTTP 400: {"error":"bad collection"}' == verdict(400, b'{"error":"bad\\u0020collection"}').reason


@pytest.mark.parametrize(
    "echo",
    [
        b"Charming Beach Room", b"value 'charming' of name", b"4711", b"12.5", b"guest@rooms.example",
        b'{"error":"city Z\\u00fcrich is unknown"}', b"Beach\nRoom", b"<b>Beach</b>",
    ],
)  # fmt: skip
def test_reason_repeats_no_values(echo: bytes) -> None:
    """Values and ids that the API repeats stand in the response for the dead letter, never in the reason."""
    judged = verdict(400, echo)
    shown = judged.reason.casefold() + repr(judged).casefold()
    for value in ("charming", "beach", "4711", "12.5", "guest", "zürich"):
        assert value not in shown
    assert judged.response is not None


def test_reason_keeps_other_words() -> None:
    """Names of properties and the server's own words stay readable."""
    assert "HTTP 400: property review_count is …, at most 100 allowed" == verdict(
        400, b"property review_count is 4711, at most 100 allowed"
    ).reason  # fmt: skip


def test_secrets_show_nowhere() -> None:
    """A server that repeats the write key does not get it into reason or response."""
    judged = verdict(500, b'{"you sent":"canary-key"}')
    assert "canary" not in judged.reason + (judged.response or "")


def test_reason_is_one_short_printable_line() -> None:
    """Control characters, line ends and length of an answer do not reach the reason."""
    judged = verdict(502, b"bad\x1b[31m\r\n\tgateway\x00 " + b"x" * 5000)
    assert judged.reason.startswith("HTTP 502: bad [31m gateway x")
    assert 300 == len(judged.reason)
    assert judged.reason.isprintable()


headers = st.dictionaries(st.sampled_from(["retry-after", "Retry-After", "content-type"]), st.text(max_size=40))


@given(st.integers(-1, 10_000), headers, st.binary(max_size=300) | st.sampled_from([b"{}", b'{"error":1}']))
@example(200, {}, b"[" * 5000)
@example(429, {"retry-after": "Mon, 1 Jan 0001 00:00:00 +2359"}, b"")
def test_total(status: int, named: dict[str, str], body: bytes) -> None:
    """Whatever a server sends has a verdict; only a success with readable JSON or nothing is an acceptance."""
    judged = judge(Answer(status=status, headers=named, body=body), now=NOW, sent=(ROOM,), secrets=("k",))
    assert judged.reason.isprintable()
    assert 0 < len(judged.reason) <= 300
    assert judged.wait is None or 0 < judged.wait <= 900
    if judged.action is Action.ACCEPT:
        assert 200 <= status < 300
        assert not judged.in_doubt
    assert judged.in_doubt or not judged.late
    if judged.action is Action.ACCEPT:
        assert not body.strip() or orjson.dumps(orjson.loads(body))  # readable, or this raises


@given(st.text(max_size=400))
def test_total_without_answer(detail: str) -> None:
    """Whatever the network says makes a printable reason."""
    judged = judge(NoAnswer(fault=Fault.IN_DOUBT, detail=detail), now=NOW)
    assert judged.reason.isprintable()
    assert 0 < len(judged.reason) <= 300
