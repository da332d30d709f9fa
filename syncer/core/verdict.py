"""What an answer of the API, or none, means for the batch it was for. Pure: the delivery acts on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

import orjson

from syncer.core.excerpt import excerpt, shortened, without_values
from syncer.core.model import SegmentObject

#: bytes of an answer that are looked at; the API's own are far shorter
LARGEST_ANSWER = 64 * 1024
#: objects of a request, from whose values an answer is cleared to quote it; of more of them it is not quoted
_QUOTED_OF = 100
#: characters of a bulk session's id; the API's own are far shorter
_LONGEST_SESSION = 200
#: seconds; no server is obeyed for longer
LONGEST_WAIT = 900.0

_WRONG_KEY = frozenset({401, 403})
#: 407, 421 and 426 come from whatever stands before the API and are not about the objects either
_WRONG_PLACE = frozenset({*range(300, 400), 404, 405, 407, 410, 415, 421, 426, 501, 505})
_PASSING = frozenset({408, 409, 425, *range(500, 600)})
#: a gateway gave up, and what is behind it may go on. From 512 on no status is registered: gateways made them up.
_GAVE_UP = frozenset({408, 502, 504, *range(512, 600)})


class Action(StrEnum):
    """What to do next."""

    #: the API took every object
    ACCEPT = "accept"
    #: send the same again, later
    RETRY = "retry"
    #: send nothing under this write key for a while, then the same again
    PAUSE = "pause"
    #: an object of it is not acceptable: send halves until it stands alone
    SPLIT = "split"
    #: what it belongs to is not there any more: a bulk session that expired or that nobody knows
    LOST = "lost"
    #: the write key is refused
    STOP = "stop"
    #: whatever is there, it is not the API
    MISCONFIGURED = "misconfigured"


class Fault(StrEnum):
    """Why there is no answer."""

    #: the request never left: no address, no connection, no TLS session
    NOT_SENT = "not sent"
    #: the server's certificate cannot be trusted
    UNTRUSTED = "untrusted"
    #: something went wrong after it began to leave: it may have landed
    IN_DOUBT = "in doubt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    #: at most one byte more than `LARGEST_ANSWER`
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """Nothing came back, or not to its end."""

    fault: Fault
    #: for people, in the words of the network
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an answer means."""

    action: Action
    #: for people: one printable line without secrets or values of the objects
    reason: str
    #: the objects may have landed although nobody said so
    in_doubt: bool = False
    #: and the request may be going on: they may land yet, even after a later request was accepted
    late: bool = False
    #: seconds the server asks us to wait; None: it did not say
    wait: float | None = None
    #: a success that something else than the API reported: a proxy, a login page
    foreign: bool = False
    status: int | None = None
    #: what was answered, values of the objects included: for the dead letter only
    response: str | None = field(default=None, repr=False)
    #: id of the bulk session that began
    session: str | None = None


def judge(
    answer: Answer | NoAnswer, *, now: datetime, sent: Sequence[SegmentObject] = (), secrets: Sequence[str] = ()
) -> Verdict:
    """Say what an answer means. Total: whatever a server sends has a verdict.

    Args:
        answer: what came back.
        now: aware; what a `Retry-After` date is compared with.
        sent: the objects of the request, whose values must not show in the reason.
        secrets: texts that must show nowhere.
    """
    if isinstance(answer, NoAnswer):
        return _without_answer(answer, secrets)
    return _verdict(answer, _classify(answer), now=now, sent=sent, secrets=secrets)


def _verdict(
    answer: Answer,
    classified: tuple[Action, bool, str],
    *,
    now: datetime,
    sent: Sequence[SegmentObject],
    secrets: Sequence[str],
) -> Verdict:
    action, in_doubt, note = classified
    gave_up = bool(note) or answer.status in _GAVE_UP
    if action is Action.ACCEPT:
        return Verdict(action=action, reason=f"HTTP {answer.status}", status=answer.status)
    obeyed = action in (Action.RETRY, Action.PAUSE) and not note
    wait = retry_after(answer.headers, now) if obeyed else None
    said = excerpt(answer.body, secrets)
    quoted = without_values(said, sent) if len(sent) <= _QUOTED_OF else ""
    return Verdict(
        action=Action.PAUSE if wait is not None else action,
        reason=shortened(f"HTTP {answer.status}{note}" + (f": {quoted}" if quoted else "")),
        in_doubt=in_doubt,
        late=in_doubt and gave_up,
        wait=wait,
        foreign=bool(note),
        status=answer.status,
        response=shortened(said) or None,
    )


#: something else than the API answered
_FOREIGN = (Action.RETRY, True, ", not the API")


def _classify(answer: Answer) -> tuple[Action, bool, str]:
    """Action, whether it is in doubt, and a note where something else than the API answered."""
    # 1. 2xx, empty or JSON without an error marker: accepted.
    # 2. 2xx, JSON that says it failed: a rejection.
    # 3. 2xx, anything else (HTML, cut off, endless): not the API. It may have passed the request on.
    # 4. 401, 403: the write key.
    # 5. 3xx and what says "not here" or "not this way": the endpoint.
    # 6. 429: not taken, come back later.
    # 7. 408, 409, 425, 5xx: broken on the way, perhaps after it was taken. Over for who says
    #    500, 503, 409 or 425 himself; not for what is behind a gateway that gave up.
    # 8. Any other 4xx, foremost 400, 413, 422: a rejection.
    # 9. What is no HTTP status for an answer: not the API.
    status = answer.status
    if 200 <= status < 300:
        return _classify_success(answer.body)
    if status in _WRONG_KEY:
        return Action.STOP, False, ""
    if status in _WRONG_PLACE:
        return Action.MISCONFIGURED, False, ""
    if status == 429:
        return Action.PAUSE, False, ""
    if status in _PASSING:
        return Action.RETRY, True, ""
    if 400 <= status < 500:
        return Action.SPLIT, False, ""
    return _FOREIGN


def _classify_success(body: bytes) -> tuple[Action, bool, str]:
    if len(body) > LARGEST_ANSWER:
        return _FOREIGN
    if not body.strip():
        return Action.ACCEPT, False, ""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _FOREIGN
    if isinstance(said, dict) and _tells_failure(said):
        return Action.SPLIT, False, ""
    return Action.ACCEPT, False, ""


def _tells_failure(said: Mapping[str, object]) -> bool:
    """Segment's APIs answer 200 "in most cases" and say in the body when they took nothing."""
    if said.get("success", True) in (False, "false"):
        return True
    return bool(said.get("error")) or bool(said.get("errors"))


class Step(StrEnum):
    """A request of a bulk session."""

    START = "start"
    UPLOAD = "upload"
    KEEP_ALIVE = "keep-alive"
    FINISH = "finish"


#: what says that it was done: 200 of a page in between must not pass for it
_DONE = {Step.START: (200, 201), Step.UPLOAD: (201,), Step.KEEP_ALIVE: (200,), Step.FINISH: (202,)}


def judge_step(
    step: Step,
    answer: Answer | NoAnswer,
    *,
    now: datetime,
    sent: Sequence[SegmentObject] = (),
    secrets: Sequence[str] = (),
) -> Verdict:
    """As `judge`, of a request of a bulk session.

    1. A success is the documented one, a start's with its `sync_id`; any other is not the API's.
    2. 404 and 410, but of a start: the session is gone.
    3. What would be about objects is of a start about the endpoint, and of a keep-alive about the session.
    """
    if isinstance(answer, NoAnswer):
        return _without_answer(answer, secrets)
    action, in_doubt, note = _classify(answer)
    session = _session_of(answer) if step is Step.START and action is Action.ACCEPT else None
    if action is Action.ACCEPT and (answer.status not in _DONE[step] or (step is Step.START and session is None)):
        action, in_doubt, note = _FOREIGN
    elif step is not Step.START and answer.status in (404, 410):
        action = Action.LOST
    elif action is Action.SPLIT and step in (Step.START, Step.KEEP_ALIVE):
        action = Action.MISCONFIGURED if step is Step.START else Action.LOST
    verdict = _verdict(answer, (action, in_doubt, note), now=now, sent=sent, secrets=secrets)
    return replace(verdict, session=session)


def _session_of(answer: Answer) -> str | None:
    said = orjson.loads(answer.body) if answer.body.strip() else None
    found = said.get("sync_id") if isinstance(said, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= _LONGEST_SESSION else None


def _without_answer(answer: NoAnswer, secrets: Sequence[str]) -> Verdict:
    reason = shortened(excerpt(answer.detail.encode(errors="replace"), secrets)) or answer.fault.value
    if answer.fault is Fault.UNTRUSTED:
        return Verdict(action=Action.MISCONFIGURED, reason=reason)
    sent = answer.fault is Fault.IN_DOUBT
    return Verdict(action=Action.RETRY, reason=reason, in_doubt=sent, late=sent)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait by RFC 9110, 10.2.3: a number or a date. None: absent, past or nonsense."""
    text = next((value.strip() for name, value in headers.items() if name.lower() == "retry-after"), "")
    seconds = float(text) if text.isascii() and text.isdigit() else _until(text, now)
    return min(seconds, LONGEST_WAIT) if seconds > 0 else None


def _until(text: str, now: datetime) -> float:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
