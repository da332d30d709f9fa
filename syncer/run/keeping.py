"""Gathers what a run decided and commits it, while reading and sending go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from syncer.core.fingerprint import fingerprint
from syncer.core.model import Checkpoint, CollectionMapping, DeadLetter, Rejection, RunReport, SegmentObject
from syncer.state.base import Commit, Fingerprint, Store

#: a commit is due after so many decided rows or seconds, whichever comes first
COMMIT_ROWS = 5_000
COMMIT_SECONDS = 1.0


@dataclass(slots=True)
class _Decided:
    """What a transaction records."""

    fingerprints: dict[str, Fingerprint] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    rows: int = 0

    def follow(self, later: _Decided) -> _Decided:
        """This and what was decided after it."""
        return _Decided(
            fingerprints=self.fingerprints | later.fingerprints,
            dead_letters=self.dead_letters + later.dead_letters,
            unchanged=self.unchanged + later.unchanged,
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
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._mapping = mapping
        self._run_id = run_id
        self._scope = scope
        self._store = store
        self._write = write
        self._now = now
        self._monotonic = monotonic
        self._decided = _Decided()
        #: being written now
        self._underway = _Decided()
        #: one transaction at a time
        self._turn = asyncio.Lock()
        self._written_at = monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to commit."""
        if not self._decided.rows or self._turn.locked():
            return False
        return self._decided.rows >= COMMIT_ROWS or self._monotonic() - self._written_at >= COMMIT_SECONDS

    @property
    def behind(self) -> bool:
        """Whether so much waits to be written that reading has to wait for it."""
        return self._decided.rows >= 4 * COMMIT_ROWS

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

    def accepted(self, objects: Sequence[SegmentObject]) -> None:
        """The API took them, and with them any older version of theirs that it had refused."""
        now, decided = self._now(), self._decided
        decided.rows += len(objects)
        for each in objects:
            decided.fingerprints[each.id] = Fingerprint(digest=fingerprint(each, self._scope), sent_at=now)
        if decided.dead_letters:
            ids = {each.id for each in objects}
            decided.dead_letters = [each for each in decided.dead_letters if each.rejection.id not in ids]

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

    async def known(self, ids: Sequence[str]) -> Mapping[str, Fingerprint]:
        """What was last accepted under these ids: the store's word, overruled by what is not stored yet."""
        before = (self._underway, self._decided)
        found = dict(await asyncio.to_thread(self._store.fingerprints, self._mapping.name, ids))
        for decided in (*before, self._underway, self._decided):
            found.update({each: decided.fingerprints[each] for each in ids if each in decided.fingerprints})
        return found

    async def distrust(self, run: RunReport, ids: Sequence[str]) -> None:
        """Forget what was accepted under these ids, durably, before their next version goes out.

        From then on until it is accepted nobody knows which of the two the API holds: after a crash, a lost answer
        or a refusal the row is sent again, whatever it looks like.
        """
        async with self._turn:
            for each in ids:
                self._decided.fingerprints.pop(each, None)
            await asyncio.to_thread(self._write, Commit(run=run, forget=ids))

    async def commit(
        self, run: RunReport, checkpoint: Callable[[], Checkpoint | None], *, swept: bool, resolved: Sequence[int] = ()
    ) -> Checkpoint | None:
        """One transaction with everything decided since the last; returns the checkpoint saved with it.

        What could not be written stays to be written with the next.
        """
        async with self._turn:
            saved = checkpoint()
            self._underway, self._decided = self._decided, _Decided()
            decided = self._underway
            commit = Commit(
                run=with_watermark(run, saved), checkpoint=saved, dead_letters=decided.dead_letters,
                fingerprints=decided.fingerprints, unchanged=decided.unchanged, swept=swept, resolved=resolved,
            )  # fmt: skip
            try:
                await asyncio.to_thread(self._write, commit)
            except Exception:
                self._decided = decided.follow(self._decided)
                raise
            finally:
                self._underway = _Decided()
            self._written_at = self._monotonic()
            return saved


def with_watermark(run: RunReport, checkpoint: Checkpoint | None) -> RunReport:
    """The report, with the watermark that is saved, if a new one is."""
    if checkpoint is None:
        return run
    return replace(run, watermark=checkpoint.watermark)
