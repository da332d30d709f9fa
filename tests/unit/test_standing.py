"""How mappings stand, told from a state: what counts as a success, and how far back one is looked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syncer.config import Config, load_config
from syncer.core.model import Checkpoint, Kind, Mode, Outcome, RunReport, Watermark
from syncer.run.standing import Standing, standings
from syncer.state import Commit, MemoryStore

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CONFIG = """\
version: 1
sources: {app: {url: "sqlite:///app.db"}}
destination: {write_key: a-write-key}
mappings:
  rooms: {table: rooms, watermark: updated_at, schedules: [{every: 1h}]}
  hosts: {table: hosts}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Two mappings."""
    (tmp_path / "syncer.yaml").write_text(CONFIG, "utf-8")
    return load_config(tmp_path / "syncer.yaml", {})


class History:
    """Runs of `rooms`, one a minute."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.runs = 0
        self._lease = self.store.acquire("rooms", "me", NOON, timedelta(minutes=1))

    def add(self, outcome: Outcome | None, trigger: str = "schedule", **fields: object) -> datetime:
        """One more run; returns when it began."""
        began = NOON + timedelta(minutes=self.runs)
        self.runs += 1
        run = RunReport(
            run_id=str(self.runs), mapping="rooms", collection="rooms", mode=Mode.INCREMENTAL, outcome=outcome,
            trigger=trigger, started_at=began, **fields,  # type: ignore[arg-type]
        )  # fmt: skip
        self.store.commit(self._lease, Commit(run=run))
        return began

    def rooms(self, config: Config) -> Standing:
        """How `rooms` stands."""
        return standings(config, self.store, NOON)[0]


def test_the_last_success_is_found_however_long_ago(config: Config) -> None:
    """A mapping that fails for weeks still tells since when."""
    history = History()
    good = history.add(Outcome.PARTIAL)
    for _ in range(200):
        last = history.add(Outcome.FAILED, error="no connection")
    found = history.rooms(config)
    assert (found.last_success, found.last_run, found.outcome) == (good, last, "failed")


@pytest.mark.parametrize("trigger", ["dead-letters retry", "state set"])
def test_what_reads_single_rows_is_no_success(config: Config, trigger: str) -> None:
    """It says nothing of how far behind the collection is, however often it happens."""
    history = History()
    good = history.add(Outcome.SUCCEEDED)
    for _ in range(40):
        history.add(Outcome.SUCCEEDED, trigger)
    assert history.rooms(config).last_success == good


@pytest.mark.parametrize("trigger", ["cli", "schedule", "catch-up", "page", "demo"])
def test_whatever_began_it_a_whole_run_counts(config: Config, trigger: str) -> None:
    """From the page as well as from a schedule."""
    history = History()
    assert history.rooms(config).last_success is None
    good = history.add(Outcome.SUCCEEDED, trigger)
    history.add(Outcome.INTERRUPTED)
    history.add(None)
    assert history.rooms(config).last_success == good
    assert history.rooms(config).outcome == "unfinished"


def test_the_bound_is_that_of_the_last_run_that_looked(config: Config) -> None:
    """A run that failed before it looked hides nothing."""
    history = History()
    history.add(Outcome.SUCCEEDED, bound=NOON)
    history.add(Outcome.SUCCEEDED, held_by="a writer")
    history.add(Outcome.FAILED)
    found = history.rooms(config)
    assert (found.bound, found.held_by) == (None, "a writer")


def test_next_run_and_watermark(config: Config) -> None:
    """From the last fire on, and what is saved; of the mapping without either, nothing."""
    history = History()
    lease = history.store.acquire("rooms", "me", NOON, timedelta(minutes=1))
    mark = Checkpoint(mapping="rooms", digest="d", watermark=Watermark(kind=Kind.TEXT, text="7"), updated_at=NOON)
    run = RunReport(
        run_id="x", mapping="rooms", collection="rooms", mode=Mode.FULL, outcome=None, trigger="cli", started_at=NOON
    )
    history.store.commit(lease, Commit(run=run, checkpoint=mark))
    from syncer.core.calendar import schedule_key

    history.store.record_fire(
        "rooms", schedule_key(config.mappings["rooms"].schedules[0]), NOON - timedelta(minutes=20)
    )
    rooms, hosts = standings(config, history.store, NOON)
    assert (rooms.next_run, rooms.watermark) == (NOON + timedelta(minutes=40), "7")
    assert (hosts.next_run, hosts.watermark, hosts.last_run) == (None, None, None)
