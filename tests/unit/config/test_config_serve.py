"""Keys of the daemon: `serve`, `after`, `timeout`, `blackouts`, `jitter`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time, timedelta

import pytest

from syncer.config import Config
from syncer.config.values import ServeConfig
from syncer.core.model import Blackout
from syncer.errors import Problem

Load = Callable[..., Config]
Problems = Callable[..., tuple[Problem, ...]]

SECRET = "t0ken-0f-the-page"


def test_without_a_word(load: Load, valid: str) -> None:
    """Four at once, on this machine alone, without a token."""
    config = load(valid)
    assert config.serve == ServeConfig(
        concurrency=4, host="127.0.0.1", port=8080, token=None, stuck_after=timedelta(minutes=15)
    )
    rooms = config.mappings["rooms"]
    assert (rooms.after, rooms.timeout, rooms.blackouts) == ((), None, ())


def test_serve(load: Load, valid: str) -> None:
    """Each key is taken over; the token is in no text of the configuration."""
    keys = "serve: {concurrency: 9, host: '::', port: 0, token: '${TOKEN}', stuck_after: 1h}\n"
    config = load(valid + keys, {"TOKEN": SECRET})
    assert config.serve == ServeConfig(concurrency=9, host="::", port=0, token=SECRET, stuck_after=timedelta(hours=1))
    assert SECRET not in repr(config)


def test_an_empty_token_is_none(load: Load, valid: str) -> None:
    """A variable that is set to nothing gives nobody access."""
    assert load(valid + "serve: {token: '${TOKEN:-}'}\n").serve.token is None


def test_a_mapping(load: Load, mapping: Callable[[str], str]) -> None:
    """One name or a list; times and days of the week; lengths."""
    text = mapping(
        "after: hosts\ntimeout: 2h\n"
        "blackouts: [{from: 22:00, to: '24:00', days: 'sat,sun', timezone: Europe/Berlin}, {from: '9:30', to: 10:00}]\n"
        "schedules: [{every: 1h, jitter: 5m}, {cron: '0 2 * * *'}]"
    )
    config = load(text + "  hosts: {table: hosts}\n  cities: {table: cities, after: [hosts, rooms]}\n")
    rooms = config.mappings["rooms"]
    assert (rooms.after, config.mappings["cities"].after) == (("hosts",), ("hosts", "rooms"))
    assert rooms.timeout == timedelta(hours=2)
    assert [each.jitter for each in rooms.schedules] == [timedelta(minutes=5), timedelta(0)]
    assert rooms.blackouts == (
        Blackout(start=time(22), end=time(0), days=frozenset({0, 6}), timezone="Europe/Berlin"),
        Blackout(start=time(9, 30), end=time(10)),
    )


@pytest.mark.parametrize(
    ("keys", "path", "said"),
    [
        ("after: hots", "mappings.rooms.after", "there is no such mapping; did you mean `hosts`?"),
        ("after: rooms", "mappings.rooms.after", "this goes in a circle: rooms after rooms"),
        ("after: [hosts, hots]", "mappings.rooms.after", "there is no such mapping; did you mean `hosts`?"),
        ("after: []", "mappings.rooms.after", "expected at least one mapping"),
        ("timeout: 2", "mappings.rooms.timeout", "a duration needs a unit"),
        ("timeout: 0s", "mappings.rooms.timeout", "expected a duration above zero"),
        ("blackouts: [{to: 10:00}]", "mappings.rooms.blackouts[0].from", "is required here"),
        ("blackouts: [{from: 10, to: 11:00}]", "mappings.rooms.blackouts[0].from", "from `00:00` to `24:00`"),
        ("blackouts: [{from: 24:01, to: 11:00}]", "mappings.rooms.blackouts[0].from", "from `00:00` to `24:00`"),
        (
            "blackouts: [{from: 1:00, to: 2:00, days: moon}]",
            "mappings.rooms.blackouts[0].days",
            "the weekday cannot be",
        ),
        ("blackouts: [{from: 1:00, to: 2:00, zone: UTC}]", "mappings.rooms.blackouts[0].zone", "unknown key `zone`"),
        ("blackouts: [{from: 1:00, to: 1:00}]", "mappings.rooms.blackouts", "leave no time"),
        ("schedules: [{every: 1h, jitter: often}]", "mappings.rooms.schedules[0].jitter", "expected a duration"),
    ],
)
def test_problems(problems: Problems, mapping: Callable[[str], str], keys: str, path: str, said: str) -> None:
    """Each is told once, where it stands, with what was expected."""
    (problem,) = problems(mapping(keys) + "  hosts: {table: hosts}\n")
    assert problem.path == path
    assert said in problem.message


def test_a_circle_is_told_as_one_goes_round_it(problems: Problems, mapping: Callable[[str], str]) -> None:
    """Three mappings, each after another: once, with all three."""
    more = "  hosts: {table: hosts, after: reviews}\n  reviews: {table: reviews, after: rooms}\n"
    (problem,) = problems(mapping("after: hosts") + more)
    assert problem.message.startswith("this goes in a circle: ")
    assert problem.message.count(" after ") == 3


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ("concurrency: 0", "serve.concurrency"),
        ("port: 65536", "serve.port"),
        ("host: 'a b'", "serve.host"),
        ("stuck_after: soon", "serve.stuck_after"),
        ("hots: x", "serve.hots"),
    ],
)
def test_problems_of_serve(problems: Problems, valid: str, keys: str, path: str) -> None:
    """Bad values and unknown keys are told where they stand."""
    (problem,) = problems(valid + f"serve: {{{keys}}}\n")
    assert problem.path == path
