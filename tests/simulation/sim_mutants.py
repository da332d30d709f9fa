"""Bugs, seeded on purpose: the simulator that does not find them finds nothing.

Each is one exact replacement in a copy of the package, and the seed at which it was last seen caught.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sim_settings import BULK

HERE = Path(__file__).parent
PACKAGE = HERE.parent.parent / "syncer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One bug."""

    name: str
    file: str
    before: str
    after: str
    #: seeds that catch it, tried first
    seeds: tuple[int, ...] = ()


def plant(mutant: Mutant, folder: Path) -> Path:
    """A copy of the package with the bug in it; returns what belongs on PYTHONPATH.

    Raises:
        AssertionError: the code that it changes is not there, or more than once.
    """
    shutil.copytree(PACKAGE, folder / "syncer", ignore=shutil.ignore_patterns("__pycache__"))
    place = folder / "syncer" / mutant.file
    code = place.read_text(encoding="utf-8")
    assert code.count(mutant.before) == 1, f"{mutant.name}: found {code.count(mutant.before)} times in {mutant.file}"
    place.write_text(code.replace(mutant.before, mutant.after), encoding="utf-8")
    return folder


def hunt(path: Path, seeds: range | tuple[int, ...]) -> str | None:
    """Run seeds against the copy until one is broken; returns what was said of it."""
    told = subprocess.run(
        [sys.executable, str(HERE / "simulate.py"), "--until-broken", *map(str, seeds)],
        env={**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert told.returncode in (0, 1), told.stderr
    assert f"package {path}" in told.stdout, told.stdout
    return next((line for line in told.stdout.splitlines() if line.startswith("seed ")), None)


MUTANTS = (
    Mutant(
        name="the furthest settled batch instead of the contiguous prefix", file="core/ledger.py",
        before="return min([self._decided, *unsettled])", after="return max([self._decided, *unsettled])",
        seeds=(0,),
    ),
    Mutant(
        name="the watermark moves before the batch is acknowledged", file="core/ledger.py",
        before="unsettled = [batch.first_row for batch in self._open.values()]", after="unsettled: list[int] = []",
        seeds=(0,),
    ),
    Mutant(
        name="the watermark passes batches that still wait", file="core/ledger.py",
        before="unsettled += [batch.first_row for batch in list(self._waiting)[:1]]", after="pass",
        seeds=(4,),
    ),
    Mutant(
        name="the watermark passes rows that are in no batch yet", file="run/pipeline.py",
        before="self._ledger.decided(self._gathering.first_row if unbatched is None else unbatched)",
        after="self._ledger.decided()",
        seeds=(4,),
    ),
    Mutant(
        name="the watermark passes rows that wait for their note", file="run/pipeline.py",
        before="self._ledger.decided(self._gathering.first_row if unbatched is None else unbatched)",
        after="self._ledger.decided(unbatched)",
    ),
    Mutant(
        name="rows that wait for their note at the end are forgotten", file="run/pipeline.py",
        before="if not (await self._send_gathered() and await self._put(self._batcher.flush())):",
        after="if not await self._put(self._batcher.flush()):",
    ),
    Mutant(
        name="a failed batch does not hold the watermark", file="core/ledger.py",
        before="        self._hold(batch.first_row)\n        self.settle(batch)", after="        self.settle(batch)",
        seeds=(9,),
    ),
    Mutant(
        name="an id in two open batches", file="core/ledger.py",
        before="if not self._in_flight.isdisjoint(ids):", after="if False:",
        seeds=(28,),
    ),
    Mutant(
        name="the horizon is ignored", file="source/chunks.py",
        before="if position == BEYOND and", after="if False and",
        seeds=(72,),
    ),
    Mutant(
        name="the watermark is rounded up (reads > instead of >=)", file="source/chunks.py",
        before="return mark\n\n\ndef _bytes",
        after="return Watermark(kind=mark.kind, text=str(int(mark.text) + 1))\n\n\ndef _bytes",
        seeds=(21,),
    ),
    Mutant(
        name="the engine's clock instead of the source's", file="core/progress.py",
        before="watermark = (safe.watermark or old) if",
        after="watermark = safe.watermark and type(safe.watermark)(\n        kind=safe.watermark.kind, "
        'text=str(int(now.timestamp() * 1_000_000))\n    ) if',
        seeds=(0,),
    ),
    Mutant(
        name="the watermark moves on the way through a circle", file="core/progress.py",
        before="on_the_way = plan.advances and plan.after is None", after="on_the_way = plan.advances",
        seeds=(98,),
    ),
    Mutant(
        name="the second leg of a circle is forgotten", file="core/plan.py",
        before="return (self, replace(self, after=None, until=self.after))", after="return (self,)",
        seeds=(98,),
    ),
    Mutant(
        name="a full run lowers the watermark", file="core/plan.py",
        before="advances=not lowers, saves=saves,", after="advances=True, saves=saves,",
        seeds=(2, 4),
    ),
    Mutant(
        name="a stop counts as complete", file="run/pipeline.py",
        before="if not await self._take(chunk, shaped):\n                    return False",
        after="if not await self._take(chunk, shaped):\n                    break",
        seeds=(643,),
    ),
    Mutant(
        name="dead letters are not in the transaction", file="run/keeping.py",
        before="dead_letters=decided.dead_letters,", after="dead_letters=(),",
        seeds=(1,),
    ),
    Mutant(
        name="fingerprints are not in the transaction", file="run/keeping.py",
        before="fingerprints=decided.fingerprints, restored", after="fingerprints={}, restored",
        seeds=(1,),
    ),
    Mutant(
        name="fingerprints are recorded before acceptance", file="run/pipeline.py",
        before="self._keeping.accepted(receipt.accepted, newer | unsure)",
        after="self._keeping.accepted(batch.objects, newer | unsure)",
        seeds=(2,),
    ),
    Mutant(
        name="fingerprints are never compared", file="core/fingerprint.py",
        before="or before.digest != next(digests)", after="",
        seeds=(5,),
    ),
    Mutant(
        name="what is on its way is not noted before it goes", file="run/pipeline.py",
        before="if objects:\n            await self._keeping.note",
        after="if False:\n            await self._keeping.note",
        seeds=(0,),
    ),
    Mutant(
        name="notes go with the next commit, settled or not", file="run/keeping.py",
        before="if settled is None or note[1] <= settled]", after="]",
        seeds=(0,),
    ),
    Mutant(
        name="what a dead run noted is ignored", file="run/preparing.py",
        before="for each in store.doubts(mapping)]\n", after="for each in ()]\n",
        seeds=(1,),
    ),
    Mutant(
        name="what was accepted, but may land once more, is not in doubt", file="delivery/tally.py",
        before="return frozenset(unsettled.union(self._late.intersection(each.id for each in self._accepted)))",
        after="return frozenset(unsettled)",
        seeds=(74,),
    ),
    Mutant(
        name="what was given up, but may have landed, is not in doubt", file="delivery/tally.py",
        before="unsettled = self._doubted.intersection(each.id for each in self._unsettled)",
        after="unsettled: set[str] = set()",
        seeds=(127,),
    ),
    Mutant(
        name="doubts are settled without being sent", file="run/executor.py",
        before="keys = tuple(dict.fromkeys(key for each in due for key in each.keys))", after="keys = ()",
        seeds=(0,),
    ),
    Mutant(
        name="doubts are settled too early", file="run/keeping.py",
        before="SETTLED_AFTER = timedelta(seconds=30)", after="SETTLED_AFTER = timedelta(seconds=3)",
        seeds=(74,),
    ),
    Mutant(
        name="doubts are settled asynchronously", file="run/pipeline.py",
        before="return self._options.keys is not None or not", after="return not",
        seeds=(19,),
    ),
    Mutant(
        name="a version follows another without asking for order", file="run/pipeline.py",
        before="self._options.keys is not None or not self._close.isdisjoint(each.id for each in batch.objects)",
        after="self._options.keys is not None",
        seeds=(219,),
    ),
    Mutant(
        name="a retry does not look at the lease", file="run/sending.py",
        before="synchronous=self._synchronous(batch), forbidden=self._forbidden)",
        after="synchronous=self._synchronous(batch))",
        seeds=(46,),
    ),
    Mutant(
        name="a batch is dropped when it is given up", file="delivery/objects_api.py",
        before="tally.give_up(objects, outcome)", after="tally.accept(objects)",
        seeds=(0,),
    ),
    Mutant(
        name="a batch is dropped after some tries", file="delivery/line.py",
        before="isinstance(verdict, SyncerError) or verdict.action in _DECIDED:",
        after="isinstance(verdict, SyncerError) or verdict.action in _DECIDED or tries.retries > 0:",
        seeds=(82,),
    ),
    Mutant(
        name="a refused object counts as accepted", file="delivery/objects_api.py",
        before="tally.reject(objects[0], outcome)", after="tally.accept(objects)",
        seeds=(2,),
    ),
    Mutant(
        name="a refused batch is buried whole", file="delivery/objects_api.py",
        before="elif len(objects) == 1:\n            tally.reject(objects[0], outcome)",
        after="elif objects:\n            for each in objects:\n                tally.reject(each, outcome)",
        seeds=(0,),
    ),
    Mutant(
        name="a success that tells of an error counts as accepted", file="core/verdict.py",
        before="if isinstance(said, dict) and _tells_failure(said):", after="if False:",
        seeds=(3,),
    ),
    Mutant(
        name="a proxy's page counts as accepted", file="core/verdict.py",
        before="    except orjson.JSONDecodeError:\n        return _FOREIGN",
        after="    except orjson.JSONDecodeError:\n        return Action.ACCEPT, False, \"\"",
        seeds=(3,),
    ),
    Mutant(
        name="429 counts as a refusal", file="core/verdict.py",
        before="    if status == 429:\n        return Action.PAUSE",
        after="    if status == 429:\n        return Action.SPLIT",
        seeds=(2,),
    ),
    Mutant(
        name="the epoch is not checked", file="state/memory.py",
        before="            self._require(lease)\n            self._runs[", after="            self._runs[",
        seeds=(64,),
    ),
    Mutant(
        name="the lease is not checked before sending", file="run/executor.py",
        before="lost = self._held.failure if self._held is not None else None", after="lost = None",
        seeds=(46,),
    ),
    Mutant(
        name="a lease that lives is given to another", file="state/tenure.py",
        before="if not (free or tenure.owner == owner or", after="if not (True or tenure.owner == owner or",
        seeds=(1,),
    ),
    Mutant(
        name="epochs do not grow", file="state/tenure.py",
        before="epoch=tenure.epoch + 1", after="epoch=max(tenure.epoch, 1)",
        seeds=(0,),
    ),
    Mutant(
        name="unchanged rows are not counted", file="run/pipeline.py",
        before="self._count(unchanged=len(objects) - len(fresh))", after="pass",
        seeds=(2,),
    ),
    Mutant(
        name="rows sent are counted although they were not accepted", file="run/pipeline.py",
        before="self._count(sent=len(receipt.accepted),", after="self._count(sent=len(batch.objects),",
        seeds=(3,),
    ),
    Mutant(
        name="an id twice in a batch", file="core/batch.py",
        before="each.id in self._ids or ", after="",
        seeds=(28,),
    ),
    Mutant(
        name="the drain loses a wake-up", file="run/sending.py",
        before="            self._moved.clear()\n            self._flush()\n"
        "            moving = asyncio.create_task(self._moved.wait())",
        after="            self._flush()\n            moving = asyncio.create_task(self._movement())",
        seeds=(453,),
    ),
    Mutant(
        name="a run is complete when everything was read", file="run/pipeline.py",
        before="            read = await self._pass()\n",
        after="            self.complete = read = await self._pass()\n",
        seeds=(118, 169, 717),
    ),
    Mutant(
        name="abandoned batches count as settled", file="core/ledger.py",
        before="            batch = self._waiting.popleft()\n            self._hold(batch.first_row)\n",
        after="            batch = self._waiting.popleft()\n",
        seeds=(191,),
    ),
    Mutant(
        name="the bound of a later snapshot", file="run/reading.py",
        before="after=chunk.mark.position, ceiling=chunk.ceiling)", after="after=chunk.mark.position)",
        seeds=(983,),
    ),
    Mutant(
        name="what a failed commit held is lost", file="run/keeping.py",
        before="self._decided = decided.follow(self._decided)", after="pass",
        seeds=(216,),
    ),
    Mutant(
        name="fingerprints are shared between destinations", file="core/fingerprint.py",
        before='blake2b(f"{destination}\\0{collection}"', after='blake2b(f"{collection}"',
        seeds=(41,),
    ),
    Mutant(
        name="a cursor that is opened again leaves out its first row", file="run/reading.py",
        before="again = opens and self._last is not None and chunk.rows[0] == self._last",
        after="again = opens and self._last is not None",
        seeds=(1924,),
    ),
    Mutant(
        name="a session is settled by its last upload", file="delivery/bulk_api.py",
        before="bad = bad or await session.upload() or await session.finish()",
        after="bad = bad or await session.upload()",
        seeds=(BULK,),
    ),
    Mutant(
        name="a finish without an answer counts as accepted", file="core/verdict.py",
        before="        return _without_answer(answer, secrets)\n    action, in_doubt, note = _classify(answer)",
        after="        if step is Step.FINISH:\n            return Verdict(action=Action.ACCEPT, reason=\"\")\n"
        "        return _without_answer(answer, secrets)\n    action, in_doubt, note = _classify(answer)",
        seeds=(BULK + 2,),
    ),
    Mutant(
        name="a finish that may come twice leaves no doubt", file="delivery/bulk_session.py",
        before="entry.tally.doubt(objects, late=verdict.late)", after="pass",
        seeds=(BULK + 30,),
    ),
    Mutant(
        name="uploads of a lost session count", file="delivery/bulk_api.py",
        before="            await self._carry(shares)\n\n    def",
        after="            for entry, objects in session.uploaded:\n                entry.tally.accept(objects)\n"
        "                entry.decided(len(objects))\n"
        "            await self._carry([*session.inside, *session.behind])\n\n    def",
        seeds=(BULK + 7,),
    ),
    Mutant(
        name="a session finished with an error counts as accepted", file="delivery/bulk_api.py",
        before="            await session.abandon(bad)\n            self._give_up(shares, bad)",
        after="            await session.abandon(bad)\n            for entry, objects in shares:\n"
        "                entry.tally.accept(objects)\n                entry.decided(len(objects))",
        seeds=(BULK + 3,),
    ),
    Mutant(
        name="a session is finished although an upload was refused", file="delivery/bulk_session.py",
        before="        if bad := await self._asked(request):\n            return bad\n",
        after="        await self._asked(request)\n",
        seeds=(BULK + 1,),
    ),
    Mutant(
        name="a note leaves what was accepted before", file="run/keeping.py",
        before="marks = {each: Fingerprint(digest=OPEN, sent_at=self._now()) for each in before}",
        after="marks: dict[str, Fingerprint] = {}",
        seeds=(319,),
    ),
    Mutant(
        name="what may have landed counts as never sent", file="run/pipeline.py",
        before="if known:\n            self._keeping.restore", after="if True:\n            self._keeping.restore",
        seeds=(2592,),
    ),
    Mutant(
        name="a tombstone is final although a version may land after it", file="run/burying.py",
        before="receipt.in_doubt | self._open]", after="receipt.in_doubt]",
        seeds=(42574,),
    ),
    Mutant(
        name="tombstones go out before they are written down", file="run/burying.py",
        before="self._keeping.unsure(page)", after="pass",
        seeds=(80,),
    ),
    Mutant(
        name="an incomplete read marks what it did not come to", file="run/executor.py",
        before="if done.complete and self._seen is not None:", after="if self._seen is not None:",
        seeds=(99,),
    ),
    Mutant(
        name="what waits for more is never finished", file="run/sending.py",
        before="if self._out == self._delivery.max_in_flight or self._ledger.waiting:", after="if False:",
        seeds=(BULK + 3,),
    ),
)  # fmt: skip
