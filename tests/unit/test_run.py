"""Runs from lease to report, over memory: no database, no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.run_world import FULL, ROOMS, World, rooms

from syncer.core.events import RunFinished, RunStarted
from syncer.core.model import (
    CollectionMapping,
    Kind,
    Lease,
    Limits,
    Mode,
    Outcome,
    Watermark,
    WatermarkRule,
)
from syncer.core.plan import RunOptions
from syncer.core.tombstone import OPEN
from syncer.delivery.memory import MemoryDelivery, Scripted
from syncer.errors import StateUnwritable
from syncer.run.executor import exit_code
from syncer.state import MemoryStore
from syncer.state.base import Commit


def test_a_first_run_sends_everything_and_saves_the_watermark() -> None:
    """Every row arrives, the counts add up, the checkpoint is the last row's watermark."""
    world = World(rooms(25))
    report = world.run()
    assert report.outcome is Outcome.SUCCEEDED
    assert (report.mode, report.counts.read, report.counts.sent, report.counts.requests) == (Mode.FULL, 25, 25, 3)
    assert world.cities == {str(number): f"city {number}" for number in range(1, 26)}
    assert world.watermark == "25"
    assert report.watermark == Watermark(kind=Kind.INTEGER, text="25")


def test_an_idle_run_sends_nothing_and_leaves_the_checkpoint_alone() -> None:
    """The rows at the watermark are read again and found unchanged."""
    world = World(rooms(25))
    world.run()
    before = world.store.checkpoint("rooms")
    world.now += timedelta(hours=1)
    report = world.run()
    assert (report.mode, report.counts.read, report.counts.unchanged, report.counts.requests) == (
        Mode.INCREMENTAL, 1, 1, 0,
    )  # fmt: skip
    assert world.store.checkpoint("rooms") == before


def test_rows_that_tie_with_the_watermark_are_never_lost() -> None:
    """A row that appears at the saved watermark itself arrives with the next run."""
    world = World([(1, "Lihue", 5), (3, "Austin", 5)])
    world.run()
    world.source.rows.append((2, "Kraków", 5))
    assert world.run().counts.sent == 1
    assert world.cities["2"] == "Kraków"


def test_a_full_run_sends_only_what_changed() -> None:
    """Unchanged objects are compared, not sent."""
    world = World(rooms(25))
    world.run()
    world.source.rows[3] = (4, "Lisboa", 4)  # changed without moving its watermark
    report = world.run(FULL)
    assert (report.counts.read, report.counts.sent, report.counts.unchanged) == (25, 1, 24)
    assert world.cities["4"] == "Lisboa"


@pytest.mark.parametrize("mapping", [ROOMS, replace(ROOMS, send="all")])
def test_resend_and_send_all_ignore_fingerprints(mapping: CollectionMapping) -> None:
    """`--resend`, and `send: all`, send every row read."""
    world = World(rooms(5), mapping=mapping)
    world.run()
    assert world.run(RunOptions(mode=Mode.FULL, resend=mapping.send == "changed")).counts.sent == 5


def test_an_unchanged_object_is_refreshed_before_it_expires() -> None:
    """After `refresh_after` it is sent again, and its age begins anew."""
    world = World(rooms(5))
    world.run()
    world.now += timedelta(days=49)
    assert world.run(FULL).counts.sent == 0
    world.now += timedelta(days=1)
    assert world.run(FULL).counts.sent == 5
    assert world.run(FULL).counts.sent == 0


def test_a_rejected_row_is_a_dead_letter_and_the_run_partial() -> None:
    """The watermark passes it because the dead letter is stored with it."""
    world = World([*rooms(5), (None, "nowhere", 6), (7, "x" * 40_000, 7)])
    report = world.run()
    assert (report.outcome, report.counts.rejected, report.counts.sent) == (Outcome.PARTIAL, 2, 5)
    assert exit_code([report]) == 3
    assert [each.rejection.code for each in world.store.dead_letters("rooms")] == ["NULL_KEY", "VALUE_TOO_LARGE"]
    assert world.watermark == "7"


def test_an_object_the_api_refuses_is_a_dead_letter_with_its_answer() -> None:
    """The object is kept as it was sent."""
    world = World(rooms(12))
    world.delivery = MemoryDelivery(refuses=lambda each: each.id == "5")
    report = world.run()
    assert (report.outcome, report.counts.sent, report.counts.rejected) == (Outcome.PARTIAL, 11, 1)
    (letter,) = world.store.dead_letters("rooms")
    assert (letter.rejection.code, letter.rejection.id) == ("API_400", "5")
    assert letter.rejection.properties == b'{"city":"city 5","version":5}'


def test_a_dead_letter_leaves_when_its_object_is_accepted() -> None:
    """Once the row is fixed and sent, nothing is left to complain about."""
    world = World([(1, "x" * 40_000, 1)])
    world.run()
    world.source.rows[0] = (1, "Austin", 2)
    world.run()
    assert not world.store.dead_letters("rooms")


def test_a_row_that_is_refused_again_has_one_dead_letter() -> None:
    """Nightly full runs do not pile up the same complaint."""
    world = World([(1, "x" * 40_000, 1), (2, "fine", 2), (None, "no key", 3)])
    for _ in range(3):
        world.run(FULL)
    assert [each.rejection.code for each in world.store.dead_letters("rooms")] == ["VALUE_TOO_LARGE", "NULL_KEY"]


@pytest.mark.parametrize("scripted", [Scripted.FAIL, Scripted.DOUBT, Scripted.UNAUTHORIZED])
@pytest.mark.parametrize("batch", range(5))
def test_a_failed_batch_holds_the_watermark_and_the_next_run_heals(scripted: Scripted, batch: int) -> None:
    """Whichever batch fails, the watermark stays before it, and a second run ends with everything delivered."""
    world = World(rooms(50), chunk=10)
    world.delivery = MemoryDelivery([*[Scripted.ACCEPT] * batch, scripted], max_in_flight=1)
    report = world.run()
    assert (report.outcome, exit_code([report])) == (Outcome.FAILED, 1)
    assert world.watermark == (str(10 * batch) if batch else None)
    failed, world.delivery = world.delivery, MemoryDelivery()
    assert world.run().outcome is Outcome.SUCCEEDED
    delivered = {key[1] for key in (*failed.objects, *world.delivery.objects)}
    assert delivered == {str(number) for number in range(1, 51)}


def test_an_id_in_doubt_is_sent_again_even_if_it_looks_unchanged() -> None:
    """A request without an answer may have landed, so what was known before it is no longer trusted."""
    world = World([(1, "old", 1)])
    world.run()
    world.source.rows[0] = (1, "new", 2)
    world.delivery = MemoryDelivery([Scripted.DOUBT])
    world.run()
    world.source.rows[0] = (1, "old", 3)  # back to what was accepted first
    doubtful = world.delivery
    world.delivery = MemoryDelivery()
    world.run()
    assert doubtful.objects[("rooms", "1")]["city"] == "new"
    assert world.cities == {"1": "old"}


def test_the_last_of_two_rows_with_one_id_wins() -> None:
    """Repeated ids that appear later are sent in order, each alone."""
    world = World([(1, "first", 1)])
    world.run()
    world.source.rows += [(1, "second", 2), (1, "first", 3)]
    report = world.run()
    assert report.outcome is Outcome.SUCCEEDED
    assert world.cities == {"1": "first"}


def test_a_key_that_is_not_unique_is_refused_before_anything_is_sent() -> None:
    """The first run of a query has the database count; the state stays as it was."""
    world = World([(1, "a", 1), (1, "b", 2)])
    report = world.run()
    assert (report.outcome, exit_code([report])) == (Outcome.FAILED, 2)
    assert "not unique" in (report.error or "")
    assert report.hint
    assert world.delivery.batches == []
    assert world.store.checkpoint("rooms") is None


def test_nearly_all_rejected_stops_the_run_and_stores_no_dead_letter() -> None:
    """A config error must not drain a table into the dead letters."""
    world = World(rooms(200), chunk=50)
    world.delivery = MemoryDelivery(refuses=lambda _: True)
    report = world.run()
    assert (report.outcome, exit_code([report])) == (Outcome.FAILED, 1)
    assert "API_400" in (report.error or "")
    assert not world.store.dead_letters("rooms")
    assert world.watermark is None


@pytest.mark.parametrize(
    ("nulls", "outcome", "sent", "skipped"),
    [("include", Outcome.SUCCEEDED, 3, 0), ("skip", Outcome.SUCCEEDED, 2, 1), ("error", Outcome.FAILED, 0, 0)],
)
def test_null_watermarks_follow_their_policy(nulls: str, outcome: Outcome, sent: int, skipped: int) -> None:
    """Included, skipped and counted, or an error that sends nothing."""
    rule = WatermarkRule(column="version", nulls=nulls)  # type: ignore[arg-type]
    world = World([*rooms(2), (3, "no version", None)], mapping=replace(ROOMS, watermark=rule))
    report = world.run()
    assert (report.outcome, report.counts.sent, report.counts.skipped) == (outcome, sent, skipped)


def test_without_a_watermark_every_run_is_full() -> None:
    """Unchanged rows are still not sent twice."""
    world = World(rooms(5), mapping=replace(ROOMS, watermark=None))
    assert (world.run().mode, world.run().mode) == (Mode.FULL, Mode.FULL)
    assert len(world.delivery.batches) == 1


def test_a_changed_query_stops_until_the_person_decides() -> None:
    """Nothing is sent, the checkpoint stays, and `--full` goes on."""
    world = World(rooms(5))
    world.run()
    before = world.store.checkpoint("rooms")
    world.mapping = replace(ROOMS, query="other rooms")
    report = world.run()
    assert (report.outcome, exit_code([report])) == (Outcome.FAILED, 2)
    assert world.store.checkpoint("rooms") == before
    assert world.run(FULL).outcome is Outcome.SUCCEEDED
    assert world.run().mode is Mode.INCREMENTAL


def test_an_empty_run_writes_no_checkpoint() -> None:
    """No rows, no news."""
    world = World([])
    assert world.run().outcome is Outcome.SUCCEEDED
    assert world.store.checkpoint("rooms") is None


def test_a_dry_run_writes_and_sends_nothing() -> None:
    """What would be sent counts as skipped."""
    world = World(rooms(5))
    report = world.run(RunOptions(dry_run=True))
    assert (report.outcome, report.counts.read, report.counts.skipped) == (Outcome.SUCCEEDED, 5, 5)
    assert world.delivery.batches == []
    assert world.store.checkpoint("rooms") is None
    assert not world.store.runs()


def test_a_range_sends_its_rows_and_saves_no_checkpoint() -> None:
    """`--from` is inclusive, `--to` exclusive."""
    world = World(rooms(9))
    report = world.run(RunOptions(start="3", end="6"))
    assert (report.outcome, sorted(world.cities)) == (Outcome.SUCCEEDED, ["3", "4", "5"])
    assert world.watermark is None


def test_a_limit_reads_that_many_rows_and_the_next_run_goes_on() -> None:
    """The watermark stands where the limit ended."""
    world = World(rooms(9))
    assert world.run(RunOptions(limit=4)).counts.read == 4
    assert world.watermark == "4"
    world.run()
    assert len(world.cities) == 9


def test_a_mapping_that_runs_elsewhere_is_locked() -> None:
    """Another owner's lease ends the run with exit code 4, and nothing is read."""
    world = World(rooms(5))
    world.store.acquire("rooms", "someone else", world.now, timedelta(minutes=1))
    report = world.run()
    assert (report.outcome, exit_code([report])) == (Outcome.LOCKED, 4)
    assert world.delivery.batches == []


def test_a_run_told_to_stop_saves_what_is_settled() -> None:
    """Interrupted is neither failed nor succeeded; its counts add up."""
    world = World(rooms(50))
    world.stop = True
    report = world.run()
    assert report.outcome is Outcome.INTERRUPTED
    assert report.counts.balanced
    world.stop = False
    world.run()
    assert len(world.cities) == 50


def test_the_lease_is_given_back() -> None:
    """The next owner need not wait."""
    world = World(rooms(5))
    world.run()
    assert world.store.acquire("rooms", "someone else", world.now, timedelta(minutes=1)).epoch == 2


def test_observers_hear_of_start_and_end() -> None:
    """The last event carries the stored report."""
    world = World(rooms(5))
    report = world.run()
    assert isinstance(world.events[0], RunStarted)
    assert world.events[-1] == RunFinished(report=report)
    assert world.store.runs()[0].counts == report.counts


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], 0),
        ([Outcome.SUCCEEDED], 0),
        ([Outcome.SUCCEEDED, Outcome.PARTIAL], 3),
        ([Outcome.PARTIAL, Outcome.LOCKED], 4),
        ([Outcome.LOCKED, Outcome.FAILED], 1),
    ],
)
def test_the_gravest_run_gives_the_exit_code(outcomes: list[Outcome], code: int) -> None:
    """1 before 2 before 4 before 3 before 0; a signal before them all."""
    report = World(rooms(1)).run()
    reports = [replace(report, outcome=outcome) for outcome in outcomes]
    assert exit_code(reports) == code
    assert exit_code(reports, signal=15) == 143


ROW = st.tuples(st.integers(1, 12), st.sampled_from(["Lihue", "Austin", "Kraków", None]))
STEP = st.one_of(
    ROW.map(lambda row: ("write", row)),
    st.sampled_from([("run", RunOptions()), ("run", FULL), ("run", RunOptions(limit=3))]),
    st.lists(st.sampled_from(list(Scripted)), max_size=4).map(lambda script: ("break", script)),
)


@given(st.lists(STEP, max_size=25), st.integers(1, 5), st.integers(1, 4))
def test_any_history_ends_with_the_destination_equal_to_the_source(
    steps: list[tuple[str, object]], chunk: int, in_flight: int
) -> None:
    """Writes, runs and failing deliveries in any order: after one good run every object equals its row."""
    world = World([], chunk=chunk)
    landed = world.delivery.objects
    version = 0
    for what, detail in steps:
        if what == "write":
            version += 1
            identifier, city = detail  # type: ignore[misc]
            world.source.rows = [row for row in world.source.rows if row[0] != identifier]
            world.source.rows.append((identifier, city, version))
            continue
        if what == "break":
            world.delivery = MemoryDelivery(detail, limits=Limits(objects=2), max_in_flight=in_flight)  # type: ignore[arg-type]
            world.delivery.objects = landed
            continue
        world.run(detail)  # type: ignore[arg-type]
        before = world.watermark
        assert before is None or int(before) <= version
    world.delivery = MemoryDelivery(limits=Limits(objects=2), max_in_flight=in_flight)
    world.delivery.objects = landed
    report = world.run()
    assert report.outcome is Outcome.SUCCEEDED
    assert report.counts.balanced
    held = {identifier: (each["city"], each["version"]) for (_, identifier), each in landed.items()}
    dead = {each.rejection.id for each in world.store.dead_letters("rooms")}
    for identifier, city, number in world.source.rows:
        if str(identifier) not in dead:
            assert held[str(identifier)] == (city, number)


def test_a_fuse_that_blows_after_a_failure_still_holds_the_watermark() -> None:
    """Dead letters that are not stored must not be passed, whatever failed first."""
    world = World([(number, "x" * 40_000, number) for number in range(1, 40)] + [(40, "fine", 40)], chunk=50)
    world.delivery = MemoryDelivery([Scripted.FAIL])
    assert world.run().outcome is Outcome.FAILED
    assert world.watermark is None
    assert not world.store.dead_letters("rooms")


def test_a_few_bad_rows_at_the_front_do_not_blow_the_fuse() -> None:
    """Forty refusals before ten thousand good rows are forty dead letters."""
    world = World([(n, "x" * 40_000 if n <= 40 else "fine", n) for n in range(1, 2_001)], chunk=100)
    report = world.run()
    assert (report.outcome, report.counts.rejected, report.counts.sent) == (Outcome.PARTIAL, 40, 1_960)


class FailsOnce(MemoryStore):
    """A store whose second commit with dead letters or fingerprints cannot be written."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 1

    def commit(self, lease: Lease, commit: Commit) -> None:
        """Refuse once, then work."""
        if self.left and (commit.dead_letters or commit.fingerprints):
            self.left -= 1
            raise StateUnwritable("the disk is full")
        super().commit(lease, commit)


def test_what_a_failed_commit_held_is_written_by_the_next() -> None:
    """Neither a dead letter nor a watermark is lost with a transaction."""
    world = World([(n, "x" * 40_000 if n == 3 else "fine", n) for n in range(1, 1_501)], chunk=1_000)
    world.store = FailsOnce()
    world.ticking = True
    assert world.run().outcome is Outcome.FAILED
    world.run()
    assert [each.rejection.id for each in world.store.dead_letters("rooms")] == ["3"]
    assert len(world.cities) == 1_499
    assert world.watermark == "1500"


@pytest.mark.parametrize("moved", ["collection", "destination"])
def test_what_went_elsewhere_says_nothing_here(moved: str) -> None:
    """Another collection or destination stops an incremental run, and a full run sends everything there."""
    world = World(rooms(20))
    world.run()
    world.delivery = MemoryDelivery()
    if moved == "collection":
        world.mapping = replace(ROOMS, collection="suites")
    else:
        world.delivery = MemoryDelivery(identity="elsewhere")
    assert exit_code([world.run()]) == 2
    assert world.run(FULL).counts.sent == 20


class Dies(MemoryStore):
    """A store that keeps nothing more once an object was accepted: what a killed process leaves behind."""

    dead = False

    def commit(self, lease: Lease, commit: Commit) -> None:
        """Lose every commit that carries something accepted."""
        accepted = any(each.digest != OPEN for each in commit.fingerprints.values())
        self.dead = self.dead or (accepted and commit.run.run_id == "run-2")
        if not self.dead or commit.run.run_id != "run-2":
            super().commit(lease, commit)


def test_a_crash_between_acceptance_and_commit_leaves_nothing_stale() -> None:
    """What was accepted before is forgotten before the next version goes out, so the row is sent again."""
    world = World([(1, "open", 1)], mapping=replace(ROOMS, watermark=None))
    world.store = Dies()
    world.run()
    world.source.rows[0] = (1, "closed", 2)
    world.run()
    assert world.cities == {"1": "closed"}
    world.source.rows[0] = (1, "open", 1)
    world.run(FULL)
    assert world.cities == {"1": "open"}


def test_a_version_in_doubt_is_not_the_last_word() -> None:
    """When the row returns to what was accepted first, it is sent: the doubtful version may have landed."""
    world = World([(1, "old", 1)], mapping=replace(ROOMS, watermark=None))
    world.run()
    world.source.rows[0] = (1, "new", 2)
    world.delivery = MemoryDelivery([Scripted.DOUBT])
    world.run(FULL)
    world.delivery = MemoryDelivery()
    world.source.rows[0] = (1, "old", 1)
    assert world.run(FULL).counts.sent == 1


def test_a_version_that_was_refused_leaves_the_older_one_certain() -> None:
    """When the row returns to what was accepted, nothing is sent, and its dead letter goes."""
    world = World([(1, "old", 1)], mapping=replace(ROOMS, watermark=None))
    world.run()
    world.source.rows[0] = (1, "new", 2)
    world.delivery = MemoryDelivery(refuses=lambda _: True)
    assert world.run(FULL).counts.rejected == 1
    world.delivery = MemoryDelivery()
    world.source.rows[0] = (1, "old", 1)
    assert (world.run(FULL).counts.unchanged, world.store.dead_letters("rooms")) == (1, ())


def test_a_version_accepted_after_a_refused_one_leaves_no_dead_letter() -> None:
    """Of two rows with one id in one commit the accepted later one is the truth."""
    world = World([(1, "fine", 1)])
    world.run()
    world.source.rows += [(1, "x" * 40_000, 2), (1, "fine again", 3)]
    world.run()
    assert not world.store.dead_letters("rooms")


def test_a_defect_while_settling_fails_the_run() -> None:
    """It is not mistaken for the end of the rows."""
    world = World(rooms(25))
    world.delivery = MemoryDelivery(refuses=lambda each: bool([].pop()) if each.id == "25" else False)
    report = world.run()
    assert report.outcome is Outcome.FAILED
    assert "IndexError" in (report.error or "")


def test_a_lease_that_ran_out_while_suspended_stops_the_run() -> None:
    """Nothing is sent by a process that slept through its lease."""
    world = World(rooms(500), chunk=10)
    world.sleeps_after = 3
    report = world.run()
    assert report.outcome is Outcome.FAILED
    assert "ran out" in (report.error or "")
    assert len(world.delivery.batches) < 50


def test_dead_letters_are_tried_again_with_the_current_row() -> None:
    """Rows are read by their keys and sent synchronously; letters of vanished rows go."""
    world = World([(1, "x" * 40_000, 1), (2, "x" * 40_000, 2), (3, "fine", 3)])
    world.run()
    letters = world.store.dead_letters("rooms")
    world.source.rows[0] = (1, "Lihue", 1)
    del world.source.rows[1]
    keys = tuple(each.rejection.key or "" for each in letters)
    report = world.run(RunOptions(keys=keys, resolves=tuple(each.number for each in letters), resend=True))
    assert (report.outcome, report.counts.read, report.counts.sent) == (Outcome.SUCCEEDED, 1, 1)
    assert world.cities["1"] == "Lihue"
    assert world.delivery.synchronous
    assert not world.store.dead_letters("rooms")
    assert world.watermark == "3"


def test_a_stop_does_not_hide_a_refused_write_key() -> None:
    """A run whose write key is refused as it is told to stop has failed."""
    world = World(rooms(50))

    def refusal() -> Iterator[Scripted]:
        world.stopping.set()
        yield Scripted.UNAUTHORIZED

    world.delivery = MemoryDelivery(refusal(), max_in_flight=1)
    report = world.run()
    assert report.outcome is Outcome.FAILED
    assert "write key" in (report.error or "")
