"""The sandbox's Objects Bulk API over HTTP: sessions of uploads. Its rules are in `bulk_rules` and `bulk_sessions`.

`POST /v0/start` begins a session, `POST /v0/upload/<sync_id>` adds a part to it, `POST /v0/keep-alive/<sync_id>`
keeps it from expiring, `POST /v0/finish/<sync_id>` merges all of its parts in their order, or forgets them all.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from syncer.sandbox.answers import World, failed, hang_up, read_body, refused
from syncer.sandbox.bulk_rules import BulkLimits, PartRefused, read_finish, read_part, refuse_upload, too_large
from syncer.sandbox.bulk_sessions import BulkSession, BulkSessions, State
from syncer.sandbox.exact import shown
from syncer.sandbox.faults import NO_ANSWER, Fault
from syncer.sandbox.rules import Refusal, SetObject, read_key
from syncer.sandbox.warehouse import BulkNote

#: bytes of a body spooled together
_PIECE = 256 * 1024
#: sessions on the page
_SHOWN = 20


@dataclass(slots=True, kw_only=True)
class _Call:
    """A request, and what becomes known of it on its way."""

    request: Request
    path: str
    received_at: datetime
    fault: Fault | None
    #: the write key it was sent with
    key: bytes = field(default=b"", repr=False)
    body: bytes = b""
    #: bytes of its body
    size: int = 0
    #: an upload's body in the spool, until a session takes it over; 0: none
    part: int = 0
    #: objects it adds to its session, and their collections
    uploaded: int = 0
    collections: frozenset[str] = frozenset()
    #: whether it is in the warehouse's list of requests
    noted: bool = False

    @property
    def lost(self) -> bool:
        """Whether its answer never arrives."""
        return self.fault is not None and self.fault.status == NO_ANSWER

    @property
    def sync_id(self) -> str | None:
        """The session asked for; a start has none."""
        return self.request.path_params.get("sync_id")

    def note(self, status: int, objects: int = 0) -> BulkNote:
        """For the warehouse, with the status it is answered, if it is."""
        return BulkNote(
            received_at=self.received_at,
            path=self.path,
            sync_id=self.sync_id,
            status=NO_ANSWER if self.lost else status,
            size=self.size,
            collection=next(iter(self.collections)) if len(self.collections) == 1 else None,
            uploaded=self.uploaded,
            objects=objects,
        )


_Start: TypeAlias = Callable[[_Call], Awaitable[Response]]
_Act: TypeAlias = Callable[[_Call, BulkSession], Awaitable[Response]]


class Bulk:
    """The endpoints and their sessions, which are in memory and gone with the sandbox."""

    def __init__(self, world: World, limits: BulkLimits) -> None:
        self._world = world
        self._limits = limits
        self._spool = world.warehouse.spool
        self._sessions = BulkSessions(limits.idle, lambda parts: self._spool.drop(*parts))
        #: requests under way, by write key and by address
        self._under_way: Counter[bytes | str] = Counter()

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/v0/start", self.start, methods=["POST"]),
            Route("/v0/upload/{sync_id}", self.upload, methods=["POST"]),
            Route("/v0/keep-alive/{sync_id}", self.keep_alive, methods=["POST"]),
            Route("/v0/finish/{sync_id}", self.finish, methods=["POST"]),
        ]

    async def start(self, request: Request) -> Response:
        """`POST /v0/start`: 201 with the `sync_id` of a new session. No body is documented; any is ignored."""
        return await self._answered(request, "/v0/start", self._start)

    async def upload(self, request: Request) -> Response:
        """`POST /v0/upload/<sync_id>`: 201 with a `part_id`; the session has the part, and nobody sees it yet."""
        return await self._answered(request, "/v0/upload", self._in_session(self._upload))

    async def keep_alive(self, request: Request) -> Response:
        """`POST /v0/keep-alive/<sync_id>`: 200, and ten more minutes."""
        return await self._answered(request, "/v0/keep-alive", self._in_session(self._keep_alive))

    async def finish(self, request: Request) -> Response:
        """`POST /v0/finish/<sync_id>`: 202 once all parts are merged or, with an error text, all are forgotten.

        What a second finish is answered is not documented (`?`). Here the same finish again, from a sender that
        missed the first answer, gets 202 again and does nothing; the opposite one gets 410.
        """
        return await self._answered(request, "/v0/finish", self._in_session(self._finish))

    def lines(self) -> list[str]:
        """The sessions, for people."""
        self._sessions.expire(self._world.monotonic())
        sessions = self._sessions.newest()
        lines = [
            f"{each.sync_id}  {each.state:<9}  {each.part_count} parts, {each.object_count} objects"
            + (f": {shown(each.error)}" if each.error else "")
            for each in sessions[:_SHOWN]
        ]
        return [*lines, f"and {len(sessions) - _SHOWN} older ones"] if len(sessions) > _SHOWN else lines

    async def _answered(self, request: Request, path: str, act: _Start) -> Response:
        """The answer, whatever it is, noted, and lost if the faults say so."""
        world = self._world
        fault = world.faults.draw(world.monotonic(), path)
        call = _Call(request=request, path=path, received_at=world.clock(), fault=fault)
        try:
            answer = await self._admitted(call, act)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        finally:
            self._spool.drop(call.part)
        if not call.noted:
            await world.in_turn(lambda: world.warehouse.record_bulk(call.note(answer.status_code)))
        if call.lost:
            await hang_up(request)
        return answer

    async def _admitted(self, call: _Call, act: _Start) -> Response:
        """Only with a write key, and only so many at once. Those turned away are read to the end all the same."""
        key = read_key(call.request.headers, self._world.write_key)
        if isinstance(key, Refusal):
            _, call.size = await read_body(call.request)
            return refused(key)
        call.key = key
        names = (key, call.request.client.host if call.request.client else "")
        if any(self._under_way[name] >= self._limits.at_once for name in names):
            _, call.size = await read_body(call.request)
            text = f"more than {self._limits.at_once} requests at once from one address or with one write key"
            return refused(Refusal(status=429, text=text))
        self._under_way.update(names)
        try:
            return await self._served(call, act)
        finally:
            self._under_way -= Counter(names)

    async def _served(self, call: _Call, act: _Start) -> Response:
        self._sessions.expire(self._world.monotonic())
        with self._busy(call):
            await self._receive(call)
            await self._world.pause()
            if call.fault is not None and not call.fault.stores:
                return failed(call.fault)
            answer = await act(call)
            return failed(call.fault) if call.fault else answer

    def _busy(self, call: _Call) -> AbstractContextManager[None]:
        """Its session does not expire meanwhile."""
        session = self._session(call)
        return nullcontext() if isinstance(session, Refusal) else session.busy()

    def _session(self, call: _Call) -> BulkSession | Refusal:
        return self._sessions.find(call.sync_id or "", call.key)

    async def _receive(self, call: _Call) -> None:
        """The body, an upload's into the spool; of one that is too long, the beginning."""
        if call.path != "/v0/upload":
            call.body, call.size = await read_body(call.request)
            return
        call.part = self._spool.new()
        waiting = bytearray()
        async for chunk in call.request.stream():
            call.size += len(chunk)
            if call.size <= self._limits.part:
                waiting += chunk
            if len(waiting) >= _PIECE:
                self._spool.append(call.part, bytes(waiting))
                waiting.clear()
        self._spool.append(call.part, bytes(waiting))

    def _in_session(self, act: _Act) -> _Start:
        async def act_in_session(call: _Call) -> Response:
            session = self._session(call)
            if isinstance(session, Refusal):
                return refused(session)
            answer = await act(call, session)
            session.touch(self._world.monotonic())
            return answer

        return act_in_session

    async def _start(self, call: _Call) -> Response:
        sync_id = secrets.token_hex(8)
        self._sessions.start(sync_id, call.key, self._world.monotonic())
        return JSONResponse({"sync_id": sync_id}, 201)

    async def _keep_alive(self, _: _Call, session: BulkSession) -> Response:
        over = session.refusal()
        return refused(over) if over else JSONResponse({"success": True})

    async def _upload(self, call: _Call, session: BulkSession) -> Response:
        refusal = session.refusal() or refuse_upload(call.request.headers)
        if refusal is not None:
            return refused(refusal)
        counted = await asyncio.to_thread(self._counted, call)
        if isinstance(counted, Refusal):
            return refused(counted)
        if session.state is not State.OPEN:  # it ended while every byte was looked at
            return refused(session.over())
        call.uploaded, call.collections = counted
        session.add(call.part, call.uploaded, call.collections)
        call.part = 0
        return JSONResponse({"part_id": f"{session.sync_id}-{session.part_count}"}, 201)

    def _counted(self, call: _Call) -> tuple[int, frozenset[str]] | Refusal:
        """How many objects a part has, of which collections."""
        count, collections = 0, set[str]()
        try:
            if call.size > self._limits.part:
                raise too_large(self._limits.part)
            for collection, _ in read_part(self._spool.pieces(call.part), self._limits):
                count += 1
                collections.add(collection)
        except PartRefused as refused_part:
            return refused_part.refusal
        return count, frozenset(collections)

    async def _finish(self, call: _Call, session: BulkSession) -> Response:
        error = read_finish(call.request.headers, call.body)
        if isinstance(error, Refusal):
            return refused(error)
        async with session.finishing:
            if session.state is State.OPEN:
                if error:
                    session.error = error
                    self._sessions.end(session, State.DISCARDED)
                else:
                    await self._merge(call, session)
        if session.state is (State.DISCARDED if error else State.FINISHED):
            return JSONResponse({"success": True}, 202)
        return refused(session.over())

    async def _merge(self, call: _Call, session: BulkSession) -> None:
        """All of a session in one transaction. If that fails, the session is as it was."""
        warehouse = self._world.warehouse
        session.state = State.FINISHING
        try:
            call.collections = frozenset(session.collections)
            note = call.note(call.fault.status if call.fault else 202, session.object_count)
            await self._world.merge(lambda: warehouse.record_bulk(note, self._objects(session)))
        except BaseException:
            session.state = State.OPEN
            raise
        call.noted = True
        self._sessions.end(session, State.FINISHED)

    def _objects(self, session: BulkSession) -> Iterator[tuple[str, SetObject]]:
        for part in session.parts:
            yield from read_part(self._spool.pieces(part), self._limits)
