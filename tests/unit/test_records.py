"""The recorder of runs: what it sends, and what becomes of what it cannot send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from syncer.core.events import Event, Noticed
from syncer.core.model import Batch, Counts, Kind, Mode, Outcome, Receipt, RunReport, Watermark
from syncer.core.run_fields import fields_of
from syncer.delivery.base import permitted
from syncer.delivery.memory import MemoryDelivery, Scripted
from syncer.errors import SyncerError
from syncer.run.records import Recorder, record_of
from syncer.state import Commit, MemoryStore, Store, open_store

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RUN = RunReport(
    run_id="run-0", mapping="rooms", collection="rooms", mode=Mode.FULL, outcome=Outcome.SUCCEEDED, trigger="cli",
    started_at=BEGAN, finished_at=BEGAN + timedelta(seconds=1.5), watermark=Watermark(kind=Kind.INTEGER, text="7"),
    api="bulk", api_reason="12 objects planned; bulk from 10 on",
    counts=Counts(read=10, sent=1, unchanged=2, rejected=3, skipped=4, deleted=5, retried=6, requests=7, bytes=8),
)  # fmt: skip


class World:
    """A recorder, a delivery, a store with runs, and what was noticed."""

    def __init__(self, delivery: MemoryDelivery, store: Store | None = None, runs: int = 1) -> None:
        self.delivery = delivery
        self.store = store or MemoryStore()
        self.events: list[Event] = []
        self.clock = 0.0
        lease = self.store.acquire("rooms", "me", BEGAN, MINUTE)
        for number in range(runs):
            run = replace(RUN, run_id=f"run-{number}")
            self.store.commit(lease, Commit(run=run, recorded=True))

    def record(self, store: Store | None = None, report: RunReport = RUN) -> Sequence[str]:
        """Record once; what was told on the way."""
        self.events.clear()
        recorder = Recorder("syncer_runs", store or self.store, self.events.append, lambda: self.clock)
        asyncio.run(recorder.record(report, self.delivery))
        assert all(isinstance(each, Noticed) and each.mapping == "rooms" for each in self.events)
        return [each.message for each in self.events if isinstance(each, Noticed)]

    @property
    def sent(self) -> list[str]:
        """Run ids downstream."""
        return [id for _, id in self.delivery.objects]

    @property
    def owed(self) -> int:
        """How many records are owed."""
        return len(self.store.unrecorded(100))


def test_a_record_says_all_there_is_to_say() -> None:
    """Its id is the run's; its properties are the fields of the run's JSON, times with their zone, numbers as such."""
    world = World(MemoryDelivery())
    assert world.record() == []
    (found,) = world.delivery.objects.items()
    assert found == (
        ("syncer_runs", "run-0"),
        {
            "mapping": "rooms", "collection": "rooms", "mode": "full", "outcome": "succeeded", "trigger": "cli",
            "read": 10, "sent": 1, "unchanged": 2, "deleted": 5, "rejected": 3, "skipped": 4, "retried": 6,
            "requests": 7, "bytes": 8, "api": "bulk", "api_reason": "12 objects planned; bulk from 10 on",
            "watermark": "7", "started_at": "2026-01-01T00:00:00+00:00",
            "finished_at": "2026-01-01T00:00:01.500000+00:00", "duration_seconds": 1.5, "error": None,
        },
    )  # fmt: skip
    assert {**found[1], "run_id": "run-0"} == fields_of(RUN)


def test_ten_records_go_together() -> None:
    """What is owed of earlier runs goes as well, the oldest first, ten in a request, each once."""
    world = World(MemoryDelivery(), runs=23)
    assert world.record() == []
    assert [len(batch.objects) for batch in world.delivery.batches] == [10, 10, 3]
    assert world.sent == [f"run-{number}" for number in range(23)]
    assert world.record() == []
    assert len(world.delivery.batches) == 3


def test_what_fails_stays_owed() -> None:
    """A failure is told with its reason and ends the attempt; nothing is lost of what was not accepted."""
    world = World(MemoryDelivery([Scripted.ACCEPT, Scripted.FAIL]), runs=23)
    assert world.record() == ["its run record goes with the next run: no connection to memory"]
    assert (len(world.sent), world.owed) == (10, 13)
    assert world.record() == []
    assert (len(world.sent), world.owed) == (23, 0)


def test_a_stop_leaves_the_record_to_the_next_run() -> None:
    """Once told to stop, the delivery takes nothing more; the record stays owed, and that is told."""
    world = World(MemoryDelivery())
    world.delivery.stop()
    (told,) = world.record()
    assert "stopped before" in told
    assert (world.sent, world.owed) == ([], 1)


def test_a_record_that_is_refused_is_told_and_left_out() -> None:
    """It keeps no other from being sent, and is not tried for ever."""
    world = World(MemoryDelivery(refuses=lambda each: each.id == "run-1"), runs=3)
    (told,) = world.record()
    assert "the run record of run-1 is left out: the API refused it" in told
    assert (world.sent, world.owed) == (["run-0", "run-2"], 0)


def test_a_state_that_cannot_be_written(tmp_path: Path) -> None:
    """What was sent but could not be noted goes once more; the run never hears of it."""
    url = f"sqlite:///{tmp_path / 'syncer.db'}"
    store = open_store(url)
    world = World(MemoryDelivery(), store)
    stuck = open_store(url, read_only=True)
    (told,) = world.record(stuck)
    assert told.startswith("its run record goes with the next run: ")
    assert (world.sent, world.owed) == (["run-0"], 1)
    assert world.record() == []
    assert (len(world.delivery.batches), world.owed) == (2, 0)
    store.close()
    stuck.close()


class Unanswered(MemoryDelivery):
    """Tries once a second for as long as it may; no answer ever comes."""

    attempts = 0

    async def send(
        self, batch: Batch, *, synchronous: bool = False, forbidden: Callable[[], SyncerError | None] = permitted
    ) -> Receipt:
        """See `Delivery.send`."""
        while (failure := forbidden()) is None:
            self.attempts += 1
            self.world.clock += 1.0
        return Receipt(unsettled=batch.objects, failure=failure)

    world: World


@pytest.mark.parametrize(("outcome", "attempts"), [(Outcome.SUCCEEDED, 10), (Outcome.PARTIAL, 10), (Outcome.FAILED, 2)])
def test_patience(outcome: Outcome, attempts: int) -> None:
    """Attempts begin for ten seconds after a run that went well; after one that failed, for two."""
    delivery = Unanswered()
    world = delivery.world = World(delivery)
    (told,) = world.record(report=replace(RUN, outcome=outcome))
    assert told == "its run record goes with the next run: the API did not take it in time"
    assert (delivery.attempts, world.owed) == (attempts, 1)


def test_runs_that_end_together_send_a_record_once() -> None:
    """Two runs of one process that end at the same time take turns."""
    world = World(MemoryDelivery(), runs=2)
    recorder = Recorder("syncer_runs", world.store, world.events.append, lambda: world.clock)

    async def both() -> None:
        await asyncio.gather(recorder.record(RUN, world.delivery), recorder.record(RUN, world.delivery))

    asyncio.run(both())
    assert [len(batch.objects) for batch in world.delivery.batches] == [2]


def test_texts_that_no_value_may_have() -> None:
    """A long error is cut far below the API's limit, and half a character is no reason to keep a record for ever."""
    record = record_of(replace(RUN, error="\ud83d" + "long " * 20_000))
    properties = orjson.loads(record.properties)
    assert properties["error"].startswith("?long ")
    assert len(record.properties) < 5_000
