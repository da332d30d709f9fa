"""Any history of changes, runs, crashes and edits ends where one fresh full load begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias

from campaign import rounds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.run_world import COLUMNS, FULL, ROOMS, World

from syncer.core.model import (
    CollectionMapping,
    Kind,
    Lease,
    Outcome,
    PropertyRule,
    Row,
    SegmentObject,
    TombstoneRule,
)
from syncer.core.plan import RunOptions
from syncer.delivery.memory import MemoryDelivery, Scripted
from syncer.errors import StateUnwritable
from syncer.run.keeping import Cadence
from syncer.source.memory import MemorySource
from syncer.state import Commit, MemoryStore

Step: TypeAlias = tuple[Any, ...]

NUMBERS = st.integers(1, 12)
STEPS = st.one_of(
    st.tuples(st.just("put"), NUMBERS, st.sampled_from(["Riga", "Oslo", "Bern", None])),
    st.tuples(st.just("delete"), NUMBERS),
    st.tuples(
        st.just("run"),
        st.sampled_from([RunOptions(), FULL, replace(FULL, resend=True), replace(FULL, limit=4)]),
        st.lists(st.sampled_from([each for each in Scripted if each is not Scripted.UNAUTHORIZED]), max_size=3),
        st.none() | st.integers(0, 12),
    ),
    st.tuples(st.just("edit"), st.sampled_from(["rename", "mask", "type", "query", "send", "nulls"])),
    st.tuples(st.just("wait"), st.sampled_from([1, 40, 3_600])),
)
LAST = replace(FULL, allow_deletes=True)
TOGGLES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "rename": ({"properties": {}}, {"properties": {"city": PropertyRule(rename="town")}}),
    "mask": ({"properties": {}}, {"properties": {"city": PropertyRule(mask="hash")}}),
    "type": ({"properties": {}}, {"properties": {"version": PropertyRule(type=Kind.TEXT)}}),
    "query": ({"query": "rooms"}, {"query": "even rooms"}),
    "send": ({"send": "changed"}, {"send": "all"}),
    "nulls": ({"nulls": "send"}, {"nulls": "omit"}),
}


class Mortal(MemoryStore):
    """A store that dies with its process: from some commit on nothing is written any more."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None

    def commit(self, lease: Lease, commit: Commit) -> None:
        """As long as there is life in it."""
        if self.left is not None:
            if not self.left:
                raise StateUnwritable("dead")
            self.left -= 1
        super().commit(lease, commit)


class History:
    """A table, a mapping over it, and the destination that it is synced to."""

    def __init__(self, mapping: CollectionMapping) -> None:
        self.world = World([], mapping=mapping, chunk=3)
        self.world.cadence = Cadence(rows=2, noted=2)
        self.store = self.world.store = Mortal()
        self.rows: dict[int, Row] = {}
        self.objects: dict[tuple[str, str], dict[str, object]] = {}
        self._version = 0
        self._toggled: set[str] = set()

    def take(self, step: Step) -> None:
        """One step."""
        name, *rest = step
        getattr(self, name)(*rest)

    def put(self, number: int, city: str | None) -> None:
        """Insert or change a row."""
        self._version += 1
        self.rows[number] = (number, city, self._version)

    def delete(self, number: int) -> None:
        """Delete a row, if it is there."""
        self.rows.pop(number, None)

    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.world.now += timedelta(seconds=seconds)

    def edit(self, name: str) -> None:
        """Change the mapping, or change it back."""
        self._toggled ^= {name}
        self.world.mapping = replace(self.world.mapping, **TOGGLES[name][name in self._toggled])

    def run(self, options: RunOptions, script: Sequence[Scripted] = (), dies_at: int | None = None) -> Outcome | None:
        """A run that may die at any of its commits."""
        self.world.source.rows = self.visible
        self.world.delivery = MemoryDelivery(script, refuses=_unwelcome)
        self.world.delivery.objects = self.objects
        self.store.left = dies_at
        report = self.world.run(options)
        self.store.left = None
        assert report.outcome not in (Outcome.SUCCEEDED, Outcome.PARTIAL) or report.counts.balanced
        return report.outcome

    @property
    def visible(self) -> list[Row]:
        """What the query returns."""
        rows = [self.rows[number] for number in sorted(self.rows)]
        return [row for row in rows if int(str(row[0])) % 2 == 0] if "query" in self._toggled else rows

    def fresh(self) -> dict[tuple[str, str], dict[str, object]]:
        """What one full load of everything into nothing leaves."""
        other = World([], mapping=self.world.mapping)
        other.source = MemorySource(COLUMNS, ("id",), self.visible)
        other.delivery = MemoryDelivery(refuses=_unwelcome)
        other.run(FULL)
        return other.delivery.objects


def _unwelcome(_: SegmentObject) -> bool:
    return False


def _played(mapping: CollectionMapping, steps: Sequence[Step]) -> History:
    history = History(mapping)
    for step in steps:
        history.take(step)
    history.wait(3_600)
    assert history.run(LAST) is Outcome.SUCCEEDED
    return history


@settings(max_examples=rounds(100, 5_000), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=20), watermark=st.booleans())
def test_with_tombstones_every_history_ends_as_a_fresh_load(steps: list[Step], watermark: bool) -> None:
    """Every row is as a fresh load has it, everything else is marked as deleted, and then there is nothing to do."""
    mapping = replace(ROOMS, deletes=TombstoneRule(), watermark=ROOMS.watermark if watermark else None)
    history = _played(mapping, steps)
    fresh = history.fresh()
    alive = {key for key, held in history.objects.items() if not held["is_deleted"]}
    assert alive == set(fresh)
    for key, wanted in fresh.items():
        assert history.objects[key].items() >= wanted.items(), key
    if history.world.mapping.send == "changed":
        # what came in doubt in the last run is settled by the next
        for _ in range(2):
            history.wait(3_600)
            assert history.run(FULL) is Outcome.SUCCEEDED
        assert history.world.delivery.batches == []


@settings(max_examples=rounds(50, 5_000), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=20))
def test_without_tombstones_every_row_ends_as_in_a_fresh_load(steps: list[Step]) -> None:
    """What is gone stays as it was last."""
    history = _played(ROOMS, steps)
    for key, wanted in history.fresh().items():
        assert history.objects[key].items() >= wanted.items(), key
