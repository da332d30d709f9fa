"""What a seed draws: the configuration of a world, and which faults it suffers how often (a swarm of them)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

SECOND = 1_000_000
#: what time it is when a world's time is 0
EPOCH = 1_767_225_600

#: seeds from this one on are of worlds that deliver by the Bulk API
BULK = 1_000_000

#: fault: how often it may happen per occasion, at most
FAULTS: Mapping[str, float] = {
    # the network and the API, per request
    "lost": 0.15,
    "refused": 0.15,
    "unanswered": 0.15,
    "late": 0.5,
    "throttled": 0.2,
    "broken": 0.2,
    "gateway": 0.3,
    "conflict": 0.15,
    "html": 0.1,
    "unauthorized": 0.02,
    # the API, per object
    "told": 0.1,
    "invalid": 0.1,
    # the state store, per call
    "unwritable": 0.05,
    "unheard": 0.05,
    # the source, per question
    "unreachable": 0.05,
    "slow_chunk": 0.2,
    # processes, per process
    "crash": 1.0,
    "crash_at_commit": 1.0,
    "stop": 0.8,
    "suspend": 0.6,
    "rival": 0.6,
}


#: the same of worlds with the Bulk API: a request finds its session forgotten
BULK_FAULTS: Mapping[str, float] = {"forgotten": 0.1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One world. Stamps, lengths of time and clocks of the source are in microseconds, everything else in seconds."""

    seed: int
    faults: Mapping[str, float]
    shuffled: bool
    #: rows at the start, and what transactions do until the faults stop
    rows: int
    transactions: int
    writer_pause: float
    #: what a stamp is: the transaction's start, the statement's time, or an application's clock that is off by `skew`
    stamps: Literal["transaction", "statement", "application"]
    skew: int
    resolution: int
    margin: int
    lookback: int
    watermark: bool
    nulls: Literal["include", "skip"]
    null_share: float
    nulls_first: bool
    #: rows without a watermark that are skipped: they make a run long enough to commit on the way
    ballast: int
    #: the stamp is no property, so an object may return to what it was
    returns: bool
    omits: bool
    send: Literal["changed", "all"]
    cities: int
    bad_share: float
    chunk: int
    batch: int
    in_flight: int
    #: objects in a request beyond which the API answers 413
    largest: int
    #: seconds until the API has processed an asynchronous request
    processing: float
    latency: float
    #: rows and seconds between two commits
    commit_rows: int
    commit_seconds: float
    working: float
    retry_for: float
    runs: int
    #: the source's clock and the engine's, against the world's
    source_skew: int
    engine_skew: float
    #: whether a killed process is known to be gone, so that its lease falls to the next at once
    autopsy: bool
    #: seconds within which a process that is stopped is stopped; None: soon, mostly
    stops_within: float | None = None
    #: whether the rows at the start have stamps of their own each
    spread: bool = False
    #: whether the runs that heal have another destination than those before
    moves: bool = False
    #: whether it delivers by the Bulk API
    bulk: bool = False
    #: uncompressed bytes of an upload
    part: int = 16_000_000
    #: how many of the writes to a row delete it, and whether most of the others bring back what it was at first
    gone_share: float = 0.03
    wavers: bool = False
    #: the most that may vanish at once where rows that are gone become tombstones; None: they do not
    max_share: float | None = None
    #: how many of the runs read everything
    whole_share: float = 0.2
    #: what a second finish of a session comes to: 202, 202 and everything is processed again, or 410
    again: Literal["taken", "repeated", "gone"] = "taken"

    def rate(self, fault: str) -> float:
        """How often it happens."""
        return self.faults.get(fault, 0.0)


def settings_of(seed: int) -> Settings:
    """Draw a world."""
    return _by_bulk(seed, _usual(seed)) if seed >= BULK else _usual(seed)


def _by_bulk(seed: int, usual: Settings) -> Settings:
    rng = random.Random(f"bulk {seed}")
    faults = {name: most * rng.choice((0.1, 0.5, 1.0)) for name, most in BULK_FAULTS.items() if rng.random() < 0.5}
    return replace(
        usual, bulk=True, faults={**usual.faults, **faults}, part=rng.choice((1, 150, 400, 16_000_000)),
        again=rng.choice(("taken", "repeated", "gone")),
    )  # fmt: skip


def _usual(seed: int) -> Settings:
    rng = random.Random(f"world {seed}")
    stamps = rng.choice(("transaction", "statement", "application"))
    skew = rng.choice((1, 3, 10)) * SECOND if stamps == "application" else 0
    resolution = rng.choice((1, 1_000, SECOND, 5 * SECOND))
    lookback = skew + resolution if skew else rng.choice((0, 0, 2 * SECOND, 60 * SECOND))
    watermark = rng.random() < 0.9
    nulls = rng.choice(("include", "skip"))
    faults = {name: most * rng.choice((0.1, 0.5, 1.0)) for name, most in FAULTS.items() if rng.random() < 0.35}
    return _unusual(random.Random(f"unusual {seed}"), Settings(
        seed=seed, faults=faults, shuffled=rng.random() < 0.7,
        rows=rng.choice((0, 1, 3, 3, 10, 20, 35)), transactions=rng.choice((0, 5, 15, 30)),
        writer_pause=rng.choice((0.05, 0.5, 5.0)),
        stamps=stamps, skew=skew, resolution=resolution,
        margin=rng.choice((0, 0, SECOND, 5 * SECOND)), lookback=lookback, watermark=watermark, nulls=nulls,
        null_share=rng.choice((0.0, 0.0, 0.1)), nulls_first=rng.random() < 0.5,
        ballast=1_000 if watermark and nulls == "skip" and rng.random() < 0.1 else 0,
        returns=rng.random() < 0.7, omits=rng.random() < 0.15, send="all" if rng.random() < 0.1 else "changed",
        cities=rng.choice((1, 2, 5)), bad_share=rng.choice((0.0, 0.0, 0.05, 0.15)),
        chunk=rng.choice((1, 2, 5, 12)), batch=rng.choice((1, 2, 3, 10)), in_flight=rng.choice((1, 2, 4, 8)),
        largest=rng.choice((1, 2, 10, 10, 10)), processing=rng.choice((0.0, 0.0, 0.5, 2.0)),
        commit_rows=rng.choice((1, 3, 10, 5_000)), commit_seconds=rng.choice((0.0, 0.3, 1.0, 60.0)),
        latency=rng.choice((0.01, 0.1, 1.0, 4.0)), working=rng.choice((0.0, 0.001, 0.05, 0.5)),
        retry_for=rng.choice((1.0, 5.0, 30.0, 300.0)), runs=rng.choice((1, 2, 3, 5)),
        source_skew=rng.choice((0, -3_600, 3_600, 10, -10)) * SECOND,
        engine_skew=float(rng.choice((0, -3_600, 3_600, 86_400))), autopsy=rng.random() < 0.6,
    ))  # fmt: skip


def _unusual(rng: random.Random, usual: Settings) -> Settings:
    """A few worlds are made for what hardly ever comes about in the others."""
    way = rng.random()
    if way < 0.05:  # the API keeps a run waiting for so long that the cursor is given up, while rows are written
        return replace(
            usual, faults={**usual.faults, "stalled": rng.choice((0.05, 0.2))}, rows=rng.choice((10, 35)),
            transactions=30, writer_pause=5.0, chunk=rng.choice((1, 2, 5)), batch=rng.choice((1, 2)),
            in_flight=rng.choice((1, 2)), retry_for=600.0, commit_seconds=rng.choice((0.3, 60.0, 600.0)),
            commit_rows=5_000,
        )  # fmt: skip
    if way < 0.07:  # when the faults are over, another destination is configured
        return replace(usual, moves=True)
    if way < 0.09:  # stopped while batches wait
        return replace(
            usual, faults={"stop": 1.0}, stops_within=30.0, spread=True, rows=35, stamps="statement", skew=0,
            lookback=0, resolution=1, latency=4.0, chunk=rng.choice((5, 12)), batch=rng.choice((1, 2)),
            in_flight=rng.choice((2, 4)), commit_seconds=0.3, commit_rows=1,
        )  # fmt: skip
    if way < 0.11:  # commits on the way, with dead letters in them, that fail
        return replace(
            usual, faults={"unwritable": 0.02, "unheard": 0.02}, spread=True, rows=35, watermark=True, nulls="skip",
            ballast=1_000, nulls_first=True, stamps="statement", skew=0, lookback=0, resolution=1, bad_share=0.3,
            chunk=1, commit_rows=1, commit_seconds=0.0,
        )  # fmt: skip
    if way < 0.17:  # rows go back to what they were before, after refusals and with doubts about them
        return _wavering(rng, usual)
    if way < 0.25:
        return replace(usual, max_share=rng.choice((0.2, 1.0)), gone_share=rng.choice((0.03, 0.2)))
    if way < 0.29:  # rows go and return while requests that are given up land late, and the API takes its time
        return replace(
            _wavering(rng, usual), faults=_doubtful(rng, 0.8), max_share=1.0, whole_share=0.7, gone_share=0.4,
            rows=rng.choice((3, 10)), bad_share=rng.choice((0.0, 0.0, 0.15)), processing=rng.choice((0.5, 10.0)),
            writer_pause=rng.choice((2.0, 10.0)), autopsy=True, batch=rng.choice((1, 2)),
        )  # fmt: skip
    return usual


def _doubtful(rng: random.Random, share: float) -> Mapping[str, float]:
    return {name: FAULTS[name] for name in ("unanswered", "late", "gateway", "crash") if rng.random() < share}


def _wavering(rng: random.Random, usual: Settings) -> Settings:
    return replace(
        usual, faults={**usual.faults, **_doubtful(rng, 0.6)}, wavers=True, returns=True, send="changed", cities=1,
        rows=rng.choice((1, 3)), transactions=30, writer_pause=rng.choice((5.0, 15.0)), runs=8,
        bad_share=rng.choice((0.15, 0.4)), gone_share=rng.choice((0.03, 0.2, 0.4)),
        retry_for=rng.choice((1.0, 5.0)), max_share=rng.choice((None, None, 0.2, 1.0)),
    )  # fmt: skip
