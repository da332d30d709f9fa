"""Secrets and a row value, recognised in whatever form they are told, and where they may not be. No fixtures."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from acceptance.support import Told

#: the marked halves have no letter that any form escapes, so a half is found raw, in a URL and in JSON alike
_SECRETS = ("KeyQ7headCanary", "KeyQ7tailCanary", "PassQ7headCanary", "PassQ7tailCanary")
_VALUES = ("RoomQ7headCanary", "RoomQ7tailCanary")
#: between the halves stands what forms differ in; no blank, which a key and a URL may not hold
WRITE_KEY = f'{_SECRETS[0]}/+=%"{_SECRETS[1]}'
PASSWORD = f"{_SECRETS[2]}/+@:%\"'{_SECRETS[3]}"
VALUE = f"{_VALUES[0]} \"'`/+%\\ü\n{_VALUES[1]}"
PASSWORD_IN_URL = quote(PASSWORD, safe="")

#: what a person wrote, and what the source is
_INPUT = ("app.db", "app.db-wal", "app.db-shm", "syncer.yaml", ".env")
_DEAD_LETTERS = "syncer_dead_letters"


def forms(half: str) -> Iterator[bytes]:
    """A half as text, as hexadecimal digits, and in base64 wherever it begins."""
    text = half.encode()
    yield text
    yield text.hex().encode()
    yield text.hex().upper().encode()
    for before in range(3):
        # the ends depend on the neighbours
        encoded = base64.b64encode(b"x" * before + text)
        yield encoded[4 * (before > 0) : -4]


def leaked(text: bytes, halves: tuple[str, ...]) -> list[str]:
    """Which of them stand in the text, in whatever form."""
    return [half for half in halves if any(form in text for form in forms(half))]


def secrets_in(text: bytes) -> list[str]:
    """Pieces of the write key and of the password."""
    return leaked(text, _SECRETS)


def values_in(text: bytes) -> list[str]:
    """Pieces of the row value."""
    return leaked(text, _VALUES)


def assert_tells_nothing(told: Told, folder: Path, *, shows_objects: bool = False) -> None:
    """Neither what a command said nor what it left in its folder holds a canary, dead letters aside.

    With `shows_objects` the command's output is the object, as it was asked to show.
    """
    for stream, text in (("out", told.out.encode()), ("err", told.err.encode())):
        assert secrets_in(text) == [], (stream, told)
        assert shows_objects or values_in(text) == [], (stream, told)
    for path, content in files_in(folder):
        assert secrets_in(content) == [], path
        if not path.name.startswith("syncer.db"):
            assert values_in(content) == [], path
    assert values_in(state_without_letters(folder / "syncer.db")) == []


def files_in(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below, but what a person wrote."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in _INPUT:
            yield path, path.read_bytes()


def state_without_letters(path: Path) -> bytes:
    """All of a state file but its dead letters: its tables, as SQL. What is no database is given as it is."""
    if not path.is_file():
        return b""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as connection:
            return "\n".join(line for line in connection.iterdump() if _DEAD_LETTERS not in line[:60]).encode()
    except sqlite3.DatabaseError:
        return path.read_bytes()


def letters_in(path: Path) -> int:
    """How many dead letters a state file has."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {_DEAD_LETTERS}").fetchone()[0])
