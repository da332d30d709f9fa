"""The demo's source: a generated SQLite database of hosts, rooms and reviews, and the changes of its next day."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

HOSTS = 60
ROOMS = 400
REVIEWS = 1_500

#: the last change of the first day
_DAY_ONE = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

_SCHEMA = """
CREATE TABLE hosts (
  id INTEGER PRIMARY KEY, fullName TEXT NOT NULL, email TEXT, isSuperhost BOOLEAN NOT NULL, joinedOn DATE,
  updatedAt TIMESTAMP NOT NULL);
CREATE TABLE rooms (
  id INTEGER PRIMARY KEY, hostID INTEGER NOT NULL REFERENCES hosts, name TEXT NOT NULL, location TEXT,
  nightlyPrice DECIMAL(10,2) NOT NULL, rating REAL, reviewCount INTEGER NOT NULL, updatedAt TIMESTAMP NOT NULL);
CREATE TABLE reviews (
  roomID INTEGER NOT NULL REFERENCES rooms, reviewNo INTEGER NOT NULL, author TEXT, stars INTEGER NOT NULL,
  body TEXT, updatedAt TIMESTAMP NOT NULL, PRIMARY KEY (roomID, reviewNo));
CREATE INDEX rooms_updated ON rooms (updatedAt);
CREATE INDEX reviews_updated ON reviews (updatedAt);
"""

_FIRST = (
    "Ana",
    "Björn",
    "Chloé",
    "Дарья",
    "Emre",
    "Fatima",
    "Gökçe",
    "花子",
    "İlker",
    "José",
    "Łukasz",
    "Noël",
    "Siobhán",
)
_LAST = (
    "Ångström",
    "Brontë",
    "Çelik",
    "Dvořák",
    "Eriksen",
    "García",
    "Hübner",
    "Иванова",
    "山田",
    "O'Brien",
    "Şahin",
)
_KINDS = ("Attic", "Beach room", "Boat", "Cabin", "Farmhouse", "Loft", "Studio", "Tower room")
_TRAITS = ("with a view", "by the sea", "near the market", "under the roof", "with a garden", "facing south")
_PLACES = (
    "Lihue, HI",
    "Austin, TX",
    "Kraków",
    "Lisboa",
    "京都",
    "İzmir",
    "Reykjavík",
    "São Paulo",
    "Zürich",
    "Βόλος",
)
_WORDS = (
    "Lovely",
    "Quiet",
    "A bit small, but clean.",
    "¡Volveremos!",
    "Très bien situé",
    "最高でした",
    "Great ☕ nearby",
    None,
)


def create_sample(path: Path) -> None:
    """Write the database of the first day. The same rows every time."""
    chance = random.Random(2026)  # noqa: S311  sample data, not a secret
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(_SCHEMA)
        database.executemany("INSERT INTO hosts VALUES (?,?,?,?,?,?)", _hosts(chance))
        database.executemany("INSERT INTO rooms VALUES (?,?,?,?,?,?,?,?)", _rooms(chance))
        database.executemany("INSERT INTO reviews VALUES (?,?,?,?,?,?)", _reviews(chance))


def change_sample(path: Path) -> int:
    """The next day: prices move, a host's e-mail goes, reviews come. Returns the number of changed rows."""
    with closing(sqlite3.connect(path)) as database, database:
        moment = _stamp(_DAY_ONE + timedelta(days=1))
        changed = database.execute(
            "UPDATE rooms SET nightlyPrice = round(nightlyPrice * 1.1, 2), updatedAt = ? WHERE id % 40 = 0",
            (moment,),
        ).rowcount
        changed += database.execute("UPDATE hosts SET email = NULL, updatedAt = ? WHERE id = 7", (moment,)).rowcount
        changed += database.execute(
            "INSERT INTO reviews SELECT id, 1000, 'Zoë', 5, 'Back again ❤', ? FROM rooms WHERE id <= 12",
            (moment,),
        ).rowcount
    return changed


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _before(chance: random.Random) -> str:
    return _stamp(_DAY_ONE - timedelta(seconds=chance.randrange(90 * 86_400)))


def _hosts(chance: random.Random) -> Iterator[tuple[object, ...]]:
    for number in range(1, HOSTS + 1):
        name = f"{chance.choice(_FIRST)} {chance.choice(_LAST)}"
        email = f"host{number}@example.com" if chance.random() < 0.9 else None
        joined = f"20{chance.randrange(10, 26)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
        yield number, name, email, chance.random() < 0.3, joined, _before(chance)


def _rooms(chance: random.Random) -> Iterator[tuple[object, ...]]:
    for number in range(1, ROOMS + 1):
        name = f"{chance.choice(_KINDS)} {chance.choice(_TRAITS)}"
        price = round(chance.uniform(29, 420), 2)
        rating = round(chance.uniform(3, 5), 2) if chance.random() < 0.9 else None
        host = chance.randint(1, HOSTS)
        yield (
            number,
            host,
            name,
            chance.choice(_PLACES),
            price,
            rating,
            chance.randrange(200),
            _before(chance),
        )


def _reviews(chance: random.Random) -> Iterator[tuple[object, ...]]:
    for number in range(REVIEWS):
        room, review = number % ROOMS + 1, number // ROOMS + 1
        author = f"{chance.choice(_FIRST)} {chance.choice(_LAST)[0]}."
        yield room, review, author, chance.randint(2, 5), chance.choice(_WORDS), _before(chance)
