"""A state that is copied to another database is the same state there, and counts on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from contract.store_examples import AWKWARD, FULL, MINUTE, NOON, everything, leased

from syncer.errors import LeaseHeld, StateError, UsageError
from syncer.state import Store, open_store
from syncer.state.copying import copy_state


@pytest.fixture
def origin(tmp_path: Path) -> str:
    """URL of a state in a file with something of everything."""
    url = f"sqlite:///{tmp_path / 'origin.db'}"
    fill(url)
    return url


def fill(url: str) -> None:
    """Something of everything, nobody at work; of five dead letters the last is discarded."""
    with closing(open_store(url)) as store:
        lease = leased(store)
        store.commit(lease, replace(FULL, basis="b", recorded=True))
        many = {str(number): FULL.fingerprints["1"] for number in range(3, 5_500)}
        awkward = {text[:100]: FULL.fingerprints["2"] for text in AWKWARD if text.strip()}
        store.commit(lease, replace(FULL, dead_letters=[], fingerprints=many | awkward, doubts=[]))
        store.release(lease)
        hosts = leased(store, "hosts")
        letters = [replace(each, mapping="hosts") for each in FULL.dead_letters]
        third = replace(letters[0], rejection=replace(letters[0].rejection, id=None, reason=AWKWARD[-1]))
        run = replace(FULL.run, mapping="hosts", run_id="run-2", started_at=NOON + MINUTE)
        store.commit(hosts, replace(FULL, run=run, checkpoint=None, dead_letters=[*letters, third]))
        store.release(hosts)
        store.discard([store.dead_letters()[-1].number or 0])
        store.record_fire("rooms", "every 15m", NOON)
        store.pause("reviews", NOON)


def told(store: Store) -> tuple[object, ...]:
    """Everything that was put into it."""
    ids = [str(number) for number in range(5_500)] + [text[:100] for text in AWKWARD]
    return (
        everything(store),
        store.fingerprints("rooms", ids),
        store.living("rooms", None, 20_000),
        (store.basis("rooms"), store.basis("hosts")),
        store.unrecorded(10),
        store.last_fire("rooms", "every 15m"),
        store.pauses(),
    )


def test_copies_tell_the_same_and_count_on(origin: str, mariadb_url: str, postgres_url: str, tmp_path: Path) -> None:
    """From one to the next, each kind of database being read and written: all are the same.

    Numbers of dead letters and epochs of leases go on after the last ones given, also where those are gone.
    """
    # DuckDB stands for those of which nothing is known
    duckdb, last = f"duckdb:///{tmp_path / 'copy.duckdb'}", f"sqlite:///{tmp_path / 'last.db'}"
    places = [origin, mariadb_url, postgres_url, duckdb, last]
    for before, after in pairwise(places):
        assert copy_state(before, after, NOON)["syncer_fingerprints"] > 5_500
    first, *others = map(told_and_gone_on, places)
    assert others == [first] * 4
    # two were given to rooms, three to hosts, of which one was discarded and its number is not given again
    assert first[1] == (2, [3, 4, 6, 7])


def told_and_gone_on(url: str) -> tuple[object, object]:
    """What a store tells; and the next epoch, and the numbers of dead letters once rooms had two more."""
    with closing(open_store(url)) as store:
        before = told(store)
        lease = leased(store, "rooms", now=NOON + timedelta(days=1))
        store.commit(lease, replace(FULL, run=replace(FULL.run, run_id="run-3", started_at=NOON + 2 * MINUTE)))
        return before, (lease.epoch, [each.number for each in store.dead_letters()])


def test_a_state_in_use_is_not_copied(origin: str, tmp_path: Path) -> None:
    """While a lease holds, what its run still sends would be missing; nothing is written."""
    target = f"sqlite:///{tmp_path / 'target.db'}"
    with closing(open_store(origin)) as store:
        leased(store, "rooms")
        with pytest.raises(LeaseHeld):
            copy_state(origin, target, NOON)
        with closing(open_store(target, read_only=True)) as copy:
            assert copy.runs() == ()
        assert copy_state(origin, target, NOON + 2 * MINUTE)["syncer_runs"] == 2
    with closing(open_store(target)) as copy:
        assert copy.leases() == ()


def test_two_states_are_never_mixed(origin: str, tmp_path: Path) -> None:
    """What has something in it is no place to copy to, and stays as it was; nor is the first state itself."""
    target = f"sqlite:///{tmp_path / 'target.db'}"
    with closing(open_store(target)) as store:
        store.record_fire("reviews", "every 1h", NOON)
        before = told(store)
        for place in (target, origin):
            with pytest.raises(UsageError, match="not empty"):
                copy_state(origin, place, NOON)
        assert told(store) == before


def test_what_is_not_there_is_not_copied(tmp_path: Path) -> None:
    """A wrong path of the first state is said, and makes no file of the second."""
    target = tmp_path / "target.db"
    with pytest.raises(UsageError, match="no state to copy"):
        copy_state(f"sqlite:///{tmp_path / 'typo.db'}", f"sqlite:///{target}", NOON)
    assert not target.exists()


def test_a_state_in_memory_takes_no_copy(origin: str) -> None:
    """It would be gone at once."""
    with pytest.raises(StateError, match="in memory"):
        copy_state(origin, "sqlite://", NOON)


def test_a_copy_sees_one_moment(postgres_url: str, tmp_path: Path, execute_sql: Callable[[str, str], None]) -> None:
    """What others commit to the first state while it is read is in none of the tables that are read later."""
    from syncer.state.sql import SqlStore

    fill(postgres_url)
    count = "SELECT count(*) FROM syncer_fires"
    with closing(open_store(postgres_url)) as store:
        assert isinstance(store, SqlStore)

        def look(connection: object) -> list[datetime | int]:
            seen = [connection.exec_driver_sql(count).scalar()]  # type: ignore[attr-defined]
            execute_sql(postgres_url, "INSERT INTO syncer_fires VALUES ('hosts', 'every 1h', 0)")
            return [*seen, connection.exec_driver_sql(count).scalar()]  # type: ignore[attr-defined]

        assert store.database.snapshot(look) == [1, 1]
        assert store.database.read(lambda connection: connection.exec_driver_sql(count).scalar()) == 2
