"""The seam to the state store: what a store promises. Commits are transactions, fenced by the lease epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from syncer.core.model import Checkpoint, DeadLetter, Doubt, Lease, Outcome, PropertyType, RunReport
from syncer.core.tombstone import OPEN, UNSURE


class Fingerprint(NamedTuple):
    """Digest of an object as it was accepted, and when. A tuple, because millions of them are made in a run."""

    digest: bytes
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Dead letters that were refused for the same reason."""

    code: str
    count: int
    #: when the oldest and the newest of them were refused
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What one transaction records. Losing it costs duplicates, never data.

    An object has at most one dead letter: that of an earlier refusal is removed when its id is accepted
    (`fingerprints`, `mended`), found as it was accepted before (`unchanged`) or refused again (`dead_letters`); of
    several in one commit the last stays.
    """

    run: RunReport
    #: None: the checkpoint stays as it is, byte for byte
    checkpoint: Checkpoint | None = None
    dead_letters: Sequence[DeadLetter] = ()
    #: by object id: what was accepted since the last commit
    fingerprints: Mapping[str, Fingerprint] = field(default_factory=dict)
    #: by object id: what counts again, because it is certain that nothing newer landed
    restored: Mapping[str, Fingerprint] = field(default_factory=dict)
    #: digest of the query that the known objects come from; None: as before
    basis: str | None = None
    #: fingerprints of objects accepted before it are forgotten: of rows that are long gone
    outdated: datetime | None = None
    #: tombstones accepted before it are forgotten; what lives stays known, however long nothing was sent of it
    buried_before: datetime | None = None
    #: ids whose object is what was accepted before
    unchanged: Sequence[str] = ()
    #: ids of which a version was accepted, though it is not certain that none other lands
    mended: Sequence[str] = ()
    #: what is in doubt from now on; one of the same run and part is replaced
    doubts: Sequence[Doubt] = ()
    #: run and part of what is in doubt no longer
    assured: Sequence[tuple[str, int]] = ()
    #: numbers of dead letters that this run resolved; those of other mappings stay
    resolved: Sequence[int] = ()
    #: None: they stay as they are; else all that are known of the mapping from now on
    property_types: Mapping[str, PropertyType] | None = None
    #: the run read every row: dead letters without an id that earlier runs left are outdated
    swept: bool = False
    #: a run record is to be sent of the run: see `Store.unrecorded`
    recorded: bool = False


def latest_letters(letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """Without those that a later one of the same id replaces."""
    last = {letter.rejection.id: place for place, letter in enumerate(letters)}
    return [each for place, each in enumerate(letters) if each.rejection.id is None or last[each.rejection.id] == place]


def outdated_ids(commit: Commit) -> set[str]:
    """The ids whose earlier dead letters a commit replaces or resolves."""
    refused = (each.rejection.id for each in commit.dead_letters)
    accepted = (each for each, found in commit.fingerprints.items() if found.digest not in (OPEN, UNSURE))
    return {*accepted, *commit.unchanged, *commit.mended, *(each for each in refused if each is not None)}


def require_fit(lease: Lease, commit: Commit) -> None:
    """A lease fences one mapping only. Raises `ValueError` when the commit carries something of another."""
    named = {commit.run.mapping, *(letter.mapping for letter in commit.dead_letters)}
    if commit.checkpoint is not None:
        named.add(commit.checkpoint.mapping)
    strays = named - {lease.mapping}
    if strays:
        raise ValueError(f"the lease of {lease.mapping} does not fence {', '.join(sorted(strays))}")


class Store(Protocol):
    """Durable state. Methods block; all are safe to call from several threads and processes.

    Errors: `StateUnwritable`, `StateCorrupt`, `StateTooNew`, `LeaseHeld`, `LeaseLost`.
    """

    def acquire(self, mapping: str, owner: str, now: datetime, ttl: timedelta) -> Lease:
        """Take the mapping's lease with the next epoch; epochs grow for good, also across `release`.

        Raises `LeaseHeld` while another owner's has not expired, unless that owner's process is surely gone.
        """

    def renew(self, lease: Lease, now: datetime, ttl: timedelta) -> Lease:
        """Prolong a lease, expired or not. Raises `LeaseLost` when it was taken over or released."""

    def release(self, lease: Lease) -> None:
        """Give the lease back. Does nothing when it is no longer ours."""

    def leases(self) -> Sequence[Lease]:
        """Leases that are held, expired ones included, by mapping name."""

    def commit(self, lease: Lease, commit: Commit) -> None:
        """Record everything in one transaction. A run with a known `run_id` replaces what was told of it.

        Raises `LeaseLost`, and writes nothing, when the epoch is old or the lease was released; `ValueError`
        when something in the commit belongs to another mapping.
        """

    def checkpoint(self, mapping: str) -> Checkpoint | None:
        """The saved checkpoint."""

    def checkpoints(self) -> Sequence[Checkpoint]:
        """All of them, by mapping name."""

    def reset(self, lease: Lease, *, fingerprints: bool) -> None:
        """Forget the mapping's checkpoint, and its fingerprints and property types when asked; doubts stay.

        Raises `LeaseLost`.
        """

    def fingerprints(self, mapping: str, ids: Sequence[str]) -> Mapping[str, Fingerprint]:
        """What is known of these ids; unknown ones are left out."""

    def property_types(self, mapping: str) -> Mapping[str, PropertyType]:
        """As what its properties were sent, in the order in which they were given; empty before the first run."""

    def living(self, mapping: str, after: str | None, limit: int) -> Sequence[str]:
        """Ids with a fingerprint that are no tombstones, in an order that does not change; those behind `after`."""

    def living_count(self, mapping: str) -> int:
        """How many ids `living` has."""

    def basis(self, mapping: str) -> str | None:
        """Digest of the query that the fingerprinted objects come from."""

    def doubts(self, mapping: str) -> Sequence[Doubt]:
        """What is in doubt, in the order of run and part."""

    def doubt_counts(self) -> Mapping[str, int]:
        """How many rows of each mapping are in doubt; those that are on their way right now are not counted."""

    def runs(
        self, mapping: str | None = None, limit: int = 20, *, until: datetime | None = None
    ) -> Sequence[RunReport]:
        """The latest runs, newest start first; of equal starts the one recorded last comes first.

        With `until`, those that began then or before.
        """

    def run(self, run_id: str) -> RunReport | None:
        """The run of this id."""

    def latest_runs(
        self,
        mappings: Sequence[str],
        limit: int,
        *,
        outcomes: Sequence[Outcome] | None = None,
        without: Sequence[str] = (),
    ) -> Mapping[str, Sequence[RunReport]]:
        """Of each of these mappings what `runs` tells of it; all in one look.

        With `outcomes`, those that ended so; `without` those that these triggers began.
        """

    def sent_since(self, moment: datetime) -> int:
        """Objects, tombstones included, that runs sent which began then or later; those that are going on count too."""

    def unrecorded(self, limit: int) -> Sequence[RunReport]:
        """Runs that are over and whose run record was not sent yet, oldest first. Fenced by no lease."""

    def recorded(self, run_ids: Sequence[str]) -> None:
        """The run records of these runs need not be sent any more."""

    def dead_letters(
        self,
        mapping: str | None = None,
        *,
        numbers: Sequence[int] | None = None,
        ids: Sequence[str] | None = None,
        limit: int | None = None,
        code: str | None = None,
        after: int = 0,
    ) -> Sequence[DeadLetter]:
        """Dead letters, oldest first; of all objects or of those with these ids. A number is given only once.

        With `code`, those refused for this reason; with `after`, those of a higher number.
        """

    def dead_letter_counts(self) -> Mapping[str, int]:
        """How many each mapping has."""

    def dead_letter_causes(self, mapping: str) -> Sequence[Cause]:
        """The mapping's dead letters by their code, the most frequent first."""

    def discard(self, numbers: Sequence[int]) -> int:
        """Remove dead letters; returns how many there were."""

    def last_fire(self, mapping: str, schedule: str) -> datetime | None:
        """When this schedule last fired, or was first seen."""

    def last_fires(self) -> Mapping[tuple[str, str], datetime]:
        """`last_fire` of every mapping and schedule that has one."""

    def record_fire(self, mapping: str, schedule: str, at: datetime) -> None:
        """Remember a fire."""

    def pauses(self) -> Mapping[str, datetime]:
        """Mappings whose schedules begin no run, and since when."""

    def pause(self, mapping: str, at: datetime) -> None:
        """Remember a pause; one that is there stays as it is."""

    def resume(self, mapping: str) -> None:
        """Forget the mapping's pause."""

    def close(self) -> None:
        """Let go of the connections. Idempotent."""
