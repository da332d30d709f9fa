"""What every store promises of property types, asked of each."""

from __future__ import annotations

from contract.store_examples import AWKWARD, FULL, MINUTE, NOON, leased, property_type, run

from syncer.state import Commit, Store

pytest_plugins = ["contract.store_fixtures"]


def test_kept(store: Store) -> None:
    """They come back in the order in which they were given, and only for their own mapping."""
    store.commit(leased(store), FULL)
    found = store.property_types("rooms")
    assert found == FULL.property_types
    assert list(found) == ["name", "beds"]
    assert store.property_types("hosts") == {}


def test_stay(store: Store) -> None:
    """A commit that does not tell them leaves them as they are."""
    lease = leased(store)
    store.commit(lease, FULL)
    store.commit(lease, Commit(run=run(run_id="run-2")))
    assert store.property_types("rooms") == FULL.property_types


def test_replaced(store: Store) -> None:
    """A commit that tells them replaces them all, and those of no other mapping."""
    lease = leased(store)
    store.commit(lease, FULL)
    hosts = {"name": property_type("text")}
    store.commit(leased(store, "hosts"), Commit(run=run("hosts", "run-2"), property_types=hosts))
    later = {"city": property_type("any"), "name": property_type("json", NOON + MINUTE)}
    store.commit(lease, Commit(run=run(), property_types=later))
    assert (store.property_types("rooms"), store.property_types("hosts")) == (later, hosts)
    store.commit(lease, Commit(run=run(), property_types={}))
    assert (store.property_types("rooms"), store.property_types("hosts")) == ({}, hosts)


def test_awkward_names(store: Store) -> None:
    """Names of any characters and length come back as they were, each apart from the others."""
    types = {text: property_type("text") for text in (*AWKWARD, "beds", "Beds", "béds")}
    store.commit(leased(store), Commit(run=run(), property_types=types))
    assert store.property_types("rooms") == types
