"""Runs worlds from the command line.

simulate.py 17                      one seed, with its log
simulate.py 0 1000                  many, and what is broken in them
simulate.py --until-broken 3 5 8    these, up to the first that is broken
simulate.py --digests 3 5 8         digests of their logs
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter

from sim_world import simulate

import syncer


def show(seed: int) -> bool:
    """Print a seed's log. Returns whether it was broken."""
    result = simulate(seed)
    print("\n".join(result.log))
    print(result.broken or "all promises kept", result.digest, f"{result.steps} steps", dict(result.counts))
    return result.broken is not None


def many(seeds: Iterable[int], *, until_broken: bool) -> bool:
    """Print what is broken. Returns whether anything was."""
    began, total, broken = perf_counter(), Counter[str](), 0
    for seed in seeds:
        result = simulate(seed)
        total.update(result.counts)
        total.update(schedules=1, steps=result.steps)
        if result.broken:
            broken += 1
            print(f"seed {seed}: {result.broken}", flush=True)
            if until_broken:
                break
    took = perf_counter() - began
    print(f"{broken} broken, {total['schedules'] / took:.1f}/s, {dict(total)}")
    return broken > 0


def main(words: list[str]) -> int:
    """See the module. Exit code 1 when anything is broken."""
    print(f"package {Path(syncer.__file__).parent.parent}")
    if words[0] == "--until-broken":
        return many(map(int, words[1:]), until_broken=True)
    if words[0] == "--digests":
        for seed in map(int, words[1:]):
            print(f"digest {seed} {simulate(seed).digest}")
        return 0
    if len(words) == 1:
        return show(int(words[0]))
    return many(range(int(words[0]), int(words[1])), until_broken=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
