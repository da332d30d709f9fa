"""What each answer of the Bulk API means, step by step."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.core.model import SegmentObject
from syncer.core.verdict import Action, Answer, Fault, NoAnswer, Step, Verdict, judge, judge_step

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STEPS = list(Step)
IN_SESSION = [Step.UPLOAD, Step.KEEP_ALIVE, Step.FINISH]


def room(number: int) -> SegmentObject:
    return SegmentObject(id=str(number), row=number, key="k", properties=orjson.dumps({"name": "Beach Room"}))


def verdict(step: Step, status: int, body: bytes = b"", *, objects: int = 1, **headers: str) -> Verdict:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = [room(number) for number in range(objects)]
    return judge_step(step, Answer(status=status, headers=named, body=body), now=NOW, sent=sent, secrets=("canary",))


GOOD = {
    Step.START: (201, b'{"sync_id":"a/b c"}'), Step.UPLOAD: (201, b'{"part_id":"1"}'), Step.KEEP_ALIVE: (200, b""),
    Step.FINISH: (202, b""),
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_the_documented_success(step: Step) -> None:
    """201, 201, 200 and 202, and the session's id of a start."""
    judged = verdict(step, *GOOD[step])
    assert judged.action is Action.ACCEPT
    assert judged.session == ("a/b c" if step is Step.START else None)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("step", STEPS)
def test_another_success_is_somebody_elses(step: Step, status: int) -> None:
    """Only the documented status counts: whatever else looks good may be a page in between."""
    judged = verdict(step, status, GOOD[step][1])
    wanted = {Step.START: (200, 201)}.get(step, (GOOD[step][0],))
    assert (judged.action is Action.ACCEPT, judged.foreign) == (status in wanted, status not in wanted)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'"a"', b'{"sync_id":""}', b'{"sync_id":1}', b'{"sync_id":"%b"}' % (b"a" * 201)]
)
def test_a_start_without_an_id_is_none(body: bytes) -> None:
    """There is nothing that could be uploaded to."""
    judged = verdict(Step.START, 201, body)
    assert (Action.RETRY, True, None) == (judged.action, judged.foreign, judged.session)


@pytest.mark.parametrize("status", [404, 410])
def test_a_session_that_is_gone(status: int) -> None:
    """It is lost; where there is none yet, the endpoint is wrong."""
    assert [Action.MISCONFIGURED, *[Action.LOST] * 3] == [verdict(step, status).action for step in STEPS]


@pytest.mark.parametrize("answer", [(400, b""), (422, b""), (413, b""), (202, b'{"error":"x"}'), (201, b'{"error":1}')])
def test_what_is_refused(answer: tuple[int, bytes]) -> None:
    """Objects, where there are some; a start without objects is the endpoint's, a keep-alive the session's."""
    expected = [Action.MISCONFIGURED, Action.SPLIT, Action.LOST, Action.SPLIT]
    assert expected == [verdict(step, *answer).action for step in STEPS]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", [301, 401, 403, 405, 408, 409, 415, 425, 429, 500, 502, 503, 504, 529])
def test_all_else_is_as_of_the_objects_api(step: Step, status: int) -> None:
    """The same outcome table."""
    answer = Answer(status=status, headers={"Retry-After": "7"}, body=b'{"error":"oops"}')
    assert judge(answer, now=NOW) == judge_step(step, answer, now=NOW)


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("step", STEPS)
def test_no_answer(step: Step, fault: Fault) -> None:
    """The same of what never arrived."""
    nothing = NoAnswer(fault=fault, detail="connection reset")
    assert judge(nothing, now=NOW) == judge_step(step, nothing, now=NOW)


def test_a_crowd_is_not_quoted() -> None:
    """Of a few objects the values are hidden; of many nothing is told that might be one."""
    told = b'{"error":"line 3: Beach Room is no name"}'
    assert "line" in verdict(Step.UPLOAD, 400, told).reason
    assert "Beach" not in verdict(Step.UPLOAD, 400, told).reason
    assert verdict(Step.UPLOAD, 400, told, objects=101).reason == "HTTP 400"


@given(st.sampled_from(STEPS), st.integers(-1, 10_000), st.binary(max_size=300) | st.sampled_from([b"{}", b"[[[["]))
def test_total(step: Step, status: int, body: bytes) -> None:
    """Whatever a server sends has a verdict, and only a documented success is one."""
    judged = verdict(step, status, body)
    assert judged.reason.isprintable()
    assert (judged.action is not Action.ACCEPT) or status in (200, 201, 202)
    assert judged.action is not Action.LOST or step in IN_SESSION
