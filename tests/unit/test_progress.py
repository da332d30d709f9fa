"""What a run leaves behind for the next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from syncer.core.model import Checkpoint, CollectionMapping, Kind, Mark, Mode, Position, Watermark, WatermarkRule
from syncer.core.plan import RunPlan
from syncer.core.progress import Stage, next_checkpoint

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def mark(value: int) -> Watermark:
    """An integer watermark."""
    return Watermark(kind=Kind.INTEGER, text=str(value))


def place(value: int) -> Position:
    """A place in the order."""
    return Position(watermark=mark(value), key=f'[["integer","{value}"]]')


def reached(value: int) -> Mark:
    """Everything up to there is settled."""
    return Mark(watermark=mark(value), position=place(value))


ROOMS = CollectionMapping(name="rooms", source="app", table="rooms", watermark=WatermarkRule(column="version"))
FIRST = RunPlan(mapping=ROOMS, primary_key=("id",), mode=Mode.FULL)
LATER = replace(FIRST, mode=Mode.INCREMENTAL, watermark=mark(5))
FULL = replace(FIRST, advances=False)
SAVED = Checkpoint(mapping="rooms", digest="d", watermark=mark(5), updated_at=NOW)


@pytest.mark.parametrize(
    ("plan", "before", "stage", "watermark", "position"),
    [
        (FIRST, None, Stage.GOING, 9, 9),  # a first load saves as it goes
        (FIRST, None, Stage.WHOLE, 9, None),  # and begins at the beginning the next time
        (LATER, SAVED, Stage.GOING, 9, 9),
        (LATER, SAVED, Stage.CUT, 9, 9),
        (LATER, SAVED, Stage.FAILED, 9, 9),  # it came further than the run before it
        (LATER, SAVED, Stage.WHOLE, 9, None),
        (replace(LATER, after=place(7)), SAVED, Stage.GOING, 5, 9),  # what lies before 7 is not read yet
        (replace(LATER, after=place(7)), SAVED, Stage.CUT, 5, 9),
        (replace(LATER, after=place(9)), SAVED, Stage.FAILED, 5, None),  # no further: the next begins elsewhere
        (replace(LATER, after=place(7)), SAVED, Stage.WHOLE, 9, None),
        (FULL, SAVED, Stage.GOING, 5, 9),  # a full run lowers nothing on the way
        (FULL, SAVED, Stage.WHOLE, 9, None),
        (FIRST, replace(SAVED, digest="other"), Stage.CUT, 9, 9),  # another query's watermark means nothing
        (FULL, replace(SAVED, digest="other"), Stage.CUT, None, 9),
    ],
)
def test_the_watermark_and_the_place(
    plan: RunPlan, before: Checkpoint | None, stage: Stage, watermark: int | None, position: int | None
) -> None:
    """By what was planned, and by how far and how the run came."""
    saved = next_checkpoint(plan, before, "d", reached(9), stage=stage, read=1, now=NOW)
    expected = (mark(watermark) if watermark else None, place(position) if position else None)
    if before is not None and (before.watermark, before.position) == expected and before.digest == "d":
        assert saved is None
    else:
        assert saved is not None
        assert (saved.watermark, saved.position) == expected


@pytest.mark.parametrize("stage", list(Stage))
def test_an_idle_run_leaves_the_checkpoint_alone(stage: Stage) -> None:
    """Byte for byte, when nothing moved."""
    nothing = Mark(watermark=mark(5))
    assert next_checkpoint(LATER, SAVED, "d", nothing, stage=stage, read=1, now=NOW) is None


def test_a_run_that_saves_nothing() -> None:
    """Ranges and dry runs leave no trace."""
    plan = replace(LATER, saves=False)
    assert next_checkpoint(plan, SAVED, "d", reached(9), stage=Stage.WHOLE, read=1, now=NOW) is None


def test_without_a_watermark_the_digest_alone_is_worth_a_checkpoint() -> None:
    """So that the key is verified once per query; an empty result verifies nothing."""
    plan = replace(FIRST, mapping=replace(ROOMS, watermark=None))
    empty = next_checkpoint(plan, None, "d", Mark(), stage=Stage.WHOLE, read=0, now=NOW)
    some = next_checkpoint(plan, None, "d", Mark(), stage=Stage.WHOLE, read=1, now=NOW)
    assert empty is None
    assert some == Checkpoint(mapping="rooms", digest="d", watermark=None, updated_at=NOW)


@pytest.mark.parametrize("read", [0, 1])
def test_a_whole_run_replaces_the_checkpoint_of_another_query(read: int) -> None:
    """Also when it found no watermark, or must not save one yet: else every later run would be refused once more."""
    before = replace(SAVED, digest="other")
    saved = next_checkpoint(FULL, before, "d", Mark(), stage=Stage.WHOLE, read=read, now=NOW)
    assert saved == Checkpoint(mapping="rooms", digest="d", watermark=None, updated_at=NOW)
    assert next_checkpoint(FULL, before, "d", Mark(), stage=Stage.CUT, read=read, now=NOW) is None
