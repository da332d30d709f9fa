"""Whatever stands in the file, the answer is a Config or a ConfigError."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncer.config import load_config
from syncer.errors import ConfigError

EXAMPLE = (Path(__file__).parents[3] / "config.example.yaml").read_bytes()
ENVIRON = {"APP_DATABASE_URL": "sqlite:///app.db", "SEGMENT_WRITE_KEY": "key"}
PIECES = [
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\t", b"\r", b"\n", b"\n\n", b": ", b":", b"- ", b"? ", b"#", b"&a ",
    b"*a", b"<<: ", b"!!", b"!x ", b"{", b"}", b"[", b"]", b"'", b'"', b"|", b">", b"%", b"@", b"`", b"---\n",
    b"...\n", b"${", b"${X}", b"$${", b"\\", b'"\\ud800"', b'"\\0"', b"null", b"~", b"[]", b"{}", b"0", b"-1",
    b"9" * 30, b"1e999", b".nan", b"\xc2\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"a" * 2000,
]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the config file is written."""
    return tmp_path_factory.mktemp("fuzz") / "syncer.yaml"


def answers(path: Path, content: bytes) -> bool:
    """Whether the content loads; any error but ConfigError is the test's."""
    path.write_bytes(content)
    try:
        load_config(path, ENVIRON)
    except ConfigError as error:
        told = "".join([str(error), error.hint or "", *map(str, error.problems)])
        # printable wherever it ends up, and in words of our own
        told.encode("utf-8")
        assert "Input should" not in told
        assert "does not fit" not in told
        return False
    return True


def test_the_example_itself_loads(path: Path) -> None:
    """The mutations below begin with something valid."""
    assert answers(path, EXAMPLE)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xef\xbb\xbf")
@example(b"version: 1" + b"\n" * 100)
@example(b"? " * 500)
@example(b"{" * 5000)
@example(b"[" * 5000)
@example(b"- " * 5000)
@example(b"a: &a [*a, *a]")
@example(b"%TAG ! tag:x,2000:\n--- !x\n")
@example(b"version: !!int ''\n")
@example(b"? |\n  long key\n: 1\n")
@settings(deadline=None)
def test_arbitrary_bytes(path: Path, content: bytes) -> None:
    """Bytes from anywhere are never a traceback."""
    assert not answers(path, content)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
@settings(deadline=None)
def test_pieces_of_yaml(path: Path, content: bytes) -> None:
    """YAML's own signs in any order are never a traceback."""
    assert not answers(path, content)


@given(st.integers(min_value=0), st.integers(1, 8))
@settings(deadline=None, max_examples=200)
def test_mutated_examples(path: Path, seed: int, times: int) -> None:
    """A valid file with pieces put in, cut out and moved is never a traceback."""
    chance = random.Random(seed)
    content = bytearray(EXAMPLE)
    for _ in range(times):
        start = chance.randrange(len(content))
        end = min(len(content), start + chance.choice([0, 1, 5, 40, 400]))
        content[start:end] = chance.choice([b"", chance.choice(PIECES), bytes(content[end : end + 60])])
    answers(path, bytes(content))


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
VALUES = [
    "null",
    "1",
    "''",
    "x",
    "[x]",
    "[null]",
    "[[x]]",
    "{x: y}",
    "{x: null}",
    "{1: {2: 3}}",
    "-1",
    "true",
    "1.5",
    "5m",
]
#: every key of the file, and the names in it
KEYS = sorted(set(re.findall(r"^ *(?:- )?(\w+):", EXAMPLE.decode(), re.MULTILINE)))


@pytest.mark.parametrize("key", KEYS)
def test_every_key_with_every_kind_of_value(path: Path, key: str) -> None:
    """Each key in turn holds every kind of value, as itself and with its block gone."""
    lines = EXAMPLE.decode().splitlines()
    number = next(
        n for n, line in enumerate(lines) if line.split("#")[0].strip().removeprefix("- ").startswith(f"{key}:")
    )
    indent = len(lines[number]) - len(lines[number].lstrip())
    rest = number + 1
    while rest < len(lines) and (not lines[rest].strip() or len(lines[rest]) - len(lines[rest].lstrip()) > indent):
        rest += 1
    begun = lines[number][: lines[number].index(f"{key}:") + len(key) + 1]
    for value in VALUES:
        answers(path, "\n".join([*lines[:number], f"{begun} {value}", *lines[rest:]]).encode())


@given(TREES, st.sampled_from(KEYS))
@settings(deadline=None)
def test_arbitrary_trees_in_a_mapping(path: Path, tree: object, key: str) -> None:
    """Any tree as any key's value, in a mapping, in the defaults and at the top."""
    import yaml

    written = yaml.safe_dump({key: tree}, default_flow_style=True, width=10_000, allow_unicode=True).strip()
    base = "version: 1\nsources: {app: {url: 'sqlite:///a'}}\ndestination: {write_key: k}\n"
    answers(
        path, f"{base}defaults: {written}\nmappings: {{rooms: {written}, cities: {{}}}}\n".encode("utf-8", "replace")
    )
    answers(path, f"{base}mappings: {{rooms: {{properties: {written}}}}}\n".encode("utf-8", "replace"))
    answers(path, written.encode("utf-8", "replace"))


@given(st.text(max_size=30), st.sampled_from(KEYS))
@settings(deadline=None)
def test_arbitrary_variables(path: Path, value: str, key: str) -> None:
    """Any text in a variable, as the value of any key."""
    path.write_text(f"version: 1\nmappings: {{rooms: {{{key}: '${{V}}'}}}}\ndestination: {{{key}: '${{V}}'}}\n")
    with pytest.raises(ConfigError):
        load_config(path, {"V": value})


@given(st.binary(max_size=100))
@settings(deadline=None)
def test_arbitrary_env_files(path: Path, content: bytes) -> None:
    """A `.env` of any bytes is never a traceback."""
    env = path.parent / ".env"
    env.write_bytes(content)
    try:
        answers(path, EXAMPLE)
    finally:
        env.unlink()
