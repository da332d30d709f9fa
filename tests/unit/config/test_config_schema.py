"""The example, the schema and the model stay in step."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from syncer.config import json_schema, load_config
from syncer.config.document import parse_document
from syncer.config.explain import keys_at
from syncer.config.model import FileKeys

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"
ENVIRON = {"APP_DATABASE_URL": "postgresql+psycopg://syncer@127.0.0.1/hotels", "SEGMENT_WRITE_KEY": "key"}


class EditorLoader(yaml.SafeLoader):
    """Reads YAML as editors do: dates are text."""


EditorLoader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0] != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def editor(text: str) -> Any:
    """Content of a file as an editor validates it."""
    return yaml.load(text, EditorLoader)


def with_query_file(text: str) -> str:
    """The example with its commented alternative instead of `table`."""
    assert "    table: public.reviews" in text
    return text.replace("    table: public.reviews", "    primary_key: id #").replace("# query_file:", "query_file:")


def paths(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key path of a document; positions in lists left out."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield (*path, key)
        yield from paths(value, (*path, key))
    for value in tree if isinstance(tree, list) else ():
        yield from paths(value, path)


def models(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    """Every model of the file and where it stands, `*` for names."""
    yield path, model
    for name, field in model.model_fields.items():
        for inner in re.findall(r"(\w+Keys)", str(field.annotation)):
            named = ("*",) if "dict[" in str(field.annotation) else ()
            yield from models(getattr(__import__(model.__module__, fromlist=[inner]), inner), (*path, name, *named))


def pattern_of(path: tuple[str, ...]) -> tuple[str, ...]:
    """Path with the names that the file chose as `*`."""
    named = {("sources",), ("mappings",), ("mappings", "*", "properties")}
    result: tuple[str, ...] = ()
    for step in path:
        result = (*result, "*" if result in named else step)
    return result


def test_the_example_loads(tmp_path: Path) -> None:
    """With the variables it needs, and also with its commented alternative."""
    config = load_config(EXAMPLE, ENVIRON)
    assert list(config.mappings) == ["rooms", "reviews"]
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql/reviews.sql").write_text("SELECT id, updated_at FROM reviews")
    (tmp_path / "syncer.yaml").write_text(with_query_file(EXAMPLE.read_text()))
    assert load_config(tmp_path / "syncer.yaml", ENVIRON).mappings["reviews"].query


def test_the_example_has_every_key() -> None:
    """A key that is added to the model must be added to the example."""
    text = EXAMPLE.read_text()
    shown = {pattern_of(path) for each in (text, with_query_file(text)) for path in paths(editor(each))}
    known = {
        (*path, field.alias or name)
        for path, model in models(FileKeys)
        if path[:1] != ("defaults",)
        for name, field in model.model_fields.items()
    }
    assert len(known) > 40
    assert known - shown == set()


def test_the_example_says_why_of_every_key() -> None:
    """Somewhere each key has a comment on its line."""
    said = re.findall(r"^ *(?:- |# )?(\w+):.* # ?\w", EXAMPLE.read_text(), re.MULTILINE)
    known = {field.alias or name for _, model in models(FileKeys) for name, field in model.model_fields.items()}
    assert known - set(said) == set()


def test_every_key_has_a_description() -> None:
    """Editors show why one would write it: one sentence."""
    for path, model in models(FileKeys):
        for name, field in model.model_fields.items():
            assert field.description, (*path, name)
            assert field.description.endswith("."), (*path, name)


def test_keys_are_found_by_path_whatever_names_the_file_chose() -> None:
    """A mapping may be called as a key is."""
    assert keys_at(FileKeys, ("mappings", "query", "watermark")) == ("column", "lookback", "initial", "nulls")
    assert "rename" in keys_at(FileKeys, ("mappings", "properties", "properties", "type"))
    assert "cron" in keys_at(FileKeys, ("defaults", "schedules", 0))
    assert keys_at(FileKeys, ("sources", "url", "url")) == ()


def test_the_schema_is_a_schema_and_accepts_the_example() -> None:
    """Draft 2020-12, with a title and descriptions."""
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "syncer configuration"
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(editor(EXAMPLE.read_text()))


FILE = """\
version: {version}
sources: {{app: {{url: 'sqlite:///app.db'}}}}
destination: {{write_key: k{destination}}}
mappings:
  rooms: {{{query}, primary_key: id{mapping}}}
"""


def fill(destination: str = "", mapping: str = "", version: str = "1", query: str = "table: rooms") -> str:
    """A file with these values."""
    return FILE.format(destination=destination, mapping=mapping, version=version, query=query)


VARIED = [
    fill(),
    fill(destination=", max_in_flight: 5, requests_per_second: 0.5, retry_for: 30s"),
    fill(destination=", max_in_flight: '${N:-5}', requests_per_second: '${N:-5}', region: '${R:-dublin}'"),
    fill(mapping=", watermark: updated_at"),
    fill(mapping=", watermark: {column: id, lookback: 100, initial: 5}"),
    fill(mapping=", watermark: {column: at, lookback: 1h30m, initial: 2020-01-01}"),
    fill(mapping=", schedules: [{every: 5m}, {cron: 0 2 * * *, mode: full}]"),
    fill(mapping=", properties: {a: {drop: true, type: string}, b: {drop: '${N:-no}'}}"),
    fill(mapping=", tags: [a], refresh_after: '${N:-5d}'"),
    fill(version="'${V:-1}'"),
    fill(version="2"),
    fill(query="table: rooms, query: SELECT 1"),
    fill(query="tabel: rooms, query: SELECT 1"),
    fill(destination=", max_in_flight: 0"),
    fill(destination=", max_in_flight: 1001"),
    fill(destination=", max_in_flight: many"),
    fill(destination=", requests_per_second: 0"),
    fill(destination=", region: eu"),
    fill(destination=", retry_for: 5"),
    fill(destination=", retry_for: soon"),
    fill(mapping=", watermark: {lookback: 5m}"),
    fill(mapping=", watermark: {column: at, lookback: soon}"),
    fill(mapping=", schedules: [{mode: full}]"),
    fill(mapping=", schedules: [{every: 5m, cron: 0 2 * * *}]"),
    fill(mapping=", schedules: {every: 5m}"),
    fill(mapping=", properties: {a: {type: varchar}}"),
    fill(mapping=", properties: {a: {mask: sha}}"),
    fill(mapping=", tags: a"),
    fill(mapping=", schema: freeze, properties: {a: {retired: null}, b: {rename: c, retired: null}}"),
    fill(mapping=", schema: '${S:-evolve}'"),
    fill(mapping=", deletes: {max_share: 20%}, max_change_ratio: 33.3%, max_objects_per_run: 0"),
    fill(mapping=", deletes: {mode: tombstone, is_deleted: gone}, max_change_ratio: 0.2"),
    fill(destination=", budget: 1000000"),
    fill(destination=", budget: '${N:-5}'"),
    fill(destination=", budget: -1"),
    fill(destination=", budget: lots"),
    fill(mapping=", deletes: {max_share: 101%}"),
    fill(mapping=", max_change_ratio: 1.1"),
    fill(mapping=", max_change_ratio: half"),
    fill(mapping=", max_objects_per_run: -1"),
    fill(mapping=", schema: strict"),
    fill(mapping=", schema_: warn"),
    fill(mapping=", properties: {a: {retired: true}}"),
    fill(mapping=", properties: {a: {retired: 'null'}}"),
]


@pytest.mark.parametrize("text", VARIED)
def test_the_schema_and_the_loader_agree(
    text: str, problems: Callable[..., object], load: Callable[..., object]
) -> None:
    """What an editor underlines is refused, what it lets pass loads."""
    if jsonschema.Draft202012Validator(json_schema()).is_valid(editor(text)):
        load(text)
    else:
        problems(text)


def test_both_sides_of_the_agreement_are_tried() -> None:
    """The cases above are not all valid and not all wrong."""
    valid = [jsonschema.Draft202012Validator(json_schema()).is_valid(editor(text)) for text in VARIED]
    assert (valid.count(True), valid.count(False)) == (16, 28)


def test_the_example_says_nothing_twice() -> None:
    """No repeated keys, no keys with nothing behind them."""
    document = parse_document(EXAMPLE.read_text(), "config.example.yaml")
    assert (document.blank, document.repeated) == ((), ())
