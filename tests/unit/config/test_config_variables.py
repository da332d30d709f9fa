"""`${VAR}` in values, and the `.env` file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.config import Config, load_config
from syncer.config.variables import parse_dotenv
from syncer.errors import ConfigError, Problem

Load = Callable[..., Config]
Problems = Callable[..., tuple[Problem, ...]]


@pytest.mark.parametrize(
    ("written", "environ", "endpoint"),
    [
        ("${URL}", {"URL": "https://a.test"}, "https://a.test"),
        ("'${URL}'", {"URL": "https://a.test"}, "https://a.test"),
        ("https://${HOST}/${PATH_}", {"HOST": "a.test", "PATH_": "x"}, "https://a.test/x"),
        ("${URL:-https://b.test}", {}, "https://b.test"),
        ("${URL:-https://b.test}", {"URL": ""}, "https://b.test"),
        ("${URL:-https://b.test}", {"URL": "https://a.test"}, "https://a.test"),
        ("${URL:-}", {}, "https://objects.segment.com"),
        ("${URL}", {"URL": ""}, "https://objects.segment.com"),
        ("${URL}", {"URL": "null"}, "https://objects.segment.com"),
    ],
)
def test_variables_are_filled_in(
    load: Load, valid: str, written: str, environ: Mapping[str, str], endpoint: str
) -> None:
    """Whole values and parts of them; a default for what is unset or empty; nothing at all means no value."""
    text = valid.replace("mappings:", f"  endpoint: {written}\nmappings:")
    assert load(text, environ).destination.endpoint == endpoint


def test_a_variable_may_hold_a_number_or_a_boolean(load: Load, mapping: Callable[[str], str]) -> None:
    """A value that is just a variable is read as if its text stood there."""
    text = mapping("properties: {name: {drop: '${DROP}'}}\nrefresh_after: ${AFTER}")
    text = text.replace("mappings:", "  max_in_flight: ${MOST}\n  requests_per_second: ${RATE:-}\nmappings:")
    config = load(text, {"MOST": "8", "DROP": "yes", "AFTER": "2w"})
    assert config.destination.max_in_flight == 8
    assert config.destination.requests_per_second is None
    assert config.mappings["rooms"].properties["name"].drop is True
    assert config.mappings["rooms"].refresh_after.days == 14


def test_a_double_dollar_stands_for_the_characters(load: Load, valid: str) -> None:
    """`$${` becomes `${` and is not filled in; other dollars stay."""
    text = valid.replace("wk_8Jq2S3cr3t\nmappings", "a$${X}$b$$\nmappings")
    assert load(text, {"X": "no"}).destination.write_key == "a${X}$b$$"


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), min_size=1))
def test_a_variable_never_becomes_yaml(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    """Whatever a variable holds is one value: never a key, a list or another variable."""
    path = tmp_path_factory.getbasetemp() / "injected.yaml"
    path.write_text(
        "version: 1\nsources: {app: {url: 'sqlite:///a.db'}}\ndestination: {write_key: k}\n"
        "mappings: {rooms: {table: 'x${VALUE}', primary_key: id}}\n"
    )
    assert load_config(path, {"VALUE": value}).mappings["rooms"].table == f"x{value}"


def test_every_missing_variable_is_told_with_its_place(problems: Problems, valid: str) -> None:
    """Name, line and key path of each; also of two in one value, and nothing that only follows from them."""
    text = valid.replace("mappings:", "  region: ${REGION}\n  endpoint: https://${HOST}:${PORT}\nmappings:")
    assert [(each.line, each.path, each.message) for each in problems(text)] == [
        (6, "destination.region", "the variable REGION is not set"),
        (7, "destination.endpoint", "the variable HOST is not set"),
        (7, "destination.endpoint", "the variable PORT is not set"),
    ]


@pytest.mark.parametrize("written", ["${}", "${1X}", "${A", "${A:?x}", "${A:-${B}}", "${A B}", "x${"])
def test_what_only_looks_like_a_variable_is_told(problems: Problems, valid: str, written: str) -> None:
    """A slip of the pen never reaches Segment as text."""
    found = problems(valid.replace("mappings:", f'  endpoint: "{written}"\nmappings:'), {"A": "a", "B": "b"})
    assert [(each.line, each.path) for each in found] == [(6, "destination.endpoint")]
    assert "this is not `${NAME}`" in found[0].message


def test_a_variable_that_is_not_text_is_told(problems: Problems, valid: str) -> None:
    """The environment can hold bytes that are no UTF-8."""
    (found,) = problems(valid.replace("mappings:", "  region: ${REGION}\nmappings:"), {"REGION": "\udcff"})
    assert found.message == "the variable REGION does not hold UTF-8 text"


def test_variables_in_sql_are_refused(problems: Problems, valid: str) -> None:
    """Values reach a database as binds, never as text of the statement; a default's text is not repeated."""
    text = valid.replace("FROM rooms", "FROM rooms WHERE day = '${DAY:-S3cr3t}'")
    (found,) = problems(text, {"DAY": "2020-01-01"})
    assert (found.line, found.path) == (8, "mappings.rooms.query")
    assert found.message == "variables are not filled in inside SQL: `${DAY}`"


def test_sql_stays_as_it_is_written(load: Load, valid: str) -> None:
    """PostgreSQL's dollar quotes may stand before a brace."""
    sql = """SELECT id, name, updated_at, $${"a": 1}$$ AS extra FROM rooms"""
    text = valid.replace("SELECT id, name, updated_at FROM rooms", f"'{sql}'")
    assert load(text).mappings["rooms"].query == sql


def test_variables_in_a_query_file_are_refused_where_they_are(problems: Problems, valid: str, tmp_path: Path) -> None:
    """The problem names the SQL file and its line."""
    (tmp_path / "rooms.sql").write_text("SELECT id\nFROM ${TABLE}\n")
    (found,) = problems(valid.replace("query: SELECT id, name, updated_at FROM rooms", "query_file: rooms.sql"))
    assert (found.file, found.line) == (str(tmp_path / "rooms.sql"), 2)
    assert "`${TABLE}`" in found.message


def test_the_environment_wins_over_the_env_file(load: Load, valid: str, tmp_path: Path) -> None:
    """`.env` beside the config file gives what the environment does not."""
    (tmp_path / ".env").write_text("KEY=file\nREGION=dublin\n")
    text = valid.replace("wk_8Jq2S3cr3t\nmappings", "${KEY}\n  region: ${REGION}\nmappings")
    config = load(text, {"KEY": "environment"})
    assert config.destination.write_key == "environment"
    assert config.destination.endpoint == "https://objects.euw1.segment.com"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("KEY=a", "a"),
        ("  export KEY = a b  ", "a b"),
        ("KEY=", ""),
        ("KEY=a # comment", "a"),
        ("KEY=# comment", ""),
        ("KEY=a#b", "a#b"),
        ("KEY=a=b==", "a=b=="),
        ('KEY="a # b" # comment', "a # b"),
        (r'KEY="a\nb\"c\\"', 'a\nb"c\\'),
        (r"KEY='a\nb'", r"a\nb"),
        ("KEY=${OTHER}", "${OTHER}"),
        ("KEY=it's", "it's"),
        ("KEY=a\r", "a"),
    ],
)
def test_lines_of_the_env_file(line: str, value: str) -> None:
    """Comments, quotes and `export` as a shell reads them; nothing is filled in."""
    assert parse_dotenv(f"# comment\n\n{line}\n", ".env") == ({"KEY": value}, [])


@pytest.mark.parametrize(
    "line", ["KEY", "=S3cr3t", "1KEY=S3cr3t", "KEY: S3cr3t", "KEY='S3cr3t", 'KEY="S3cr3t" x', "a b=c"]
)
def test_other_lines_of_the_env_file_are_told(line: str) -> None:
    """With their line, without their content."""
    variables, problems = parse_dotenv(f"A=b\n{line}\n", ".env")
    assert variables == {"A": "b"}
    assert [str(each) for each in problems] == [".env:2: expected KEY=VALUE"]


def test_problems_of_the_env_file_come_with_those_of_the_config(problems: Problems, valid: str, tmp_path: Path) -> None:
    """One list of everything, the config file first."""
    (tmp_path / ".env").write_text("A=b\nnonsense\n")
    found = problems(valid.replace("mappings:", "  region: ${REGION}\nmappings:"))
    assert [(Path(each.file).name, each.line) for each in found] == [("syncer.yaml", 6), (".env", 2)]


def test_an_env_file_that_cannot_be_read_is_an_error(valid: str, tmp_path: Path) -> None:
    """It is not passed over: its variables would be missing, or older ones be used."""
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    (tmp_path / "syncer.yaml").write_text(valid)
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path / "syncer.yaml", {})
    assert [(Path(each.file).name, each.line) for each in raised.value.problems] == [(".env", 1)]
