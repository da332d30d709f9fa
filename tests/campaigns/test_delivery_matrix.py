"""Every row of the outcome table in real runs: at the first, middle and last batch, once, three times and for ever."""

from __future__ import annotations

import gzip
import itertools
import os
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import http_server
import pytest
from campaign import rounds
from delivery_bench import BATCH, PATIENT, QUICK, Api, Bench, benched
from http_server import Reply, Request, Then, answer

from syncer.core.model import Mode, Outcome, Receipt, RunReport
from syncer.run.executor import exit_code

#: batches of a run, and where trouble begins
BATCHES = 5
PLACES = {"first": 0, "middle": 2, "last": 4}
TIMES = {"once": 1, "three times": 3, "for ever": None}
CERTIFICATE = Path(__file__).parent.parent / "certificates" / "localhost.pem"


class Fate(Enum):
    """What a row of the table asks for."""

    #: the answer is good, whatever happens to the connection
    TAKEN = auto()
    #: tried again until it is accepted or the time is up
    RETRIED = auto()
    #: tried again, and given up after three in a row
    FOREIGN = auto()
    #: split until single objects are refused
    REFUSED = auto()
    #: the run ends at once
    ENDS = auto()


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A row of the outcome table."""

    reply: Reply
    fate: Fate = Fate.RETRIED
    #: it may have landed
    doubt: bool = False
    #: it may land yet
    late: bool = False
    #: of a run that this ended
    code: int = 1


def _cut(text: bytes, then: Then = Then.CLOSE) -> Trouble:
    return Trouble(reply=Reply(parts=[text] if text else [], then=then), doubt=True, late=True)


def _status(status: int, *headers: tuple[str, str], doubt: bool = False, late: bool = False) -> Trouble:
    return Trouble(reply=answer(status, b'{"error":"oops"}', *headers), doubt=doubt, late=late)


def _foreign(body: bytes, *headers: tuple[str, str]) -> Trouble:
    return Trouble(reply=answer(200, body, *headers), fate=Fate.FOREIGN, doubt=True, late=True)


def _refused(status: int, body: bytes = b'{"error":"malformed"}') -> Trouble:
    return Trouble(reply=answer(status, body), fate=Fate.REFUSED)


def _ends(status: int, code: int = 2) -> Trouble:
    reply = answer(status, b"", ("Location", "http://127.0.0.1:9/v1/set"), ("Retry-After", "7"))
    return Trouble(reply=reply, fate=Fate.ENDS, code=code)


def _taken(text: bytes, then: Then) -> Trouble:
    return Trouble(reply=Reply(parts=[text], then=then), fate=Fate.TAKEN)


_OK = b"".join(http_server.ACCEPTED.parts)
_HEAD = b"HTTP/1.1 200 OK\r\n"
TABLE = {
    # no answer, or not to its end
    "reset": _cut(b"", Then.RESET),
    "closed": _cut(b""),
    "silent": _cut(b"", Then.SILENCE),
    "garbage": _cut(b"\x16\x03\x01 no HTTP\r\n\r\n"),
    "half a head": _cut(_HEAD + b"Content-Le"),
    "half a body": _cut(_OK[:-5]),
    "half a body, reset": _cut(_OK[:-5], Then.RESET),
    "half a body, silent": _cut(_OK[:-5], Then.SILENCE),
    "half a chunk": _cut(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n20\r\n{}"),
    "no chunk": _cut(_HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}"),
    "damaged gzip": _cut(_HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"),
    "100 alone": _cut(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "huge header": _cut(_HEAD + b"X-Room: " + b"x" * 100_000 + b"\r\n\r\n"),
    # come back later
    "429": _status(429),
    "429 seconds": _status(429, ("Retry-After", "7")),
    "429 date": _status(429, ("Retry-After", "Sun, 01 Mar 2026 00:20:00 GMT")),
    "429 past": _status(429, ("Retry-After", "Sun, 01 Mar 2020 00:20:00 GMT")),
    "429 garbage": _status(429, ("Retry-After", "soon")),
    # broken on the way, or there
    **{str(status): _status(status, doubt=True) for status in (409, 425, 500, 503, 506, 507, 508, 510, 511)},
    **{str(status): _status(status, doubt=True, late=True) for status in (408, 502, 504, *range(520, 528), 530, 599)},
    "503 seconds": _status(503, ("Retry-After", "7"), doubt=True),
    "504 seconds": _status(504, ("Retry-After", "7"), doubt=True, late=True),
    # a success of something else
    "a web page": _foreign(b"<html>Welcome to the hotel's WLAN</html>"),
    "cut JSON": _foreign(b'{"success":tr'),
    "bytes": _foreign(b"\xff\xfe\x00"),
    "too long": _foreign(b'{"success":true}' + b" " * 70_000),
    "a zipped page": _foreign(gzip.compress(b"<html>"), ("Content-Encoding", "gzip")),
    "600": Trouble(reply=answer(600), fate=Fate.FOREIGN, doubt=True, late=True),
    # refused
    **{str(status): _refused(status) for status in (400, 402, 406, 413, 418, 422, 451)},
    "200 success false": _refused(200, b'{"success":false}'),
    "200 error": _refused(200, b'{"success":true,"error":{"message":"nope"}}'),
    "202 errors": _refused(202, b'{"errors":["nope"]}'),
    # the key, the endpoint
    **{str(status): _ends(status, 1) for status in (401, 403)},
    **{str(status): _ends(status) for status in (300, 301, 302, 303, 307, 308, 404, 405, 407, 410, 415, 421, 501, 505)},
    # a good answer, and then
    "good, closed": _taken(_OK, Then.CLOSE),
    "good, reset": _taken(_OK, Then.RESET),
    "good, silent": _taken(_OK, Then.SILENCE),
    "good, with an end": _taken(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", Then.CLOSE),
    "good, of no length": _taken(_HEAD + b"\r\n{}", Then.CLOSE),
    "good, after 100": _taken(b"HTTP/1.1 100 Continue\r\n\r\n" + _OK, Then.KEEP),
    "good, in chunks": _taken(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Then.KEEP),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """Trouble at a batch, so many times; None: for ever."""

    trouble: Trouble
    place: int
    times: int | None
    #: whether the server carries out what it answers so badly
    lands: bool

    @property
    def ids(self) -> set[str]:
        """Of the batch."""
        return {str(number) for number in range(self.place * BATCH + 1, (self.place + 1) * BATCH + 1)}

    @property
    def fails(self) -> bool:
        """Whether the run cannot succeed."""
        fate, times = self.trouble.fate, self.times
        lasting = {Fate.RETRIED: times is None, Fate.FOREIGN: times in (3, None), Fate.ENDS: True}
        return lasting.get(fate, False)

    @property
    def buries(self) -> bool:
        """Whether the batch becomes dead letters."""
        return self.trouble.fate is Fate.REFUSED and self.times is None

    @property
    def doubts(self) -> set[str]:
        """The ids in doubt after the batch."""
        doubtful = self.trouble.doubt if self.fails else self.trouble.late
        return self.ids if doubtful else set()


def api_for(case: Case) -> Api:
    """An API that makes this trouble."""
    count = itertools.count(1)
    api = Api()

    def trouble(request: Request) -> Reply | None:
        if request.ids[0] not in case.ids or (case.times is not None and next(count) > case.times):
            return None
        if case.lands or case.trouble.fate is Fate.TAKEN:
            api.take(request)
        return case.trouble.reply

    api.trouble = trouble
    return api


def landings(trouble: Trouble, times: str, place: str) -> Iterable[bool]:
    """Where nobody knows whether it landed: in the short form one of the two, evenly over places and times."""
    if not trouble.doubt:
        return (False,)
    one = bool((list(TIMES).index(times) + list(PLACES).index(place)) % 2)
    return (one, not one)[: rounds(1, 2)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("name", TABLE)
def test_outcome(name: str, times: str, place: str) -> None:
    """The batch in trouble ends as the table says, and so does its run; nothing is lost, and the next run mends all."""
    trouble = TABLE[name]
    timeouts = QUICK if "silent" in name else PATIENT
    for lands in landings(trouble, times, place):
        case = Case(trouble=trouble, place=PLACES[place], times=TIMES[times], lands=lands)
        api = api_for(case)
        # together with others where that is the more dangerous: when it lands unseen
        with benched(api, BATCHES, timeouts=timeouts, max_in_flight=3 if lands else 1) as (_, bench):
            judge_run(bench.run(), bench, api, case)
            judge_next(bench, api, case)


def judge_run(report: RunReport, bench: Bench, api: Api, case: Case) -> None:
    """The run that met the trouble."""
    receipt = bench.sent.of(case.place)
    assert receipt is not None
    judge_receipt(receipt, case)
    outcome = Outcome.FAILED if case.fails else Outcome.PARTIAL if case.buries else Outcome.SUCCEEDED
    assert outcome is report.outcome, report
    assert {Outcome.FAILED: case.trouble.code, Outcome.PARTIAL: 3}.get(outcome, 0) == exit_code([report])
    assert report.counts.balanced or case.fails
    assert len(bench.sent.accepted) == report.counts.sent
    # the server's own record is the truth
    assert bench.sent.accepted <= api.objects.keys()
    assert (case.ids if case.buries else set()) == bench.buried
    assert (case.place if case.fails else BATCHES) * BATCH == bench.watermark
    assert bench.sent.in_doubt >= case.doubts


def judge_receipt(receipt: Receipt, case: Case) -> None:
    """The batch in trouble."""
    fates = {each.id: part for part in ("accepted", "rejections", "unsettled") for each in getattr(receipt, part)}
    fate = "unsettled" if case.fails else "rejections" if case.buries else "accepted"
    assert dict.fromkeys(case.ids, fate) == fates
    assert case.fails == (receipt.failure is not None)
    assert case.doubts == receipt.in_doubt


def judge_next(bench: Bench, api: Api, case: Case) -> None:
    """The run after it, with the trouble gone."""
    first, api.trouble, api.received, api.ordered = bench.sent, lambda _: None, {}, set()
    report = bench.run(Mode.FULL if case.buries else Mode.INCREMENTAL)
    assert Outcome.SUCCEEDED is report.outcome, report
    assert api.holds(bench.source.rows)
    assert (set(), BATCHES * BATCH, 0) == (bench.buried, bench.watermark, bench.doubted)
    # what is in doubt goes again, and in order; of what is certain nothing does
    certain = first.accepted - first.in_doubt
    assert certain.isdisjoint(api.received)
    assert first.in_doubt <= api.ordered


# --- without a request


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("times", TIMES)
def test_refused_connection(times: str, place: str) -> None:
    """Nobody listens for a while, or for good: nothing is in doubt, nothing is lost, the next run mends all."""
    case = Case(trouble=Trouble(reply=Reply()), place=PLACES[place], times=TIMES[times], lands=False)
    api = Api()
    with benched(api, BATCHES) as (server, bench):

        def shut_before(request: Request) -> Reply | None:
            if int(request.ids[-1]) != case.place * BATCH:
                return None
            server.shut()
            api.take(request)
            return answer(200, b"{}", ("Connection", "close"))

        api.trouble = shut_before
        if case.place == 0:
            server.shut_now()
        if case.times is not None:
            bench.hurry.at_sleep(case.times, server.listen_again)
        judge_run(bench.run(), bench, api, case)
        if case.times is None:
            server.listen_again()
        judge_next(bench, api, case)


def test_unknown_host() -> None:
    """A name that nobody has: nothing is in doubt, nothing is saved, and the reason is told."""
    bench = Bench("http://rooms.invalid", BATCHES)
    report = bench.run()
    assert (Outcome.FAILED, 1, 0, 0) == (report.outcome, exit_code([report]), bench.watermark, bench.doubted)
    assert (set(), set()) == (bench.sent.accepted, bench.sent.in_doubt)
    assert "no connection to rooms.invalid:80" in str(report.error)


def test_certificate_nobody_vouches_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that cannot be trusted ends the run before anything is sent; once it can, all goes."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    api = Api()
    with http_server.serving(api.script, tls=tls) as server:
        bench = Bench(f"https://localhost:{server.port}", BATCHES)
        report = bench.run()
        assert (Outcome.FAILED, 2, 0, {}) == (report.outcome, exit_code([report]), bench.watermark, api.received)
        assert set() == bench.sent.in_doubt
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        assert Outcome.SUCCEEDED is bench.run().outcome
    assert api.holds(bench.source.rows)


# --- what is left behind


def sockets() -> int:
    """How many this process has open."""
    return sum(os.readlink(each.path).startswith("socket:") for each in os.scandir("/proc/self/fd") if _alive(each))


def _alive(each: os.DirEntry[str]) -> bool:
    return os.path.lexists(each.path) and each.is_symlink()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts sockets as Linux shows them")
def test_no_socket_is_left_behind() -> None:
    """After runs that met every row of the table, as many sockets are open as before."""
    before = sockets()
    for name, times in itertools.product(TABLE, (1, None)):
        api = api_for(Case(trouble=TABLE[name], place=2, times=times, lands=True))
        with benched(api, BATCHES, timeouts=QUICK, max_in_flight=3) as (_, bench):
            bench.run()
    assert before == sockets()


def test_a_port_that_is_shut_refuses() -> None:
    """What `test_refused_connection` rests on: after `shut` nobody listens, after `listen_again` somebody does."""
    with benched(Api(), 1) as (server, _):
        server.shut_now()
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", server.port)):
            pass
        server.listen_again()
        with socket.create_connection(("127.0.0.1", server.port)):
            pass
