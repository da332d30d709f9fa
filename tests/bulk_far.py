"""The Bulk API as its page describes it, in a few lines, for any server: sessions whose objects count once finished."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import orjson

R = TypeVar("R")
Objects = dict[tuple[str, str], dict[str, object]]


@dataclass(kw_only=True)
class Part:
    """An accepted upload."""

    #: uncompressed
    size: int
    objects: list[dict[str, object]]

    @property
    def ids(self) -> list[str]:
        """Ids of its objects."""
        return [str(each["id"]) for each in self.objects]


@dataclass(kw_only=True)
class Session:
    """What was uploaded in it, and how it ended."""

    number: int
    parts: list[Part] = field(default_factory=list)
    #: None: it has not; otherwise the error, empty when there was none
    ended: str | None = None
    expired: bool = False

    @property
    def ids(self) -> list[str]:
        """Ids of its objects, in their order."""
        return [each for part in self.parts for each in part.ids]


@dataclass(kw_only=True)
class Call:
    """A request to it."""

    step: str
    session: Session | None
    #: of an upload
    part: Part | None = None
    #: of a finish
    error: str = ""

    @property
    def ids(self) -> list[str]:
        """Ids of the objects that it is about."""
        if self.part is not None:
            return self.part.ids
        return self.session.ids if self.session is not None else []


class BulkFar:
    """`serve` tells what a request is answered. `trouble` may answer it instead, after `take` or without it."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.objects: Objects = {}
        #: how often an object was merged, by id
        self.merged: dict[str, int] = {}
        self.calls: list[Call] = []
        self.trouble: Callable[[Call], tuple[int, bytes] | None] = lambda _: None

    def serve(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        call = self.call(path, headers, body)
        if isinstance(call, tuple):
            return call
        self.calls.append(call)
        return self.trouble(call) or self.take(call)

    def call(self, path: str, headers: dict[str, str], body: bytes) -> Call | tuple[int, bytes]:
        """What a request asks for, or why it is none."""
        _, version, step, *rest = path.split("/")
        if version != "v0" or not headers.get("authorization", "").startswith("Basic "):
            return 400, b'{"error":"not addressed to the bulk API"}'
        if step == "start":
            return Call(step=step, session=None)
        session = next((each for each in self.sessions if rest == [f"sync {each.number}".replace(" ", "%20")]), None)
        if step == "finish":
            return Call(step=step, session=session, error=orjson.loads(body)["error"])
        if step != "upload":
            return Call(step=step, session=session)
        if (headers.get("content-type"), headers.get("content-encoding")) != ("binary/octet-stream", "gzip"):
            return 415, b'{"error":"not a part"}'
        text = zlib.decompress(body, 31)
        assert text.endswith(b"\n")
        part = Part(size=len(text), objects=[orjson.loads(line) for line in text.splitlines()])
        return Call(step=step, session=session, part=part)

    def take(self, call: Call) -> tuple[int, bytes]:
        """Do what is asked for."""
        if call.step == "start":
            self.sessions.append(Session(number=len(self.sessions)))
            return 201, b'{"sync_id":"sync %d"}' % (len(self.sessions) - 1)
        session = call.session
        if session is None or session.expired:
            return 404, b'{"error":"no such session"}'
        if session.ended is not None and (call.step != "finish" or session.ended != call.error):
            return 410, b'{"error":"the session is over"}'
        if call.step == "upload" and call.part is not None:
            session.parts.append(call.part)
            return 201, b'{"part_id":"%d"}' % len(session.parts)
        if call.step == "finish":
            self._finish(session, call.error)
            return 202, b"{}"
        return 200, b"{}"

    def _finish(self, session: Session, error: str) -> None:
        if session.ended is None and not error:
            for part in session.parts:
                for each in part.objects:
                    self.merged[str(each["id"])] = self.merged.get(str(each["id"]), 0) + 1
                    properties = each["properties"]
                    assert isinstance(properties, dict)
                    self.objects.setdefault((str(each["collection"]), str(each["id"])), {}).update(properties)
        session.ended = error

    def steps(self, *names: str) -> list[str]:
        """The requests, by step; those named, or all."""
        return [call.step for call in self.calls if not names or call.step in names]
