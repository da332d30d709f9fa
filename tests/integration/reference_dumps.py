"""Loads others' datasets, which are dumps for the command-line clients, through plain drivers. No syncer here."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

Execute = Callable[[str, str], None]

_COPY = re.compile(r"^(COPY [^;]* FROM stdin);\n(.*?)^\\\.$", re.MULTILINE | re.DOTALL)
_SCHEMA = re.compile(r"^(DROP|CREATE) SCHEMA .*$|\bsakila\.", re.MULTILINE)
_DELIMITED = re.compile(r"^DELIMITER (\S+)$(.*?)^DELIMITER ;$", re.MULTILINE | re.DOTALL)


def load_chinook(folder: Path, url: str, engine: str, execute_sql: Execute) -> None:
    """The music shop."""
    execute_sql(url, (folder / "chinook" / f"chinook-{engine}.sql").read_text("utf-8-sig"))


def load_pagila(folder: Path, url: str, execute_sql: Execute) -> None:
    """The film rental shop of PostgreSQL: schema, then rows by COPY."""
    execute_sql(url, _unzipped(folder / "pagila" / "schema.sql.gz"))
    parsed = make_url(url)
    with psycopg.connect(
        host=parsed.host, port=parsed.port, user=parsed.username, dbname=parsed.database
    ) as connection:
        for statement, rows in _portions(_unzipped(folder / "pagila" / "data.sql.gz")):
            if rows is None:
                connection.execute(statement.encode())
                continue
            with connection.cursor().copy(statement.encode()) as copy:
                copy.write(rows)


def _portions(dump: str) -> Iterator[tuple[str, str | None]]:
    """The statements of a dump, each COPY with its rows."""
    end = 0
    for found in _COPY.finditer(dump):
        yield dump[end : found.start()], None
        yield found[1], found[2]
        end = found.end()
    yield dump[end:], None


def load_sakila(folder: Path, url: str, execute_sql: Execute) -> None:
    """The film rental shop of MariaDB, in the database of the URL."""
    for name in ("mariadb-schema.sql.gz", "mariadb-data.sql.gz"):
        dump = _SCHEMA.sub("", _unzipped(folder / "sakila" / name))
        # the server itself finds the end of a compound statement; only the client needs another delimiter
        execute_sql(url, _DELIMITED.sub(lambda found: found[2].replace(found[1], ";"), dump))


def _unzipped(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()
