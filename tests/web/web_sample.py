"""A day in the life of a few mappings, as a state store holds it: for tests of the page, and for its pictures."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from web_control import StillControl

from syncer.config import Config, load_config
from syncer.core.events import DeliveryPaused, RequestRetried, RunFinished, RunProgressed, RunStarted
from syncer.core.model import (
    Checkpoint,
    Counts,
    DeadLetter,
    Doubt,
    Kind,
    Mode,
    Outcome,
    Rejection,
    RunReport,
    Watermark,
)
from syncer.service.control import Running
from syncer.service.web import Watch
from syncer.state import Commit, Store

CONFIG = """\
version: 1
sources:
  booking: {url: "sqlite:///booking.db"}
destination: {write_key: a-write-key, endpoint: "http://127.0.0.1:9"}
mappings:
  hosts:
    table: hosts
    watermark: updated_at
    schedules: [{every: 15m}, {cron: "0 2 * * *", mode: full}]
  rooms: {table: rooms, watermark: updated_at, schedules: [{every: 15m}, {cron: "0 2 * * *", mode: full}]}
  reviews: {table: reviews, watermark: updated_at, schedules: [{every: 15m}]}
  cities: {table: cities, schedules: [{cron: "30 * * * *", mode: full}]}
  amenities: {table: amenities, collection: room_amenities, schedules: [{every: 1h, mode: full}]}
  photos: {table: photos, watermark: updated_at, schedules: [{cron: "0 4 * * *"}]}
"""
MINUTE = timedelta(minutes=1)

#: rows of a full run, and of the most that change in a quarter of an hour
_SIZES = {"hosts": (4_180, 40), "rooms": (38_612, 420), "reviews": (211_904, 1_300), "cities": (947, 0),
          "amenities": (112, 0), "photos": (0, 0)}  # fmt: skip


def sample_config(folder: Path, text: str = CONFIG) -> Config:
    """The configuration of the sample."""
    (folder / "syncer.yaml").write_text(text, "utf-8")
    return load_config(folder / "syncer.yaml", {})


def fill(store: Store, now: datetime) -> None:
    """A day of runs of five mappings; the sixth never ran."""
    for name in ("hosts", "rooms", "reviews", "cities", "amenities"):
        lease = store.acquire(name, "sample", now, timedelta(minutes=1))
        runs = list(_runs(name, now))
        for run in runs:
            store.commit(lease, Commit(run=run))
        mark = Watermark(kind=Kind.TIMESTAMP, text=f"{runs[-1].started_at - MINUTE:%Y-%m-%d %H:%M:%S.%f}")
        known = Checkpoint(mapping=name, digest="d", watermark=mark, updated_at=now)
        letters = list(_letters(runs[-1])) if name == "reviews" else []
        doubts = [Doubt(run_id="earlier", part=1, since=now - MINUTE, keys=("1", "2", "3"))] if name == "cities" else []
        store.commit(
            lease, Commit(run=replace(runs[-1], watermark=mark), checkpoint=known, dead_letters=letters, doubts=doubts)
        )
        store.release(lease)


def _runs(name: str, now: datetime) -> Iterator[RunReport]:
    """Oldest first."""
    whole, some = _SIZES[name]
    every = timedelta(minutes=15 if some else 60)
    first = now - every * 40 - 4 * MINUTE
    for number in range(41):
        full = not some or number == 14
        chance = random.Random(f"{name} {number}")
        read = whole if full else int(some * chance.random() ** 2) + 3
        sent = int(read * (0.02 if full else 0.6))
        yield _run(name, number, first + every * number, full=full, read=read, sent=sent)


def _run(name: str, number: int, began: datetime, *, full: bool, read: int, sent: int) -> RunReport:
    outcome, rejected, error, hint = Outcome.SUCCEEDED, 0, None, None
    if name == "reviews" and number in (22, 23, 40):
        outcome, rejected = Outcome.PARTIAL, 9 if number == 40 else 4
    if name == "cities" and number > 37:
        outcome, read, sent = Outcome.FAILED, 0, 0
        error = "source booking: no connection: the server at db.internal, port 5432, refused it"
        hint = "check that the database runs, then `syncer check`"
    if name == "hosts" and number == 9:
        outcome = Outcome.INTERRUPTED
    took = (
        timedelta(seconds=0.4 + read / 300 * random.Random(number).uniform(0.8, 1.6))
        if outcome is not Outcome.FAILED
        else timedelta(seconds=31)
    )
    counts = Counts(
        read=read, sent=sent, unchanged=read - sent - rejected, rejected=rejected, requests=-(-sent // 10),
        retried=sent // 400, bytes=sent * 214,
    )  # fmt: skip
    return RunReport(
        run_id=f"{began:%Y%m%dT%H%M%SZ}-{name[:2]}{number:06x}", mapping=name, collection=name,
        mode=Mode.FULL if full else Mode.INCREMENTAL, outcome=outcome, trigger="schedule", started_at=began,
        finished_at=began + took, counts=counts, bound=began - timedelta(seconds=2) if not error else None,
        api="objects", api_reason=f"the last run sent {sent:,} objects, of 10,000 at least", error=error, hint=hint,
        exit_code=1 if error else 0,
    )  # fmt: skip


def _letters(run: RunReport) -> Iterator[DeadLetter]:
    refused = [
        ("VALUE_TOO_LARGE", "property body is 41,208 bytes, 32,768 at most", None, None),
        ("VALUE_TOO_LARGE", "property body is 33,054 bytes, 32,768 at most", None, None),
        *[("API_400", "the API refused the object", 400, "property … is not allowed")] * 6,
        ("NULL_KEY", "the primary key is NULL", None, None),
    ]
    for number, (code, reason, status, response) in enumerate(refused, 1):
        body = {"room": 40 + number, "author": "Siobhán O'Brien", "stars": 4, "body": "Lovely place, quiet at night."}
        rejection = Rejection(
            code=code, reason=reason, row=number, id=None if code == "NULL_KEY" else f"{40 + number}:{number}",
            key=f'["{number}"]', properties=json.dumps(body, ensure_ascii=False).encode(), status=status,
            response=response,
        )  # fmt: skip
        at = run.started_at + timedelta(seconds=number)
        yield DeadLetter(
            mapping=run.mapping, collection="reviews", run_id=run.run_id, created_at=at, rejection=rejection
        )


def busy(config: Config, store: Store, now: datetime) -> tuple[StillControl, Watch]:
    """The daemon in the middle of the day: a run of rooms goes on, photos wait, amenities are paused."""
    began = now - timedelta(seconds=19)
    run_id = f"{began:%Y%m%dT%H%M%SZ}-0c5d19ae"
    counts = Counts(read=21_770, sent=386, unchanged=21_384, requests=39, retried=2, bytes=82_604)
    control = StillControl(
        config=config, store=store, waits=["photos"], pauses={"amenities": now - timedelta(hours=3)},
        fires={"hosts": now + 11 * MINUTE, "rooms": now + 11 * MINUTE, "reviews": now + 11 * MINUTE,
               "cities": now + 26 * MINUTE, "photos": now + timedelta(hours=14)},
        ended={("hosts", "ran"): 40, ("rooms", "ran"): 39, ("rooms", "folded"): 1},
        runs=[Running(mapping="rooms", run_id=run_id, mode=Mode.FULL, trigger="page", started_at=began, counts=counts,
                      estimate=38_612, moved_at=now, stuck=False)],
    )  # fmt: skip
    return control, _watched(run_id, began, counts, store)


def _watched(run_id: str, began: datetime, counts: Counts, store: Store) -> Watch:
    clock = [began]
    watch = Watch(lambda: clock[0])
    for run in reversed(store.runs(limit=1000)):
        watch.notice(RunFinished(report=run))
    watch.notice(RunStarted(mapping="rooms", run_id=run_id, mode=Mode.FULL, estimate=38_612))
    for second in range(1, 20):
        clock[0] = began + timedelta(seconds=second)
        if second in (6, 7):
            watch.notice(RequestRetried(collection="rooms", attempt=1, reason="503", wait=0.4))
        if second == 12:
            watch.notice(DeliveryPaused(reason="429", wait=1.5))
        slow = 0.55 if second in (12, 13) else 0.0
        read = int(counts.read * (second - slow) / 19)
        watch.notice(RunProgressed(mapping="rooms", run_id=run_id, counts=replace(counts, read=read)))
    return watch
