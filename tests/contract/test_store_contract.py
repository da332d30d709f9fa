"""What every store promises to keep (`syncer.state.base.Store`), asked of each. Leases: `test_store_leases`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from contract.store_examples import (
    AWKWARD,
    FULL,
    MINUTE,
    NOON,
    checkpoint,
    dead_letter,
    doubt,
    everything,
    fingerprint,
    finished_run,
    leased,
    run,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncer.core.model import Kind, Watermark
from syncer.core.tombstone import GONE
from syncer.state import Commit, MemoryStore, Store, export_state

pytest_plugins = ["contract.store_fixtures"]

few = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class TestEmpty:
    def test_a_new_store_knows_nothing(self, store: Store) -> None:
        """A new store answers every question with nothing, never with an error."""
        assert store.checkpoint("rooms") is None
        assert everything(store) == ((), (), (), (), {}, (), {})
        assert store.dead_letter_counts() == {}
        assert store.last_fire("rooms", "0 * * * *") is None
        assert store.discard([1, 2]) == 0
        assert store.fingerprints("rooms", []) == {}

    def test_close_twice(self, store: Store) -> None:
        """Closing a store again does nothing."""
        store.close()
        store.close()


class TestCommits:
    def test_everything_together(self, store: Store) -> None:
        """A commit's run, checkpoint, dead letters and fingerprints come back as they were given."""
        store.commit(leased(store), FULL)
        assert FULL.checkpoint == store.checkpoint("rooms")
        assert (FULL.checkpoint,) == store.checkpoints()
        assert (FULL.run,) == store.runs()
        assert FULL.fingerprints == store.fingerprints("rooms", ["2", "3", "1", "1"])
        found = store.dead_letters()
        assert list(FULL.dead_letters) == [replace(letter, number=0) for letter in found]
        assert 0 < found[0].number < found[1].number

    def test_checkpoint_stays(self, store: Store) -> None:
        """A commit without a checkpoint leaves the saved one as it is."""
        lease = leased(store)
        store.commit(lease, FULL)
        store.commit(lease, Commit(run=run(run_id="run-2")))
        assert FULL.checkpoint == store.checkpoint("rooms")

    def test_checkpoint_is_replaced(self, store: Store) -> None:
        """A later checkpoint replaces the earlier one, also by one without a watermark."""
        lease = leased(store)
        store.commit(lease, FULL)
        bare = replace(checkpoint(), watermark=None, digest="other", updated_at=NOON + MINUTE)
        store.commit(lease, Commit(run=run(), checkpoint=bare))
        assert (bare,) == store.checkpoints()

    def test_checkpoints_by_name(self, store: Store) -> None:
        """Checkpoints are listed by mapping name."""
        for mapping in ("rooms", "Hosts", "hosts", "cities"):
            store.commit(leased(store, mapping), Commit(run=run(mapping, mapping), checkpoint=checkpoint(mapping)))
        assert [each.mapping for each in store.checkpoints()] == ["Hosts", "cities", "hosts", "rooms"]

    @pytest.mark.parametrize("kind", list(Kind))
    def test_watermark_kinds(self, store: Store, kind: Kind) -> None:
        """A watermark of every kind comes back with its kind."""
        mark = Watermark(kind=kind, text="000123.4500")
        store.commit(leased(store), Commit(run=run(), checkpoint=replace(checkpoint(), watermark=mark)))
        found = store.checkpoint("rooms")
        assert found is not None
        assert mark == found.watermark

    @pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
    def test_awkward_text(self, store: Store, text: str) -> None:
        """Text of any characters and length comes back unchanged from every field."""
        letter = dead_letter(id=text, text=text)
        report = replace(finished_run(), error=text, hint=text, collection=text)
        id = text[:99]  # with another character it is as long as ids are
        commit = Commit(
            run=report,
            checkpoint=checkpoint(text=text),
            dead_letters=[letter],
            fingerprints={id: fingerprint(), id + "x": fingerprint(b"x")},
        )
        store.commit(leased(store), commit)
        assert checkpoint(text=text) == store.checkpoint("rooms")
        assert (report,) == store.runs()
        assert [letter] == [replace(each, number=0) for each in store.dead_letters()]
        assert commit.fingerprints == store.fingerprints("rooms", [id, id + "x"])

    @few
    @given(text=st.text(st.characters(), max_size=50))
    def test_any_text(self, store: Store, text: str) -> None:
        """The text of a watermark is kept to the letter."""
        store.commit(leased(store), Commit(run=run(), checkpoint=checkpoint(text=text)))
        assert checkpoint(text=text) == store.checkpoint("rooms")

    @few
    @given(
        at=st.datetimes(
            min_value=datetime(1, 1, 2),
            max_value=datetime(9999, 12, 30),
            timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))]),
        )
    )
    def test_any_instant(self, store: Store, at: datetime) -> None:
        """Instants keep their microseconds, whatever the zone they are given in."""
        store.record_fire("rooms", "0 * * * *", at)
        found = store.last_fire("rooms", "0 * * * *")
        assert found is not None
        assert at == found
        assert timedelta(0) == found.utcoffset() or isinstance(store, MemoryStore)

    def test_an_object_has_one_dead_letter(self, store: Store) -> None:
        """A later refusal of the same id replaces the earlier one, in the same commit or a later one."""
        lease = leased(store)
        both = [dead_letter(id="1", text="first"), dead_letter(id="1", text="second"), dead_letter(id="2")]
        store.commit(lease, Commit(run=run(), dead_letters=both))
        assert ["second", "a value is too large"] == [letter.rejection.reason for letter in store.dead_letters()]
        store.commit(lease, Commit(run=run(run_id="run-2"), dead_letters=[dead_letter(id="1", text="third")]))
        assert {"1": "third", "2": "a value is too large"} == {
            letter.rejection.id: letter.rejection.reason for letter in store.dead_letters()
        }

    def test_an_accepted_object_loses_its_dead_letter(self, store: Store) -> None:
        """Those of other ids and other mappings stay."""
        lease, other = leased(store), leased(store, "hosts")
        store.commit(lease, Commit(run=run(), dead_letters=[dead_letter(id="1"), dead_letter(id="2")]))
        store.commit(other, Commit(run=run("hosts", "run-2"), dead_letters=[dead_letter("hosts", id="1")]))
        store.commit(lease, Commit(run=run(), fingerprints={"1": fingerprint(b"x")}))
        assert [("rooms", "2"), ("hosts", "1")] == [(each.mapping, each.rejection.id) for each in store.dead_letters()]

    def test_an_unchanged_object_loses_its_dead_letter(self, store: Store) -> None:
        """A row that is again what was accepted before leaves nothing to complain about."""
        lease = leased(store)
        store.commit(lease, Commit(run=run(), dead_letters=[dead_letter(id="1"), dead_letter(id="2")]))
        store.commit(lease, Commit(run=run(), unchanged=["1", "7"]))
        assert ["2"] == [letter.rejection.id for letter in store.dead_letters()]

    def test_a_sweep_removes_nameless_letters_of_earlier_runs(self, store: Store) -> None:
        """Rows without a key cannot be told apart, so a run that read everything replaces them all."""
        lease = leased(store)
        store.commit(lease, Commit(run=run(), dead_letters=[dead_letter(id=None), dead_letter(id="1")]))
        again = replace(dead_letter(id=None), run_id="run-2")
        store.commit(lease, Commit(run=run(run_id="run-2"), dead_letters=[again]))
        assert 3 == len(store.dead_letters())
        store.commit(lease, Commit(run=run(run_id="run-2"), swept=True))
        assert [("run-1", "1"), ("run-2", None)] == [(each.run_id, each.rejection.id) for each in store.dead_letters()]

    def test_resolved(self, store: Store) -> None:
        """Dead letters that a run resolved are removed; those of other mappings stay."""
        lease, other = leased(store), leased(store, "hosts")
        store.commit(lease, replace(FULL, run=run()))
        store.commit(other, Commit(run=run("hosts", "run-2"), dead_letters=[dead_letter("hosts")]))
        first, second, third = (letter.number for letter in store.dead_letters())
        store.commit(lease, Commit(run=run(), resolved=[first, third, 999_999]))
        assert [second, third] == [letter.number for letter in store.dead_letters()]


class TestFingerprints:
    def test_replaced(self, store: Store) -> None:
        """A later fingerprint of the same id replaces the earlier one."""
        lease = leased(store)
        store.commit(lease, FULL)
        newer = fingerprint(b"newer", NOON + 5 * MINUTE)
        store.commit(lease, Commit(run=run(), fingerprints={"1": newer}))
        assert {"1": newer, "2": FULL.fingerprints["2"]} == store.fingerprints("rooms", ["1", "2"])

    def test_thousands(self, store: Store) -> None:
        """Thousands of fingerprints are committed and looked up together."""
        lease = leased(store)
        known = {f"room-{number}": fingerprint(number.to_bytes(16, "big")) for number in range(3000)}
        store.commit(lease, Commit(run=run(), fingerprints=known))
        asked = [f"room-{number}" for number in range(1500, 4500)]
        expected = {id: known[id] for id in asked if id in known}
        assert len(expected) == 1500
        assert expected == store.fingerprints("rooms", asked)

    def test_living_come_in_pages(self, store: Store) -> None:
        """Every id that has no tombstone, once, whatever ids look like."""
        ids = ["7", "70", "8", "abc", "0b6c3c3e-8f0f-4c9e-9c1c-6f1d2f4b8a11", "Zürich", "-1", "gone"]
        known = {each: fingerprint(GONE if each == "gone" else b"digest") for each in ids}
        store.commit(leased(store), Commit(run=run(), fingerprints=known))
        store.commit(leased(store, "hosts"), Commit(run=run("hosts", "run-2"), fingerprints={"9": fingerprint()}))
        found: list[str] = []
        while page := store.living("rooms", found[-1] if found else None, 3):
            assert len(page) <= 3
            found.extend(page)
        assert sorted(found) == sorted(set(ids) - {"gone"})
        assert (store.living_count("rooms"), store.living_count("hosts"), store.living_count("attics")) == (7, 1, 0)

    def test_the_basis_is_kept(self, store: Store) -> None:
        """Per mapping, until the fingerprints are forgotten; a commit that says nothing of it leaves it."""
        lease = leased(store)
        assert store.basis("rooms") is None
        store.commit(lease, Commit(run=run(), basis="first", fingerprints={"1": fingerprint()}))
        store.commit(lease, Commit(run=run(), basis="second"))
        store.commit(lease, Commit(run=run()))
        assert (store.basis("rooms"), store.basis("hosts")) == ("second", None)
        assert list(store.fingerprints("rooms", ["1"])) == ["1"]
        store.reset(lease, fingerprints=False)
        assert store.basis("rooms") == "second"
        store.reset(lease, fingerprints=True)
        assert (store.basis("rooms"), store.fingerprints("rooms", ["1"])) == (None, {})

    def test_what_is_outdated_is_forgotten(self, store: Store) -> None:
        """What was accepted before a moment, in one mapping only."""
        for mapping in ("rooms", "hosts"):
            known = {"old": fingerprint(), "new": fingerprint(b"x", NOON + MINUTE)}
            lease = leased(store, mapping)
            store.commit(lease, Commit(run=run(mapping, mapping), fingerprints=known))
        store.commit(lease, Commit(run=run("hosts", "hosts"), outdated=NOON + MINUTE))
        assert list(store.fingerprints("hosts", ["old", "new"])) == ["new"]
        assert sorted(store.fingerprints("rooms", ["old", "new"])) == ["new", "old"]

    def test_old_tombstones_are_forgotten(self, store: Store) -> None:
        """And nothing else: what lives stays known, however old."""
        for mapping in ("rooms", "hosts"):
            lease = leased(store, mapping)
            known = {"old": fingerprint(), "grave": fingerprint(GONE), "new grave": fingerprint(GONE, NOON + MINUTE)}
            store.commit(lease, Commit(run=run(mapping, mapping), fingerprints=known))
        store.commit(lease, Commit(run=run("hosts", "hosts"), buried_before=NOON + MINUTE))
        assert sorted(store.fingerprints("hosts", ["old", "grave", "new grave"])) == ["new grave", "old"]
        assert len(store.fingerprints("rooms", ["old", "grave", "new grave"])) == 3

    def test_per_mapping(self, store: Store) -> None:
        """The same id in two mappings has two fingerprints."""
        for mapping in ("rooms", "hosts"):
            mine = {"1": fingerprint(mapping.encode())}
            store.commit(leased(store, mapping), Commit(run=run(mapping, mapping), fingerprints=mine))
        assert {"1": fingerprint(b"hosts")} == store.fingerprints("hosts", ["1"])
        assert {"1": fingerprint(b"rooms")} == store.fingerprints("rooms", ["1"])

    def test_ids_are_exact(self, store: Store) -> None:
        """Ids that a collation takes for equal are different objects."""
        ids = ["a", "A", "a ", " a", "á", "a\x00"]
        known = {id: fingerprint(id.encode()) for id in ids}
        store.commit(leased(store), Commit(run=run(), fingerprints=known))
        assert known == store.fingerprints("rooms", ids)


class TestDoubts:
    def test_one_without_rows_counts_none(self, store: Store) -> None:
        """It says that something may land, not of which row."""
        store.commit(leased(store), Commit(run=run(), doubts=[doubt("run-1", 0, NOON)]))
        assert [each.keys for each in store.doubts("rooms")] == [()]
        assert not store.doubt_counts().get("rooms")

    def test_kept_and_assured(self, store: Store) -> None:
        """Every field comes back, ordered by run and part; what is assured is gone."""
        lease = leased(store)
        noted, since = doubt("run-2", 0, None, "a"), doubt("run-1", 1, NOON, *AWKWARD)
        store.commit(lease, Commit(run=run(), doubts=[noted, since, doubt("run-1", 0, NOON, "b")]))
        assert [since, noted] == list(store.doubts("rooms"))[1:]
        store.commit(lease, Commit(run=run(), assured=[("run-1", 1), ("run-9", 9)]))
        assert [doubt("run-1", 0, NOON, "b"), noted] == list(store.doubts("rooms"))

    def test_replaced(self, store: Store) -> None:
        """A note that a dead run left becomes a doubt with a time."""
        lease = leased(store)
        store.commit(lease, Commit(run=run(), doubts=[doubt("run-1", 0, None, "a")]))
        store.commit(lease, Commit(run=run(), doubts=[doubt("run-1", 0, NOON, "a")]))
        assert [doubt("run-1", 0, NOON, "a")] == list(store.doubts("rooms"))

    def test_per_mapping(self, store: Store) -> None:
        """A mapping's doubts are its own, also when they are assured."""
        for mapping in ("rooms", "hosts"):
            store.commit(
                leased(store, mapping), Commit(run=run(mapping, mapping), doubts=[doubt("run-1", 0, NOON, "a")])
            )
        lease = leased(store)
        store.commit(lease, Commit(run=run(), assured=[("run-1", 0)]))
        assert (list(store.doubts("rooms")), len(store.doubts("hosts"))) == ([], 1)

    def test_counted_by_rows(self, store: Store) -> None:
        """What is on its way right now is not counted."""
        mine = [doubt("run-1", 0, None, "a"), doubt("run-1", 1, NOON, "a", "b"), doubt("run-1", 2, NOON, "c")]
        store.commit(leased(store), Commit(run=run(), doubts=mine))
        assert store.doubt_counts() == {"rooms": 3}


class TestReset:
    @pytest.mark.parametrize("also", [False, True])
    def test_reset(self, store: Store, also: bool) -> None:
        """A reset forgets the checkpoint, fingerprints and types only when asked, and never runs or dead letters."""
        lease = leased(store)
        store.commit(lease, FULL)
        other = {"1": fingerprint(b"host")}
        store.commit(
            leased(store, "hosts"),
            Commit(run=run("hosts", "run-2"), checkpoint=checkpoint("hosts"), fingerprints=other),
        )
        store.reset(lease, fingerprints=also)
        assert (checkpoint("hosts"),) == store.checkpoints()
        assert ({} if also else FULL.fingerprints) == store.fingerprints("rooms", ["1", "2"])
        assert ({} if also else FULL.property_types) == store.property_types("rooms")
        assert other == store.fingerprints("hosts", ["1"])
        assert len(store.dead_letters()) == 2
        assert len(store.runs()) == 2


class TestRuns:
    def test_updated(self, store: Store) -> None:
        """A run told again under the same id is updated in place, and appears once."""
        lease = leased(store)
        store.commit(lease, Commit(run=run()))
        assert store.runs()[0].outcome is None
        store.commit(lease, Commit(run=finished_run()))
        assert (finished_run(),) == store.runs()

    def test_order(self, store: Store) -> None:
        """Runs come newest start first; of equal starts the one recorded last comes first."""
        lease = leased(store)
        for run_id, minute in [("b", 1), ("a", 3), ("d", 2), ("c", 2), ("z", 0)]:
            store.commit(lease, Commit(run=run(run_id=run_id, started_at=NOON + minute * MINUTE)))
        store.commit(lease, Commit(run=run(run_id="d", started_at=NOON + 2 * MINUTE)))
        assert [report.run_id for report in store.runs()] == ["a", "c", "d", "b", "z"]
        assert [report.run_id for report in store.runs(limit=2)] == ["a", "c"]

    def test_of_one_mapping(self, store: Store) -> None:
        """Runs can be asked for one mapping; twenty are shown unless told otherwise."""
        rooms, hosts = leased(store), leased(store, "hosts")
        for number in range(25):
            store.commit(rooms, Commit(run=run(run_id=f"r{number}", started_at=NOON + number * MINUTE)))
        store.commit(hosts, Commit(run=run("hosts", "h", NOON - MINUTE)))
        assert len(store.runs()) == 20
        assert [report.run_id for report in store.runs("hosts")] == ["h"]
        assert len(store.runs("rooms", limit=100)) == 25
        assert store.runs("cities") == ()


class TestDeadLetters:
    @pytest.fixture
    def numbers(self, store: Store) -> list[int]:
        """Numbers of six dead letters: four of rooms around two of hosts."""
        rooms, hosts = leased(store), leased(store, "hosts")
        store.commit(rooms, Commit(run=run(), dead_letters=[dead_letter(id="1"), dead_letter(id="2")]))
        two = [dead_letter("hosts", id="3"), dead_letter("hosts", id="4")]
        store.commit(hosts, Commit(run=run("hosts", "run-2"), dead_letters=two))
        store.commit(rooms, Commit(run=run(), dead_letters=[dead_letter(id="5"), dead_letter(id=None)]))
        return [letter.number for letter in store.dead_letters()]

    def test_oldest_first(self, store: Store, numbers: list[int]) -> None:
        """Dead letters are listed oldest first, under growing numbers."""
        assert sorted(set(numbers)) == numbers
        assert [letter.rejection.id for letter in store.dead_letters()] == ["1", "2", "3", "4", "5", None]

    @pytest.mark.parametrize(
        ("mapping", "places", "limit", "expected"),
        [
            ("rooms", None, None, [0, 1, 4, 5]),
            ("hosts", None, 1, [2]),
            ("cities", None, None, []),
            (None, [4, 0, 0], None, [0, 4]),
            (None, [5, 3, 1], 2, [1, 3]),
            ("rooms", [1, 2, 4], None, [1, 4]),
            (None, [], None, []),
            (None, None, 3, [0, 1, 2]),
        ],
    )
    def test_chosen(
        self,
        store: Store,
        numbers: list[int],
        mapping: str | None,
        places: list[int] | None,
        limit: int | None,
        expected: list[int],
    ) -> None:
        """Dead letters can be chosen by mapping and by number, and limited; both choices apply."""
        asked = None if places is None else [numbers[place] for place in places]
        found = store.dead_letters(mapping, numbers=asked, limit=limit)
        assert [numbers[place] for place in expected] == [letter.number for letter in found]

    def test_many_numbers(self, store: Store, numbers: list[int]) -> None:
        """Thousands of numbers may be asked for and discarded at once."""
        asked = list(range(5000, 0, -1))
        assert numbers == [letter.number for letter in store.dead_letters(numbers=asked)]
        assert numbers[:4] == [letter.number for letter in store.dead_letters(numbers=asked, limit=4)]
        assert store.discard(asked) == 6

    def test_counts(self, store: Store, numbers: list[int]) -> None:
        """Dead letters are counted per mapping; a mapping without any is left out."""
        assert store.dead_letter_counts() == {"rooms": 4, "hosts": 2}
        store.discard(numbers[2:4])
        assert store.dead_letter_counts() == {"rooms": 4}

    def test_discard(self, store: Store, numbers: list[int]) -> None:
        """Discarding tells how many there were; repeated and unknown numbers do not count."""
        assert store.discard([numbers[0], numbers[5], numbers[0], 999_999]) == 2
        assert numbers[1:5] == [letter.number for letter in store.dead_letters()]
        assert store.discard([]) == 0

    def test_numbers_are_not_given_again(self, store: Store, numbers: list[int]) -> None:
        """A new dead letter never gets the number of a discarded one."""
        store.discard(numbers)
        lease = leased(store, owner="b", now=NOON + MINUTE)
        store.commit(lease, Commit(run=run(), dead_letters=[dead_letter()]))
        assert store.dead_letters()[0].number > numbers[-1]

    def test_least_filled(self, store: Store) -> None:
        """A dead letter whose optional fields are empty comes back with them empty."""
        bare = replace(dead_letter().rejection, id=None, key=None, properties=None, status=None, response=None)
        store.commit(leased(store), Commit(run=run(), dead_letters=[replace(dead_letter(), rejection=bare)]))
        assert bare == store.dead_letters()[0].rejection

    def test_large_object(self, store: Store) -> None:
        """An object of 3 MB of any bytes is kept whole."""
        large = bytes(range(256)) * 12_000
        rejection = replace(dead_letter().rejection, properties=large)
        store.commit(leased(store), Commit(run=run(), dead_letters=[replace(dead_letter(), rejection=rejection)]))
        assert large == store.dead_letters()[0].rejection.properties


class TestFires:
    def test_fires(self, store: Store) -> None:
        """The last fire is remembered per mapping and schedule."""
        store.record_fire("rooms", "0 * * * *", NOON)
        store.record_fire("rooms", "0 2 * * *", NOON + MINUTE)
        store.record_fire("hosts", "0 * * * *", NOON + 2 * MINUTE)
        store.record_fire("rooms", "0 * * * *", NOON + 3 * MINUTE)
        assert store.last_fire("rooms", "0 * * * *") == NOON + 3 * MINUTE
        assert store.last_fire("rooms", "0 2 * * *") == NOON + MINUTE
        assert store.last_fire("hosts", "0 * * * *") == NOON + 2 * MINUTE
        assert store.last_fire("cities", "0 * * * *") is None

    def test_pauses(self, store: Store) -> None:
        """A pause holds from when it began, however often it is asked for, until it is taken back, once or twice."""
        assert store.pauses() == {}
        store.pause("rooms", NOON)
        store.pause("rooms", NOON + MINUTE)
        store.pause("hosts", NOON + MINUTE)
        assert store.pauses() == {"rooms": NOON, "hosts": NOON + MINUTE}
        store.resume("rooms")
        store.resume("rooms")
        assert store.pauses() == {"hosts": NOON + MINUTE}


class TestExport:
    def test_export(self, store: Store) -> None:
        """An export is JSON with every checkpoint and the number of dead letters, and none of their contents."""
        store.commit(leased(store), FULL)
        bare = replace(checkpoint("hosts"), watermark=None)
        store.commit(leased(store, "hosts"), Commit(run=run("hosts", "run-2"), checkpoint=bare))
        document = export_state(store)
        rooms = {"kind": "timestamp", "text": "2026-03-01 11:59:59.999999"}
        rest = {"digest": "d" * 32, "updated_at": "2026-03-01T12:00:00.123456+00:00"}
        assert document == {
            "checkpoints": [
                {"mapping": "hosts", "watermark": None, **rest},
                {"mapping": "rooms", "watermark": rooms, **rest},
            ],
            "dead_letters": {"rooms": 2},
            "in_doubt": {"rooms": 1},
        }
        assert document == json.loads(json.dumps(document))


class TestThreads:
    def test_commits_from_many_threads(self, store: Store) -> None:
        """Mappings that commit from several threads at once do not disturb each other."""

        def work(mapping: str) -> None:
            lease = leased(store, mapping)
            for number in range(10):
                known = {f"{number}-{item}": fingerprint(mapping.encode()) for item in range(20)}
                letters = [dead_letter(mapping, id=f"refused {number}")]
                store.commit(lease, Commit(run=run(mapping, mapping), fingerprints=known, dead_letters=letters))

        mappings = [f"rooms_{letter}" for letter in "abcdefgh"]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, mappings))
        assert dict.fromkeys(mappings, 10) == store.dead_letter_counts()
        asked = [f"{number}-{item}" for number in range(10) for item in range(20)]
        for mapping in mappings:
            assert dict.fromkeys(asked, fingerprint(mapping.encode())) == store.fingerprints(mapping, asked)
