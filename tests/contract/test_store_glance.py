"""What every store tells of many mappings at once, and of dead letters by their cause."""

from __future__ import annotations

from dataclasses import replace

from contract.store_examples import MINUTE, NOON, dead_letter, finished_run, leased, run

from syncer.core.model import DeadLetter, Outcome
from syncer.state import Commit, Store
from syncer.state.base import Cause

pytest_plugins = ["contract.store_fixtures"]


def refused(code: str, minutes: int, id: str) -> DeadLetter:
    """A dead letter of a code, so many minutes after noon."""
    letter = dead_letter(id=id)
    return replace(letter, created_at=NOON + minutes * MINUTE, rejection=replace(letter.rejection, code=code))


def test_the_latest_runs_of_many_mappings(store: Store) -> None:
    """Of each mapping the same runs as `runs` tells, in the same order, and none of a mapping without."""
    names = [f"city {number}" for number in range(230)]
    for number, name in enumerate(names[::50]):
        lease = leased(store, name)
        for minute in range(number):
            store.commit(lease, Commit(run=run(name, f"{name}-{minute}", NOON + minute * MINUTE)))
            store.commit(lease, Commit(run=run(name, f"{name}-{minute}-again", NOON + minute * MINUTE)))
    found = store.latest_runs(names, 3)
    assert list(found) == names
    assert {name: tuple(runs) for name, runs in found.items()} == {name: store.runs(name, 3) for name in names}
    assert sum(map(len, found.values())) == 11
    assert store.latest_runs([], 3) == {}


def test_the_latest_runs_by_outcome(store: Store) -> None:
    """Only those that ended so, however many others came after them."""
    lease = leased(store)
    store.commit(lease, Commit(run=finished_run(run_id="good")))
    for minute in range(1, 30):
        failed = run(run_id=f"bad-{minute}", started_at=NOON + minute * MINUTE, outcome=Outcome.FAILED)
        store.commit(lease, Commit(run=failed))
    found = store.latest_runs(["rooms"], 1, outcomes=[Outcome.SUCCEEDED, Outcome.PARTIAL])
    assert [each.run_id for each in found["rooms"]] == ["good"]
    assert [each.run_id for each in store.latest_runs(["rooms"], 1)["rooms"]] == ["bad-29"]


def test_the_latest_runs_without_some_triggers(store: Store) -> None:
    """Only those that something else began."""
    lease = leased(store)
    for minute, trigger in enumerate(("cli", "schedule", "page", "page")):
        began = run(run_id=trigger + str(minute), started_at=NOON + minute * MINUTE, trigger=trigger)
        store.commit(lease, Commit(run=began))
    found = store.latest_runs(["rooms"], 2, without=["page", "schedule"])
    assert [each.run_id for each in found["rooms"]] == ["cli0"]


def test_a_run_by_its_id(store: Store) -> None:
    """Every field as it was recorded; None for a run nobody knows."""
    store.commit(leased(store), Commit(run=finished_run()))
    assert store.run("run-1") == finished_run()
    assert store.run("run-2") is None


def test_all_last_fires(store: Store) -> None:
    """By mapping and schedule, the latest of each."""
    assert store.last_fires() == {}
    store.record_fire("rooms", "0 * * * *", NOON)
    store.record_fire("rooms", "0 * * * *", NOON + MINUTE)
    store.record_fire("hosts", "every 15m", NOON)
    assert store.last_fires() == {("rooms", "0 * * * *"): NOON + MINUTE, ("hosts", "every 15m"): NOON}


def test_dead_letters_by_cause(store: Store) -> None:
    """Codes with how many, the oldest and the newest; the most frequent first, of this mapping only."""
    letters = [refused("API_400", 5, "1"), refused("NULL_KEY", 1, "2"), refused("API_400", 3, "3")]
    store.commit(leased(store), Commit(run=run(), dead_letters=letters))
    store.commit(leased(store, "hosts"), Commit(run=run("hosts"), dead_letters=[dead_letter("hosts")]))
    assert store.dead_letter_causes("rooms") == (
        Cause(code="API_400", count=2, first=NOON + 3 * MINUTE, last=NOON + 5 * MINUTE),
        Cause(code="NULL_KEY", count=1, first=NOON + MINUTE, last=NOON + MINUTE),
    )
    assert store.dead_letter_causes("reviews") == ()


def test_dead_letters_of_a_cause_by_pages(store: Store) -> None:
    """Those of a code, so many at a time, behind the number where the page before ended."""
    letters = [refused("NULL_KEY" if number % 3 else "API_400", number, str(number)) for number in range(9)]
    store.commit(leased(store), Commit(run=run(), dead_letters=letters))
    first = store.dead_letters("rooms", code="NULL_KEY", limit=4)
    assert [each.rejection.id for each in first] == ["1", "2", "4", "5"]
    then = store.dead_letters("rooms", code="NULL_KEY", limit=4, after=first[-1].number)
    assert [each.rejection.id for each in then] == ["7", "8"]
    assert store.dead_letters("rooms", code="GONE") == ()
