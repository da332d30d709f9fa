"""What a run reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from syncer.core.model import Checkpoint, CollectionMapping, Kind, Mode, Position, Watermark, WatermarkRule
from syncer.core.plan import RunOptions, digest_of, plan_run
from syncer.errors import CheckpointMismatch, UsageError

ROOMS = CollectionMapping(
    name="rooms", source="app", query="SELECT 1 AS id", collection="rooms", primary_key=("id",),
    watermark=WatermarkRule(column="updated_at", initial="2020-01-01"),
)  # fmt: skip
DIGEST = digest_of(ROOMS, ("id",), "app-1", "segment")
MARK = Watermark(kind=Kind.INSTANT, text="2026-01-01 00:00:00+00")
SAVED = Checkpoint(mapping="rooms", digest=DIGEST, watermark=MARK, updated_at=datetime(2026, 1, 1, tzinfo=UTC))


def test_the_first_run_reads_from_initial_and_saves_as_it_goes() -> None:
    """No checkpoint: everything from `initial` on, and progress counts at once."""
    plan = plan_run(ROOMS, ("id",), None, DIGEST, RunOptions())
    assert (plan.mode, plan.start, plan.advances, plan.saves) == (Mode.FULL, "2020-01-01", True, True)


def test_a_checkpoint_makes_the_run_incremental() -> None:
    """The saved watermark is where the source reads from."""
    plan = plan_run(ROOMS, ("id",), SAVED, DIGEST, RunOptions())
    assert (plan.mode, plan.watermark, plan.advances) == (Mode.INCREMENTAL, MARK, True)


def test_a_full_run_ignores_initial_and_cannot_lower_the_watermark() -> None:
    """`--full` reads everything and saves only when it is complete."""
    plan = plan_run(ROOMS, ("id",), SAVED, DIGEST, RunOptions(mode=Mode.FULL))
    assert (plan.mode, plan.start, plan.watermark, plan.advances, plan.saves) == (Mode.FULL, None, None, False, True)


def test_a_run_goes_on_where_another_was_cut_short() -> None:
    """It reads a circle: from the place to the end, then from the beginning to the place."""
    place = Position(watermark=MARK, key='[["integer","7"]]')
    plan = plan_run(ROOMS, ("id",), replace(SAVED, position=place), DIGEST, RunOptions(mode=Mode.FULL))
    assert [(leg.after, leg.until) for leg in plan.legs] == [(place, None), (None, place)]


def test_a_place_in_another_query_means_nothing() -> None:
    """After a change, `--full` begins at the beginning."""
    place = Position(watermark=MARK, key='[["integer","7"]]')
    before = replace(SAVED, digest="other", position=place)
    plan = plan_run(ROOMS, ("id",), before, DIGEST, RunOptions(mode=Mode.FULL))
    assert plan.legs == (plan,)


def test_a_changed_query_is_never_continued_silently() -> None:
    """A checkpoint of another digest stops the run and says what to do."""
    with pytest.raises(CheckpointMismatch) as caught:
        plan_run(ROOMS, ("id",), replace(SAVED, digest="other"), DIGEST, RunOptions())
    assert "--full" in (caught.value.hint or "")


def test_full_begins_anew_after_a_changed_query() -> None:
    """With `--full` the old watermark means nothing, so progress counts at once."""
    plan = plan_run(ROOMS, ("id",), replace(SAVED, digest="other"), DIGEST, RunOptions(mode=Mode.FULL))
    assert plan.advances


def test_a_range_saves_nothing() -> None:
    """`--from` and `--to` leave the checkpoint alone."""
    plan = plan_run(ROOMS, ("id",), SAVED, DIGEST, RunOptions(start="a", end="b"))
    assert (plan.start, plan.end, plan.saves) == ("a", "b", False)


def test_a_range_needs_a_watermark() -> None:
    """Without a watermark there is nothing to range over."""
    with pytest.raises(UsageError):
        plan_run(replace(ROOMS, watermark=None), ("id",), None, DIGEST, RunOptions(start="a"))


def test_a_dry_run_saves_nothing() -> None:
    """`--dry-run` writes no checkpoint."""
    assert not plan_run(ROOMS, ("id",), None, DIGEST, RunOptions(dry_run=True)).saves


@pytest.mark.parametrize(
    "other",
    [
        digest_of(replace(ROOMS, query="SELECT 2 AS id"), ("id",), "app-1", "segment"),
        digest_of(replace(ROOMS, watermark=WatermarkRule(column="created_at")), ("id",), "app-1", "segment"),
        digest_of(ROOMS, ("id", "x"), "app-1", "segment"),
        digest_of(ROOMS, ("id",), "app-2", "segment"),
        digest_of(ROOMS, ("id",), "app-1", "sandbox"),
        digest_of(replace(ROOMS, collection="suites"), ("id",), "app-1", "segment"),
    ],
)
def test_the_digest_tells_what_a_checkpoint_belongs_to(other: str) -> None:
    """Query, watermark, key, collection, source and destination each change it."""
    assert other != DIGEST


def test_the_digest_forgives_blanks_and_a_semicolon_at_the_end() -> None:
    """What cannot change the result does not change the digest."""
    assert digest_of(replace(ROOMS, query="  SELECT 1 AS id ;\n"), ("id",), "app-1", "segment") == DIGEST
