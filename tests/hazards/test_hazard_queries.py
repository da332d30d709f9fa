"""W25 to W27, W34 to W40 and W42: what the person writes, what others do to the source, and what becomes of ids."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hazard_world import World, everywhere, refused

from syncer.core.model import Outcome, RunReport
from syncer.delivery.memory import Scripted
from syncer.errors import ConfigError
from syncer.run.executor import exit_code

OLD = "2026-01-01 10:00:00"

# --- W25, W26, W27: queries ----------------------------------------------------------------------------------------


BEFORE = {"query": "SELECT * FROM rooms WHERE id < 2", "primary_key": "id", "collection": "rooms"}
CHANGES = ({"query": "SELECT * FROM rooms"}, {"watermark": "id"}, {"primary_key": "name"}, {"collection": "suites"})


@everywhere
def test_w25_a_changed_mapping_stops(world: World) -> None:
    """An incremental run of another query, watermark, key or collection is refused, and the watermark stays; `--full`
    goes on. Going on silently leaves out what the new query has below the old watermark."""
    world.rooms(rows=[(1, "loft", world.at(OLD)), (2, "older", world.at("2025-01-01 10:00:00"))])
    for change in CHANGES:
        world.begin_anew()
        world.map(**BEFORE)
        world.run()
        saved = world.watermark
        world.map(**{**BEFORE, **change})
        assert "--full" in refused(world.run())
        assert world.watermark == saved
        assert "query" not in change or _goes_on(world)


def _goes_on(world: World) -> bool:
    """After a full run everything is there, and incremental runs begin again."""
    world.run(full=True)
    return not world.missing() and world.run().outcome is Outcome.SUCCEEDED


WRAPPED = (
    "SELECT id, name, updated_at FROM rooms ORDER BY name DESC",
    "SELECT id, name, updated_at FROM rooms; -- nightly",
    "SELECT id, name, updated_at FROM rooms WHERE name <> ':x; LIMIT 1 --' /* no LIMIT 1 */; -- all of them",
    "WITH r AS (SELECT id, name, updated_at FROM rooms) SELECT * FROM r",
    "SELECT id, name, updated_at FROM rooms WHERE id < 2 UNION ALL SELECT id, name, updated_at FROM rooms WHERE id > 1",
)


@everywhere
def test_w26_whatever_a_query_ends_with(world: World) -> None:
    """Comments, semicolons, ORDER BY and UNION change nothing: a condition appended to the text would be part of the
    comment, of the second SELECT, or a syntax error."""
    world.rooms(rows=[(1, "loft", world.at(OLD)), (2, "attic", world.at("2026-01-02 10:00:00"))])
    world.maps(_each(WRAPPED))
    for name in world.config.mappings:
        assert world.run(name).counts.sent == 2
    world.put((3, "cabin", world.now))
    for name in world.config.mappings:
        counts = world.run(name).counts
        assert (counts.read, counts.sent) == (2, 1)


CUTTING = {
    "SELECT id, name, updated_at FROM rooms LIMIT 1": "LIMIT",
    "SELECT id, name, updated_at FROM rooms ORDER BY id LIMIT 1 OFFSET 1": "LIMIT",
    "SELECT id, name, updated_at FROM rooms FETCH FIRST 1 ROWS ONLY": "FETCH",
    "SELECT id, name, updated_at FROM rooms; DELETE FROM rooms": "several statements",
    "DELETE FROM rooms": "does not begin with SELECT",
}


@everywhere
def test_w26_what_would_cut_rows_off_is_refused(world: World) -> None:
    """A LIMIT of the query's own leaves rows out for good; two statements may do anything."""
    world.rooms(rows=[(1, "loft", world.at(OLD)), (2, "attic", world.at(OLD))])
    world.maps(_each(tuple(CUTTING)))
    for name, says in zip(world.config.mappings, CUTTING.values(), strict=True):
        assert says in refused(world.run(name))
        assert not world.check(name).sound
    assert len(world.read("SELECT id FROM rooms")) == 2


STRICT = (
    "{} > :watermark",
    ":watermark < {}",
    "{}>(:watermark)",
    "NOT {} <= :watermark",
    "{} > COALESCE(:watermark, 0)",
)
INCLUSIVE = ("{} >= :watermark", ":watermark <= {}", "{} BETWEEN :watermark AND 100", "NOT {} < :watermark",
             "{} > 0 AND {} >= :watermark")  # fmt: skip


@everywhere
def test_w26_a_strict_predicate_of_the_persons_own(world: World) -> None:
    """A query that places `:watermark` behind a strict `>` is refused. Run as it stands it loses the ties."""
    reports = _ties(world, STRICT)
    assert [condition for condition, report in reports.items() if exit_code([report]) != 2] == []


@everywhere
def test_w26_an_inclusive_predicate_of_the_persons_own(world: World) -> None:
    """What includes the watermark itself is let through, and its ties arrive."""
    reports = _ties(world, INCLUSIVE)
    assert [condition for condition, report in reports.items() if report.counts.sent != 1] == []


def _ties(world: World, conditions: tuple[str, ...]) -> dict[str, RunReport]:
    """A run under each of the conditions, a row that ties with its watermark, and the report of a second run."""
    world.sql("CREATE TABLE rooms (id INTEGER PRIMARY KEY, name VARCHAR(20), version INTEGER)")
    world.sql("INSERT INTO rooms VALUES (1, 'loft', 7)")
    queries = [f"SELECT id, name, version FROM rooms WHERE {each.format('version', 'version')}" for each in conditions]
    world.maps(_each(tuple(queries), watermark="version"))
    names = dict(zip(world.config.mappings, conditions, strict=True))
    for name in names:
        world.run(name)
    world.sql("INSERT INTO rooms VALUES (2, 'tie', 7)")
    return {condition: world.run(name) for name, condition in names.items()}


def _each(queries: tuple[str, ...], watermark: str = "updated_at") -> dict[str, dict[str, str]]:
    """A mapping of every query."""
    shared = {"primary_key": "id", "watermark": watermark}
    return {f"query_{chr(97 + place)}": {"query": query, **shared} for place, query in enumerate(queries)}


@everywhere
def test_w27_what_moves_no_watermark(world: World) -> None:
    """A child row of a join changes, or a trigger is off: incremental runs cannot know, and the next full run sends it.
    A full run that filters by the watermark, or trusts it, never does."""
    world.rooms(rows=[(1, "loft", world.at(OLD)), (2, "attic", world.at("2026-01-01 12:00:00"))])
    world.sql(
        "CREATE TABLE cities (room INTEGER, city VARCHAR(20)); INSERT INTO cities VALUES (1, 'Faro'), (2, 'Porto')"
    )
    query = "SELECT id, city AS name, updated_at FROM rooms JOIN cities ON room = id"
    world.map(query=query, primary_key="id")
    world.run()
    world.sql("UPDATE cities SET city = 'Lisbon' WHERE room = 1")
    assert world.run().counts.sent == 0
    assert world.run(full=True).counts.sent == 1
    assert world.held == {"1": "Lisbon", "2": "Porto"}


# --- W34: two at once ----------------------------------------------------------------------------------------------


@everywhere
def test_w34_full_and_incremental_exclude_each_other(world: World) -> None:
    """While a full run goes on, another run of the mapping is locked out, with exit code 4 and without a row read.
    Two at once would save each other's watermarks over rows that neither has sent."""
    world.rooms()
    world.many(50)
    world.map()
    other: list[Any] = []

    def meanwhile() -> Iterator[Scripted]:
        second = World(engine=world.engine, url=world.url, folder=world.folder)
        second.map()
        thread = threading.Thread(target=lambda: other.append(second.run()))
        thread.start()
        thread.join()
        yield Scripted.ACCEPT

    world.new_delivery(meanwhile(), max_in_flight=1)
    assert world.run(full=True).outcome is Outcome.SUCCEEDED
    assert (other[0].outcome, exit_code(other), other[0].counts.read) == (Outcome.LOCKED, 4, 0)
    assert not world.missing()


@everywhere
def test_w34_a_full_run_lowers_no_watermark(world: World) -> None:
    """A full run that fails in the middle leaves the watermark of the incremental runs where it was."""
    world.rooms()
    world.many(1_500, every=1)
    world.map()
    world.run()
    before = world.watermark
    world.sql("UPDATE rooms SET name = 'changed'")
    world.new_delivery([*[Scripted.ACCEPT] * 120, Scripted.FAIL], max_in_flight=1)
    assert world.run(full=True).outcome is Outcome.FAILED
    assert world.watermark == before
    world.new_delivery()
    world.run(full=True)
    assert not world.missing()


@everywhere
def test_w34_two_mappings_of_one_collection(world: World) -> None:
    """They are a configuration error: each would overwrite what the other sent, and neither would know."""
    mapping = {"table": "rooms", "watermark": "updated_at", "collection": "suites"}
    with pytest.raises(ConfigError) as caught:
        world.maps({"rooms": mapping, "more_rooms": mapping})
    assert "write the same collection" in str(caught.value.problems)


# --- W36 to W40: ids and columns -----------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("watermark", ["version", "updated_at"])
def test_w36_a_source_that_was_restored(world: World, watermark: str) -> None:
    """An older dump is restored under the same URL, or the table emptied, and its numbers are given out again: the next
    run finds what is new, and later ones are incremental again. One that reads on leaves the new rows out for good."""
    moment = {"postgresql": "TIMESTAMP", "mariadb": "DATETIME", "sqlite": "DATETIME"}[world.engine]
    world.sql(f"CREATE TABLE rooms (id INTEGER PRIMARY KEY, name VARCHAR(20), version INTEGER, updated_at {moment})")
    row = "({0}, '{1}', {0}, '2026-01-{0:02} 10:00:00')"
    world.sql("INSERT INTO rooms VALUES " + ", ".join(row.format(number, "old") for number in range(1, 21)))
    world.map(watermark={"column": watermark})
    world.run()
    world.sql("DELETE FROM rooms WHERE id > 10")
    world.sql("INSERT INTO rooms VALUES " + ", ".join(row.format(number, "new") for number in (11, 12)))
    world.run()
    assert not world.missing()
    assert world.run().counts.read == 1
    world.sql("DELETE FROM rooms")
    world.run()
    world.sql("INSERT INTO rooms VALUES " + row.format(1, "first again"))
    world.run()
    assert not world.missing()


@everywhere
def test_w37_an_id_that_is_used_again(world: World) -> None:
    """A row deleted and its id given to another: the object is the new row's, also where that is NULL. A row whose key
    changes is a new object; the old one stays, as every deleted row's does."""
    world.rooms(rows=[(1, "loft", world.now), (2, "attic", world.now)])
    world.map()
    world.run()
    world.sql("DELETE FROM rooms WHERE id = 2")
    world.put((2, "another", world.now))
    world.sql(f"UPDATE rooms SET id = 7, updated_at = {world.now} WHERE id = 1")
    world.run()
    assert world.held == {"1": "loft", "2": "another", "7": "loft"}


@everywhere
def test_w38_ids_that_come_twice(world: World) -> None:
    """A join that repeats ids is refused by the first run. Where it begins to later, the row with the highest
    watermark is the object, however often it runs; which one wins is not left to chance."""
    world.rooms(rows=[(1, "loft", world.at(OLD))])
    world.sql("CREATE TABLE stays (room INTEGER, guest VARCHAR(20), at TIMESTAMP NULL)")
    world.sql(f"INSERT INTO stays VALUES (1, 'first', {world.at('2026-01-01 11:00:00')})")
    query = "SELECT id, guest AS name, at AS updated_at FROM rooms LEFT JOIN stays ON room = id"
    world.map(query=query, primary_key="id")
    world.run()
    world.sql(f"INSERT INTO stays VALUES (1, 'last', {world.at('2026-01-01 11:02:00')})")
    world.sql(f"INSERT INTO stays VALUES (1, 'between', {world.at('2026-01-01 11:01:00')})")
    for full in (False, False, True):
        assert world.run(full=full).outcome is Outcome.SUCCEEDED
        assert world.held == {"1": "last"}
    world.map(query=query + " WHERE id > 0", primary_key="id")
    assert "not unique" in refused(world.run(full=True))
    assert not world.check().sound


@everywhere
def test_w39_a_column_set_to_null(world: World) -> None:
    """It is sent as null, so that the merge clears it. A property left out keeps its old value for ever."""
    world.rooms(rows=[(1, "loft", world.now)])
    world.map()
    world.run()
    world.sql(f"UPDATE rooms SET name = NULL, updated_at = {world.now}")
    world.run()
    assert world.delivery.objects[("rooms", "1")]["name"] is None


@everywhere
def test_w39_a_column_that_is_dropped(world: World) -> None:
    """What a mapping no longer sends stays in the warehouse; a narrower query stops first and asks. `nulls: omit` is
    what a person chooses who wants to keep old values."""
    world.rooms(rows=[(1, "loft", world.now)])
    world.map(query="SELECT * FROM rooms", primary_key="id")
    world.run()
    world.map(query="SELECT id, updated_at FROM rooms", primary_key="id")
    assert "changed since the checkpoint" in refused(world.run())


PARTS = [
    "a_b|c",
    "a|b_c",
    "a:b|c",
    "a|b:c",
    "a:|b",
    "a|:b",
    "a\\|b",
    "a|\\b",
    "a\\:b|c",
    "a|\\:b",
    "a\\|:b",
    ":|\\",
    "\\|:",
    "a|b",
]


@everywhere
def test_w40_composite_keys_stay_apart(world: World) -> None:
    """('a_b', 'c') and ('a', 'b_c') are two objects, whatever joins them, and however long they are."""
    world.sql(
        "CREATE TABLE rooms (house VARCHAR(90), room VARCHAR(90), name VARCHAR(60), updated_at TIMESTAMP NULL, "
        "PRIMARY KEY (house, room))"
    )
    long = "x" * 60  # two of them are longer than an id may be
    keys = [tuple(each.split("|")) for each in PARTS]
    keys += [(long, f"{long}1"), (long, f"{long}2"), (f"{long}1", long)]
    escaped = [tuple(part.replace("\\", "\\\\") if world.engine == "mariadb" else part for part in key) for key in keys]
    for number, (house, room) in enumerate(escaped):
        world.sql(f"INSERT INTO rooms VALUES ('{house}', '{room}', 'room {number}', {world.at(OLD)})")
    world.map()
    assert world.run().outcome is Outcome.SUCCEEDED
    assert sorted(map(str, world.held.values())) == sorted(f"room {number}" for number in range(len(keys)))


@everywhere
def test_w42_rows_that_arrive_with_old_stamps(world: World) -> None:
    """A backlog applied by replication or a load carries the stamps of its origin: behind the lookback, incremental
    runs do not see it, and the next full run sends all of it. The watermark does not go back."""
    world.rooms(rows=[(1, "loft", world.at("2026-01-02 10:00:00"))])
    world.map()
    world.run()
    before = world.watermark
    world.put(*[(number, "backlog", world.at(f"2026-01-01 {number % 24:02}:00:00")) for number in range(2, 40)])
    assert world.run().counts.sent == 0
    assert world.run(full=True).counts.sent == 38
    assert world.watermark == before
    assert not world.missing()
