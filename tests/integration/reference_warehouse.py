"""Reads the sandbox's file for the reference, as any SQLite client would. No syncer here."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from reference_rules import NULL, Token, plain, token


def objects(path: Path, collection: str) -> dict[str, dict[str, Token]]:
    """The properties of every object of a collection by id, with all digits."""
    found: dict[str, dict[str, Token]] = {}
    query = "SELECT id, properties FROM _objects WHERE collection = ?"
    with closing(sqlite3.connect(path)) as connection:
        for identifier, told in connection.execute(query, [collection]):
            properties = json.loads(told, parse_float=Decimal)
            found[identifier] = {name: token(value) for name, value in properties.items()}
    return found


def times(path: Path) -> dict[tuple[str, str], int]:
    """How often each object was received."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            (name, key): count for name, key, count in connection.execute("SELECT collection, id, times FROM _objects")
        }


def requests(path: Path) -> list[tuple[int, int]]:
    """Status and number of objects of every request so far."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT status, objects FROM _requests ORDER BY number").fetchall()


def columns(path: Path, collection: str) -> dict[str, dict[str, object]]:
    """A collection's table by id, column by column."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(f'SELECT * FROM "{collection}"')
        names = [each[0] for each in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found]
    return {str(row.pop("id")): row for row in rows}


def column(value: Token) -> object:
    """What a warehouse column holds of a token: numbers as SQLite has them, as text where it cannot."""
    if value.startswith('"'):
        return plain(value)
    if value in (NULL, "true", "false"):
        return {NULL: None, "true": 1, "false": 0}[value]
    number = Decimal(value)
    if "." not in value and "E" not in value:
        return int(value) if -(2**63) <= number < 2**63 else value
    return float(number) if Decimal(repr(float(number))) == number else str(number)
