"""What is told after a run, given the runs before it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.core.alerts import Alert, alerts_after, behind, in_words
from syncer.core.model import Counts, Mode, Outcome, RunReport

DAWN = datetime(2026, 1, 1, tzinfo=UTC)


def run(number: int, word: str, *, minutes: int = 120) -> RunReport:
    """A run from one word, the `number`th, `minutes` apart.

    `ok`, `no:ERROR`, `dead:3`, of incremental runs; of full ones `full:1000` (rows), `fullno:ERROR`, `fulldead:3`;
    `stopped`, `locked`, `killed`, `retry`.
    """
    name, _, told = word.partition(":")
    number_told = int(told) if told.isdigit() else 0
    dead = number_told if "dead" in name else 0
    read = number_told if name == "full" else 1_000
    outcomes = {
        "no": Outcome.FAILED,
        "fullno": Outcome.FAILED,
        "stopped": Outcome.INTERRUPTED,
        "locked": Outcome.LOCKED,
        "killed": None,
    }
    started = DAWN + number * timedelta(minutes=minutes)
    return RunReport(
        run_id=str(number), mapping="rooms", collection="rooms", started_at=started,
        mode=Mode.FULL if name.startswith("full") else Mode.INCREMENTAL,
        outcome=outcomes.get(name, Outcome.PARTIAL if dead else Outcome.SUCCEEDED),
        trigger="dead-letters retry" if name == "retry" else "schedule",
        finished_at=None if name == "killed" else started + timedelta(seconds=30),
        counts=Counts(read=read, sent=read - dead, rejected=dead),
        error=f"mapping rooms: {told}" if name.endswith("no") else None,
        hint="look" if name.endswith("no") else None,
    )  # fmt: skip


def told_of(words: str, *, minutes: int = 120, max_deviation: float | None = None) -> list[list[Alert]]:
    """What is told after each of the runs, one after the other."""
    runs = [run(number, word, minutes=minutes) for number, word in enumerate(words.split())]
    return [alerts_after(each, runs[:place][::-1], max_deviation=max_deviation) for place, each in enumerate(runs)]


def kinds(told: Sequence[Sequence[Alert]]) -> str:
    """The alerts of each run as letters: failure, recovery, degradation; `.` for none."""
    return "".join("".join(each.kind[0] for each in alerts) or "." for alerts in told)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ok ok", ".."),
        ("no:a", "f"),  # the very first run
        ("ok no:a", ".f"),
        ("ok no:a no:a no:a", ".f.."),  # told once
        ("no:a ok ok", "fr."),  # and once that it is over
        ("no:a no:b no:b", "ff."),  # another cause is told
        ("no:port_4711 no:port_4712", "f."),  # numbers make no other cause
        ("no:a ok no:a ok", "frfr"),  # two hours apart: worth telling again
        ("no:a stopped locked killed no:a", "f...."),  # what came to no end says nothing
        ("no:a retry no:a ok", "f..r"),  # single rows that went well mend nothing
        ("dead:1 ok", "d."),  # an incremental run does not see whether it is mended
        ("dead:1 dead:1 dead:2", "d.d"),  # near the watermark the same rows come again
        ("dead:1 ok dead:1", "d.d"),
        ("fulldead:3 fulldead:3 full", "d.r"),
        ("fulldead:3 fulldead:5 fulldead:2 fulldead:3", "dd.d"),
        ("dead:1 dead:1 ok fulldead:1 full", "d...r"),  # a full run meets the ones that are known
        ("dead:1 full ok full", "dr.."),
        ("no:a dead:1", "frd"),  # two things at once
        ("fulldead:3 no:a full", "dfrr"),
        ("fulldead:3 fullno:a fulldead:3", "dfr"),  # what failed has not met all of them
    ],
)  # fmt: skip
def test_each_cause_is_told_once_until_it_is_over(words: str, expected: str) -> None:
    """Runs two hours apart, and what is told after each."""
    assert kinds(told_of(words)) == expected


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        (5, "fr..........fr"),  # the same cause again within the hour is passed over, and so is its recovery
        (30, "fr" + "fr" * 6),  # 60 minutes after the one before it
    ],
)
def test_flapping_is_told_once_an_hour(minutes: int, expected: str) -> None:
    """Fourteen runs, every other of which fails."""
    assert kinds(told_of("no:a ok " * 7, minutes=minutes)) == expected


def test_a_failure_that_was_passed_over_is_told_when_it_stays() -> None:
    """Failed and mended at 0 and 5 minutes, failing for good from 10 minutes on: told at 60."""
    told = kinds(told_of("no:a ok " + "no:a " * 12, minutes=5))
    assert told == "fr" + "." * 10 + "f" + "."


def test_dead_letters_within_the_hour_are_told_together() -> None:
    """One at once, then one in each of three runs, all told after an hour, though that run is clean."""
    told = told_of("dead:1 ok dead:1 ok dead:1 ok dead:1 ok ok ok ok ok ok", minutes=5)
    assert kinds(told) == "d" + "." * 11 + "d"
    assert told[-1][0].message == "rooms: 3 objects were refused and are dead letters"


@pytest.mark.parametrize(
    ("reads", "share", "expected"),
    [
        ("1000 1000 1000 400", 0.5, "...d"),  # 60% fewer
        ("1000 1000 1000 500", 0.5, "...."),  # half is within
        ("1000 1000 1000 1501", 0.5, "...d"),  # 50.1% more
        ("1000 1000 1000 0", 0.99, "...d"),
        ("1000 1000 0", 0.5, "..."),  # two are no habit
        ("0 0 0 1000", 0.5, "...."),  # the first rows of an empty table
        ("1000 1000 1000 400 400 1000", 0.5, "...d.r"),
        (
            "1000 1000 1000 400 400 400 400 400 400",
            0.5,
            "...d..r..",
        ),  # what stays becomes usual: of three and three the median is 700
        ("1000 1000 1000 0", None, "...."),
    ],
)
def test_row_counts_are_held_against_the_median(reads: str, share: float | None, expected: str) -> None:
    """Full runs, and the share that is allowed."""
    words = " ".join(f"full:{each}" for each in reads.split())
    assert kinds(told_of(words, max_deviation=share)) == expected


def test_incremental_and_failed_runs_have_no_usual_number() -> None:
    """They read what they read."""
    assert kinds(told_of("full:1000 full:1000 full:1000 ok no:a full:1000", max_deviation=0.1)) == "....fr"


def test_messages_say_what_happened_and_what_to_do() -> None:
    """One of each kind, word for word."""
    told = [alert for alerts in told_of("no:broken ok fulldead:1 full full:10", max_deviation=0.5) for alert in alerts]
    assert [(alert.message, alert.hint) for alert in told] == [
        ("rooms: the incremental run failed: broken", "look"),
        ("rooms: works again, the incremental run read 1,000 rows and sent 1,000 objects", None),
        ("rooms: 1 object was refused and is a dead letter", "syncer dead-letters list rooms"),
        ("rooms: nothing is refused any more", None),
    ]


def test_nothing_is_told_of_a_run_of_single_rows() -> None:
    """A retry of dead letters that failed was watched by whoever asked for it."""
    failed = run(1, "no:a")
    retried = RunReport(
        **{name: getattr(failed, name) for name in failed.__slots__} | {"trigger": "dead-letters retry"}
    )
    assert alerts_after(retried, []) == []
    assert alerts_after(failed, []) != []


WORDS = st.sampled_from(["ok", "no:a", "no:b", "dead:1", "dead:2", "full:1000", "full:10", "fulldead:2", "stopped"])


@given(st.lists(WORDS, max_size=30), st.sampled_from([5, 30, 90]))
def test_failures_and_recoveries_alternate(words: list[str], minutes: int) -> None:
    """Whatever happens, no recovery is told of what was not told, and none twice."""
    open_causes: set[str] = set()
    for alerts in told_of(" ".join(words), minutes=minutes, max_deviation=0.5):
        for alert in alerts:
            if alert.kind == "recovery":
                assert alert.cause in open_causes
                open_causes.discard(alert.cause)
            else:
                open_causes.add(alert.cause)


@given(st.lists(WORDS, max_size=30))
def test_the_order_in_which_earlier_runs_are_given_does_not_matter(words: list[str]) -> None:
    """They are put in order."""
    runs = [run(number, word) for number, word in enumerate([*words, "ok"])]
    assert alerts_after(runs[-1], runs[:-1]) == alerts_after(runs[-1], runs[:-1][::-1])


def test_behind() -> None:
    """A mapping is behind when its last good run began longer ago than it may; one without is counted from then."""
    hour = timedelta(hours=1)
    assert behind("rooms", DAWN, DAWN, hour, DAWN + hour) is None
    late = behind("rooms", DAWN, DAWN - hour, hour, DAWN + hour + timedelta(seconds=1))
    assert late is not None
    assert late.message == "rooms: no run has succeeded since 2026-01-01 00:00 UTC; 1h are allowed"
    assert behind("rooms", None, DAWN, hour, DAWN + hour) is None
    assert behind("rooms", None, DAWN, hour, DAWN + 2 * hour) is not None


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(hours=26), "1d2h"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(0), "0s"),
        (timedelta(seconds=5), "5s"),
    ],
)
def test_lengths_are_written_as_in_the_config(length: timedelta, words: str) -> None:
    """Largest unit first."""
    assert in_words(length) == words
