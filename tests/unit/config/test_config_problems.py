"""What is wrong is told completely: all at once, with file, line, key path and what was expected, never a secret."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.config import Config, find_config, load_config
from syncer.errors import ConfigError, Problem

Load = Callable[..., Config]
Problems = Callable[..., tuple[Problem, ...]]

#: where the mapping fixture puts its keys
FIRST = 10


@pytest.mark.parametrize(
    ("keys", "path", "told"),
    [
        ("watermrk: updated_at", "watermrk", "unknown key `watermrk`; did you mean `watermark`?"),
        ("zzz: 1", "zzz", "unknown key `zzz`"),
        ("sends: all", "sends", "did you mean `send`?"),
        ("send: al", "send", "expected `changed` or `all`; did you mean `all`?"),
        ("send: [all]", "send", "expected `changed` or `all`"),
        ("deletes: tombstones", "deletes", "expected `ignore` or `tombstone`; did you mean `tombstone`?"),
        ("nulls: skip", "nulls", "expected `send` or `omit`"),
        ("source: apq", "source", "there is no such source; did you mean `app`?"),
        ("source: [app]", "source", "expected text"),
        ("source: ''", "source", "expected text, this is empty"),
        ("collection: rooms2", "collection", "lowercase letters and underscores"),
        ("collection: _rooms", "collection", "no underscore at either end"),
        ("collection: Rooms", "collection", "lowercase letters and underscores"),
        (f"collection: {'r' * 101}", "collection", "at most 100 characters"),
        ("refresh_after: 50", "refresh_after", "a duration needs a unit"),
        ("refresh_after: 0d", "refresh_after", "above zero"),
        ("refresh_after: soon", "refresh_after", "expected a duration such as"),
        ("refresh_after: {days: 1}", "refresh_after", "expected a duration such as"),
        ("watermark: {lookback: 5m}", "watermark.column", "the key `column` is required here"),
        ("watermark: {column: u, lookback: 5 m}", "watermark.lookback", "expected a duration"),
        ("watermark: {column: u, lookback: -5}", "watermark.lookback", "expected a duration"),
        ("watermark: {column: u, nulls: keep}", "watermark.nulls", "expected `include`, `skip` or `error`"),
        ("watermark: {column: u, columns: u}", "watermark.columns", "did you mean `column`?"),
        ("watermark: [u]", "watermark", "expected keys and values"),
        ("watermark: ''", "watermark.column", "this is empty"),
        ("schedules: 5m", "schedules", "expected a list"),
        ("schedules: {every: 5m}", "schedules", "expected a list"),
        ("schedules: [5m]", "schedules[0]", "expected keys and values"),
        ("schedules: [null]", "schedules[0]", "expected keys and values"),
        ("schedules: [{}]", "schedules[0]", "expected either `cron` or `every`"),
        ("schedules: [{every: 5m}, {every: 5m, cron: 0 * * * *}]", "schedules[1]", "either `cron` or `every`"),
        ("schedules: [{every: 5}]", "schedules[0].every", "needs a unit"),
        ("schedules: [{cron: 61 * * * *}]", "schedules[0].cron", "the minute cannot be this; it takes 0 to 59"),
        ("schedules: [{cron: hourly}]", "schedules[0].cron", "this has 1 fields; cron needs five"),
        ("schedules: [{cron: 0 2 30 2 *}]", "schedules[0].cron", "never fires"),
        (f"schedules: [{{cron: {'1' * 5000} * * * *}}]", "schedules[0].cron", "expected a cron expression"),
        ("schedules: [{every: 5m, mode: ful}]", "schedules[0].mode", "did you mean `full`?"),
        ("schedules: [{every: 5m, timezone: Amerika/New_York}]", "schedules[0].timezone", "`America/New_York`?"),
        ("schedules: [{every: 5m, timezone: ''}]", "schedules[0].timezone", "not an IANA time zone"),
        ("properties: [name]", "properties", "expected keys and values"),
        ("properties: {name: drop}", "properties.name", "expected keys and values"),
        ("properties: {name: {type: varchar}}", "properties.name.type", "expected `text`, `string`, `integer`"),
        ("properties: {name: {type: int}}", "properties.name.type", "did you mean `integer`?"),
        ("properties: {name: {drop: maybe}}", "properties.name.drop", "expected `true` or `false`"),
        ("properties: {name: {mask: sha}}", "properties.name.mask", "expected `hash` or `redact`"),
        ("properties: {name: {rename: Room Name}}", "properties.name.rename", "snake_case"),
        ("properties: {name: {rename: 2nd}}", "properties.name.rename", "snake_case"),
        ("properties: {name: {retired: true}}", "properties.name.retired", "expected `null`"),
        ("properties: {name: {retired: 'null'}}", "properties.name.retired", "expected `null`"),
        ("properties: {name: {retired: }}", "properties.name.retired", "has nothing behind it"),
        (
            "properties: {name: {retired: null, type: text}}",
            "properties.name.type",
            "a retired property is always null",
        ),
        (
            "properties: {name: {retired: null, mask: hash}}",
            "properties.name.mask",
            "a retired property is always null",
        ),
        ("schema: frozen", "schema", "expected `evolve`, `warn` or `freeze`; did you mean `freeze`?"),
        ("schema_: freeze", "schema_", "unknown key `schema_`; did you mean `schema`?"),
        ("schema: [warn]", "schema", "expected `evolve`, `warn` or `freeze`"),
        ("properties: {a: {rename: x}, b: {rename: x}}", "properties.b.rename", "another property"),
        ("tags: core", "tags", "expected a list"),
        ("tags: [a b]", "tags[0]", "a tag is made of"),
        ("tags: [[a]]", "tags[0]", "expected a tag"),
        ("table: rooms", "table", "`query` is written too"),
        ("query_file: rooms.sql", "query_file", "`query` is written too"),
    ],
)
def test_a_wrong_mapping_is_told(
    problems: Problems, mapping: Callable[[str], str], keys: str, path: str, told: str
) -> None:
    """Line, key path and expectation of each wrong key."""
    found = [each for each in problems(mapping(keys)) if "cannot be read" not in each.message]
    assert [(each.line, each.path) for each in found] == [(FIRST, f"mappings.rooms.{path}")]
    assert told in found[0].message


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "told"),
    [
        ("version: 1\n", "", 1, "version", "the key `version` is required here"),
        ("version: 1", "version: 2", 1, "version", "expected `1`"),
        ("version: 1", "version: one", 1, "version", "expected a whole number"),
        ("version: 1", "version: 1\nmapping: {}", 2, "mapping", "did you mean `mappings`?"),
        ("version: 1", "version: 1\nstate: {url: syncer.db}", 2, "state.url", "expected a database URL"),
        ("version: 1", "version: 1\nstate: syncer.db", 2, "state", "expected keys and values"),
        ("version: 1", "version: 1\ndefaults: {sends: all}", 2, "defaults.sends", "did you mean `send`?"),
        ("version: 1", "version: 1\ndefaults: [x]", 2, "defaults", "expected keys and values"),
        ("@db.test", "@db.test:port", 3, "sources.app.url", "are written `%2F`"),
        (":wk_8Jq2S3cr3t@", ":wk@S3:cr3t@", 3, "sources.app.url", "are written `%2F`"),
        ("app: {", "a b: {", 3, "sources.…", "a name is made of"),
        ("app: {", "app: {zone: UTC, ", 3, "sources.app.zone", "unknown key `zone`"),
        ("app: {", "app: {timezone: +02:00, ", 3, "sources.app.timezone", "not an IANA time zone"),
        ("destination:", "destination:\n  region: eu", 5, "destination.region", "expected `oregon` or `dublin`"),
        ("destination:", "destination:\n  api: bluk", 5, "destination.api", "did you mean `bulk`?"),
        ("destination:", "destination:\n  bulk: {threshold: 0}", 5, "destination.bulk.threshold", "at least 1"),
        ("destination:", "destination:\n  bulk: {treshold: 5}", 5, "destination.bulk.treshold", "mean `threshold`?"),
        ("destination:", "destination:\n  bulk: {part_size: 5}", 5, "destination.bulk.part_size", "expected a size"),
        ("destination:", "destination:\n  bulk: {part_size: 512MB}", 5, "destination.bulk.part_size", "below `512MB`"),
        ("destination:", "destination:\n  bulk: {part_size: 999B}", 5, "destination.bulk.part_size", "from `1KB`"),
        ("destination:", "destination:\n  bulk: {endpoint: a.test}", 5, "destination.bulk.endpoint", "expected a URL"),
        ("destination:", "destination:\n  bulk: always", 5, "destination.bulk", "expected keys and values"),
        ("destination:", "destination:\n  api: bulk\n  region: dublin", 5, "destination.api", "in the region dublin"),
        (
            "destination:",
            "destination:\n  synchronous: true",
            5,
            "destination.synchronous",
            "expected `auto`, `always` or",
        ),
        ("destination:", "destination:\n  max_in_flight: 0", 5, "destination.max_in_flight", "at least 1"),
        ("destination:", "destination:\n  max_in_flight: 1001", 5, "destination.max_in_flight", "at most 1000"),
        ("destination:", "destination:\n  max_in_flight: 1.5", 5, "destination.max_in_flight", "a whole number"),
        ("destination:", "destination:\n  requests_per_second: 0", 5, "destination.requests_per_second", "above 0"),
        ("destination:", "destination:\n  requests_per_second: .nan", 5, "destination.requests_per_second", "a number"),
        ("destination:", "destination:\n  retry_for: 5", 5, "destination.retry_for", "needs a unit"),
        ("destination:", "destination:\n  endpoint: objects.test", 5, "destination.endpoint", "expected a URL"),
        ("destination:", "destination:\n  endpoint: ftp://a.test", 5, "destination.endpoint", "expected a URL"),
        ("destination:", "destination:\n  endpoint: https://", 5, "destination.endpoint", "expected a URL"),
        ("destination:", "destination:\n  endpoint: https://a.test:x", 5, "destination.endpoint", "expected a URL"),
        ("destination:", "destination:\n  endpoint: https://[::1", 5, "destination.endpoint", "expected a URL"),
        ("destination:", "destination:\n  endpoint: http://a.test", 5, "destination.endpoint", "needs `https://`"),
        ("destination:", "destination:\n  endpoint: http://10.0.0.1", 5, "destination.endpoint", "needs `https://`"),
        ("destination:", "destination:\n  endpoint: https://u:p@a.test", 5, "destination.endpoint", "no user"),
        ("destination:", "destination:\n  endpoint: https://a.test?x", 5, "destination.endpoint", "no `?`"),
        ("mappings:\n  rooms:", "mappings:\n  my rooms:", 7, "mappings.…", "a name is made of"),
        (
            "mappings:\n  rooms:",
            "mappings:\n  rooms2:",
            7,
            "mappings.rooms2.collection",
            "name cannot be its collection",
        ),
        ("    query: SELECT id, name, updated_at FROM rooms\n", "", 7, "mappings.rooms.query", "nothing to read"),
        ("    primary_key: id\n", "", 7, "mappings.rooms.primary_key", "the key `primary_key` is required here"),
        ("primary_key: id", "primary_key: []", 9, "mappings.rooms.primary_key", "at least one column"),
        ("primary_key: id", "primary_key: ['']", 9, "mappings.rooms.primary_key[0]", "this is empty"),
        ("primary_key: id", "primary_key: {a: b}", 9, "mappings.rooms.primary_key", "expected a list"),
        ("primary_key: id", "primary_key: null", 9, "mappings.rooms.primary_key", "required here"),
    ],
)
def test_a_wrong_file_is_told(
    problems: Problems, valid: str, old: str, new: str, line: int, path: str, told: str
) -> None:
    """A wrong key at its own line, a missing one at its parent's."""
    assert old in valid
    found = problems(valid.replace(old, new, 1))
    assert [(each.line, each.path) for each in found] == [(line, path)]
    assert told in found[0].message


def test_all_problems_come_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    """Missing variables, unknown keys, wrong types and broken relations never hide each other."""
    text = (
        "version: 3\nsources:\n  app: {url: '${DB}'}\n  crm: {url: 'sqlite:///crm.db'}\n"
        "destination:\n  regoin: dublin\n"
        "defaults:\n  refresh_after: 5\nmappings:\n  rooms:\n    send: some\n    table: rooms\n  cities:\n"
        "    source: app\n    query: SELECT 1\n    collection: rooms\n"
    )
    assert [(each.line, each.path) for each in problems(text)] == [
        (1, "version"),
        (3, "sources.app.url"),
        (5, "destination.write_key"),
        (6, "destination.regoin"),
        (8, "defaults.refresh_after"),
        (10, "mappings.rooms.source"),
        (11, "mappings.rooms.send"),
        (13, "mappings.cities.primary_key"),
        (16, "mappings.cities.collection"),
    ]


def test_the_message_counts_the_problems(write: Callable[[str], Path], valid: str) -> None:
    """One or several, in which file, and what to do then."""
    path = write(valid + "    a: 1\n    b: 2\n")
    with pytest.raises(ConfigError) as raised:
        load_config(path, {})
    assert raised.value.message == f"2 problems in {path}"
    assert raised.value.exit_code == 2
    assert "syncer check --offline" in (raised.value.hint or "")


def test_a_file_without_mappings_or_sources_is_told(problems: Problems) -> None:
    """There must be something to keep equal, and somewhere to read it."""
    found = problems("version: 1\nsources: {}\ndestination: {write_key: k}\nmappings: {}\n")
    assert [(each.path, each.message) for each in found] == [
        ("sources", "expected at least one entry"),
        ("mappings", "expected at least one entry"),
    ]


def test_a_wrong_default_is_told_once_where_it_is(problems: Problems, valid: str) -> None:
    """Not once per mapping that inherits it."""
    text = (
        valid.replace("mappings:", "defaults:\n  send: al\n  source: apq\n  properties: {x: {drop: 1}}\nmappings:")
        + "  cities: {table: cities}\n"
    )
    assert [(each.line, each.path) for each in problems(text)] == [
        (7, "defaults.send"),
        (8, "defaults.source"),
        (9, "defaults.properties.x.drop"),
    ]


def test_a_key_with_nothing_behind_it_is_told(problems: Problems, mapping: Callable[[str], str]) -> None:
    """`watermark:` alone would quietly make every run a full one."""
    (found,) = problems(mapping("watermark:"))
    assert (found.line, found.path) == (FIRST, "mappings.rooms.watermark")
    assert "nothing behind it" in found.message


def test_a_repeated_key_hides_nothing(problems: Problems, mapping: Callable[[str], str]) -> None:
    """The later one is told with the line of the earlier, and what else is wrong with the key too."""
    assert [(each.line, each.message) for each in problems(mapping("sned: all\nsned: all"))] == [
        (FIRST, "unknown key `sned`; did you mean `send`?"),
        (FIRST + 1, f"repeats the key on line {FIRST}"),
    ]


def test_names_that_are_not_printed_are_still_told_apart(problems: Problems, valid: str) -> None:
    """One problem for each of them."""
    found = problems(valid + "  a b: {table: a, collection: a}\n  c d: {table: c, collection: c}\n")
    assert [(each.line, each.path) for each in found] == [(10, "mappings.…"), (11, "mappings.…")]


def test_two_mappings_of_one_collection_are_both_named(problems: Problems, valid: str) -> None:
    """Their full runs would take each other's objects for deleted."""
    (found,) = problems(valid + "  suites: {table: suites, collection: rooms}\n")
    assert found.message == "the mappings `rooms` and `suites` write the same collection"


def test_with_several_sources_a_mapping_must_name_one(problems: Problems, valid: str) -> None:
    """The choices are listed."""
    (found,) = problems(valid.replace("destination:", "  crm: {url: 'sqlite:///crm.db'}\ndestination:"))
    assert (found.line, found.message) == (8, "the mapping names no source; expected `app` or `crm`")


def test_an_empty_variable_for_a_required_key_is_told_as_that(problems: Problems, valid: str) -> None:
    """The key is there, so `required` would mislead."""
    (found,) = problems(valid.replace("wk_8Jq2S3cr3t\nmappings", "${KEY}\nmappings"), {"KEY": ""})
    assert (found.path, found.message) == ("destination.write_key", "has no value")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        (b"", "no query"),
        (b" \n", "no query"),
        (b"\xff", "UTF-8"),
        (b"SELECT\x00", "no query"),
    ],
)
def test_a_query_file_that_cannot_be_used_is_told(
    problems: Problems, valid: str, tmp_path: Path, content: bytes | None, told: str
) -> None:
    """At the key that names it."""
    if content is not None:
        (tmp_path / "rooms.sql").write_bytes(content)
    (found,) = problems(valid.replace("query: SELECT id, name, updated_at FROM rooms", "query_file: rooms.sql"))
    assert (found.line, found.path) == (8, "mappings.rooms.query_file")
    assert found.message.startswith("rooms.sql: ")
    assert told in found.message


LEAK = "S3cr3t"
SECRETS = [
    "  write_key: [S3cr3t]",
    "  write_key: {S3cr3t: x}",
    "  write_key: S3cr3t with blanks",
    '  write_key: "S3cr3t\\n"',
    "  write_key: ${S3cr3t",
    "  write_key:S3cr3t",
    "  write_key S3cr3t",
    "  {write_key:S3cr3t}",
    "  {write_key S3cr3t}",
    "  region: S3cr3t\n  write_key: k",
    "  region: oregon\n  write_key:S3cr3t",
    "  region: ${LEAK}\n  write_key: k",
    "  endpoint: http://S3cr3t@a.test\n  write_key: k",
    "  max_in_flight: S3cr3t\n  write_key: k",
    "  retry_for: S3cr3t\n  write_key: k",
    "  retry_for: 5m\n  write_key: k\ndefaults:\n  schedules: [{cron: '`S3cr3t` * * `S3cr3t` *'}]",
    "  write_key: 'S3cr3t",
    "  write_key: *S3cr3t",
    "  write_key: !S3cr3t",
    "  write_key: %S3cr3t",
    "  write_key: @S3cr3t",
    "  - S3cr3t",
    "  S3cr3t",
]


# ids, because the name of the temporary folder holds them
@pytest.mark.parametrize("written", SECRETS, ids=range(len(SECRETS)))
def test_secrets_are_never_printed(write: Callable[[str], Path], valid: str, written: str) -> None:
    """Not in messages, hints or paths, and not in a traceback either."""
    path = write(valid.replace("  write_key: wk_8Jq2S3cr3t", written).replace("wk_8Jq2S3cr3t", "x"))
    with pytest.raises(ConfigError) as raised:
        load_config(path, {"LEAK": LEAK})
    error = raised.value
    told = "".join(
        [*traceback.format_exception(error), repr(error), *map(repr, error.problems), *map(str, error.problems)]
    )
    assert LEAK not in told


def test_secrets_are_not_in_the_representation_of_a_config(load: Load, valid: str) -> None:
    """A Config may be logged by accident."""
    config = load("state: {url: 'postgresql://u:wk_8Jq2S3cr3t@db.test/state'}\n" + valid)
    assert "S3cr3t" in config.state_url
    assert "S3cr3t" not in repr(config)


@given(st.text(max_size=30))
def test_a_database_url_is_never_repeated(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    """Whatever a variable holds: it is a URL, or the sentence about it is the same for all."""
    path = tmp_path_factory.getbasetemp() / "url.yaml"
    path.write_text(
        "version: 1\nsources: {app: {url: '${VALUE}'}}\n"
        "destination: {write_key: k}\nmappings: {rooms: {table: rooms}}\n"
    )
    try:
        assert load_config(path, {"VALUE": value}).sources["app"].url
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.message.split(" such as ")[0] in (
            "expected a database URL", "has no value", "the variable VALUE does not hold UTF-8 text",
        )  # fmt: skip


def test_the_config_file_is_found_in_order(tmp_path: Path) -> None:
    """`-c`, then $SYNCER_CONFIG, then syncer.yaml, then config.yaml."""
    for name in ("a.yaml", "b.yaml", "syncer.yaml", "config.yaml"):
        (tmp_path / name).touch()
    environ = {"SYNCER_CONFIG": "b.yaml"}
    assert find_config("a.yaml", environ, tmp_path) == tmp_path / "a.yaml"
    assert find_config(str(tmp_path / "a.yaml"), {}, Path("/")) == tmp_path / "a.yaml"
    assert find_config(None, environ, tmp_path) == tmp_path / "b.yaml"
    assert find_config(None, {"SYNCER_CONFIG": ""}, tmp_path) == tmp_path / "syncer.yaml"
    (tmp_path / "syncer.yaml").unlink()
    assert find_config(None, {}, tmp_path) == tmp_path / "config.yaml"


@pytest.mark.parametrize(
    ("explicit", "environ", "told"),
    [(None, {}, "syncer.yaml"), ("x.yaml", {}, "-c"), (None, {"SYNCER_CONFIG": "x.yaml"}, "$SYNCER_CONFIG")],
)
def test_no_config_file_is_told_with_a_way_to_begin(
    tmp_path: Path, explicit: str | None, environ: dict[str, str], told: str
) -> None:
    """What was looked for, and the two commands that need no file."""
    with pytest.raises(ConfigError) as raised:
        find_config(explicit, environ, tmp_path)
    assert told in raised.value.message
    assert "syncer demo" in (raised.value.hint or "")
    assert "syncer demo" in (raised.value.hint or "")


def test_a_folder_instead_of_a_file_is_told(tmp_path: Path) -> None:
    """What the operating system says, as a problem."""
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path, {})
    assert "cannot be read" in str(raised.value.problems[0])
