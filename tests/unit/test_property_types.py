"""As what properties are sent, and what contradicts that as what they were sent before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.core.model import CollectionMapping, Column, Kind, PropertyRule, PropertyType
from syncer.core.properties import properties_of
from syncer.core.property_types import Policy, contradictions, types_after, types_of

THEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
NOW = THEN + timedelta(days=30)
POLICIES: tuple[Policy, ...] = get_args(Policy)
WORDS = (*sorted({kind.value for kind in Kind} - {"instant"}), "flattened")


def stored(**types: str) -> dict[str, PropertyType]:
    """What was stored then."""
    return {name: PropertyType(type=word, since=THEN) for name, word in types.items()}


def words_of(*columns: Column, **rules: PropertyRule) -> dict[str, str]:
    """As what a mapping sends these columns, beside the id."""
    mapping = CollectionMapping(name="rooms", source="app", table="rooms", properties=rules)
    key = Column(name="id", kind=Kind.INTEGER)
    return types_of(properties_of(mapping, (key, *columns), ("id",)))


@pytest.mark.parametrize(
    ("column", "rule", "word"),
    [
        (Column(name="x", kind=Kind.TEXT), PropertyRule(), "text"),
        (Column(name="x", kind=Kind.INTEGER), PropertyRule(), "integer"),
        (Column(name="x", kind=Kind.FLOAT), PropertyRule(), "float"),
        (Column(name="x", kind=Kind.FLOAT, single=True), PropertyRule(), "float"),
        (Column(name="x", kind=Kind.DECIMAL), PropertyRule(), "decimal"),
        (Column(name="x", kind=Kind.DECIMAL, scale=2), PropertyRule(), "decimal"),
        (Column(name="x", kind=Kind.DECIMAL, scale=0), PropertyRule(), "integer"),
        (Column(name="x", kind=Kind.BOOLEAN), PropertyRule(), "boolean"),
        (Column(name="x", kind=Kind.TIMESTAMP), PropertyRule(), "timestamp"),
        (Column(name="x", kind=Kind.INSTANT), PropertyRule(), "timestamp"),
        (Column(name="x", kind=Kind.DATE), PropertyRule(), "date"),
        (Column(name="x", kind=Kind.TIME), PropertyRule(), "time"),
        (Column(name="x", kind=Kind.INTERVAL), PropertyRule(), "interval"),
        (Column(name="x", kind=Kind.BYTES), PropertyRule(), "bytes"),
        (Column(name="x", kind=Kind.JSON), PropertyRule(), "json"),
        (Column(name="x", kind=Kind.BITS, width=8), PropertyRule(), "bits"),
        (Column(name="x", kind=Kind.ANY, exact=False), PropertyRule(), "any"),
        (Column(name="x", kind=Kind.TEXT), PropertyRule(type=Kind.INTEGER), "integer"),
        (Column(name="x", kind=Kind.ANY), PropertyRule(type=Kind.TIMESTAMP), "timestamp"),
        # the scale is the column's, and no longer that of what is sent
        (Column(name="x", kind=Kind.DECIMAL, scale=0), PropertyRule(type=Kind.DECIMAL), "decimal"),
        (Column(name="x", kind=Kind.INTEGER), PropertyRule(mask="hash"), "text"),
        (Column(name="x", kind=Kind.DATE), PropertyRule(mask="redact", type=Kind.INTEGER), "text"),
        (Column(name="x", kind=Kind.JSON), PropertyRule(flatten=True), "flattened"),
    ],
)
def test_as_what_a_column_is_sent(column: Column, rule: PropertyRule, word: str) -> None:
    """The mapping's rule decides before the column's type."""
    assert words_of(column, x=rule) == {"x": word}


def test_names_are_the_properties() -> None:
    """Renamed, snake_case, without what is dropped, retired or the id."""
    columns = (Column(name=name, kind=Kind.TEXT) for name in ("userName", "city", "note"))
    rules = {"city": PropertyRule(rename="place"), "note": PropertyRule(drop=True), "old": PropertyRule(retired=True)}
    assert words_of(*columns, **rules) == {"user_name": "text", "place": "text"}


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("integer", "integer", False),
        ("integer", "text", True),
        ("text", "integer", True),
        ("integer", "float", True),
        ("integer", "decimal", True),
        ("float", "decimal", False),
        ("decimal", "float", False),
        ("date", "timestamp", True),
        ("text", "json", True),
        ("json", "flattened", True),
        ("bytes", "text", True),
        ("interval", "decimal", True),
        ("any", "text", False),
        ("text", "any", False),
        ("any", "any", False),
    ],
)
def test_which_types_contradict(before: str, now: str, told: bool) -> None:
    """Another type does, but for numbers with a fraction among themselves and for what is unknown."""
    found = contradictions(stored(beds=before), {"beds": now})
    assert [(each.name, each.before, each.now) for each in found] == (
        [("beds", stored(beds=before)["beds"], now)] if told else []
    )


def test_the_three_contradictions() -> None:
    """Changed, vanished and appeared, in this order, whatever the order of the columns."""
    found = contradictions(
        stored(gone="text", beds="integer", name="text"), {"new": "date", "name": "text", "beds": "text"}
    )
    assert [each.brief for each in found] == [
        "beds was sent as integer since 2026-01-02 and is text now",
        "gone was sent as text since 2026-01-02 and is no longer there",
        "new is new, sent as date",
    ]
    assert ["keeps the type of its first value" in str(each) for each in found] == [True, False, False]
    assert ["keeps its last value" in str(each) for each in found] == [False, True, False]
    assert [each.remedy for each in found] == [
        "`properties: {beds: {type: integer}}` sends it as before",
        "`properties: {gone: {retired: null}}` clears it downstream",
        "`properties: {new: {drop: true}}` leaves it out",
    ]


def test_no_remedy_where_there_is_no_such_type() -> None:
    """Bytes cannot be asked for, so nothing is advised that the config would refuse."""
    (found,) = contradictions(stored(photo="bytes"), {"photo": "text"})
    assert found.remedy is None


def test_the_first_time_everything_is_learned() -> None:
    """Nothing contradicts where nothing is stored."""
    assert contradictions({}, {"beds": "integer"}) == ()
    for policy in POLICIES:
        assert types_after({}, {"beds": "integer"}, (), policy, NOW) == {
            "beds": PropertyType(type="integer", since=NOW)
        }


@pytest.mark.parametrize(
    ("policy", "after"),
    [
        ("evolve", {"name": ("text", THEN), "beds": ("text", NOW), "new": ("date", NOW), "loose": ("date", NOW)}),
        (
            "warn",
            {
                "name": ("text", THEN), "beds": ("integer", THEN), "gone": ("text", THEN), "new": ("date", NOW),
                "loose": ("date", NOW),
            },
        ),
        (
            "freeze",
            {"name": ("text", THEN), "beds": ("integer", THEN), "gone": ("text", THEN), "loose": ("date", NOW)},
        ),
    ],
)  # fmt: skip
def test_what_each_policy_takes_over(policy: Policy, after: dict[str, tuple[str, datetime]]) -> None:
    """All, what appeared, nothing; a type that was unknown always, and a retired property is always forgotten."""
    before = stored(name="text", beds="integer", gone="text", loose="any", old="text")
    types = {"name": "text", "beds": "text", "new": "date", "loose": "date"}
    found = types_after(before, types, ("old",), policy, NOW)
    assert {name: (each.type, each.since) for name, each in found.items()} == after


def test_an_unknown_type_hides_no_later_contradiction() -> None:
    """What was known stays known while a column has no declared type."""
    between = types_after(stored(beds="integer"), {"beds": "any"}, (), "evolve", NOW)
    assert between == stored(beds="integer")
    assert len(contradictions(between, {"beds": "text"})) == 1


def test_retired_is_not_vanished() -> None:
    """Null clears it, so there is nothing left to tell."""
    assert contradictions(stored(name="text", old="text"), {"name": "text"}, ("old",)) == ()


columns = st.builds(
    Column, name=st.sampled_from("abcd"), kind=st.sampled_from(Kind), scale=st.none() | st.integers(-2, 9),
    single=st.booleans(), exact=st.booleans(),
)  # fmt: skip
rules = st.builds(
    PropertyRule, type=st.none() | st.sampled_from(Kind), mask=st.sampled_from([None, "hash", "redact"]),
    drop=st.booleans(), flatten=st.booleans(),
)  # fmt: skip
types = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(WORDS))
retired = st.sets(st.sampled_from("abcd"))


@given(
    found=st.lists(columns, unique_by=lambda each: each.name),
    rules=st.dictionaries(st.sampled_from("abcd"), rules),
    policy=st.sampled_from(POLICIES),
)
def test_the_same_columns_never_contradict_themselves(
    found: list[Column], rules: dict[str, PropertyRule], policy: Policy
) -> None:
    """Whatever the columns, the rules and the policy: the second run has nothing to tell, and nothing to store."""
    rules = {name: rule for name, rule in rules.items() if name in {column.name for column in found}}
    words = words_of(*found, **rules)
    first = types_after({}, words, (), policy, THEN)
    assert {name: each.type for name, each in first.items()} == words
    assert contradictions(first, words) == ()
    assert types_after(first, words, (), policy, NOW) == first


@given(before=types, now=types, retired=retired)
def test_what_is_adopted_is_never_told_again(before: dict[str, str], now: dict[str, str], retired: set[str]) -> None:
    """After `evolve` nothing is left, and what did not change keeps its day."""
    now = {name: word for name, word in now.items() if name not in retired}
    after = types_after(stored(**before), now, retired, "evolve", NOW)
    assert contradictions(after, now, retired) == ()
    assert after.keys() == now.keys()
    assert {name for name, each in after.items() if each.since == THEN} >= {
        name for name in now if before.get(name) == now[name]
    }


@given(before=types, now=types, retired=retired)
def test_a_warning_stays_until_it_is_resolved(before: dict[str, str], now: dict[str, str], retired: set[str]) -> None:
    """Under `warn` the next run tells the same again, but for what appeared."""
    now = {name: word for name, word in now.items() if name not in retired}
    found = contradictions(stored(**before), now, retired)
    after = types_after(stored(**before), now, retired, "warn", NOW)
    if after:
        lasting = [each for each in found if not each.appeared]
        assert list(contradictions(after, now, retired)) == lasting
