"""The Bulk API in a world: sessions whose parts nobody sees before they are finished, and that expire.

Their requests suffer what all requests suffer: they are lost, late, unanswered. A late upload may come twice, or after
its session is over; a late finish may come when the session was finished already, and what it does then nobody says.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from sim_sink import Api, Request, SimClient

from syncer.core.verdict import Answer, NoAnswer

#: seconds without a request after which a session is gone
EXPIRES = 600.0


@dataclass(slots=True, kw_only=True)
class Session:
    """What was uploaded in it."""

    name: str
    touched: float
    parts: list[dict[str, dict[str, object]]] = field(default_factory=list)
    #: None: it has not; otherwise the error
    ended: str | None = None

    @property
    def objects(self) -> dict[str, dict[str, object]]:
        """Everything in it, by id."""
        return {each: properties for part in self.parts for each, properties in part.items()}


@dataclass(slots=True, kw_only=True, eq=False)
class BulkRequest(Request):
    """One request of a session."""

    step: str
    session: str
    error: str = ""
    collections: frozenset[str] = frozenset()


class BulkClient(SimClient):
    """One process's HTTP client to the Bulk API."""

    def _request(self, body: bytes, headers: Mapping[str, str], path: str) -> BulkRequest:
        _, _, step, *rest = path.split("/")
        objects: dict[str, dict[str, object]] = {}
        collections = set()
        for line in zlib.decompress(body, 31).splitlines() if step == "upload" else ():
            told = json.loads(line)
            assert told["id"] not in objects
            objects[told["id"]] = told["properties"]
            collections.add(told["collection"])
        request = BulkRequest(
            number=self._api.requests, process=self._process, run_id=self._run_id(), objects=objects,
            synchronous=False, step=step, session=rest[0] if rest else "", collections=frozenset(collections),
            error=json.loads(body)["error"] if step == "finish" else "",
        )  # fmt: skip
        request.land = lambda: self._api.sessions.land(self._api, request)
        return request

    def _answered(self, request: Request, answer: Answer | NoAnswer) -> None:
        assert isinstance(request, BulkRequest)
        if request.step == "finish" and not request.error and isinstance(answer, Answer) and answer.status == 202:
            self.accepted += len(self._api.sessions.all[request.session].objects)


@dataclass(slots=True)
class Sessions:
    """All sessions there ever were."""

    all: dict[str, Session] = field(default_factory=dict)

    def land(self, api: Api, request: BulkRequest) -> Answer:
        """Carry a request out."""
        now = api.loop.time()
        api.log("land", request.number, request.step, request.session)
        if request.step == "start":
            session = Session(name=f"s{len(self.all)}", touched=now)
            self.all[session.name] = session
            return _answer(201, json.dumps({"sync_id": session.name}))
        found = self.all.get(request.session)
        if found is None or now - found.touched > EXPIRES:
            return _answer(404)
        rate = api.settings.rate("forgotten")
        if rate and api.faulty and api.rng.random() < rate and found.ended is None:
            api.log("fate", "forgotten")
            found.touched = -EXPIRES - 1.0
            return _answer(404)
        return self._carry_out(api, request, found, now)

    def _carry_out(self, api: Api, request: BulkRequest, session: Session, now: float) -> Answer:
        if request.step == "finish":
            return self._finish(api, request, session)
        if session.ended is not None:
            return _answer(410)
        session.touched = now
        if request.step == "keep-alive":
            return _answer(200)
        verdict = api.verdict(request)
        if verdict.status != 200 or b"true" not in verdict.body:
            return _answer(max(201, verdict.status), verdict.body.decode())
        session.parts.append(request.objects)
        return _answer(201, json.dumps({"part_id": str(len(session.parts))}))

    def _finish(self, api: Api, request: BulkRequest, session: Session) -> Answer:
        again = api.settings.again
        if session.ended is not None and (again == "gone" or session.ended != request.error):
            return _answer(410)
        if not request.error and (session.ended is None or again == "repeated"):
            api.landed(request, session.objects)
            for part in session.parts:
                for identifier, properties in part.items():
                    api.apply(identifier, properties)
        session.ended = request.error
        return _answer(202)


def _answer(status: int, body: str = "{}") -> Answer:
    return Answer(status=status, headers={}, body=body.encode())
