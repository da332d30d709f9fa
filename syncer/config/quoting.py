"""Text as YAML, for names that nobody chose with YAML in mind. Pure; `document` reads it back."""

from __future__ import annotations

import re

#: text that YAML and every reader of it takes for text without quotes
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def quoted(text: str) -> str:
    """Text as a YAML key or value that no reader takes for anything else.

    >>> [quoted(each) for each in ("rooms", "no", "2024", "a: b")]
    ['rooms', '"no"', '"2024"', '"a: b"']
    """
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(escaped)}"'


def valued(text: str) -> str:
    """Text as a value, in which `${` would stand for a variable."""
    return quoted(text.replace("${", "$${"))


def printable(text: str) -> str:
    """On one line, and nothing in it that YAML forbids: the rest as YAML's escapes."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x1_0000 else f"\\U{ord(char):08x}"
