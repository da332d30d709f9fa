"""The Objects Bulk API: batches are streamed into sessions, and only a session's `finish` settles them.

A session takes the batches of one collection as they are handed in. It is finished when no more can come before
something is settled (`flush`), so what is unsettled is bounded by `max_in_flight` batches, and so is memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from syncer.core.model import BULK_OBJECT, Batch, Limits, Receipt
from syncer.core.verdict import Action, Verdict
from syncer.delivery.base import permitted
from syncer.delivery.bulk_session import Bad, Entry, Session, Share
from syncer.delivery.line import Api, Line, Tries
from syncer.delivery.tally import Tally
from syncer.errors import SyncerError

BULK_API = Api(name="Objects Bulk API", keys="destination.bulk.endpoint, or set `destination.api: objects`")
#: "20 simultaneous requests" of a write key or an address, as Segment documents it
MOST_AT_ONCE = 20
#: documented for one upload, uncompressed
LARGEST_PART = 512_000_000
#: batches in a session, so many objects at most in each, and so many bytes
_BATCHES, _OBJECTS, _BYTES = 8, 2_000, 2_000_000
#: an upload is larger than whoever answers takes
_TOO_LARGE = 413


class BulkApi:
    """Delivers through sessions, one after the other for each collection. Used from one event loop.

    Versions of one id are kept apart by the ledger, and what is sent in order is processed in order, as Segment
    promises, so `synchronous` means nothing here.
    """

    def __init__(self, *, line: Line, identity: str, part_size: int) -> None:
        """Args:
        identity: that of the Objects API with the same write key: both fill the same tables.
        part_size: uncompressed bytes of an upload.
        """
        self._line = line
        self._identity = identity
        self._part_size = part_size
        self._streams: dict[str, _Stream] = {}

    def __repr__(self) -> str:
        return f"<BulkApi {self._line.place}>"

    @property
    def limits(self) -> Limits:
        """See `Delivery.limits`."""
        return Limits(objects=_OBJECTS, body=_BYTES, object=BULK_OBJECT, part=self._part_size)

    @property
    def identity(self) -> str:
        """See `Delivery.identity`."""
        return self._identity

    @property
    def ended(self) -> bool:
        """See `Delivery.ended`."""
        return self._line.failure is not None

    @property
    def max_in_flight(self) -> int:
        """How many batches a session takes."""
        return _BATCHES

    def send(
        self, batch: Batch, *, synchronous: bool = False, forbidden: Callable[[], SyncerError | None] = permitted
    ) -> Coroutine[Any, Any, Receipt]:
        """Hand in one batch, at once; what is awaited is its receipt. See `Delivery.send`."""
        loop = asyncio.get_running_loop()
        entry = Entry(batch=batch, tally=Tally(forbidden), receipt=loop.create_future(), left=len(batch.objects))
        stream = self._streams.get(batch.collection)
        if stream is None:
            stream = self._streams[batch.collection] = _Stream(batch.collection, self._line, self._part_size)
        stream.hand_in(entry)
        return _received(entry)

    def flush(self, collection: str) -> None:
        """See `Delivery.flush`."""
        if collection in self._streams:
            self._streams[collection].flush()

    def stop(self) -> None:
        """Begin no further attempt; sessions are finished with an error. Call it in the event loop's thread."""
        self._line.stop()

    async def close(self) -> None:
        """Let go of the connections. Idempotent."""
        await asyncio.gather(*(each.close() for each in self._streams.values()))
        await self._line.close()


async def _received(entry: Entry) -> Receipt:
    return await entry.receipt


class _Stream:
    """The batches of one collection, in the order in which they were handed in."""

    def __init__(self, collection: str, line: Line, part_size: int) -> None:
        self._collection = collection
        self._line = line
        self._part_size = part_size
        #: handed in, and in no session yet
        self._waiting: deque[Entry] = deque()
        #: in a session, or sent again, and not settled yet
        self._taken: list[Entry] = []
        #: whether a session takes batches, and whether it is to end with those that wait
        self._open = self._flushed = False
        self._stirred = asyncio.Event()
        #: sessions that were lost since the last that was not
        self._losses = Tries()
        #: why the rest of what was taken is not tried any more
        self._failure: SyncerError | None = None
        self._task: asyncio.Task[None] | None = None

    def hand_in(self, entry: Entry) -> None:
        """Have it sent."""
        self._waiting.append(entry)
        self._stirred.set()
        if self._task is None:
            self._task = asyncio.create_task(self._flow())
            self._task.add_done_callback(self._ended)

    def flush(self) -> None:
        """Finish what was handed in."""
        if self._open or self._waiting:
            self._flushed = True
            self._stirred.set()

    async def close(self) -> None:
        """Send nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _flow(self) -> None:
        """Session after session, while anything waits."""
        while self._waiting:
            await self._session()
            self._taken, self._failure = [], None
        self._task = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Whoever waits for a receipt must not wait for ever, whatever ended the task."""
        error = None if task.cancelled() else task.exception()
        for entry in (*self._taken, *self._waiting):
            if not entry.receipt.done() and (task.cancelled() or error is not None):
                entry.fail(error)

    async def _session(self) -> None:
        """One session over what waits and what comes, and whatever it takes to settle what it took."""
        session = Session(self._line, self._collection, self._part_size, self._waiting[0].tally)
        self._open = True
        bad = await session.start()
        while bad is None and (found := await self._next(session)) is not None:
            if isinstance(found, Entry):
                self._taken.append(found)
                bad = await session.add(found.whole)
            else:
                bad = found
        self._open, self._flushed = False, self._flushed and bool(self._waiting)
        bad = bad or await session.upload() or await session.finish()
        if isinstance(bad, SyncerError):
            self._taken += self._waiting
            self._waiting.clear()
        await self._conclude(session, [each.whole for each in self._taken], bad)

    async def _next(self, session: Session) -> Entry | Bad | None:
        """The next batch; None: there is none for this session."""
        while not self._waiting:
            if self._flushed or self._line.failure is not None:
                return None
            self._stirred.clear()
            await self._line.rest.wait(session.idle_left, stirred=self._stirred)
            if not self._waiting and not session.idle_left and (bad := await session.keep_alive()):
                return bad
        return self._waiting.popleft()

    async def _carry(self, shares: Sequence[Share]) -> None:
        """Deliver these in a session of their own; in another one when it is lost, for as long as that is of use."""
        while shares and self._failure is None:
            session = Session(self._line, self._collection, self._part_size, shares[0].entry.tally)
            bad = await session.carry(shares)
            if not isinstance(bad, Verdict) or bad.action is not Action.LOST:
                await self._conclude(session, shares, bad)
                return
            self._failure = await self._lost(bad)
        if self._failure is not None:
            self._give_up(shares, self._failure)

    async def _conclude(self, session: Session, shares: Sequence[Share], bad: Bad | None) -> None:
        """What a session has come to, for all that was to go with it."""
        if bad is None:
            self._losses = Tries()
            for entry, objects in shares:
                entry.tally.accept(objects)
                entry.decided(len(objects))
        elif isinstance(bad, SyncerError):
            await session.abandon(bad)
            self._give_up(shares, bad)
        elif bad.action is not Action.LOST:
            await session.abandon(bad)
            await self._isolate(session, bad)
        else:
            # nothing of a session counts that was not finished
            self._failure = await self._lost(bad)
            await self._carry(shares)

    def _give_up(self, shares: Iterable[Share], failure: SyncerError) -> None:
        self._failure = failure
        for entry, objects in shares:
            entry.tally.give_up(objects, failure)
            entry.decided(len(objects))

    async def _lost(self, lost: Verdict) -> SyncerError | None:
        """Let time pass before another session, or say why there is no point in one."""
        if self._losses.first is None:
            self._losses.first = self._line.world.clock()
        return await self._line.waited(self._collection, lost, self._losses)

    async def _isolate(self, session: Session, refused: Verdict) -> None:
        """An object of the last upload is refused (or of all, by finish): send halves until it stands alone."""
        before, suspect = (session.uploaded, session.inside) if session.inside else ([], session.uploaded)
        entry, objects = suspect[0]
        await self._carry(before)
        if _size(suspect) == 1:
            entry.tally.reject(objects[0], refused)
            entry.decided(1)
        else:
            if refused.status == _TOO_LARGE and session.inside:
                self._part_size = max(1, session.part_size // 2)
            for half in _halves(suspect):
                await self._carry(half)
        await self._carry(session.behind)


def _size(shares: Iterable[Share]) -> int:
    return sum(len(share.objects) for share in shares)


def _halves(shares: Sequence[Share]) -> tuple[list[Share], list[Share]]:
    """The first half of the objects, and the second."""
    left = _size(shares) // 2
    first: list[Share] = []
    second: list[Share] = []
    for entry, objects in shares:
        if left > 0:
            first.append(Share(entry, objects[:left]))
        if len(objects) > left:
            second.append(Share(entry, objects[max(left, 0) :]))
        left -= len(objects)
    return first, second
