"""What every store knows of run records that are owed, of runs up to a time, and of single objects' dead letters."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from contract.store_examples import MINUTE, NOON, dead_letter, finished_run, leased, run

from syncer.core.model import Counts, Outcome
from syncer.state import Commit, Store

pytest_plugins = ["contract.store_fixtures"]


def owed(store: Store, limit: int = 10) -> list[str]:
    """Whose run record is still to be sent."""
    return [each.run_id for each in store.unrecorded(limit)]


def test_a_run_is_owed_a_record_once_it_is_over(store: Store) -> None:
    """A run that goes on is owed none; one that is over is, as it ended, until its record was sent."""
    lease = leased(store)
    store.commit(lease, Commit(run=run(), recorded=True))
    assert owed(store) == []
    over = finished_run()
    store.commit(lease, Commit(run=over, recorded=True))
    assert tuple(store.unrecorded(10)) == (over,)
    store.recorded(["run-1", "run-2"])
    assert owed(store) == []
    assert store.runs() == (over,)


def test_nobody_asked_for_a_record(store: Store) -> None:
    """Runs that were committed without the wish are owed none, and recording nothing does nothing."""
    store.commit(leased(store), Commit(run=finished_run()))
    store.recorded([])
    assert owed(store) == []


def test_records_are_owed_in_the_order_of_the_runs(store: Store) -> None:
    """The oldest first, of all mappings, no more than asked for; a later commit of the run changes nothing of it."""
    for mapping, run_id in (("rooms", "run-9"), ("hosts", "run-3"), ("rooms", "run-5")):
        lease = leased(store, mapping)
        store.commit(lease, Commit(run=run(mapping, run_id), recorded=True))
        store.commit(lease, Commit(run=finished_run(mapping, run_id), recorded=True))
    assert owed(store) == ["run-9", "run-3", "run-5"]
    assert owed(store, 2) == ["run-9", "run-3"]
    store.recorded(["run-3"])
    assert owed(store) == ["run-9", "run-5"]


def test_a_killed_run_is_owed_its_record(store: Store) -> None:
    """A run without an outcome is owed its record from the moment on at which a later run tells its end."""
    lease = leased(store)
    store.commit(lease, Commit(run=run(), recorded=True))
    store.commit(lease, Commit(run=replace(run(), outcome=Outcome.INTERRUPTED)))
    assert [(each.run_id, each.outcome) for each in store.unrecorded(10)] == [("run-1", Outcome.INTERRUPTED)]


def test_runs_until_a_time(store: Store) -> None:
    """The latest runs that began at a time or before it, newest first."""
    lease = leased(store)
    for number in range(5):
        store.commit(lease, Commit(run=run(run_id=f"run-{number}", started_at=NOON + number * MINUTE)))
    assert [each.run_id for each in store.runs("rooms", 2, until=NOON + 3 * MINUTE)] == ["run-3", "run-2"]
    assert [each.run_id for each in store.runs("rooms", until=NOON)] == ["run-0"]
    assert store.runs("rooms", until=NOON - MINUTE) == ()
    assert store.runs("hosts", until=NOON + 3 * MINUTE) == ()


def test_objects_sent_since_a_time(store: Store) -> None:
    """Of all mappings, tombstones included, also of runs that go on; a run that began at that very time counts."""
    assert store.sent_since(NOON) == 0
    for number, mapping in enumerate(("rooms", "hosts", "rooms")):
        began = run(mapping, f"run-{number}", NOON + number * MINUTE, counts=Counts(read=9, sent=2**40, deleted=number))
        store.commit(leased(store, mapping), Commit(run=began))
    assert store.sent_since(NOON) == 3 * 2**40 + 3
    assert store.sent_since(NOON + MINUTE) == 2 * 2**40 + 3
    assert store.sent_since(NOON + timedelta(minutes=2, microseconds=1)) == 0


def test_dead_letters_of_an_object(store: Store) -> None:
    """Only those of the ids asked for, in the mapping asked for."""
    letters = [dead_letter(id="1"), dead_letter(id="2"), dead_letter(id=None)]
    store.commit(leased(store), Commit(run=run(), dead_letters=letters))
    assert [each.rejection.id for each in store.dead_letters("rooms", ids=["2", "3"])] == ["2"]
    assert store.dead_letters("rooms", ids=["3"]) == ()
    assert store.dead_letters("rooms", ids=[]) == ()
    assert store.dead_letters("hosts", ids=["2"]) == ()
