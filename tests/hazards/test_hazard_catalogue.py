"""The catalogue of watermark hazards, W1 to W42: where each is tested, on which databases, and why not on the others.

A test of a hazard is named after it, `test_w07_...`, and stands in this folder; its parameter is the database. The
table below says the rest, and the tests here hold it against what there is: every hazard has a test on every database,
or a line that says why not. Tests elsewhere that are named with a hazard test the same on a smaller scale.

Where rows can be lost until the next full run, however well the watermark is kept, the test says so in its name or
first line (W12, W27, W42): that is the promise of the README, not a defect.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hazard_world import ENGINES

TESTS = Path(__file__).parent.parent
MODULES = sorted(
    each.stem for each in Path(__file__).parent.glob("test_hazard_*.py") if each.stem != Path(__file__).stem
)
HERE = r"test((?:_w\d\d)+)_"


@dataclass(frozen=True, kw_only=True)
class Hazard:
    """One line of the catalogue."""

    what: str
    #: database: why there is no test of it
    left_out: Mapping[str, str] = field(default_factory=dict)
    #: `folder/file.py::test` of tests elsewhere
    also: tuple[str, ...] = ()


ONE_WRITER = "one writer at a time: what commits later began to write later"
TYPED = "a column has one type, and its values one form"
WATERMARKS = "contract/test_source_watermarks.py::"
CONTRACT = "contract/test_source_contract.py::"
POSTGRES = "integration/test_source_postgres.py::"
MARIADB = "integration/test_source_mariadb.py::"
SQLITE = "integration/test_source_sqlite.py::"
RUN = "unit/test_run.py::"

CATALOGUE: Mapping[int, Hazard] = {
    1: Hazard(what="ties at the boundary", also=(RUN + "test_rows_that_tie_with_the_watermark_are_never_lost",
              WATERMARKS + "test_an_incremental_read_starts_at_the_watermark_ties_included")),
    2: Hazard(what="the boundary is sent for ever", also=(
              RUN + "test_an_idle_run_sends_nothing_and_leaves_the_checkpoint_alone",)),
    3: Hazard(what="a lower key changes in the tick of the watermark"),
    4: Hazard(what="the tick is still open", also=(WATERMARKS + "test_date_watermarks",)),
    5: Hazard(what="late commit, stamped by its transaction", also=(
              POSTGRES + "test_a_commit_that_comes_late_is_not_lost",),
              left_out={"mariadb": "NOW() is the statement's time: W6", "sqlite": ONE_WRITER}),
    6: Hazard(what="late commit, stamped by its statement", left_out={
              "postgresql": "no stamp of its own is older than the transaction's: W5", "sqlite": ONE_WRITER}),
    7: Hazard(what="numbers are not committed in their order"),
    8: Hazard(what="prepared transactions", left_out={"sqlite": "has none, and " + ONE_WRITER}),
    9: Hazard(what="bounds and rows of different snapshots", also=(CONTRACT + "test_a_read_sees_one_snapshot",)),
    10: Hazard(what="a row moves while it is read", also=(CONTRACT + "test_a_snapshot_begins_at_once_and_stays",)),
    11: Hazard(what="the clock of syncer's host"),
    12: Hazard(what="a writer's clock that is behind", also=(WATERMARKS + "test_lookback_reads_further_back",)),
    13: Hazard(what="a stamp of the future", also=(
               WATERMARKS + "test_a_date_in_the_future_does_not_move_the_watermark_there",)),
    14: Hazard(what="the hour that comes twice", also=("unit/test_watermark.py::test_default_lookbacks",)),
    15: Hazard(what="the session's and the host's zone", also=(
               MARIADB + "test_the_servers_zone_shifts_nothing",
               POSTGRES + "test_no_setting_outlives_the_transaction")),
    16: Hazard(what="digits that are cut off or rounded", also=(
               WATERMARKS + "test_microseconds_are_not_lost", POSTGRES + "test_a_watermark_of_every_type_comes_back",
               MARIADB + "test_a_watermark_of_every_type_comes_back")),
    17: Hazard(what="stamps rounded up when stored", left_out={"sqlite": "keeps texts and numbers as they are given"}),
    18: Hazard(what="times as texts of several forms", left_out={"postgresql": TYPED, "mariadb": TYPED}, also=(
               SQLITE + "test_times_as_text", SQLITE + "test_a_later_row_of_another_form_is_seen_and_refused",
               SQLITE + "test_forms")),
    19: Hazard(what="numbers among texts", left_out={"postgresql": TYPED, "mariadb": TYPED}, also=(
               SQLITE + "test_a_later_row_of_another_form_is_seen_and_refused",)),
    20: Hazard(what="NULL watermarks", also=(WATERMARKS + "test_null_watermarks",
               RUN + "test_null_watermarks_follow_their_policy")),
    21: Hazard(what="the greatest of a NULL"),
    22: Hazard(what="texts: collations, numbers and dates as text", also=(
               WATERMARKS + "test_text_watermarks", MARIADB + "test_collations_do_not_make_keys_equal")),
    23: Hazard(what="floats", also=(CONTRACT + "test_describe_refuses_a_float_watermark",)),
    24: Hazard(what="random keys"),
    25: Hazard(what="another query, watermark or key", also=(
               RUN + "test_a_changed_query_stops_until_the_person_decides",)),
    26: Hazard(what="LIMIT, several statements, comments, and a strict `>` of the person's own", also=(
               "unit/test_statement.py::test_any_text_is_prepared_or_refused",
               CONTRACT + "test_any_query_can_be_wrapped")),
    27: Hazard(what="changes that move no watermark", also=(RUN + "test_a_full_run_sends_only_what_changed",)),
    28: Hazard(what="a watermark saved before the answer", also=(
               RUN + "test_a_failed_batch_holds_the_watermark_and_the_next_run_heals",)),
    29: Hazard(what="a crash between acceptance and commit", also=(
               RUN + "test_a_crash_between_acceptance_and_commit_leaves_nothing_stale",)),
    30: Hazard(what="answers out of order"),
    31: Hazard(what="a batch in the middle fails", also=(
               RUN + "test_a_failed_batch_holds_the_watermark_and_the_next_run_heals",)),
    32: Hazard(what="a dead letter that is not written", also=(
               RUN + "test_what_a_failed_commit_held_is_written_by_the_next",)),
    33: Hazard(what="a dead letter retried with an old object", also=(
               RUN + "test_dead_letters_are_tried_again_with_the_current_row",)),
    34: Hazard(what="two runs, or two mappings, at once", also=(
               RUN + "test_a_mapping_that_runs_elsewhere_is_locked",)),
    35: Hazard(what="a replica that lags, and takes over", left_out={
               "mariadb": "no replica is set up here; what its lag does to commits is W12, and its reading is W6",
               "sqlite": "has no replicas that are read while they follow"}),
    36: Hazard(what="a source restored from an older copy"),
    37: Hazard(what="ids used again, and keys that change"),
    38: Hazard(what="ids that come twice", also=(
               RUN + "test_the_last_of_two_rows_with_one_id_wins",
               RUN + "test_a_key_that_is_not_unique_is_refused_before_anything_is_sent")),
    39: Hazard(what="columns set to NULL or dropped", also=("unit/test_shape.py::test_nulls_are_sent_unless_omitted",)),
    40: Hazard(what="composite ids that collide"),
    41: Hazard(what="the ends of time", also=(
               POSTGRES + "test_infinity_never_becomes_the_watermark",
               MARIADB + "test_zero_dates_never_become_the_watermark",
               MARIADB + "test_a_lookback_before_all_time_reads_everything")),
    42: Hazard(what="rows that arrive with old stamps"),
}  # fmt: skip


def hazard_tests() -> dict[str, Callable[..., None]]:
    """The hazards' tests, by name."""
    modules = [importlib.import_module(each) for each in MODULES]
    return {name: each for module in modules for name, each in vars(module).items() if name.startswith("test_")}


def hazards_of(name: str) -> list[int]:
    """The numbers in a test's name."""
    found = re.match(HERE, name)
    return [int(each) for each in re.findall(r"\d\d", found[1])] if found else []


def engines_of(test: Callable[..., None]) -> set[str]:
    """The databases that a test is parametrised with."""
    found: set[str] = set()
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            found |= _engines_in(*mark.args)
    return found


def _engines_in(names: str | tuple[str, ...], rows: Any) -> set[str]:
    """The databases among a parametrisation's rows."""
    listed = [names] if isinstance(names, str) else list(names)
    place = next((listed.index(each) for each in ("world", "engine") if each in listed), None)
    if place is None:
        return set()
    values = [getattr(row, "values", row) for row in rows]  # of `pytest.param`
    return {value if isinstance(value, str) else value[place] for value in values}


def test_the_catalogue_is_whole() -> None:
    """Forty-two hazards, and no test of a hazard that is not among them."""
    assert list(CATALOGUE) == [*range(1, 43)]
    numbered = {name: hazards_of(name) for name in hazard_tests()}
    assert all(numbered.values()), [name for name, numbers in numbered.items() if not numbers]
    assert {each for numbers in numbered.values() for each in numbers} == set(CATALOGUE)


@pytest.mark.parametrize("number", CATALOGUE, ids=lambda number: f"w{number:02}")
def test_every_hazard_is_accounted_for(number: int) -> None:
    """On every database there is a test of it, or a line that says why not, and never both."""
    covered = {
        engine for name, test in hazard_tests().items() if number in hazards_of(name) for engine in engines_of(test)
    }
    left_out = set(CATALOGUE[number].left_out)
    assert covered | left_out == set(ENGINES)
    assert not covered & left_out


@pytest.mark.parametrize("place", sorted({each for hazard in CATALOGUE.values() for each in hazard.also}))
def test_a_test_elsewhere_is_there(place: str) -> None:
    """What the catalogue names exists."""
    file, _, name = place.partition("::")
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    assert name in {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
