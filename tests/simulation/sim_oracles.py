"""What must hold: at every commit, at every request, at the end of every run, and when everything has settled.

The duplicates that are allowed: an object that the API has taken is sent again only
1. by a retry of the very request, or of a part of it after a split;
2. when its acceptance was not committed: its process crashed or was suspended, its commit failed or was not heard of.
   At most so many objects per crash as were accepted since the last commit, plus ten per request in flight;
3. when it is in doubt (the settle pass, or a run that meets it before);
4. when the person asked for it (`send: all`, `resend`, a retry of dead letters).
Every request is checked against that: what the state knows to be accepted, and not to be in doubt, never goes out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import orjson
from sim_bulk import BulkRequest
from sim_loop import Process
from sim_sink import Request
from sim_source import UNSHAPELY, Version, identifiers, is_tombstone, projection

from syncer.core.fingerprint import fingerprint
from syncer.core.model import Doubt, Lease, Outcome, RunReport, SegmentObject
from syncer.core.tombstone import GONE
from syncer.state.base import Commit

if TYPE_CHECKING:
    from sim_actor import Actor
    from sim_world import World

MAPPING = "rooms"
_FINISHED = (Outcome.SUCCEEDED, Outcome.PARTIAL)


class Broken(AssertionError):
    """A promise is."""


class Oracles:
    """See the module. `fail` stops the world."""

    def __init__(self, world: World, fail: Callable[[str], None]) -> None:
        self._world = world
        self._fail = fail
        self._epoch = 0
        self._watermark: int | None = None
        #: by run: object ids that were in doubt when it began
        self._doubted: dict[str, set[str]] = {}
        self._began: dict[str, float] = {}

    def begin_anew(self) -> None:
        """What was saved belongs to another destination."""
        self._watermark = None

    # --- the state

    def acquired(self, lease: Lease) -> None:
        """Epochs only grow."""
        if lease.epoch <= self._epoch:
            self._fail(f"epoch: {lease.epoch} after {self._epoch}")
        self._epoch = lease.epoch
        for each in self._world.actors:
            if (
                each.store.leased_until > self._world.loop.time()
                and not each.process.dead
                and each.owner != lease.owner
            ):
                self._fail(f"lease: {lease.owner} got the lease that {each.process} holds")

    def committed(self, process: Process | None, lease: Lease, commit: Commit, before: Sequence[Doubt]) -> None:
        """Fenced, monotone, and nothing is passed that is not settled."""
        if lease.epoch != self._epoch:
            self._fail(f"fence: {process} wrote in epoch {lease.epoch}, and {self._epoch} was given out")
        self._watch_doubts(commit)
        self._watch_assured(commit, before)
        if commit.checkpoint is None or commit.checkpoint.watermark is None:
            return
        watermark = int(commit.checkpoint.watermark.text)
        # only who has read every row may say that there is nothing as new any more
        if self._watermark is not None and watermark < self._watermark and not commit.swept:
            self._fail(f"monotone: the watermark went from {self._watermark} back to {watermark}")
        self._watermark = watermark
        settings = self._world.settings
        passed = watermark - settings.lookback if settings.skew else watermark
        dead, doubted = self._dead(), self._in_doubt()
        for version in self._world.table.rows.values():
            if version.stamp is None or version.stamp >= passed or str(version.id) in dead | doubted:
                continue
            if not self._taken(version):
                self._fail(f"passed: the watermark {watermark} passed {version}, which nobody has")

    def _watch_doubts(self, commit: Commit) -> None:
        run = commit.run.run_id
        if run not in self._doubted:
            self._doubted[run] = self._in_doubt(without=run)
            self._began[run] = self._world.loop.time()
        for each in self._doubted[run].intersection(commit.unchanged):
            self._fail(f"doubt: {each} was in doubt when {run} began, and counts as unchanged")

    def _watch_assured(self, commit: Commit, before: Sequence[Doubt]) -> None:
        """What was in doubt for certain is in doubt no longer once its row went out in order, or is gone."""
        over = set(commit.assured)
        found = {each for doubt in before if (doubt.run_id, doubt.part) in over and doubt.since for each in _ids(doubt)}
        sent = {each for actor in self._world.actors for each in actor.ordered_by(commit.run.run_id)}
        for identifier in found - sent:
            version = self._world.table.rows.get(int(identifier))
            if version is None or version.committed_at > self._began[commit.run.run_id]:
                continue
            if version.city != UNSHAPELY and not (version.stamp is None and self._skips):
                self._fail(f"assured: {identifier} is in doubt no longer, but was not sent in order")

    def _in_doubt(self, without: str = "") -> set[str]:
        doubts = self._world.durable.doubts(MAPPING)
        return {each for doubt in doubts if doubt.run_id != without for each in _ids(doubt)}

    def _dead(self) -> set[str | None]:
        return {letter.rejection.id for letter in self._world.durable.dead_letters(MAPPING)}

    def _taken(self, version: Version) -> bool:
        """Whether the API holds it now, or took it after it was committed."""
        wanted = projection(version, self._world.settings)
        if self._holds(version, wanted):
            return True
        landings = self._world.api.landings.get(str(version.id), ())
        return any(each.at >= version.committed_at and each.properties == wanted for each in landings)

    def _holds(self, version: Version, wanted: Mapping[str, object]) -> bool:
        api, identifier = self._world.api, str(version.id)
        held = dict(api.objects.get(identifier, {}))
        # what landed is the API's to process, however long it takes
        for request in api.processing:
            held.update(request.objects.get(identifier, {}))
        return bool(wanted) and all(name in held and held[name] == value for name, value in wanted.items())

    # --- the wire

    def posted(
        self, actor: Actor, request: Request, headers: Mapping[str, str], body: bytes, others: list[Request]
    ) -> None:
        """Within the limits, one unfinished request per id, under a lease, and never for nothing."""
        if not headers.get("Authorization", "").startswith("Basic "):
            self._fail(f"limits: request {request.number} has no key")
        if isinstance(request, BulkRequest):
            self._posted_in_session(actor, request, others)
            return
        told = orjson.loads(body)
        objects, settings = told["objects"], self._world.settings
        if not 0 < len(objects) <= settings.batch or len(request.objects) != len(objects) or len(body) > 500_000:
            self._fail(f"limits: request {request.number} carries {len(objects)} objects")
        if told["collection"] != MAPPING:
            self._fail(f"limits: request {request.number} is not addressed as it should be")
        self._go_out(actor, request, others)
        if not request.synchronous:
            self._needed(actor, request)

    def _posted_in_session(self, actor: Actor, request: BulkRequest, others: list[Request]) -> None:
        """One request of a session at a time, each id in it once, and nothing taken back that was accepted."""
        if request.error:
            return
        if any(isinstance(other, BulkRequest) and other.session == request.session for other in others):
            self._fail(f"order: request {request.number} while another of session {request.session} is under way")
        if request.collections - {MAPPING} or (request.step == "upload") != bool(request.objects):
            self._fail(f"limits: request {request.number} is not addressed as it should be")
        self._go_out(actor, request, others)
        self._needed(actor, request)

    def _go_out(self, actor: Actor, request: Request, others: list[Request]) -> None:
        for other in others:
            if not request.objects.keys().isdisjoint(other.objects):
                self._fail(f"lanes: an id is in requests {other.number} and {request.number} at once")
        if self._world.loop.time() > actor.store.leased_until + 1e-6:
            self._fail(f"lease: {actor.process} sends after its lease ran out")
        graves = {each for each, properties in request.objects.items() if is_tombstone(properties)}
        self._mark(request, sorted(graves))
        unnoted = request.objects.keys() - self._in_doubt() - graves
        if unnoted:
            self._fail(f"note: {sorted(unnoted)} go out, and nobody would know after a crash")

    def _mark(self, request: Request, graves: Sequence[str]) -> None:
        """Only what is gone, and only once it counts no more as what it was."""
        unsure = self._world.durable.fingerprints(MAPPING, graves)
        for each in graves:
            if len(unsure[each].digest) > 1:
                self._fail(f"note: {each} is marked as deleted, and counts as what it was before")
            version = self._world.table.rows.get(int(each))
            if version is not None and version.committed_at < self._began[request.run_id]:
                self._fail(f"marked: {version} is there, and marked as deleted")

    def _needed(self, actor: Actor, request: Request) -> None:
        if self._world.settings.send != "changed" or actor.resends:
            return
        durable = self._world.durable
        known = durable.fingerprints(MAPPING, list(request.objects))
        if not known or not durable.leases() or durable.leases()[0].epoch != actor.epoch:
            return
        excused = self._in_doubt(without=request.run_id) | actor.sent_by(request.run_id)
        for identifier, properties in request.objects.items():
            before = known.get(identifier)
            if before is None or identifier in excused:
                continue
            sent = SegmentObject(id=identifier, properties=orjson.dumps(properties), row=0, key="")
            if before.digest == (GONE if is_tombstone(properties) else fingerprint(sent, actor.scope)):
                self._fail(f"needless: {identifier} is sent again, although it is known to be accepted")

    # --- runs

    def reported(self, actor: Actor, report: RunReport) -> None:
        """Its counts add up, and say what happened."""
        counts = report.counts
        if report.outcome is None or report.finished_at is None:
            self._fail(f"report: {report.run_id} has no end")
        if report.outcome in (*_FINISHED, Outcome.INTERRUPTED) and not counts.balanced:
            self._fail(f"counts: {report.run_id} is {report.outcome}, but {counts}")
        if report.error is not None and report.error.startswith("unexpected"):
            self._fail(f"defect: {report.error}")
        if report.outcome in _FINISHED:
            if counts.requests != actor.client.posts - actor.posts_before:
                self._fail(f"counts: {counts.requests} requests told, {actor.client.posts - actor.posts_before} made")
            told, accepted = counts.sent + counts.deleted, actor.client.accepted - actor.accepted_before
            if told != accepted:
                self._fail(f"counts: {told} sent or deleted told, {accepted} accepted")

    def converged(self) -> list[str]:
        """What is still wrong after everything stopped and a run succeeded."""
        wrong = [f"doubt: {each} is still in doubt" for each in sorted(self._in_doubt())]
        letters = {letter.rejection.id: letter for letter in self._world.durable.dead_letters(MAPPING)}
        for version in self._world.table.rows.values():
            wanted = projection(version, self._world.settings)
            if not wanted or (version.stamp is None and self._skips):
                continue
            letter = letters.get(str(version.id))
            if version.city == UNSHAPELY:
                right = letter is not None
            elif self._world.api.refusal(str(version.id), wanted) is not None:
                right = letter is not None and orjson.loads(letter.rejection.properties or b"{}") == wanted
            else:
                right = letter is None and self._holds(version, wanted)
            if not right:
                held = self._world.api.objects.get(str(version.id))
                told = letter.rejection.code if letter else None
                wrong.append(f"stale: {version} is {held} there, dead letter {told}")
        if self._world.settings.max_share is not None:
            wrong += self._ghosts()
        return wrong

    def _ghosts(self) -> list[str]:
        """What looks alive there, and has no row."""
        world = self._world
        alive = (each for each, held in world.api.objects.items() if not is_tombstone(held))
        return [f"ghost: {each} is alive there" for each in alive if int(each) not in world.table.rows]

    @property
    def _skips(self) -> bool:
        return self._world.settings.nulls == "skip" and self._world.settings.watermark


def _ids(doubt: Doubt) -> set[str]:
    return identifiers(doubt.keys)
