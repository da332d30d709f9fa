"""Gathers what a run decided and commits it, while reading and sending go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from syncer.core.fingerprint import fingerprint
from syncer.core.model import (
    Checkpoint,
    CollectionMapping,
    DeadLetter,
    Doubt,
    Rejection,
    RunReport,
    SegmentObject,
)
from syncer.core.tombstone import GONE, OPEN, UNSURE
from syncer.run.promised import Promised
from syncer.state.base import Commit, Fingerprint, Store

#: after so long a request whose answer is missing will not land any more, or has landed
SETTLED_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """When a commit is due: after so many decided rows or seconds, whichever comes first.

    And a note of what is to be sent: after so many objects, or as many seconds.
    """

    rows: int = 5_000
    seconds: float = 1.0
    noted: int = 1_000


@dataclass(slots=True)
class _Decided:
    """What a transaction records."""

    fingerprints: dict[str, Fingerprint] = field(default_factory=dict)
    restored: dict[str, Fingerprint] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    rows: int = 0

    def follow(self, later: _Decided) -> _Decided:
        """This and what was decided after it."""
        return _Decided(
            fingerprints=self.fingerprints | later.fingerprints,
            restored=self.restored | later.restored,
            dead_letters=self.dead_letters + later.dead_letters,
            unchanged=self.unchanged + later.unchanged,
            mended=self.mended + later.mended,
            doubts=self.doubts + later.doubts,
            rows=self.rows + later.rows,
        )


class Keeping:
    """The state side of one run. `write` is one fenced transaction; it blocks and is called in a thread."""

    def __init__(
        self,
        mapping: CollectionMapping,
        run_id: str,
        scope: bytes,
        store: Store,
        write: Callable[[Commit], None],
        *,
        parts: Iterator[int],
        cadence: Cadence,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        promised: Promised | None = None,
    ) -> None:
        self._mapping = mapping
        self._run_id = run_id
        self._scope = scope
        self._store = store
        self._write = write
        self._now = now
        self._monotonic = monotonic
        self._decided = _Decided()
        #: rows on their way: number of the doubt that says so, and the row after the last of them
        self._notes: list[tuple[int, int]] = []
        #: what was accepted before of what is noted, as long as nobody knows what becomes of that
        self._before: dict[str, Fingerprint] = {}
        #: objects that were marked as deleted, of which a version was sent
        self.returned = 0
        self._parts = parts
        self._cadence = cadence
        #: being written now
        self._underway = _Decided()
        #: one transaction at a time
        self._turn = asyncio.Lock()
        self._written_at = monotonic()
        #: of a dry run
        self._promised = promised

    @property
    def due(self) -> bool:
        """Whether it is time to commit."""
        if not self._decided.rows or self._turn.locked():
            return False
        late = self._monotonic() - self._written_at >= self._cadence.seconds
        return self._decided.rows >= self._cadence.rows or late

    @property
    def behind(self) -> bool:
        """Whether so much waits to be written that reading has to wait for it."""
        return self._decided.rows >= 4 * self._cadence.rows

    @property
    def codes(self) -> list[str]:
        """Codes of the dead letters that are not written yet."""
        return [each.rejection.code for each in self._decided.dead_letters]

    def skipped(self, rows: int) -> None:
        """So many rows need nothing but to be counted."""
        self._decided.rows += rows

    def unchanged(self, ids: Sequence[str]) -> None:
        """They are what was accepted before."""
        self._decided.rows += len(ids)
        self._decided.unchanged.extend(ids)

    def accepted(self, objects: Sequence[SegmentObject], unsure: Set[str]) -> None:
        """The API took them, and with them any older version of theirs that it had refused.

        Another version of those in `unsure` may land yet, so nobody knows which one it will hold.
        """
        now, decided = self._now(), self._decided
        decided.rows += len(objects)
        for each in objects:
            digest = OPEN if each.id in unsure else fingerprint(each, self._scope)
            decided.fingerprints[each.id] = Fingerprint(digest=digest, sent_at=now)
            self._before.pop(each.id, None)
        decided.mended.extend(each.id for each in objects if each.id in unsure)
        if decided.dead_letters:
            ids = {each.id for each in objects}
            decided.dead_letters = [each for each in decided.dead_letters if each.rejection.id not in ids]

    def unsure(self, ids: Sequence[str]) -> None:
        """Tombstones of them are about to be on their way; that some are is a doubt without rows."""
        if not self._notes:
            doubt = self._doubt((), since=None)
            self._notes.append((doubt.part, 1))
            self._decided.doubts.append(doubt)
        self._mark(ids, UNSURE)

    def gone(self, ids: Sequence[str]) -> None:
        """The API took their tombstones."""
        self._mark(ids, GONE)

    def _mark(self, ids: Sequence[str], mark: bytes) -> None:
        now = self._now()
        self._decided.rows += len(ids)
        self._decided.fingerprints.update((each, Fingerprint(digest=mark, sent_at=now)) for each in ids)

    def bury(self, rejections: Iterable[Rejection]) -> None:
        """They become dead letters."""
        mapping, now = self._mapping, self._now()
        letters = [
            DeadLetter(
                mapping=mapping.name, collection=mapping.collection, run_id=self._run_id, created_at=now, rejection=each
            )
            for each in rejections
        ]
        self._decided.rows += len(letters)
        self._decided.dead_letters.extend(letters)

    def exhume(self) -> None:
        """Store none of the dead letters that are not written yet."""
        self._decided.dead_letters.clear()

    async def known(self, ids: Sequence[str]) -> dict[str, Fingerprint]:
        """What was last accepted under these ids: the store's word, overruled by what is not stored yet."""
        before = (self._underway, self._decided)
        found = dict(await asyncio.to_thread(self._store.fingerprints, self._mapping.name, ids))
        for decided in (*before, self._underway, self._decided):
            for newer in (decided.restored, decided.fingerprints):
                if newer:
                    found.update({each: newer[each] for each in ids if each in newer})
        if self._promised is not None:
            found.update(await asyncio.to_thread(self._promised.find, ids, self._now()))
        return found

    async def promise(self, objects: Sequence[SegmentObject]) -> None:
        """A dry run would have sent them, and looks at them so from now on."""
        if self._promised is not None:
            digests = [(each.id, fingerprint(each, self._scope)) for each in objects]
            await asyncio.to_thread(self._promised.add, digests)

    def restore(self, ids: Iterable[str]) -> None:
        """It is certain that nothing newer landed under them: what was accepted before counts again."""
        found = ((each, self._before.pop(each, None)) for each in ids)
        restored = {each: before for each, before in found if before is not None}
        self.returned -= sum(before.digest == GONE for before in restored.values())
        self._decided.restored.update(restored)
        for each in restored:
            self._decided.fingerprints.pop(each, None)

    @property
    def uncertain(self) -> list[str]:
        """Ids of which nobody knows what became of what was noted."""
        return list(self._before)

    async def note(
        self, run: RunReport, objects: Sequence[SegmentObject], before: Mapping[str, Fingerprint | None]
    ) -> None:
        """Write down, durably, which rows are about to be on their way.

        Until the note is gone nobody knows which version of them the API holds. It goes with the commit of what became
        of them; if this process dies before that, the next run finds it. What was accepted `before` counts no more
        until a version is accepted again or it is certain that none landed, whatever becomes of the note: of the rows
        whose doubt is settled, some were refused by then, and some are gone. The ids stay known: should their rows
        vanish, the objects may be there all the same.
        """
        async with self._turn:
            doubt = self._doubt(objects, since=None)
            self._notes.append((doubt.part, objects[-1].row + 1))
            marks = {each: Fingerprint(digest=OPEN, sent_at=self._now()) for each in before}
            known = {each: found for each, found in before.items() if found is not None}
            self.returned += sum(known[each].digest == GONE for each in known.keys() - self._before.keys())
            self._before.update(known)
            # what became of an older version just now is not to be recorded over them
            for each in marks:
                self._decided.restored.pop(each, None)
            self._decided.fingerprints.update(
                {each: marks[each] for each in marks if each in self._decided.fingerprints}
            )
            await asyncio.to_thread(self._write, Commit(run=run, doubts=[doubt], fingerprints=marks))

    def doubted(self, objects: Sequence[SegmentObject]) -> None:
        """They may have landed, or may land yet, whatever else became of them."""
        self._decided.doubts.append(self._doubt(objects, since=self._now()))
        for each in objects:
            self._before.pop(each.id, None)

    def _doubt(self, objects: Sequence[SegmentObject], *, since: datetime | None) -> Doubt:
        keys = tuple(each.key for each in objects)
        return Doubt(run_id=self._run_id, part=next(self._parts), since=since, keys=keys)

    async def commit(
        self,
        run: RunReport,
        checkpoint: Callable[[], Checkpoint | None],
        *,
        settled: int | None,
        swept: bool,
        resolved: Sequence[int] = (),
        assured: Sequence[tuple[str, int]] = (),
        basis: str | None = None,
        outdated: datetime | None = None,
        buried_before: datetime | None = None,
    ) -> Checkpoint | None:
        """One transaction with everything decided since the last; returns the checkpoint saved with it.

        What could not be written stays to be written with the next. Of the rows before `settled` (None: of all) it is
        known what became of them.
        """
        async with self._turn:
            saved = checkpoint()
            over = [note for note in self._notes if settled is None or note[1] <= settled]
            self._underway, self._decided = self._decided, _Decided()
            decided = self._underway
            commit = Commit(
                run=with_watermark(run, saved), checkpoint=saved, dead_letters=decided.dead_letters,
                fingerprints=decided.fingerprints, restored=decided.restored, unchanged=decided.unchanged,
                mended=decided.mended, doubts=decided.doubts,
                assured=[*assured, *((self._run_id, part) for part, _ in over)], swept=swept, resolved=resolved,
                basis=basis, outdated=outdated, buried_before=buried_before,
            )  # fmt: skip
            try:
                await asyncio.to_thread(self._write, commit)
            except Exception:
                self._decided = decided.follow(self._decided)
                raise
            finally:
                self._underway = _Decided()
            self._notes = [note for note in self._notes if note not in over]
            self._written_at = self._monotonic()
            return saved


def with_watermark(run: RunReport, checkpoint: Checkpoint | None) -> RunReport:
    """The report, with the watermark that is saved, if a new one is."""
    if checkpoint is None:
        return run
    return replace(run, watermark=checkpoint.watermark)
