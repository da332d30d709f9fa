"""The store in memory: the same promises as the others, for tests and for `status` before the first run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from syncer.core.model import Checkpoint, DeadLetter, Doubt, Lease, Outcome, PropertyType, RunReport
from syncer.core.tombstone import GONE
from syncer.state.base import Cause, Commit, Fingerprint, latest_letters, outdated_ids, require_fit
from syncer.state.tenure import Tenure, lost, succeed


class MemoryStore:
    """A `Store` that ends with the process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tenures: dict[str, Tenure] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        self._runs: dict[str, RunReport] = {}
        self._unrecorded: set[str] = set()
        self._dead_letters: dict[int, DeadLetter] = {}
        self._last_number = 0
        self._fingerprints: dict[str, dict[str, Fingerprint]] = {}
        self._bases: dict[str, str] = {}
        self._doubts: dict[str, dict[tuple[str, int], Doubt]] = {}
        self._property_types: dict[str, dict[str, PropertyType]] = {}
        self._fires: dict[tuple[str, str], datetime] = {}
        self._pauses: dict[str, datetime] = {}

    def __repr__(self) -> str:
        return f"MemoryStore({len(self._checkpoints)} checkpoints, {len(self._dead_letters)} dead letters)"

    def acquire(self, mapping: str, owner: str, now: datetime, ttl: timedelta) -> Lease:
        """See `Store.acquire`."""
        with self._lock:
            lease = succeed(self._tenures.get(mapping, Tenure()), mapping, owner, now, ttl)
            self._tenures[mapping] = Tenure(epoch=lease.epoch, owner=owner, since=now, expires_at=lease.expires_at)
            return lease

    def renew(self, lease: Lease, now: datetime, ttl: timedelta) -> Lease:
        """See `Store.renew`."""
        with self._lock:
            tenure = self._require(lease)
            self._tenures[lease.mapping] = replace(tenure, expires_at=now + ttl)
            return replace(lease, expires_at=now + ttl)

    def release(self, lease: Lease) -> None:
        """See `Store.release`."""
        with self._lock:
            tenure = self._tenures.get(lease.mapping, Tenure())
            if tenure.belongs_to(lease):
                self._tenures[lease.mapping] = Tenure(epoch=tenure.epoch)

    def leases(self) -> Sequence[Lease]:
        """See `Store.leases`."""
        with self._lock:
            return tuple(
                Lease(mapping=mapping, owner=each.owner, epoch=each.epoch, expires_at=each.expires_at)
                for mapping, each in sorted(self._tenures.items())
                if each.owner is not None and each.expires_at is not None
            )

    def commit(self, lease: Lease, commit: Commit) -> None:
        """See `Store.commit`."""
        require_fit(lease, commit)
        with self._lock:
            self._require(lease)
            self._runs[commit.run.run_id] = commit.run
            if commit.recorded:
                self._unrecorded.add(commit.run.run_id)
            if commit.checkpoint is not None:
                self._checkpoints[lease.mapping] = commit.checkpoint
            self._remember(lease.mapping, commit)
            doubts = self._doubts.setdefault(lease.mapping, {})
            doubts.update({(each.run_id, each.part): each for each in commit.doubts})
            for assured in commit.assured:
                doubts.pop(assured, None)
            if commit.property_types is not None:
                self._property_types[lease.mapping] = dict(commit.property_types)
            self._remove(n for n in commit.resolved if self._mapping_of(n) == lease.mapping)
            self._remove(self._outdated(lease.mapping, commit))
            self._store(latest_letters(commit.dead_letters))

    def _remember(self, mapping: str, commit: Commit) -> None:
        known = self._fingerprints.setdefault(mapping, {})
        known.update({**commit.restored, **commit.fingerprints})
        if commit.basis is not None:
            self._bases[mapping] = commit.basis
        if commit.outdated is not None:
            for each in [each for each, found in known.items() if found.sent_at < commit.outdated]:
                del known[each]
        if commit.buried_before is not None:
            for each, found in list(known.items()):
                if found.digest == GONE and found.sent_at < commit.buried_before:
                    del known[each]

    def _outdated(self, mapping: str, commit: Commit) -> list[int]:
        ids, run = outdated_ids(commit), commit.run.run_id
        return [
            number
            for number, letter in self._dead_letters.items()
            if letter.mapping == mapping
            and (letter.rejection.id in ids or (commit.swept and letter.rejection.id is None and letter.run_id != run))
        ]

    def checkpoint(self, mapping: str) -> Checkpoint | None:
        """See `Store.checkpoint`."""
        with self._lock:
            return self._checkpoints.get(mapping)

    def checkpoints(self) -> Sequence[Checkpoint]:
        """See `Store.checkpoints`."""
        with self._lock:
            return tuple(each for _, each in sorted(self._checkpoints.items()))

    def reset(self, lease: Lease, *, fingerprints: bool) -> None:
        """See `Store.reset`."""
        with self._lock:
            self._require(lease)
            self._checkpoints.pop(lease.mapping, None)
            if fingerprints:
                self._fingerprints.pop(lease.mapping, None)
                self._bases.pop(lease.mapping, None)
                self._property_types.pop(lease.mapping, None)

    def fingerprints(self, mapping: str, ids: Sequence[str]) -> Mapping[str, Fingerprint]:
        """See `Store.fingerprints`."""
        with self._lock:
            known = self._fingerprints.get(mapping, {})
            return {each: known[each] for each in ids if each in known}

    def property_types(self, mapping: str) -> Mapping[str, PropertyType]:
        """See `Store.property_types`."""
        with self._lock:
            return dict(self._property_types.get(mapping, {}))

    def living(self, mapping: str, after: str | None, limit: int) -> Sequence[str]:
        """See `Store.living`."""
        with self._lock:
            known = self._fingerprints.get(mapping, {})
            return [each for each in sorted(known) if known[each].digest != GONE and each > (after or "")][:limit]

    def living_count(self, mapping: str) -> int:
        """See `Store.living_count`."""
        return len(self.living(mapping, None, len(self._fingerprints.get(mapping, {}))))

    def basis(self, mapping: str) -> str | None:
        """See `Store.basis`."""
        with self._lock:
            return self._bases.get(mapping)

    def doubts(self, mapping: str) -> Sequence[Doubt]:
        """See `Store.doubts`."""
        with self._lock:
            return tuple(each for _, each in sorted(self._doubts.get(mapping, {}).items()))

    def doubt_counts(self) -> Mapping[str, int]:
        """See `Store.doubt_counts`."""
        with self._lock:
            sizes = {
                mapping: sum(len(each.keys) for each in doubts.values() if each.since is not None)
                for mapping, doubts in self._doubts.items()
            }
        return {mapping: size for mapping, size in sizes.items() if size}

    def runs(
        self, mapping: str | None = None, limit: int = 20, *, until: datetime | None = None
    ) -> Sequence[RunReport]:
        """See `Store.runs`."""
        with self._lock:
            newest_last = sorted(self._runs.values(), key=lambda run: run.started_at)
        chosen = (run for run in reversed(newest_last) if mapping in (None, run.mapping))
        return tuple(run for run in chosen if until is None or run.started_at <= until)[:limit]

    def run(self, run_id: str) -> RunReport | None:
        """See `Store.run`."""
        with self._lock:
            return self._runs.get(run_id)

    def latest_runs(
        self,
        mappings: Sequence[str],
        limit: int,
        *,
        outcomes: Sequence[Outcome] | None = None,
        without: Sequence[str] = (),
    ) -> Mapping[str, Sequence[RunReport]]:
        """See `Store.latest_runs`."""
        with self._lock:
            told = {name: self.runs(name, len(self._runs)) for name in mappings}
        return {
            name: tuple(
                each for each in runs if (outcomes is None or each.outcome in outcomes) and each.trigger not in without
            )[:limit]
            for name, runs in told.items()
        }

    def sent_since(self, moment: datetime) -> int:
        """See `Store.sent_since`."""
        with self._lock:
            counted = [run.counts for run in self._runs.values() if run.started_at >= moment]
        return sum(each.sent + each.deleted for each in counted)

    def unrecorded(self, limit: int) -> Sequence[RunReport]:
        """See `Store.unrecorded`."""
        with self._lock:
            owed = (run for run_id, run in self._runs.items() if run_id in self._unrecorded)
            return tuple(run for run in owed if run.outcome is not None)[:limit]

    def recorded(self, run_ids: Sequence[str]) -> None:
        """See `Store.recorded`."""
        with self._lock:
            self._unrecorded.difference_update(run_ids)

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
        """See `Store.dead_letters`."""
        with self._lock:
            chosen = [
                letter
                for number, letter in self._dead_letters.items()
                if mapping in (None, letter.mapping)
                and (numbers is None or number in numbers)
                and (ids is None or letter.rejection.id in ids)
                and code in (None, letter.rejection.code)
                and number > after
            ]
        return tuple(chosen[:limit])

    def dead_letter_counts(self) -> Mapping[str, int]:
        """See `Store.dead_letter_counts`."""
        with self._lock:
            return dict(Counter(letter.mapping for letter in self._dead_letters.values()))

    def dead_letter_causes(self, mapping: str) -> Sequence[Cause]:
        """See `Store.dead_letter_causes`."""
        times: dict[str, list[datetime]] = {}
        for letter in self.dead_letters(mapping):
            times.setdefault(letter.rejection.code, []).append(letter.created_at)
        found = [Cause(code=code, count=len(all_), first=min(all_), last=max(all_)) for code, all_ in times.items()]
        return tuple(sorted(found, key=lambda each: (-each.count, each.code)))

    def discard(self, numbers: Sequence[int]) -> int:
        """See `Store.discard`."""
        with self._lock:
            return self._remove(numbers)

    def last_fire(self, mapping: str, schedule: str) -> datetime | None:
        """See `Store.last_fire`."""
        with self._lock:
            return self._fires.get((mapping, schedule))

    def last_fires(self) -> Mapping[tuple[str, str], datetime]:
        """See `Store.last_fires`."""
        with self._lock:
            return dict(self._fires)

    def record_fire(self, mapping: str, schedule: str, at: datetime) -> None:
        """See `Store.record_fire`."""
        with self._lock:
            self._fires[mapping, schedule] = at

    def pauses(self) -> Mapping[str, datetime]:
        """See `Store.pauses`."""
        with self._lock:
            return dict(self._pauses)

    def pause(self, mapping: str, at: datetime) -> None:
        """See `Store.pause`."""
        with self._lock:
            self._pauses.setdefault(mapping, at)

    def resume(self, mapping: str) -> None:
        """See `Store.resume`."""
        with self._lock:
            self._pauses.pop(mapping, None)

    def close(self) -> None:
        """See `Store.close`."""

    def _require(self, lease: Lease) -> Tenure:
        tenure = self._tenures.get(lease.mapping, Tenure())
        if not tenure.belongs_to(lease):
            raise lost(lease)
        return tenure

    def _store(self, letters: Iterable[DeadLetter]) -> None:
        for letter in letters:
            self._last_number += 1
            self._dead_letters[self._last_number] = replace(letter, number=self._last_number)

    def _mapping_of(self, number: int) -> str | None:
        letter = self._dead_letters.get(number)
        return None if letter is None else letter.mapping

    def _remove(self, numbers: Iterable[int]) -> int:
        return sum(self._dead_letters.pop(number, None) is not None for number in list(numbers))
