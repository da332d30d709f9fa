"""The page's words, bars and memory, each alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web_control import NOON

from syncer.core.events import (
    DeliveryPaused,
    Noticed,
    RequestRetried,
    RunFinished,
    RunMoved,
    RunProgressed,
    RunStarted,
    RunStuck,
)
from syncer.core.model import Counts, Mode, Outcome, RunReport, Schedule
from syncer.service.web import Watch, charts, words
from syncer.service.web.actions import inner
from syncer.service.web.pages import told_schedule
from syncer.service.web.sessions import TRIES, Sessions, TooManyTries

RUN = RunReport(
    run_id="run-1", mapping="rooms", collection="rooms", mode=Mode.FULL, outcome=Outcome.SUCCEEDED, trigger="cli",
    started_at=NOON, finished_at=NOON + timedelta(seconds=90), counts=Counts(read=10, sent=4, unchanged=6),
)  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0.0s"), (0.44, "0.4s"), (9.94, "9.9s"), (9.96, "10s"), (59.6, "1m"), (60, "1m"), (61, "1m 1s"),
     (3600, "1h"), (3601, "1h"), (3661, "1h 1m"), (90_000, "1d 1h"), (86_400 * 400, "400d"), (-5, "0.0s")],
)  # fmt: skip
def test_lengths(seconds: float, told: str) -> None:
    """The two largest units, rounded, never more than 59 of a smaller one."""
    assert words.span(timedelta(seconds=seconds)) == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "now"), (1, "now"), (-1, "now"), (5, "5s ago"), (-90, "in 1m 30s"), (7200, "2h ago")]
)
def test_how_long_ago(seconds: int, told: str) -> None:
    """Back or ahead, in whole seconds."""
    assert words.ago(NOON - timedelta(seconds=seconds), NOON) == told


@pytest.mark.parametrize(
    ("size", "told"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (9949, "9.9 KB"), (9950, "10 KB"), (999_499, "999 KB"),
     (999_500, "1.0 MB"), (2_500_000_000, "2.5 GB"), (5 * 10**16, "50,000 TB")],
)  # fmt: skip
def test_sizes(size: int, told: str) -> None:
    """In the unit that leaves few digits."""
    assert words.size(size) == told


def test_schedules() -> None:
    """As people say them; the zone only where it is not UTC."""
    assert told_schedule(Schedule(every=timedelta(minutes=15))) == ("every 15m", "incremental")
    nightly = Schedule(cron="0 2 * * *", mode=Mode.FULL, timezone="Europe/Zurich")
    assert told_schedule(nightly) == ("0 2 * * *", "full, Europe/Zurich")


@given(st.lists(st.tuples(st.sampled_from([*Outcome, None]), st.integers(0, 10**6)), max_size=40), st.integers(1, 30))
def test_bars_stand_in_their_chart(runs: list[tuple[Outcome | None, int]], places: int) -> None:
    """The newest runs, each in a place of its own, the newest at the right end, none outside and all to be seen."""
    reports = [
        replace(RUN, run_id=str(n), outcome=outcome, finished_at=NOON + timedelta(seconds=took) if outcome else None)
        for n, (outcome, took) in enumerate(runs)
    ]
    bars = charts.bars(reports, places, NOON + timedelta(minutes=1))
    assert [bar.run_id for bar in bars] == [str(n) for n in reversed(range(min(len(runs), places)))]
    assert not bars or bars[-1].x == (places - 1) * charts.STEP
    assert all(4 <= bar.height <= charts.HEIGHT - charts.WIDTH and 0 <= bar.x for bar in bars)
    assert all(abs(bar.y + bar.height - charts.HEIGHT) < 0.11 for bar in bars)


def test_a_bar_tells_its_run() -> None:
    """In words, for who cannot see it."""
    title = charts.bars([RUN], 1, NOON)[0].title
    assert title == "2026-03-02 12:00:00 UTC: full run succeeded in 1m 30s, 10 read, 4 sent, 6 unchanged"


@given(st.tuples(*[st.integers(0, 10**9)] * 4))
def test_slices_fill_the_width(parts: tuple[int, int, int, int]) -> None:
    """Where the rows went, side by side: what is there can be seen, and they end where the bar ends."""
    sent, unchanged, rejected, skipped = parts
    found = charts.slices(Counts(sent=sent, unchanged=unchanged, rejected=rejected, skipped=skipped))
    assert [each.count for each in found] == [part for part in parts if part]
    assert all(each.width >= 4 for each in found)
    assert not found or abs(found[-1].x + found[-1].width - 600) < 1


def test_the_watch_is_bounded() -> None:
    """However much happens, it remembers a bounded number of runs, events and samples, and the latest of them."""
    seconds = 0

    def now():  # type: ignore[no-untyped-def]
        return NOON + timedelta(seconds=seconds)

    watch = Watch(now)
    for number in range(500):
        watch.notice(RunStarted(mapping="rooms", run_id=str(number), mode=Mode.FULL))
        watch.notice(RunFinished(report=replace(RUN, run_id=str(number))))
    assert watch.samples("0") == ()
    watch.notice(RunStarted(mapping="rooms", run_id="long", mode=Mode.FULL))
    for seconds in range(1, 5_000):
        watch.notice(RunProgressed(mapping="rooms", run_id="long", counts=Counts(read=seconds)))
        watch.notice(Noticed(mapping="rooms", message=f"{seconds}"))
    samples = watch.samples("long")
    assert len(samples) <= 120
    assert [each.read for each in samples] == sorted(each.read for each in samples)
    assert (samples[0].read, samples[-1].read) == (0, 4_999)
    assert [each.text for each in watch.noted("long", "rooms")][-1] == "4999"
    assert len(watch.noted("long", "rooms")) == 200


def test_what_belongs_to_which_run() -> None:
    """Retries to the runs of their collection, pauses to all that go on, and nothing to those that are over."""
    watch = Watch(lambda: NOON)
    for mapping in ("rooms", "hosts"):
        watch.notice(RunStarted(mapping=mapping, run_id=mapping, mode=Mode.FULL))
    watch.notice(RequestRetried(collection="rooms", attempt=1, reason="503", wait=0.1))
    watch.notice(RequestRetried(collection="rooms", attempt=2, reason="503", wait=0.1))
    watch.notice(RunFinished(report=replace(RUN, run_id="hosts", mapping="hosts")))
    watch.notice(DeliveryPaused(reason="429", wait=2.0))
    assert [each.times for each in watch.noted("rooms", "rooms")] == [2, 1]
    assert watch.noted("hosts", "hosts") == []


def test_a_run_that_stands_still_and_moves_again() -> None:
    """Both are told beside the run."""
    watch = Watch(lambda: NOON)
    watch.notice(RunStarted(mapping="rooms", run_id="run-1", mode=Mode.FULL))
    watch.notice(RunStuck(mapping="rooms", run_id="run-1", since=NOON))
    watch.notice(RunMoved(mapping="rooms", run_id="run-1"))
    told = [(each.text, each.tone) for each in watch.noted("run-1", "rooms")]
    assert told == [("the run does not move", "bad"), ("the run moves again", "good")]


def test_guesses_are_earned_back_one_by_one() -> None:
    """Every six seconds another one, for each address apart."""
    clock = [0.0]
    sessions = Sessions("right", lambda: clock[0])

    def guess(address: str = "one") -> bool:
        return sessions.is_token("wrong", address)

    for _ in range(TRIES):
        assert guess() is False
    with pytest.raises(TooManyTries) as refused:
        guess()
    assert 0 < refused.value.wait <= 6
    assert sessions.is_token("right", "another")
    clock[0] += refused.value.wait
    assert guess() is False
    with pytest.raises(TooManyTries):
        sessions.is_token("right", "one")


def test_sessions_are_bounded() -> None:
    """The oldest go when there are too many; a cookie nobody was given is none."""
    sessions = Sessions("right", lambda: 0.0)
    cookies = [sessions.begin() for _ in range(600)]
    assert [sessions.knows(cookies[0]), sessions.knows(cookies[-1]), sessions.knows("")] == [False, True, False]
    assert len(set(cookies)) == 600


@given(st.text(alphabet="/\\:.a?#%@ \r\n\t\x00é", max_size=12))
def test_a_path_to_go_to_is_always_ours(path: str) -> None:
    """Whatever is asked for, a browser that follows it stays here."""
    from urllib.parse import urljoin, urlsplit

    led = urlsplit(urljoin("http://127.0.0.1:8080/login", inner(path, "/")))
    assert (led.scheme, led.netloc) == ("http", "127.0.0.1:8080")
    assert inner(path, "/").isprintable()
