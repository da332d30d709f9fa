"""What a run leaves behind for the next: its checkpoint, from the plan and from how far everything is settled. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from syncer.core.model import Checkpoint, Mark
from syncer.core.plan import RunPlan


class Stage(StrEnum):
    """How a run stands when its progress is saved."""

    GOING = "going"
    #: every row of the plan was read and settled
    WHOLE = "whole"
    #: told to stop, or at its `--limit`
    CUT = "cut"
    FAILED = "failed"


def next_checkpoint(
    plan: RunPlan, before: Checkpoint | None, digest: str, safe: Mark, *, stage: Stage, read: int, now: datetime
) -> Checkpoint | None:
    """The checkpoint to save. None: it stays as it is, byte for byte.

    The watermark moves
    1. at the end of a whole run;
    2. on the way, if everything from the beginning on is settled and no older watermark could be lowered by it.

    The position, where the next run goes on, is
    1. none after a whole run: the next begins at the beginning;
    2. none after a failure that came no further than the run before: what fails there must not keep all else waiting;
    3. the end of what is settled, or where this run began.
    """
    if not plan.saves:
        return None
    mine = before if before is not None and before.digest == digest else None
    old = mine.watermark if mine is not None else None
    whole = stage is Stage.WHOLE
    on_the_way = plan.advances and plan.after is None
    watermark = (safe.watermark or old) if whole or on_the_way else old
    position = None if whole else safe.position or plan.after
    if stage is Stage.FAILED and position == plan.after:
        position = None
    if mine is not None and (mine.watermark, mine.position) == (watermark, position):
        return None
    # the end of a run without a watermark is worth a checkpoint for its digest alone, and so is another query's end
    ended = whole and (before is not None or (plan.rule is None and read > 0))
    if mine is None and watermark is None and position is None and not ended:
        return None
    return Checkpoint(mapping=plan.mapping.name, digest=digest, watermark=watermark, updated_at=now, position=position)
