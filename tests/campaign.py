"""How long a campaign lasts: short in the ordinary test run, long behind its make target."""

from __future__ import annotations

import os


def rounds(short: int, long: int) -> int:
    """So many rounds: `short`, or `long` under SYNCER_CAMPAIGN=long; SYNCER_ROUNDS overrules both."""
    told = os.environ.get("SYNCER_ROUNDS")
    if told:
        return int(told)
    return long if os.environ.get("SYNCER_CAMPAIGN") == "long" else short
