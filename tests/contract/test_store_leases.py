"""What every store promises of leases, and of writes under a lease that is lost, asked of each of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from contract.store_examples import (
    FULL,
    MINUTE,
    NOON,
    checkpoint,
    dead_letter,
    doubt,
    everything,
    fingerprint,
    leased,
    run,
)

from syncer.core.model import Lease
from syncer.errors import LeaseHeld, LeaseLost, StateError
from syncer.state import Commit, MemoryStore, Store, current_owner

PROJECT = Path(__file__).parents[2]

pytest_plugins = ["contract.store_fixtures"]


class TestLeases:
    def test_first_lease(self, store: Store) -> None:
        """The first lease has epoch 1 and ends after its time to live."""
        expected = Lease(mapping="rooms", owner="a", epoch=1, expires_at=NOON + MINUTE)
        assert expected == leased(store)
        assert (expected,) == store.leases()

    def test_held(self, store: Store) -> None:
        """A lease that is held is refused; the error names process, host, since when, and when it runs out."""
        owner = current_owner()
        leased(store, owner=owner)
        before = store.leases()
        with pytest.raises(LeaseHeld) as refused:
            leased(store, owner="b", now=NOON + timedelta(seconds=18))
        told = json.loads(owner)
        assert f"process {told['pid']} on {told['host']} since 2026-03-01 12:00:00 UTC" in str(refused.value)
        assert "in 42 s" in str(refused.value.hint)
        assert before == store.leases()

    def test_two_runs_of_one_process(self, store: Store) -> None:
        """Two owners of the same process exclude each other."""
        leased(store, owner=current_owner())
        with pytest.raises(LeaseHeld):
            leased(store, owner=current_owner())

    def test_leases_are_per_mapping(self, store: Store) -> None:
        """Different mappings run at the same time; leases are listed by mapping name."""
        leased(store, "rooms", "a")
        leased(store, "hosts", "b")
        assert [lease.mapping for lease in store.leases()] == ["hosts", "rooms"]

    @pytest.mark.parametrize(
        ("first", "second"), [("rooms", "Rooms"), ("rooms", "rooms "), ("rooms", "röoms"), ("a\\", "a")]
    )
    def test_names_are_exact(self, store: Store, first: str, second: str) -> None:
        """Names that a database's collation takes for equal are different mappings."""
        lease = leased(store, first)
        store.commit(lease, Commit(run=run(first), checkpoint=checkpoint(first), fingerprints={"1": fingerprint()}))
        assert leased(store, second, "b").epoch == 1
        assert store.checkpoint(second) is None
        assert store.fingerprints(second, ["1"]) == {}
        assert store.runs(second) == ()
        assert {first, second} == {each.mapping for each in store.leases()}

    @pytest.mark.parametrize(("after", "granted"), [(59.999999, False), (60, True), (3600, True)])
    def test_expiry(self, store: Store, after: float, granted: bool) -> None:
        """A lease of 60 s is free for others from the 60th second on."""
        leased(store)
        later = NOON + timedelta(seconds=after)
        if granted:
            assert leased(store, owner="b", now=later).epoch == 2
        else:
            with pytest.raises(LeaseHeld):
                leased(store, owner="b", now=later)

    def test_same_owner_again(self, store: Store) -> None:
        """The owner itself may take its lease again, with the next epoch; the older one is lost."""
        first = leased(store)
        assert leased(store).epoch == 2
        with pytest.raises(LeaseLost):
            store.renew(first, NOON, MINUTE)

    def test_epochs_survive_release(self, store: Store) -> None:
        """Epochs grow with every holder, also after the lease was given back."""
        epochs = []
        for owner in "abc":
            lease = leased(store, owner=owner)
            store.release(lease)
            assert store.leases() == ()
            epochs.append(lease.epoch)
        assert epochs == [1, 2, 3]

    def test_killed_owner(self, store: Store) -> None:
        """The lease of a process that was killed is taken over at once."""
        code = "from syncer.state import current_owner; print(current_owner())"
        gone = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
        leased(store, owner=gone.stdout.strip())
        assert leased(store, owner="b").epoch == 2

    def test_renew(self, store: Store) -> None:
        """Renewing moves the end of a lease and nothing else."""
        lease = leased(store)
        renewed = store.renew(lease, NOON + MINUTE / 2, MINUTE)
        assert replace(lease, expires_at=NOON + 1.5 * MINUTE) == renewed
        assert (renewed,) == store.leases()
        with pytest.raises(LeaseHeld):
            leased(store, owner="b", now=NOON + MINUTE)

    def test_expired_is_not_lost(self, store: Store) -> None:
        """An expired lease that nobody took is listed, can be renewed, and can commit."""
        lease = leased(store)
        assert (lease,) == store.leases()
        store.commit(lease, FULL)
        late = store.renew(lease, NOON + 10 * MINUTE, MINUTE)
        assert late.expires_at == NOON + 11 * MINUTE

    def test_release_of_a_lost_lease(self, store: Store) -> None:
        """Giving back a lease that another one holds by now does nothing."""
        lost = leased(store)
        current = leased(store, owner="b", now=NOON + MINUTE)
        store.release(lost)
        store.release(replace(lost, mapping="never seen"))
        assert (current,) == store.leases()

    def test_threads_racing(self, store: Store) -> None:
        """Of sixteen threads that want a lease at once, one gets it."""

        def attempt(number: int) -> int:
            try:
                return leased(store, owner=f"thread {number}").epoch
            except LeaseHeld:
                return 0

        with ThreadPoolExecutor(16) as pool:
            assert sorted(pool.map(attempt, range(16))) == [0] * 15 + [1]


def lose_by_expiry(store: Store, lease: Lease) -> None:
    """Another owner takes over."""
    leased(store, lease.mapping, "b", lease.expires_at)


def lose_by_release(store: Store, lease: Lease) -> None:
    """It is given back."""
    store.release(lease)


class TestFencing:
    @pytest.mark.parametrize("lose", [lose_by_expiry, lose_by_release])
    def test_lost_lease_writes_nothing(self, store: Store, lose: Callable[[Store, Lease], None]) -> None:
        """Nothing of a commit, a reset or a renewal is written when the lease is lost."""
        lease = leased(store)
        store.commit(lease, FULL)
        lose(store, lease)
        before = everything(store)
        later = Commit(
            run=run(run_id="run-2"),
            checkpoint=checkpoint(text="2027"),
            dead_letters=[dead_letter()],
            fingerprints={"1": fingerprint(b"new"), "3": fingerprint()},
            doubts=[doubt("run-2", 0, NOON, "a")],
            assured=[("run-1", 0)],
            resolved=[letter.number for letter in store.dead_letters()],
        )
        with pytest.raises(LeaseLost, match="rooms"):
            store.commit(lease, later)
        with pytest.raises(LeaseLost):
            store.reset(lease, fingerprints=True)
        with pytest.raises(LeaseLost):
            store.renew(lease, NOON, MINUTE)
        assert before == everything(store)

    def test_lease_never_given(self, store: Store) -> None:
        """A lease this store never gave is a lost lease."""
        with pytest.raises(LeaseLost):
            store.commit(Lease(mapping="rooms", owner="a", epoch=1, expires_at=NOON), FULL)
        assert everything(store) == ((), (), (), (), {}, (), {})

    @pytest.mark.parametrize(
        "stray",
        [
            Commit(run=run("hosts")),
            Commit(run=run(), checkpoint=checkpoint("hosts")),
            Commit(run=run(), dead_letters=[dead_letter("hosts")]),
        ],
    )
    def test_one_mapping_per_lease(self, store: Store, stray: Commit) -> None:
        """A commit under the lease of rooms cannot touch hosts."""
        lease = leased(store)
        before = everything(store)
        with pytest.raises(ValueError, match="hosts"):
            store.commit(lease, stray)
        assert before == everything(store)

    def test_a_commit_that_fails_writes_nothing(self, store: Store) -> None:
        """When the last part of a commit cannot be stored, its first parts are not stored either."""
        if isinstance(store, MemoryStore):
            pytest.skip("memory stores whatever it is given")
        lease = leased(store)
        impossible = replace(dead_letter(), rejection=replace(dead_letter().rejection, code=None))  # type: ignore[arg-type]
        before = everything(store)
        with pytest.raises(StateError):
            store.commit(lease, replace(FULL, dead_letters=[impossible]))
        assert before == everything(store)
