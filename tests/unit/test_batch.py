"""Objects into batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from syncer.core.batch import Batcher
from syncer.core.model import Limits, SegmentObject


def rooms(*ids: str, size: int = 10) -> list[SegmentObject]:
    """Objects with these ids in row order."""
    return [SegmentObject(id=each, properties=b"x" * size, row=row, key="") for row, each in enumerate(ids)]


def test_ten_objects_fill_a_batch() -> None:
    """Twenty-five objects are batches of ten, ten and five."""
    batcher = Batcher("rooms", Limits())
    batches = [*batcher.add(rooms(*map(str, range(25)))), *batcher.flush()]
    assert [len(each.objects) for each in batches] == [10, 10, 5]
    assert [each.number for each in batches] == [0, 1, 2]


def test_a_repeated_id_begins_a_new_batch() -> None:
    """An id is in a batch once, and its last row goes last."""
    batcher = Batcher("rooms", Limits())
    batches = [*batcher.add(rooms("a", "b", "a", "c")), *batcher.flush()]
    assert [[each.id for each in batch.objects] for batch in batches] == [["a", "b"], ["a", "c"]]


def test_an_empty_batcher_has_nothing_to_flush() -> None:
    """No objects, no batch."""
    assert list(Batcher("rooms", Limits()).flush()) == []


@given(
    st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(1, 400)), max_size=60),
    st.integers(1, 10),
    st.integers(600, 2_000),
)
def test_batches_keep_limits_and_order(objects: list[tuple[str, int]], most: int, body: int) -> None:
    """Nothing is lost or reordered, no batch breaks a limit, and no id is twice in one."""
    given_objects = [
        SegmentObject(id=each, properties=b"x" * size, row=row, key="") for row, (each, size) in enumerate(objects)
    ]
    batcher = Batcher("rooms", Limits(objects=most, body=body))
    batches = [*batcher.add(given_objects), *batcher.flush()]
    assert [each for batch in batches for each in batch.objects] == given_objects
    for batch in batches:
        assert 1 <= len(batch.objects) <= most
        assert len({each.id for each in batch.objects}) == len(batch.objects)
        assert len(batch.objects) == 1 or sum(len(each.properties) for each in batch.objects) < body
