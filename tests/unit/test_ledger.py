"""How far the watermark may go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from syncer.core.batch import Batcher
from syncer.core.ledger import Ledger
from syncer.core.model import Batch, Kind, Limits, Mark, Position, SegmentObject, Watermark


def room(row: int, identifier: str | None = None) -> SegmentObject:
    """The object of one row."""
    return SegmentObject(id=identifier or str(row), properties=b'{"name":"x"}', row=row, key="")


def batch(number: int, *rows: int) -> Batch:
    """A batch of these rows."""
    return Batch(number=number, collection="rooms", objects=tuple(room(row) for row in rows))


def opened(ledger: Ledger, one: Batch) -> Batch:
    """Queue a batch and take it."""
    ledger.queue(one)
    assert ledger.take() == one
    return one


def mark(value: int) -> Mark:
    """An integer watermark, and a place."""
    watermark = Watermark(kind=Kind.INTEGER, text=str(value))
    return Mark(watermark=watermark, position=Position(watermark=watermark, key=f'[["integer","{value}"]]'))


def read(ledger: Ledger, rows: int, reached: Mark) -> None:
    """A chunk all of whose rows stand in batches already, or need nothing."""
    ledger.chunk_read(rows, reached)
    ledger.decided()


def test_nothing_is_safe_before_anything_is_read() -> None:
    """No chunk, no watermark."""
    assert Ledger().safe == Mark()


def test_an_open_batch_holds_the_watermark() -> None:
    """The watermark of a chunk is safe only when every batch of it has settled."""
    ledger = Ledger()
    read(ledger, 10, mark(10))
    one = opened(ledger, batch(0, 0, 1))
    assert ledger.safe == Mark()
    ledger.settle(one)
    assert ledger.safe == mark(10)


def test_a_later_batch_that_settles_first_moves_nothing() -> None:
    """Out-of-order receipts: the contiguous prefix counts, not the furthest."""
    ledger = Ledger()
    read(ledger, 10, mark(10))
    read(ledger, 10, mark(20))
    first, second = opened(ledger, batch(0, 3)), opened(ledger, batch(1, 13))
    ledger.settle(second)
    assert ledger.safe == Mark()
    ledger.settle(first)
    assert ledger.safe == mark(20)


def test_a_failed_batch_holds_for_good() -> None:
    """What follows a failed batch may settle; the watermark stays before it."""
    ledger = Ledger()
    read(ledger, 10, mark(10))
    read(ledger, 10, mark(20))
    failed, fine = opened(ledger, batch(0, 12)), opened(ledger, batch(1, 15))
    ledger.fail(failed)
    ledger.settle(fine)
    assert ledger.safe == mark(10)


def test_rows_that_are_not_decided_hold_it_too() -> None:
    """A row that is read but neither in a batch nor known to need none is not settled."""
    ledger = Ledger()
    ledger.chunk_read(10, mark(10))
    assert ledger.safe == Mark()
    ledger.decided(9)
    assert (ledger.settled, ledger.safe) == (9, Mark())
    ledger.decided()
    assert (ledger.settled, ledger.safe) == (10, mark(10))


def test_unchanged_rows_move_the_watermark() -> None:
    """A chunk in which nothing had to be sent is settled as it is read."""
    ledger = Ledger()
    read(ledger, 10, mark(10))
    assert ledger.safe == mark(10)


def test_a_chunk_without_a_watermark_keeps_the_last() -> None:
    """NULL watermarks never take back what is safe."""
    ledger = Ledger()
    read(ledger, 10, mark(10))
    read(ledger, 10, Mark())
    assert ledger.safe == mark(10)


def test_a_newer_version_of_an_id_waits_for_the_older() -> None:
    """No id is in two open batches; the queue keeps its order behind it."""
    ledger = Ledger()
    read(ledger, 3, mark(1))
    first = opened(ledger, Batch(number=0, collection="rooms", objects=(room(0, "a"),)))
    second = Batch(number=1, collection="rooms", objects=(room(1, "a"),))
    third = Batch(number=2, collection="rooms", objects=(room(2, "b"),))
    ledger.queue(second)
    ledger.queue(third)
    assert ledger.take() is None
    assert ledger.pending({"a", "b", "c"}) == {"a", "b"}
    ledger.settle(first)
    assert ledger.take() == second
    assert ledger.take() == third


def test_an_id_is_pending_until_its_last_batch_settles() -> None:
    """Two versions in the queue count twice."""
    ledger = Ledger()
    read(ledger, 2, mark(1))
    for number in (0, 1):
        ledger.queue(Batch(number=number, collection="rooms", objects=(room(number, "a"),)))
    for _ in (0, 1):
        assert ledger.pending({"a"})
        batch_taken = ledger.take()
        assert batch_taken is not None
        ledger.settle(batch_taken)
    assert not ledger.pending({"a"})


def test_a_waiting_batch_holds_the_watermark_also_when_abandoned() -> None:
    """What was never sent is not settled."""
    ledger = Ledger()
    read(ledger, 10, mark(10))
    read(ledger, 10, mark(20))
    ledger.queue(batch(0, 12))
    assert ledger.safe == mark(10)
    ledger.abandon()
    assert ledger.safe == mark(10)
    assert not ledger.pending({"12"})


@given(st.lists(st.tuples(st.integers(1, 30), st.sets(st.integers(0, 29))), max_size=8), st.randoms())
def test_the_checkpoint_never_passes_what_is_not_settled(chunks: list[tuple[int, set[int]]], chance: object) -> None:
    """Against a naive model: at every moment the safe watermark is that of the last fully settled prefix."""
    ledger, batcher = Ledger(), Batcher("rooms", Limits(objects=3))
    settled: set[int] = set()
    open_batches: list[Batch] = []
    rows_read = 0
    ends: list[int] = []

    def verify() -> None:
        prefix = [end for end in ends if all(row in settled for row in range(end))]
        ledger.decided(batcher.first_row)
        assert ledger.safe == (mark(prefix[-1]) if prefix else Mark())

    for rows, changed in chunks:
        first = ledger.chunk_read(rows, mark(rows_read + rows))
        rows_read += rows
        ends.append(rows_read)
        fresh = [first + offset for offset in sorted(changed) if offset < rows]
        settled.update(set(range(first, rows_read)) - set(fresh))
        for each in batcher.add(map(room, fresh)):
            open_batches.append(opened(ledger, each))
        verify()
        while open_batches and chance.random() < 0.6:  # type: ignore[attr-defined]
            done = open_batches.pop(chance.randrange(len(open_batches)))  # type: ignore[attr-defined]
            ledger.settle(done)
            settled.update(each.row for each in done.objects)
            verify()
    open_batches.extend(opened(ledger, each) for each in batcher.flush())
    for each in reversed(open_batches):
        ledger.settle(each)
        settled.update(one.row for one in each.objects)
        verify()
    ledger.decided()
    assert ledger.safe == (mark(rows_read) if rows_read else Mark())
