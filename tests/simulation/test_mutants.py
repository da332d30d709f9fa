"""The simulator finds bugs that were put in on purpose; `sim_mutants` lists them. `make mutants` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaign import rounds
from sim_mutants import MUTANTS, Mutant, hunt, plant

#: seeds after those that are known to catch it
SEARCHED = rounds(300, 3_000)


@pytest.mark.parametrize("mutant", MUTANTS[:: rounds(3, 1)], ids=lambda each: each.name.replace(" ", "-"))
def test_a_seeded_bug_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    """Some world breaks a promise in front of an oracle."""
    seeds = (*mutant.seeds, *range(SEARCHED))
    assert hunt(plant(mutant, tmp_path), seeds) is not None
