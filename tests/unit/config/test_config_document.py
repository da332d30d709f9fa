"""YAML to text with lines: nothing is reinterpreted, nothing is unbounded."""

from __future__ import annotations

import pytest

from syncer.config import document
from syncer.config.document import Document, parse_document
from syncer.config.files import MAX_BYTES, decode
from syncer.errors import ConfigError


def parse(text: str) -> Document:
    """Parse text of a file called syncer.yaml."""
    return parse_document(text, "syncer.yaml")


def refused(text: str) -> tuple[int | None, str]:
    """Line and message with which the text is refused."""
    with pytest.raises(ConfigError) as raised:
        parse(text)
    (problem,) = raised.value.problems
    assert str(problem).startswith("syncer.yaml")
    return problem.line, problem.message


@pytest.mark.parametrize(
    "written",
    ["2020-01-01", "22:00", "010", "0x1F", "1e3", "1_000", "no", "on", "1.0", "2020-01-01 10:00:00", ".inf", "="],
)
def test_scalars_stay_as_written(written: str) -> None:
    """None of YAML 1.1's readings changes a value."""
    assert parse(f"initial: {written}").content == {"initial": written}


@pytest.mark.parametrize(
    ("written", "value"),
    [("null", None), ("~", None), ("'null'", "null"), ('""', ""), ("'~'", "~"), ("!!str null", "null")],
)
def test_only_unquoted_nulls_are_no_value(written: str, value: str | None) -> None:
    """Quotes make text of everything."""
    assert parse(f"nulls: {written}").content == {"nulls": value}


@pytest.mark.parametrize("key", ["on", "no", "null", "1", "~", "2020-01-01"])
def test_keys_are_text(key: str) -> None:
    """A column may be called what YAML reads as something else."""
    assert list(parse(f"{key}: x").content) == [key]


def test_every_key_and_item_has_its_line() -> None:
    """Lines count from 1 and belong to the key, not to its value."""
    lines = parse("a: 1\nb:\n  c:\n    - x\n    - {d:\n        e}\n").lines
    assert lines == {("a",): 1, ("b",): 2, ("b", "c"): 3, ("b", "c", 0): 4, ("b", "c", 1): 5, ("b", "c", 1, "d"): 5}


def test_aliases_and_merges_expand() -> None:
    """`*` repeats a value, `<<` puts keys under one's own, and nested merges count too."""
    content = parse("a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {z: 4, <<: [*b, {w: 5}]}\nd: *a").content
    assert content["b"] == {"x": "1", "y": "3"}
    assert content["c"] == {"z": "4", "x": "1", "y": "3", "w": "5"}
    assert content["d"] == {"x": "1", "y": "2"}


def test_repeated_keys_are_found_with_both_lines() -> None:
    """The earlier and the later one; the rest of the file is still read."""
    found = parse("rooms: 1\nreviews: 2\nrooms: 3\ncities: 4\n")
    assert found.repeated == ((("rooms",), 1, 3),)
    assert list(found.content) == ["rooms", "reviews", "cities"]


def test_keys_with_nothing_behind_them_are_found() -> None:
    """`null` and an empty text are something."""
    assert parse("rooms:\n  watermark:\n  tags: null\n  send: ''\n").blank == (("rooms", "watermark"),)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "empty"),
        ("# only a comment\n", None, "empty"),
        ("rooms\n", 1, "expected keys and values"),
        ("- rooms\n", 1, "expected keys and values"),
        ("a: 1\nb: c: d\n", 2, "mapping values are not allowed"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: [1, 2\nb: 3\n", 2, "not YAML"),
        ("a: 'x\n", 2, "end of stream"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("? [a, b]\n: c\n", 1, "a key must be text"),
        ("*a : b\n", 1, "a key must be text"),
        ("a: !secret x\n", 1, "tags"),
        ("a: !!python/object/apply:os.system [true]\n", 1, "tags"),
        ("a: 1\nb: *nothing\n", 2, "alias"),
        ("a: &a [*a]\n", 1, "alias"),
        ("a: &a {<<: *a}\n", 1, "alias"),
        ("a: 1\n<<: 5\n", 2, "`<<`"),
        ("a: 1\nb: x\x00y\n", 2, "does not allow"),
        ("a: 1\nb: x\x07y\n", 2, "does not allow"),
        ('a: 1\nb: "\\0"\n', 2, "NUL"),
        ('a: 1\nb: "\\ud800"\n', 2, "half a character"),
        ('a: "\\UFFFFFFFF"\n', None, "out of range"),
        ("%YAML " + "1" * 5000 + ".1\n---\na: 1\n", None, "out of range"),
        ("a: " + "[" * 200 + "]" * 200, 1, "nested more than 50"),
        ("- " * 200 + "x", 1, "nested more than 50"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, line: int | None, message: str) -> None:
    """One problem, in plain words, at the line it is on."""
    told_line, told = refused(text)
    assert told_line == line
    assert message in told


def test_secrets_in_broken_yaml_are_not_repeated() -> None:
    """A password that begins with `*` or `!` is YAML syntax, and still a password."""
    for text in (
        "write_key: *wkS3cr3t",
        "write_key: !wkS3cr3t",
        "write_key: !wkS3cr3t!x y",
        "write_key: &wkS3cr3t x: y",
    ):
        assert "S3cr3t" not in refused(text)[1]


def test_an_alias_bomb_is_refused() -> None:
    """A small file that expands to a billion values is refused before it does."""
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 31))
    assert "with its aliases" in refused(bomb)[1]


def test_a_merge_bomb_is_refused() -> None:
    """Merging the same keys over and over counts as well, though they are kept once."""
    keys = ", ".join(f"k{n}: x" for n in range(1000))
    bomb = f"a: &a {{{keys}}}\nb: {{<<: [{', '.join(['*a'] * 1000)}]}}\n"
    assert "with its aliases" in refused(bomb)[1]


def test_aliases_cannot_nest_without_bound() -> None:
    """Depth is counted through aliases, and through merges of merges."""
    nest = "[" * 20 + "{}" + "]" * 20
    chain = (
        "a0: &a0 "
        + nest.format("x")
        + "\n"
        + "".join(f"a{n}: &a{n} {nest.format(f'*a{n - 1}')}\n" for n in range(1, 9))
    )
    assert "nested more than 50" in refused(chain)[1]
    merges = "a0: &a0 {x: y}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}}}\n" for n in range(1, 200))
    assert "nested more than 50" in refused(merges)[1]


def test_too_many_values_are_refused() -> None:
    """The count is bounded before anything is built of it."""
    assert "more than 100,000 values" in refused("a: [" + "1," * document.MAX_NODES + "]")[1]


@pytest.mark.parametrize(
    ("content", "line"), [(b"a: 1\nb: \xff\n", 2), ("a: 1\n".encode("utf-16"), 1), ("a: ü\n".encode("latin-1"), 1)]
)
def test_bytes_that_are_not_utf8_are_told_with_their_line(content: bytes, line: int) -> None:
    """The line of the first wrong byte."""
    with pytest.raises(ConfigError) as raised:
        decode(content, "syncer.yaml")
    assert [(each.line, each.message) for each in raised.value.problems] == [(line, "this is not UTF-8 text")]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    """Editors on Windows write one."""
    assert decode(b"\xef\xbb\xbfa: 1", "syncer.yaml") == "a: 1"


def test_a_file_over_the_limit_is_refused() -> None:
    """5 MB are enough for every configuration."""
    with pytest.raises(ConfigError) as raised:
        decode(b" " * (MAX_BYTES + 1), "syncer.yaml")
    assert "larger than 5 MB" in str(raised.value.problems[0])
