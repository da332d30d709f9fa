"""Chunks of bounded size, whatever came before them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from syncer.core.model import Row
from syncer.source.chunks import MOST_BYTES, _Portions


def fetching(rows: Sequence[Row]) -> Callable[[int], Sequence[Row]]:
    """A cursor's fetchmany over these rows."""
    left = list(rows)

    def fetch(size: int) -> Sequence[Row]:
        taken, left[:] = left[:size], left[size:]
        return taken

    return fetch


def test_wide_rows_after_thin_ones_do_not_fill_a_whole_chunk() -> None:
    """One fetch of a hundred rows is the most that is learned too late."""
    thin, wide = [(1, "x")] * 2_000, [(1, "x" * 200_000)] * 500
    portions = _Portions(fetching([*thin, *wide]))
    sizes = []
    while rows := portions.gather(1_000):
        sizes.append(sum(len(str(row[1])) for row in rows))
    assert max(sizes) <= MOST_BYTES + 100 * 200_000
    assert sizes[-1] <= MOST_BYTES + 200_000


def test_no_row_is_lost_between_portions() -> None:
    """Every row comes once, in order."""
    rows = [(number, "x" * (number % 7) * 50_000) for number in range(1_500)]
    portions = _Portions(fetching(rows))
    found: list[Row] = []
    while portion := portions.gather(1_000):
        found += portion
    assert found == rows
