"""The state as JSON, for `syncer state export`: checkpoints and counts, never what is in a dead letter."""

from __future__ import annotations

from datetime import UTC

from syncer.core.model import Checkpoint
from syncer.state.base import Store


def export_state(store: Store) -> dict[str, object]:
    """What a person may carry elsewhere: checkpoints, and by mapping how many dead letters and rows in doubt."""
    return {
        "checkpoints": [_checkpoint(each) for each in store.checkpoints()],
        "dead_letters": dict(sorted(store.dead_letter_counts().items())),
        "in_doubt": dict(sorted(store.doubt_counts().items())),
    }


def _checkpoint(checkpoint: Checkpoint) -> dict[str, object]:
    mark = checkpoint.watermark
    return {
        "mapping": checkpoint.mapping,
        "digest": checkpoint.digest,
        "watermark": None if mark is None else {"kind": mark.kind.value, "text": mark.text},
        "updated_at": checkpoint.updated_at.astimezone(UTC).isoformat(),
    }
