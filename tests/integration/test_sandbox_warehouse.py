"""The sandbox's SQLite warehouse: merging, exactness, names, readers."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.sandbox.exact import decode
from syncer.sandbox.rules import SetObject, SetRequest
from syncer.sandbox.tables import MAX_COLUMNS
from syncer.sandbox.warehouse import Warehouse

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "warehouse.db"


@pytest.fixture
def warehouse(path):
    with Warehouse(path) as opened:
        yield opened


def request(collection: str, /, **objects: dict) -> SetRequest:
    """A request that sets these properties, by id."""
    return SetRequest(
        collection=collection,
        objects=tuple(SetObject(id=id, properties=properties) for id, properties in objects.items()),
    )


def record(warehouse: Warehouse, asked: SetRequest | None, at: datetime = NOON, status: int = 200) -> None:
    warehouse.record(asked, received_at=at, status=status, synchronous=False, size=100)


def put(warehouse: Warehouse, id: str = "1", /, **properties: object) -> None:
    record(warehouse, request("rooms", **{id: properties}))


def kept(warehouse: Warehouse, id: str = "1") -> str:
    (found,) = warehouse.query("SELECT properties FROM _objects WHERE id = ?", id)
    return str(found["properties"])


def test_objects_become_rows_with_a_column_per_property(warehouse):
    """The documented example: a row per object, a column per property."""
    put(warehouse, name="Charming Beach Room", location="Lihue, HI", review_count=47)
    assert warehouse.rows("rooms") == [
        {"id": "1", "name": "Charming Beach Room", "location": "Lihue, HI", "review_count": 47}
    ]
    assert warehouse.collections() == {"rooms": 1}


def test_a_later_request_overwrites_and_absent_properties_stay(warehouse):
    """Same id: properties are merged."""
    put(warehouse, name="Beach Room", review_count=47)
    put(warehouse, review_count=48, owner="Calvin")
    assert warehouse.rows("rooms") == [{"id": "1", "name": "Beach Room", "review_count": 48, "owner": "Calvin"}]
    assert kept(warehouse) == '{"name":"Beach Room","review_count":48,"owner":"Calvin"}'


def test_null_clears_and_is_kept_as_null(warehouse):
    """A property sent as null is NULL in the table and null in `_objects`."""
    put(warehouse, name="Beach Room", owner="Calvin")
    put(warehouse, owner=None)
    assert warehouse.rows("rooms") == [{"id": "1", "name": "Beach Room", "owner": None}]
    assert kept(warehouse) == '{"name":"Beach Room","owner":null}'


def test_objects_of_one_request_may_have_different_properties(warehouse):
    """Each object changes only its own properties."""
    record(warehouse, request("rooms", a={"x": 1, "y": 1}, b={"x": 2, "y": 2}, c={"z": 3}))
    record(warehouse, request("rooms", a={"y": 9}, c={"x": 8}, b={"y": 7}))
    assert warehouse.rows("rooms") == [
        {"id": "a", "x": 1, "y": 9, "z": None},
        {"id": "b", "x": 2, "y": 7, "z": None},
        {"id": "c", "x": 8, "y": None, "z": 3},
    ]


def test_collections_are_apart(warehouse):
    """The same id in two collections is two objects."""
    record(warehouse, request("rooms", **{"1": {"name": "Beach Room"}}))
    record(warehouse, request("hosts", **{"1": {"name": "Calvin"}}))
    assert warehouse.rows("rooms") == [{"id": "1", "name": "Beach Room"}]
    assert warehouse.rows("hosts") == [{"id": "1", "name": "Calvin"}]
    assert warehouse.collections() == {"hosts": 1, "rooms": 1}
    assert warehouse.rows("cities") == []


@pytest.mark.parametrize(
    ("value", "column", "sql_type", "text"),
    [
        (9007199254740993, 9007199254740993, "integer", "9007199254740993"),
        (2**64, "18446744073709551616", "text", "18446744073709551616"),
        (-(2**63), -(2**63), "integer", "-9223372036854775808"),
        (Decimal("6.000000000000000007"), "6.000000000000000007", "text", "6.000000000000000007"),
        (Decimal("1e400"), "1E+400", "text", "1E+400"),
        (Decimal("129.90"), 129.9, "real", "129.90"),
        (Decimal("5.0"), 5.0, "real", "5.0"),
        (Decimal("9" * 6000), "9" * 6000, "text", "9" * 6000),
        (True, 1, "integer", "true"),
        ("0012", "0012", "text", '"0012"'),
        ("a\0b", "a\0b", "text", '"a\\u0000b"'),
    ],
)
def test_values_are_stored_exactly(warehouse, value, column, sql_type, text):
    """A column holds the value or the text of the number, `_objects` its JSON, also once merged again."""
    put(warehouse, value=value)
    put(warehouse, other="x")
    (row,) = warehouse.query("SELECT value, typeof(value) AS type FROM rooms")
    assert row == {"value": column, "type": sql_type}
    assert kept(warehouse) == f'{{"value":{text},"other":"x"}}'


def test_a_column_takes_values_of_any_type(warehouse):
    """The first value of a property does not fix its column's type."""
    for number, value in enumerate([1, "one", Decimal("1.5"), None, True]):
        put(warehouse, str(number), value=value)
    assert [row["value"] for row in warehouse.rows("rooms")] == [1, "one", 1.5, None, 1]


@pytest.mark.parametrize("name", ["id", "ID", "received_at", "uuid", "uuid_ts"])
def test_properties_named_like_reserved_columns_are_lost_in_the_table(warehouse, name):
    """As in the real warehouse; `_objects` still has them."""
    put(warehouse, **{name: "x", "city": "Austin"})
    assert warehouse.rows("rooms") == [{"id": "1", "city": "Austin"}]
    assert kept(warehouse) == f'{{"{name}":"x","city":"Austin"}}'


def test_only_reserved_properties_still_make_a_row(warehouse):
    """An object without columns is in the table by its id."""
    put(warehouse, uuid="x")
    put(warehouse, uuid="y")
    assert warehouse.rows("rooms") == [{"id": "1"}]


@pytest.mark.parametrize(
    "name",
    [
        'a"b',
        '"; DROP TABLE rooms; --',
        "select",
        "a b",
        "a;b",
        "'",
        "[x]",
        "größe",
        "",
        "rowid",
        "x\ny",
        "?1",
        ":a",
    ],
)
def test_hostile_property_names_are_only_names(warehouse, name):
    """Any name is a column, and adding one later works as well."""
    put(warehouse, **{name: 1})
    put(warehouse, city="Austin", **{name + "_too": 2})
    assert warehouse.rows("rooms") == [{"id": "1", name: 1, "city": "Austin", name + "_too": 2}]


@pytest.mark.parametrize("name", ["a\0b", "x" * 128])
def test_names_that_cannot_be_columns_are_kept_in_objects(warehouse, name):
    """NUL and over-long names are not lost, only not columns."""
    put(warehouse, **{name: 1, "city": "Austin"})
    assert warehouse.rows("rooms") == [{"id": "1", "city": "Austin"}]
    assert decode(kept(warehouse)) == {name: 1, "city": "Austin"}


def test_a_table_has_a_limit_of_columns(warehouse):
    """Properties beyond it are kept in `_objects`, whether they come at once or later."""
    put(warehouse, **{f"p{number}": number for number in range(MAX_COLUMNS + 5)})
    put(warehouse, late=1)
    (row,) = warehouse.rows("rooms")
    assert len(row) == 1 + MAX_COLUMNS
    assert len(decode(kept(warehouse))) == MAX_COLUMNS + 6


def test_names_that_differ_in_case_share_a_column(warehouse):
    """SQL does not tell them apart; the last one sent wins."""
    put(warehouse, City="Austin")
    put(warehouse, city="Lihue")
    put(warehouse, "2", CITY="a", city="b")
    assert warehouse.rows("rooms") == [{"id": "1", "City": "Lihue"}, {"id": "2", "City": "b"}]


@pytest.mark.parametrize("collection", ["select", "table", "sqlite_master", "sqlite_sequence", "objects"])
def test_hostile_collection_names_are_only_names(path, collection):
    """Keywords and SQLite's own names are collections like others, also after opening the file again."""
    for city in ("Austin", "Lihue"):
        with Warehouse(path) as warehouse:
            record(warehouse, request(collection, **{"1": {"city": city}}))
            assert warehouse.rows(collection) == [{"id": "1", "city": city}]
            assert warehouse.collections() == {collection: 1}


def test_objects_are_counted_and_dated(warehouse):
    """`_objects` says how often, when first and when last an object was received."""
    for hours in (0, 1, 5):
        record(warehouse, request("rooms", **{"1": {"n": hours}}), NOON + timedelta(hours=hours))
    (found,) = warehouse.query("SELECT collection, id, times, first_received_at, last_received_at FROM _objects")
    assert found == {
        "collection": "rooms",
        "id": "1",
        "times": 3,
        "first_received_at": "2024-05-01T12:00:00+00:00",
        "last_received_at": "2024-05-01T17:00:00+00:00",
    }


def test_requests_are_noted_with_what_they_stored(warehouse):
    """Refused ones have stored nothing; a lost acknowledgement has."""
    warehouse.record(request("rooms", a={"n": 1}, b={"n": 2}), received_at=NOON, status=503, synchronous=True, size=77)
    warehouse.record(None, received_at=NOON, status=400, synchronous=False, size=5)
    at = "2024-05-01T12:00:00+00:00"
    columns = ("number", "received_at", "collection", "objects", "status", "synchronous", "bytes", "path", "sync_id",
               "uploaded")  # fmt: skip
    assert warehouse.requests() == [
        dict(zip(columns, (1, at, "rooms", 2, 503, 1, 77, "/v1/set", None, 0), strict=True)),
        dict(zip(columns, (2, at, None, 0, 400, 0, 5, "/v1/set", None, 0), strict=True)),
    ]


def test_a_warehouse_outlives_its_sandbox(path):
    """Merging goes on where it stopped."""
    with Warehouse(path) as warehouse:
        put(warehouse, name="Beach Room")
    with Warehouse(path) as warehouse:
        put(warehouse, owner="Calvin", NAME="Bay Room")
        assert warehouse.rows("rooms") == [{"id": "1", "name": "Bay Room", "owner": "Calvin"}]


def test_a_warehouse_may_be_in_memory():
    """ ":memory:" needs no file."""
    with Warehouse(":memory:") as warehouse:
        put(warehouse, city="Austin")
        assert warehouse.rows("rooms") == [{"id": "1", "city": "Austin"}]


def test_a_query_reads_with_parameters_and_never_writes(warehouse):
    """`query` is for looking; afterwards the sandbox can still write."""
    put(warehouse, city="Austin")
    assert warehouse.query("SELECT count(*) AS n FROM rooms WHERE city = ?", "Austin") == [{"n": 1}]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        warehouse.query("DELETE FROM rooms")
    put(warehouse, "2", city="Lihue")
    assert warehouse.collections() == {"rooms": 2}


_names = st.sampled_from(["a", "b", "A", "c", "id"])
_scalars = st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False)
_properties = st.dictionaries(_names, _scalars | st.text(max_size=3), min_size=1)
_requests = st.lists(st.dictionaries(st.sampled_from("xyz"), _properties, min_size=1), max_size=6)


@settings(deadline=None)
@given(_requests)
def test_merging_is_a_dictionary_update_per_id(sent):
    """Whatever is sent in whatever order, `_objects` holds what updating dictionaries would."""
    model: dict[str, dict] = {}
    with Warehouse(":memory:") as warehouse:
        for objects in sent:
            record(warehouse, request("rooms", **objects))
            for id, properties in objects.items():
                model.setdefault(id, {}).update(properties)
        found = {row["id"]: decode(str(row["properties"])) for row in warehouse.query("SELECT * FROM _objects")}
        assert found == model
        assert [list(each) for each in found.values()] == [list(model[id]) for id in found]
        assert [row["id"] for row in warehouse.rows("rooms")] == sorted(model)


def test_stored_json_is_json(warehouse):
    """SQLite's own JSON functions can read `_objects`."""
    put(warehouse, name='Room "7"', price=Decimal("1.50"), size=2**70)
    (found,) = warehouse.query("SELECT json_extract(properties, '$.name') AS name FROM _objects")
    assert found == {"name": 'Room "7"'}
    assert json.loads(kept(warehouse), parse_float=Decimal)["price"] == Decimal("1.50")
