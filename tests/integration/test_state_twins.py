"""Any sequence of calls has the same effect on a SQLite file as on the store in memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from campaign import rounds
from contract.store_examples import AWKWARD, NOON, checkpoint, dead_letter, doubt, fingerprint, run
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from syncer.core.model import Lease
from syncer.errors import StateError
from syncer.state import Commit, MemoryStore, Store, open_store

MAPPINGS = ("rooms", "Rooms", "hosts ")
IDS = ("1", "2", "a", "A", *AWKWARD[:7])

mappings = st.sampled_from(MAPPINGS)
ids = st.lists(st.sampled_from(IDS), max_size=4)
texts = st.text(st.characters(), max_size=8)
leases = st.integers(0, 5)


class Twins(RuleBasedStateMachine):
    """Does everything to both stores and compares what they answer."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="state-"))
        self.url = f"sqlite:///{self.folder / 'syncer.db'}"
        self.memory = MemoryStore()
        self.file: Store = open_store(self.url)
        self.now = NOON
        self.given: list[Lease] = []

    def both(self, act: Callable[[Store], object]) -> object:
        """The answer or the error of both, which must be the same."""
        first, second = self.outcome(self.memory, act), self.outcome(self.file, act)
        assert first == second
        return first

    @staticmethod
    def outcome(store: Store, act: Callable[[Store], object]) -> object:
        """What a call returned, or its error."""
        try:
            return act(store)
        except StateError as error:
            return (type(error), error.message, error.hint)

    def lease(self, number: int, mapping: str) -> Lease:
        """One of the last leases given, or one that never was."""
        never = Lease(mapping=mapping, owner="nobody", epoch=0, expires_at=NOON)
        return [*self.given[::-1], never][min(number, len(self.given))]

    @initialize()
    def begin(self) -> None:
        """Both are empty."""
        assert self.file.checkpoints() == ()

    @rule(seconds=st.integers(0, 90))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)

    @rule(mapping=mappings, owner=st.sampled_from("abc"), seconds=st.integers(1, 60))
    def acquire(self, mapping: str, owner: str, seconds: int) -> None:
        """Somebody wants a lease."""
        answer = self.both(lambda store: store.acquire(mapping, owner, self.now, timedelta(seconds=seconds)))
        if isinstance(answer, Lease):
            self.given.append(answer)

    @rule(number=leases, mapping=mappings)
    def renew(self, number: int, mapping: str) -> None:
        """A lease, old or current, is renewed."""
        lease = self.lease(number, mapping)
        self.both(lambda store: store.renew(lease, self.now, timedelta(seconds=30)))

    @rule(number=leases, mapping=mappings)
    def release(self, number: int, mapping: str) -> None:
        """A lease, old or current, is given back."""
        lease = self.lease(number, mapping)
        self.both(lambda store: store.release(lease))

    @rule(
        number=leases, mapping=mappings, run_id=st.sampled_from("xyz"), text=st.none() | texts, accepted=ids,
        doubted=st.lists(ids, max_size=3), assured=st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 2))),
        refused=st.lists(texts, max_size=3), resolved=st.lists(st.integers(1, 12), max_size=3),
    )  # fmt: skip
    def commit(
        self,
        number: int,
        mapping: str,
        run_id: str,
        text: str | None,
        accepted: list[str],
        doubted: list[list[str]],
        assured: list[tuple[str, int]],
        refused: list[str],
        resolved: list[int],
    ) -> None:
        """Something is committed under a lease, old or current."""
        lease = self.lease(number, mapping)
        commit = Commit(
            run=run(lease.mapping, run_id, self.now, error=text),
            checkpoint=None if text is None else checkpoint(lease.mapping, text),
            fingerprints={id: fingerprint(str(self.now).encode(), self.now) for id in accepted},
            doubts=[doubt(run_id, part, self.now, *keys) for part, keys in enumerate(doubted)],
            assured=assured,
            dead_letters=[dead_letter(lease.mapping, id, text=id) for id in refused],
            resolved=resolved,
        )
        self.both(lambda store: store.commit(lease, commit))

    @rule(number=leases, mapping=mappings, also=st.booleans())
    def reset(self, number: int, mapping: str, also: bool) -> None:
        """A mapping is reset under a lease, old or current."""
        lease = self.lease(number, mapping)
        self.both(lambda store: store.reset(lease, fingerprints=also))

    @rule(numbers=st.lists(st.integers(1, 12), max_size=3))
    def discard(self, numbers: list[int]) -> None:
        """Dead letters are discarded."""
        self.both(lambda store: store.discard(numbers))

    @rule(mapping=mappings, schedule=texts)
    def fire(self, mapping: str, schedule: str) -> None:
        """A schedule fires."""
        self.both(lambda store: store.record_fire(mapping, schedule, self.now))
        self.both(lambda store: store.last_fire(mapping, schedule))

    @rule(mapping=st.none() | mappings, limit=st.integers(1, 4), numbers=st.none() | st.lists(st.integers(1, 12)))
    def ask(self, mapping: str | None, limit: int, numbers: list[int] | None) -> None:
        """Both are asked with the same choices."""
        self.both(lambda store: store.runs(mapping, limit))
        self.both(lambda store: store.dead_letters(mapping, numbers=numbers, limit=limit))

    @rule()
    def reopen(self) -> None:
        """The process ends and another one opens the file."""
        self.file.close()
        self.file = open_store(self.url)

    @invariant()
    def same(self) -> None:
        """Both tell the same."""
        for ask in (
            lambda store: store.leases(),
            lambda store: store.checkpoints(),
            lambda store: store.runs(limit=100),
            lambda store: store.dead_letters(),
            lambda store: store.dead_letter_counts(),
            lambda store: [store.fingerprints(mapping, IDS) for mapping in MAPPINGS],
            lambda store: [store.checkpoint(mapping) for mapping in MAPPINGS],
        ):
            self.both(ask)

    def teardown(self) -> None:
        """Remove the file."""
        self.file.close()
        shutil.rmtree(self.folder)


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=rounds(20, 400), stateful_step_count=30, deadline=None)
