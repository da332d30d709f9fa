"""One session of the Bulk API: start, parts in their order, finish. What becomes of its objects is not decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import quote

import orjson

from syncer.core.model import Batch, Receipt, SegmentObject
from syncer.core.verdict import Action, Answer, NoAnswer, Step, Verdict, judge_step
from syncer.delivery.line import Line, Request
from syncer.delivery.parts import Part
from syncer.delivery.tally import Tally
from syncer.errors import EndpointMisconfigured, SyncerError, Unauthorized

if TYPE_CHECKING:
    from asyncio import Future

#: what went wrong in a session: it is lost, an object of it is refused, or it is of no use to go on
Bad: TypeAlias = Verdict | SyncerError

#: seconds without a request after which a session is kept alive; it would expire after ten minutes
KEEP_ALIVE = 180.0
#: seconds after which that is tried again
_KEEP_ALIVE_AGAIN = 30.0
#: objects that are worth a thread
_MANY = 100
#: the body of a finish that is meant
GOOD = b'{"error":""}'
_JSON = {"Content-Type": "application/json"}


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """A batch that was handed in."""

    batch: Batch
    tally: Tally
    receipt: Future[Receipt]
    #: objects whose fate is open
    left: int

    @property
    def whole(self) -> Share:
        """All of its objects."""
        return Share(self, self.batch.objects)

    def fail(self, error: BaseException | None) -> None:
        """Its sending broke off; None: it was cancelled."""
        if error is None:
            self.receipt.cancel()
        else:
            self.receipt.set_exception(error)

    def decided(self, objects: int) -> None:
        """The tally knows what became of so many more."""
        self.left -= objects
        if not self.left and not self.receipt.done():
            self.receipt.set_result(self.tally.receipt())


class Share(NamedTuple):
    """Some objects of an entry."""

    entry: Entry
    objects: Sequence[SegmentObject]


class Session:
    """See the module. Methods tell what went wrong; None: nothing did.

    Within a session an id comes once: its batches are all unsettled, and the ledger lets no id into two of those. So
    an upload without an answer is sent again in the same session. Should both land, in whatever order, the second
    brings the same version of the same objects, and no other version stands between them. Once the session is
    finished, whatever of it is still on its way finds it closed.
    """

    def __init__(self, line: Line, collection: str, part_size: int, tally: Tally) -> None:
        """Args:
        part_size: uncompressed bytes of an upload.
        tally: counts the requests.
        """
        #: what its accepted uploads carry, what the upload in hand carries, and what would have come after it
        self.uploaded: list[Share] = []
        self.inside: list[Share] = []
        self.behind: list[Share] = []
        self._line = line
        self._collection = collection
        self._most = part_size
        self._tally = tally
        self._part = Part(collection, part_size)
        self._id = ""
        #: when a keep-alive is due
        self._due = 0.0

    @property
    def idle_left(self) -> float:
        """Seconds until it has to be kept alive."""
        return max(0.0, self._due - self._line.world.clock())

    @property
    def part_size(self) -> int:
        """Uncompressed bytes of the upload in hand."""
        return self._part.size

    async def carry(self, shares: Sequence[Share]) -> Bad | None:
        """All of it at once, from start to finish."""
        bad = await self.start()
        for number, share in enumerate(shares):
            if bad is not None:
                self.behind += shares[number:]
                return bad
            bad = await self.add(share)
        return bad or await self.upload() or await self.finish()

    async def start(self) -> Bad | None:
        """Begin it."""
        verdict = await self._line.ask(self._request(Step.START, b""), self._tally)
        if isinstance(verdict, SyncerError):
            return verdict
        assert verdict.session is not None
        self._id = verdict.session
        self._touch()
        return None

    async def add(self, share: Share) -> Bad | None:
        """Append objects, and upload each part that is full."""
        entry, objects = share
        while objects:
            taken = await self._fill(objects)
            if taken:
                self.inside.append(Share(entry, objects[:taken]))
                objects = objects[taken:]
            if objects and (bad := await self.upload()):
                self.behind.append(Share(entry, objects))
                return bad
        return None

    async def _fill(self, objects: Sequence[SegmentObject]) -> int:
        if len(objects) < _MANY:
            return self._part.add(objects)
        return await asyncio.to_thread(self._part.add, objects)

    async def upload(self) -> Bad | None:
        """Send the part in hand, if there is anything in it."""
        if not self.inside:
            return None
        sent = [each for share in self.inside for each in share.objects]
        request = self._request(
            Step.UPLOAD, self._part.close(), sent=sent,
            headers={"Content-Type": "binary/octet-stream", "Content-Encoding": "gzip"},
        )  # fmt: skip
        if bad := await self._asked(request):
            return bad
        self.uploaded += self.inside
        self.inside = []
        self._part = Part(self._collection, self._most)
        return None

    async def finish(self) -> Bad | None:
        """Have everything applied. Only after this is anything accepted."""

        def doubted(verdict: Verdict) -> None:
            # asked again, it may be taken while the first is still on its way: nobody says what a second finish of the
            # same session does, so nobody knows that a newer version would not be overwritten by it
            for entry, objects in self.uploaded:
                entry.tally.doubt(objects, late=verdict.late)

        sent = [each for share in self.uploaded for each in share.objects]
        return await self._asked(self._request(Step.FINISH, GOOD, sent=sent, headers=_JSON, doubted=doubted))

    async def keep_alive(self) -> Bad | None:
        """Tell that more will come. What else than its loss comes of it, the next upload will find."""
        verdict = await self._line.once(self._request(Step.KEEP_ALIVE, b""), self._tally)
        if isinstance(verdict, Verdict) and verdict.action is Action.ACCEPT:
            self._touch()
            return None
        self._due = self._line.world.clock() + _KEEP_ALIVE_AGAIN
        return verdict if isinstance(verdict, Verdict) and verdict.action is Action.LOST else None

    async def abandon(self, why: Bad) -> None:
        """Have nothing of it applied; once, because it expires by itself."""
        if not self._id or isinstance(why, Unauthorized | EndpointMisconfigured):
            return
        told = why.message if isinstance(why, SyncerError) else why.reason
        body = orjson.dumps({"error": told or "given up"})
        await self._line.farewell(self._request(Step.FINISH, body, headers=_JSON), self._tally)

    async def _asked(self, request: Request) -> Bad | None:
        verdict = await self._line.ask(request, self._tally)
        if isinstance(verdict, Verdict) and verdict.action is Action.ACCEPT:
            self._touch()
            return None
        return verdict

    def _touch(self) -> None:
        self._due = self._line.world.clock() + KEEP_ALIVE

    async def _not_idle(self) -> Verdict | None:
        """Before a request of it goes out again."""
        if self.idle_left or not self._id:
            return None
        bad = await self.keep_alive()
        return bad if isinstance(bad, Verdict) else None

    def _request(
        self,
        step: Step,
        body: bytes,
        *,
        sent: Sequence[SegmentObject] = (),
        headers: dict[str, str] | None = None,
        doubted: Callable[[Verdict], None] = lambda _: None,
    ) -> Request:
        path = f"/v0/{step}" + (f"/{quote(self._id, safe='')}" if step is not Step.START else "")
        return Request(
            collection=self._collection, body=body, path=path, headers=headers or {}, doubted=doubted,
            judge=partial(self._judge, step, sent), between=self._not_idle,
        )  # fmt: skip

    def _judge(self, step: Step, sent: Sequence[SegmentObject], answer: Answer | NoAnswer) -> Verdict:
        line = self._line
        return judge_step(step, answer, now=line.world.now(), sent=sent, secrets=line.secrets)
