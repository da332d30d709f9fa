"""What changed waits for company, because a note of it waits for the disk; and it does not wait for long."""

from __future__ import annotations

from run_world import FULL, World, rooms

from syncer.core.model import Lease, SegmentObject
from syncer.run.gathering import Gathering
from syncer.run.keeping import Cadence
from syncer.state import MemoryStore
from syncer.state.base import Commit


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def room(row: int, size: int = 2) -> SegmentObject:
    """One to be sent."""
    return SegmentObject(id=str(row), properties=b"x" * size, row=row, key=str(row))


def gathering(most: int = 3, seconds: float = 1.0) -> tuple[Gathering, Clock]:
    """An empty one, and its clock."""
    clock = Clock()
    return Gathering(most=most, seconds=seconds, monotonic=clock), clock


def test_nothing_is_never_enough() -> None:
    """Time alone makes no note."""
    waits, clock = gathering(most=0)
    clock.seconds = 100.0
    waits.add((), {})
    assert not waits.enough
    assert waits.take() == ([], {})


def test_so_many_objects_are_enough() -> None:
    """In the order in which they came."""
    waits, _ = gathering(most=3)
    waits.add([room(4), room(6)], {"4": None})
    assert not waits.enough
    waits.add([room(9)], {"9": None})
    assert waits.enough
    assert waits.take() == ([room(4), room(6), room(9)], {"4": None, "9": None})


def test_so_many_bytes_are_enough() -> None:
    """Memory does not grow with the size of rows."""
    waits, _ = gathering(most=1_000)
    waits.add([room(1, 3_999_999)], {})
    assert not waits.enough
    waits.add([room(2, 1)], {})
    assert waits.enough


def test_the_first_that_waits_says_for_how_long() -> None:
    """Later ones do not prolong it, and what was taken out counts no more."""
    waits, clock = gathering(seconds=1.0)
    waits.add([room(1)], {})
    clock.seconds = 0.9
    waits.add([room(2)], {})
    assert not waits.enough
    clock.seconds = 1.0
    assert waits.enough
    waits.take()
    assert not waits.enough
    waits.add([room(3)], {})
    assert not waits.enough


def test_what_waits_is_told() -> None:
    """Its ids and its first row, for those who decide on other versions and on the watermark."""
    waits, _ = gathering()
    assert (waits.holds({"4"}), waits.first_row) == (set(), None)
    waits.add([room(4), room(6)], {})
    assert (waits.holds({"4", "5", "6"}), waits.first_row) == ({"4", "6"}, 4)


def test_what_was_taken_out_is_held_until_it_is_handed_on() -> None:
    """In between it is in no batch yet, and must not be overlooked."""
    waits, _ = gathering()
    waits.add([room(4), room(6)], {})
    handed = waits.handing_on(waits.take()[0])
    assert waits.holds({"4", "6"}) == {"4", "6"}
    assert next(handed) == room(4)
    assert next(handed) == room(6)
    assert waits.holds({"4", "6"}) == {"6"}
    assert next(handed, None) is None
    assert waits.holds({"4", "6"}) == set()


class Noting(MemoryStore):
    """Remembers how many rows each note was of."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[int] = []

    def commit(self, lease: Lease, commit: Commit) -> None:
        """Count its notes."""
        self.notes += [len(each.keys) for each in commit.doubts if each.since is None]
        super().commit(lease, commit)


def test_chunks_of_which_little_changed_share_a_note() -> None:
    """A hundred rows in chunks of ten, of which one each changed: four notes."""
    world = World(rooms(100), chunk=10)
    store = world.store = Noting()
    world.run()
    store.notes.clear()
    world.source.rows[:] = [(n, "moved" if n % 10 == 0 else f"city {n}", n) for n in range(1, 101)]
    world.cadence = Cadence(noted=3)
    report = world.run(FULL)
    assert (report.counts.sent, report.counts.unchanged) == (10, 90)
    assert store.notes == [3, 3, 3, 1]


def test_a_version_follows_one_that_is_not_noted_yet() -> None:
    """A row that is met twice, first changed and then as it was before, ends as it was."""
    world = World([(1, "old", 1)], chunk=1)
    world.run()
    world.source.rows[:] = [(1, "new", 1), (1, "old", 1)]
    assert world.run(FULL).counts.sent == 2
    assert world.cities["1"] == "old"
