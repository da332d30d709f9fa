"""Cron expressions mean what crontab(5) says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given
from hypothesis import strategies as st

from syncer.config.cron import check_cron, spell_weekdays

SUNDAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("weekday", "spelled"),
    [
        ("*", "*"),
        ("0", "sun"),
        ("7", "sun"),
        ("1", "mon"),
        ("6", "sat"),
        ("1-5", "mon,tue,wed,thu,fri"),
        ("5-7", "fri,sat,sun"),
        ("0-2", "mon,tue,sun"),
        ("fri-sun", "fri,sat,sun"),
        ("sun-tue", "mon,tue,sun"),
        ("MON,Wed", "mon,wed"),
        ("*/2", "tue,thu,sat,sun"),
        ("1-5/2", "mon,wed,fri"),
        ("4/2", "thu,sat"),
        ("1,1,mon", "mon"),
    ],
)
def test_weekdays_are_counted_from_sunday(weekday: str, spelled: str) -> None:
    """0 and 7 are Sunday; ranges, steps and names are written out."""
    assert spell_weekdays(f"0 2 * * {weekday}") == f"0 2 * * {spelled}"


@given(st.integers(0, 7))
def test_the_scheduler_fires_on_crontabs_day(day: int) -> None:
    """APScheduler, given the spelled expression, fires on the day crontab means."""
    fire = CronTrigger.from_crontab(spell_weekdays(f"0 2 * * {day}"), timezone=UTC).get_next_fire_time(None, SUNDAY)
    assert fire.isoweekday() % 7 == day % 7


@pytest.mark.parametrize(
    "expression",
    ["0 * * * *", "*/15 * * * *", "0 2 1 * *", "0 2 * jan-mar *", "5,35 0-6 * * mon-fri", "0 2 * * 7", "0 0 1 1 *"],
)
def test_usual_expressions_are_valid(expression: str) -> None:
    """What crontab takes is taken."""
    check_cron(expression)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("", "five fields"),
        ("@hourly", "five fields"),
        ("0 2 * *", "five fields"),
        ("0 0 2 * * *", "five fields"),
        ("60 * * * *", "minute .* 0-59"),
        ("*/0 * * * *", "minute"),
        ("x * * * *", "minute"),
        ("0 24 * * *", "hour .* 0-23"),
        ("0 0 32 * *", "day of month .* 1-31"),
        ("0 0 0 * *", "day of month"),
        ("0 0 * 13 *", "month .* 1-12"),
        ("0 0 * * 8", "weekday .* 0-7"),
        ("0 0 * * foo", "weekday"),
        ("0 0 * * 5-2", "backwards"),
        ("0 0 * * 1,", "weekday"),
        ("0 0 1 * 1", "two schedules"),
    ],
)
def test_the_wrong_field_is_named(expression: str, told: str) -> None:
    """The sentence names the field and what it may hold."""
    with pytest.raises(ValueError, match=told):
        check_cron(expression)


@given(st.lists(st.text("0123456789*/-,?LWa", min_size=1, max_size=6), min_size=5, max_size=5).map(" ".join))
def test_any_expression_is_valid_or_a_sentence(expression: str) -> None:
    """Nothing but ValueError ever comes out, and what passes the scheduler takes."""
    try:
        check_cron(expression)
    except ValueError:
        return
    CronTrigger.from_crontab(spell_weekdays(expression), timezone=UTC)
