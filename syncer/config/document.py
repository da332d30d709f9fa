"""YAML text to nested dicts, lists and text, with the line of every key. No key's meaning is known here.

Scalars stay text exactly as written, so none of YAML 1.1's readings can change one: dates, sexagesimal numbers,
leading zeros and `no` arrive as they stand. Whoever knows what a key holds reads the text. Only unquoted `null`,
`~` and nothing are None. Anchors, aliases and `<<` work; what they expand to is bounded, as is everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from syncer.config.files import unusable
from syncer.config.paths import KeyPath
from syncer.errors import ConfigError

Tree: TypeAlias = "dict[str, Tree] | list[Tree] | str | None"

MAX_NODES = 100_000
MAX_DEPTH = 50

_SYNTAX_HINTS = {
    "mapping values are not allowed": "put quotes around text that holds a colon and a blank",
    "'\\t'": "indent with blanks, not tabs",
    "could not find expected ':'": "put a colon and a blank behind the key",
}
#: what PyYAML quotes: marks such as ',', tokens such as '<stream end>', and pieces of the file
_QUOTED = re.compile(r"'([^']*)'")

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_CORE_TAGS = frozenset(f"tag:yaml.org,2002:{each}" for each in ("str", "int", "float", "bool", "null", "seq", "map"))
#: neither file names nor databases nor terminals take these
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What the file says, before any meaning."""

    file: str
    content: dict[str, Tree]
    #: 1-based, of each key and list item
    lines: Mapping[KeyPath, int]
    #: keys with nothing behind them, not even `null`
    blank: tuple[KeyPath, ...]
    #: keys that stand twice in one place, with the lines of the first and of the later one
    repeated: tuple[tuple[KeyPath, int, int], ...]


def is_null(text: str) -> bool:
    """Whether unquoted text means no value."""
    return text in _NULLS


def is_usable(text: str) -> bool:
    """Whether text holds neither NUL nor half a character."""
    return _UNUSABLE.search(text) is None


def parse_document(text: str, file: str) -> Document:
    """Read one YAML document.

    Raises:
        ConfigError: not YAML, several documents, not a mapping, or over a limit.
    """
    try:
        top = _Composer(text, file).document()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise unusable(file, line, "a character that YAML does not allow stands here") from None
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error, file) from None
    except (ValueError, OverflowError):  # PyYAML's own, for escapes and versions out of range
        raise unusable(file, None, "this is not YAML: a number in it is out of range") from None
    if not isinstance(top, _Map):
        raise unusable(file, top.line, "expected keys and values, such as `version: 1`")
    return _Expansion(file).document(top)


def _not_yaml(error: yaml.MarkedYAMLError, file: str) -> ConfigError:
    said = error.problem or error.context or "it breaks off"
    line = error.problem_mark.line + 1 if error.problem_mark else None
    hint = next((hint for sign, hint in _SYNTAX_HINTS.items() if sign in said), None)
    return unusable(file, line, f"this is not YAML: {_QUOTED.sub(_unless_long, said)}", hint)


def _unless_long(quoted: re.Match[str]) -> str:
    """A piece of the file may be a piece of a secret."""
    return quoted[0] if len(quoted[1]) < 3 or quoted[1].startswith("<") else "…"


@dataclass(slots=True)
class _Scalar:
    text: str
    line: int
    #: neither quoted nor tagged
    plain: bool


@dataclass(slots=True)
class _List:
    items: list[_Node]
    line: int


@dataclass(slots=True)
class _Map:
    entries: list[tuple[_Scalar, _Node]]
    line: int


_Node: TypeAlias = "_Scalar | _List | _Map"


class _Composer:
    """Builds nodes from PyYAML's events. Its own composer recurses without bound."""

    def __init__(self, text: str, file: str) -> None:
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self._file = file
        self._anchors: dict[str, _Node | None] = {}
        self._count = 0

    def document(self) -> _Node:
        """Compose the one document."""
        event = self._next(yaml.StreamStartEvent, yaml.DocumentStartEvent)
        if isinstance(event, yaml.StreamEndEvent):
            hint = "`config.example.yaml` shows every key; `syncer demo` writes one that works"
            raise unusable(self._file, None, "the file is empty", hint)
        top = self._node(event, 1)
        event = self._next(yaml.DocumentEndEvent)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._refused(event, "a second document begins here; expected one")
        return top

    def _next(self, *skipped: type[yaml.Event]) -> yaml.Event:
        return next(event for event in self._events if not isinstance(event, skipped))

    def _refused(self, event: yaml.Event, message: str, hint: str | None = None) -> ConfigError:
        return unusable(self._file, _line(event), message, hint)

    def _node(self, event: yaml.Event, depth: int) -> _Node:
        self._count += 1
        if self._count > MAX_NODES:
            raise self._refused(event, f"the file has more than {MAX_NODES:,} values")
        if depth > MAX_DEPTH:
            raise self._refused(event, f"keys and lists are nested more than {MAX_DEPTH} deep here")
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event)
        assert isinstance(event, yaml.NodeEvent)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node = self._built(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _aliased(self, event: yaml.AliasEvent) -> _Node:
        # the name is not repeated: it may be a secret that begins with an asterisk
        node = self._anchors.get(event.anchor or "")
        if node is None:
            raise self._refused(
                event,
                "this alias stands for nothing that is complete above it",
                "put quotes around text with a `*` in front",
            )
        return node

    def _built(self, event: yaml.NodeEvent, depth: int) -> _Node:
        line = _line(event)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        tag = event.tag
        if tag is not None and tag != "!" and tag not in _CORE_TAGS:
            raise self._refused(event, "YAML tags have no meaning here", "put quotes around text with a `!` in front")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, line)
        if isinstance(event, yaml.SequenceStartEvent):
            return _List(list(self._items(depth)), line)
        return _Map(list(self._entries(depth)), line)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> _Scalar:
        if not is_usable(event.value):
            raise self._refused(event, "a NUL or half a character stands here")
        return _Scalar(event.value, line, plain=event.style is None and event.tag is None)

    def _items(self, depth: int) -> Iterator[_Node]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _entries(self, depth: int) -> Iterator[tuple[_Scalar, _Node]]:
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refused(event, "a key must be text")
            key = self._node(event, depth + 1)
            assert isinstance(key, _Scalar)
            yield key, self._node(next(self._events), depth + 1)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


class _Expansion:
    """Turns nodes into dicts, lists and text. Aliases make this larger than the file, so it counts again."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: dict[KeyPath, int] = {}
        self._blank: list[KeyPath] = []
        self._repeated: list[tuple[KeyPath, int, int]] = []
        self._count = 0

    def document(self, top: _Map) -> Document:
        """Expand everything."""
        content = self._map(top, ())
        return Document(
            file=self._file,
            content=content,
            lines=self._lines,
            blank=tuple(self._blank),
            repeated=tuple(self._repeated),
        )

    def _tick(self, node: _Node, depth: int) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise unusable(self._file, node.line, f"with its aliases the file has more than {MAX_NODES:,} values")
        if depth > MAX_DEPTH:
            raise unusable(self._file, node.line, f"aliases are nested more than {MAX_DEPTH} deep here")

    def _value(self, node: _Node, path: KeyPath) -> Tree:
        self._tick(node, len(path))
        if isinstance(node, _Scalar):
            return None if node.plain and is_null(node.text) else node.text
        if isinstance(node, _Map):
            return self._map(node, path)
        self._lines.update({(*path, position): item.line for position, item in enumerate(node.items)})
        return [self._value(item, (*path, position)) for position, item in enumerate(node.items)]

    def _map(self, node: _Map, path: KeyPath) -> dict[str, Tree]:
        result: dict[str, Tree] = {}
        # a key is its text, whatever YAML would read it as: a column may be called `on` or `null`
        for name, (key, value) in self._entries(node, path, 0).items():
            self._lines[*path, name] = key.line
            if isinstance(value, _Scalar) and value.plain and value.text == "":
                self._blank.append((*path, name))
            result[name] = self._value(value, (*path, name))
        return result

    def _entries(self, node: _Map, path: KeyPath, depth: int) -> dict[str, tuple[_Scalar, _Node]]:
        """Own entries, then those of `<<` that it does not have itself."""
        self._tick(node, depth)
        entries: dict[str, tuple[_Scalar, _Node]] = {}
        bases: list[_Node] = []
        for key, value in node.entries:
            if key.plain and key.text == "<<":
                bases += value.items if isinstance(value, _List) else [value]
            elif key.text in entries:
                self._repeated.append(((*path, key.text), entries[key.text][0].line, key.line))
            else:
                entries[key.text] = (key, value)
        for base in bases:
            if not isinstance(base, _Map):
                raise unusable(self._file, base.line, "`<<` takes an alias of keys and values")
            for name, entry in self._entries(base, path, depth + 1).items():
                self._tick(base, depth)
                entries.setdefault(name, entry)
        return entries
