"""From a valid file to a Config."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url

from syncer.config import Config, load_config, select_mappings
from syncer.config.resolve import beside
from syncer.core.model import CollectionMapping, Kind, Mode, PropertyRule, Schedule, TombstoneRule, WatermarkRule
from syncer.errors import UsageError

Load = Callable[..., Config]


def test_what_is_not_written_has_its_default(load: Load, valid: str, tmp_path: Path) -> None:
    """The smallest file is complete."""
    config = load(valid)
    assert config.path == tmp_path / "syncer.yaml"
    assert config.sources["app"].timezone == "UTC"
    assert config.destination.endpoint == "https://objects.segment.com"
    assert (config.destination.api, config.destination.synchronous) == ("auto", "auto")
    assert (config.destination.max_in_flight, config.destination.requests_per_second) == (16, None)
    assert config.destination.retry_for == timedelta(minutes=5)
    assert config.state_url == f"sqlite:///{tmp_path}/syncer.db"
    assert dict(config.mappings) == {
        "rooms": CollectionMapping(
            name="rooms",
            source="app",
            query="SELECT id, name, updated_at FROM rooms",
            collection="rooms",
            primary_key=("id",),
        )
    }


@pytest.mark.parametrize(
    ("keys", "endpoint", "threshold", "part_size"),
    [
        ("region: oregon", "https://objects-bulk-api.segmentapis.com", 10_000, 16_000_000),
        # Segment documents none there
        ("region: dublin", None, 10_000, 16_000_000),
        ("region: dublin\n  bulk: {endpoint: 'https://b.test'}", "https://b.test", 10_000, 16_000_000),
        # one setting is enough for the sandbox
        ("endpoint: http://127.0.0.1:8765", "http://127.0.0.1:8765", 10_000, 16_000_000),
        ("endpoint: https://a.test\n  bulk: {endpoint: 'https://b.test'}", "https://b.test", 10_000, 16_000_000),
        ("bulk: {threshold: 1, part_size: 511MB}", "https://objects-bulk-api.segmentapis.com", 1, 511_000_000),
    ],
)
def test_where_and_how_the_bulk_api_is_used(
    load: Load, valid: str, keys: str, endpoint: str | None, threshold: int, part_size: int
) -> None:
    """By its own key, else where everything goes, else in the region, where it is known."""
    to = load(valid.replace("destination:", f"destination:\n  {keys}", 1)).destination
    assert (to.bulk_endpoint, to.bulk_threshold, to.bulk_part_size) == (endpoint, threshold, part_size)


def test_everything_written_arrives(load: Load, mapping: Callable[[str], str]) -> None:
    """Every key of a mapping, with values other than the defaults."""
    config = load(
        mapping(
            "source: app\ncollection: hotel_rooms\nsend: all\nrefresh_after: 2w\ndeletes: tombstone\nnulls: omit\n"
            "watermark: {column: updated_at, lookback: 90s, initial: 2020-01-01, nulls: error}\n"
            "schedules: [{cron: '0  2 * * 0', mode: full, timezone: Europe/Paris}, {every: 1h30m}]\n"
            "properties: {a: {rename: b, type: string, drop: true, mask: redact, flatten: yes}, c: {type: timestamp}}\n"
            "tags: [core, 2024]"
        )
    )
    assert config.mappings["rooms"] == CollectionMapping(
        name="rooms",
        source="app",
        query="SELECT id, name, updated_at FROM rooms",
        collection="hotel_rooms",
        primary_key=("id",),
        watermark=WatermarkRule(
            column="updated_at", lookback=timedelta(seconds=90), initial="2020-01-01", nulls="error"
        ),
        schedules=(
            Schedule(cron="0 2 * * 0", mode=Mode.FULL, timezone="Europe/Paris"),
            Schedule(every=timedelta(minutes=90)),
        ),
        send="all",
        refresh_after=timedelta(weeks=2),
        deletes=TombstoneRule(),
        nulls="omit",
        properties={
            "a": PropertyRule(rename="b", type=Kind.TEXT, drop=True, mask="redact", flatten=True),
            "c": PropertyRule(type=Kind.TIMESTAMP),
        },
        tags=("core", "2024"),
    )


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("updated_at", WatermarkRule(column="updated_at")),
        ("{column: id, lookback: 100}", WatermarkRule(column="id", lookback=100)),
        ("{column: id, lookback: 0}", WatermarkRule(column="id", lookback=0)),
        ("{column: id, lookback: 0s}", WatermarkRule(column="id", lookback=timedelta(0))),
        ("{column: id, initial: 007}", WatermarkRule(column="id", initial="007")),
        ("{column: at, initial: 22:00}", WatermarkRule(column="at", initial="22:00")),
        ("null", None),
    ],
)
def test_forms_of_the_watermark(
    load: Load, mapping: Callable[[str], str], written: str, rule: WatermarkRule | None
) -> None:
    """A column alone, or the long form; values as written."""
    assert load(mapping(f"watermark: {written}")).mappings["rooms"].watermark == rule


@pytest.mark.parametrize("kind", ["text", "integer", "float", "decimal", "boolean", "timestamp", "date", "json"])
def test_types_of_properties(load: Load, mapping: Callable[[str], str], kind: str) -> None:
    """Each word is the kind of that name."""
    config = load(mapping(f"properties: {{name: {{type: {kind}}}}}"))
    assert config.mappings["rooms"].properties["name"].type == Kind(kind)


def test_retired_properties(load: Load, valid: str) -> None:
    """`null` is a value there, also in `defaults`, and goes with the keys that send the column under no old name."""
    config = load(
        valid.replace("mappings:", "defaults: {properties: {note: {retired: ~}}}\nmappings:")
        + "    properties: {city: {retired: null}, name: {rename: title, retired: null}, place: {drop: null}}\n"
    )
    assert config.mappings["rooms"].properties == {
        "note": PropertyRule(retired=True),
        "city": PropertyRule(retired=True),
        "name": PropertyRule(rename="title", retired=True),
        "place": PropertyRule(),
    }


@pytest.mark.parametrize(
    ("written", "share"),
    [("20%", 0.2), ("0.2", 0.2), ("33.3%", 0.333), ("29%", 0.29), ("0%", 0), ("100%", 1), ("1", 1)],
)
def test_what_a_run_may_do(load: Load, mapping: Callable[[str], str], written: str, share: float) -> None:
    """Limits and shares, in percent or as a fraction: the same number, to the last bit."""
    keys = f"deletes: {{is_deleted: gone, max_share: {written}}}\nmax_change_ratio: {written}\nmax_objects_per_run: 7"
    rooms = load(mapping(keys)).mappings["rooms"]
    assert rooms.deletes == TombstoneRule(is_deleted="gone", max_share=share)
    assert (rooms.max_change_ratio, rooms.max_objects_per_run) == (share, 7)


def test_the_budget(load: Load, valid: str) -> None:
    """None unless it is written."""
    assert load(valid).destination.budget is None
    assert load(valid.replace("mappings:", "  budget: 1000000\nmappings:")).destination.budget == 1_000_000


@pytest.mark.parametrize("policy", ["evolve", "warn", "freeze"])
def test_schema_policies(load: Load, valid: str, policy: str) -> None:
    """A mapping's own word, or that of `defaults`; `warn` when nothing is said."""
    assert load(valid).mappings["rooms"].schema == "warn"
    assert load(valid + f"    schema: {policy}\n").mappings["rooms"].schema == policy
    inherited = valid.replace("mappings:", f"defaults: {{schema: {policy}}}\nmappings:")
    assert load(inherited).mappings["rooms"].schema == policy


@pytest.mark.parametrize(
    ("written", "key"),
    [("id", ("id",)), ("[hotel, room]", ("hotel", "room")), ("1", ("1",)), ("'Room Id'", ("Room Id",))],
)
def test_forms_of_the_primary_key(load: Load, valid: str, written: str, key: tuple[str, ...]) -> None:
    """One column or several, named as the database has them."""
    config = load(valid.replace("primary_key: id", f"primary_key: {written}"))
    assert config.mappings["rooms"].primary_key == key


def test_defaults_are_merged_under_every_mapping(load: Load, valid: str) -> None:
    """What a mapping writes wins, `null` included; properties merge one by one, so that no default mask is lost."""
    config = load(
        valid.replace(
            "mappings:",
            "defaults:\n  send: all\n  watermark: updated_at\n  tags: [core]\n"
            "  properties: {email: {mask: hash}, note: {drop: true}}\nmappings:",
        )
        + "    tags: []\n    watermark: null\n    properties: {name: {rename: title}, note: {}}\n"
        "  cities: {table: cities}\n"
    )
    rooms, cities = config.mappings.values()
    assert (rooms.send, rooms.watermark, rooms.tags) == ("all", None, ())
    assert (cities.send, cities.watermark, cities.tags) == ("all", WatermarkRule(column="updated_at"), ("core",))
    assert rooms.properties == {
        "email": PropertyRule(mask="hash"),
        "note": PropertyRule(),
        "name": PropertyRule(rename="title"),
    }


def test_a_mapping_can_be_made_of_another(load: Load, valid: str) -> None:
    """Anchors and `<<` are YAML's own way to repeat."""
    text = valid.replace("  rooms:", "  rooms: &rooms") + "  suites: {<<: *rooms, query: SELECT 1}\n"
    assert load(text).mappings["suites"].primary_key == ("id",)


def test_the_query_is_read_from_its_file(load: Load, valid: str, tmp_path: Path) -> None:
    """Relative to the config file, wherever syncer was started, without a byte order mark."""
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql/rooms.sql").write_text("\ufeffSELECT id\nFROM rooms;\n", encoding="utf-8")
    config = load(valid.replace("query: SELECT id, name, updated_at FROM rooms", "query_file: sql/rooms.sql"))
    assert config.mappings["rooms"].query == "SELECT id\nFROM rooms;\n"


def test_mappings_keep_the_order_of_the_file(load: Load, valid: str) -> None:
    """Runs and reports follow it."""
    names = ["reviews", "cities", "amenities"]
    text = valid + "".join(f"  {name}: {{table: {name}}}\n" for name in names)
    assert list(load(text).mappings) == ["rooms", *names]


@pytest.mark.parametrize(
    ("written", "endpoint"),
    [
        ("region: oregon", "https://objects.segment.com"),
        ("region: dublin", "https://objects.euw1.segment.com"),
        ("endpoint: http://127.0.0.1:8765/", "http://127.0.0.1:8765"),
        ("endpoint: http://localhost:8765", "http://localhost:8765"),
        ("endpoint: http://[::1]:8765", "http://[::1]:8765"),
        ("endpoint: https://proxy.test/segment/", "https://proxy.test/segment"),
        ("endpoint: https://proxy.test\n  region: dublin", "https://proxy.test"),
    ],
)
def test_where_objects_go(load: Load, valid: str, written: str, endpoint: str) -> None:
    """The region's host, or the endpoint written; plain HTTP on this host only."""
    assert load(valid.replace("mappings:", f"  {written}\nmappings:")).destination.endpoint == endpoint


@pytest.mark.parametrize(
    ("url", "resolved"),
    [
        ("sqlite:///syncer.db", "sqlite:////srv/a b/syncer.db"),
        ("sqlite:///../x.db?timeout=5", "sqlite:////srv/a b/../x.db?timeout=5"),
        ("sqlite+pysqlite:///x.db", "sqlite+pysqlite:////srv/a b/x.db"),
        ("duckdb:///x.duckdb", "duckdb:////srv/a b/x.duckdb"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite:///file:x?mode=ro&uri=true", "sqlite:///file:x?mode=ro&uri=true"),
        ("postgresql://u:p@db.test/hotels", "postgresql://u:p@db.test/hotels"),
    ],
)
def test_relative_database_files_lie_beside_the_config(url: str, resolved: str) -> None:
    """SQLAlchemy sees the path in the config file's folder, whatever characters that has; other URLs stay."""
    assert make_url(beside(url, Path("/srv/a b"))) == make_url(resolved)


def test_a_folder_with_a_question_mark_is_still_a_folder() -> None:
    """It does not begin the URL's options."""
    assert make_url(beside("sqlite:///x.db", Path("/srv/why?/50%41"))).database == "/srv/why?/50%41/x.db"


def test_a_config_survives_pickling(load: Load, valid: str) -> None:
    """Mappings travel to other processes."""
    config = load(valid)
    assert pickle.loads(pickle.dumps(config)) == config


def test_importing_the_package_loads_no_parser() -> None:
    """Commands that read no file start without pydantic, PyYAML and APScheduler."""
    script = "import sys, syncer.config; print({'pydantic', 'yaml', 'apscheduler', 'sqlalchemy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_relative_path_resolves_beside_itself(valid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State found from the folder of the file stays found after a change of folder."""
    (tmp_path / "syncer.yaml").write_text(valid)
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("syncer.yaml"), {}).state_url == f"sqlite:///{tmp_path}/syncer.db"


@pytest.fixture
def several(load: Load, valid: str) -> Config:
    """Config of three mappings with tags."""
    return load(
        valid + "    tags: [core, hotel]\n  reviews: {table: reviews, tags: [hotel]}\n  cities: {table: cities}\n"
    )


@pytest.mark.parametrize(
    ("select", "exclude", "chosen"),
    [
        ([], [], ["rooms", "reviews", "cities"]),
        (["cities", "rooms"], [], ["rooms", "cities"]),
        (["rooms", "rooms"], [], ["rooms"]),
        (["tag:hotel"], [], ["rooms", "reviews"]),
        (["tag:core", "cities"], [], ["rooms", "cities"]),
        ([], ["tag:core"], ["reviews", "cities"]),
        (["tag:hotel"], ["rooms"], ["reviews"]),
    ],
)
def test_selecting_mappings(several: Config, select: list[str], exclude: list[str], chosen: list[str]) -> None:
    """Names and tags, all without any, in file order."""
    assert [each.name for each in select_mappings(several, select, exclude)] == chosen


@pytest.mark.parametrize(
    ("select", "exclude", "told"),
    [
        (["room"], [], "there is no mapping `room`; did you mean `rooms`?"),
        ([], ["zzz"], "there is no mapping `zzz`; expected `rooms`, `reviews` or `cities`"),
        (["tag:hotels"], [], "no mapping has the tag `hotels`; did you mean `hotel`?"),
        (["tag:"], [], "no mapping has the tag ``"),
        (["rooms"], ["tag:core"], "leaves no mapping"),
    ],
)
def test_selecting_nothing_is_a_usage_error(several: Config, select: list[str], exclude: list[str], told: str) -> None:
    """A misspelt name never runs nothing quietly."""
    with pytest.raises(UsageError) as raised:
        select_mappings(several, select, exclude)
    assert told in raised.value.message
