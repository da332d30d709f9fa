"""The state tables, version 1, and the two ways rows get into them. No transactions and no values here.

Every name begins with `syncer_`, so the tables can live in a database that holds others.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Dialect, Index, Integer, MetaData, Table, UniqueConstraint
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from syncer.state.columns import Instant, Number, Octets, Words

metadata = MetaData()

#: columns of `syncer_runs` that hold `Counts`, by the same names
COUNTS = (
    "read", "sent", "unchanged", "rejected", "skipped", "deleted",
    "retried", "requests", "bytes", "non_finite",
)  # fmt: skip
#: longest mapping name, run id, schedule; MySQL wants to know for keys
_NAME = 255


def _table(name: str, *parts: Column[Any] | Index | UniqueConstraint, **options: Any) -> Table:
    # names are compared as they are written, whatever the server's default collation
    for family in ("mysql", "mariadb"):
        options |= {f"{family}_charset": "utf8mb4", f"{family}_collate": "utf8mb4_bin"}
        options |= {f"{family}_engine": "InnoDB"}
    return Table(f"syncer_{name}", metadata, *parts, **options)


def _number() -> Column[int]:
    # SQLite counts up by itself only in a column of exactly this type
    kind = BigInteger().with_variant(Integer, "sqlite")
    return Column("number", kind, primary_key=True, autoincrement=True)


def _mapping(*, key: bool) -> Column[str]:
    return Column("mapping", Words(_NAME), primary_key=key, nullable=False)


meta = _table(
    "meta",
    Column("name", Words(64), primary_key=True),
    Column("content", Words(), nullable=False),
)
checkpoints = _table(
    "checkpoints",
    _mapping(key=True),
    Column("digest", Words(), nullable=False),
    Column("watermark_kind", Words()),
    Column("watermark_text", Words()),
    Column("updated_at", Instant, nullable=False),
)
runs = _table(
    "runs",
    _number(),
    Column("run_id", Words(_NAME), nullable=False),
    _mapping(key=False),
    Column("collection", Words(), nullable=False),
    Column("mode", Words(), nullable=False),
    Column("outcome", Words()),
    Column("trigger", Words(), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    *(Column(name, Number, nullable=False) for name in COUNTS),
    Column("watermark_kind", Words()),
    Column("watermark_text", Words()),
    Column("error", Words()),
    Column("hint", Words()),
    Column("exit_code", Number, nullable=False),
    UniqueConstraint("run_id", name="syncer_runs_by_id"),
    Index("syncer_runs_by_mapping", "mapping", "started_at"),
    sqlite_autoincrement=True,
)
dead_letters = _table(
    "dead_letters",
    _number(),
    _mapping(key=False),
    Column("collection", Words(), nullable=False),
    Column("run_id", Words(_NAME), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("code", Words(), nullable=False),
    Column("reason", Words(), nullable=False),
    Column("object_row", Number, nullable=False),
    # as in the fingerprints; NULL: a row without a usable key
    Column("object", Octets(16)),
    Column("object_id", Words()),
    Column("object_key", Words()),
    Column("properties", Octets),
    Column("status", Number),
    Column("response", Words()),
    Index("syncer_dead_letters_by_mapping", "mapping", "object"),
    # a number names one dead letter for good, also after it was discarded
    sqlite_autoincrement=True,
)
fingerprints = _table(
    "fingerprints",
    _mapping(key=True),
    # 16 bytes of blake2b of the object's id: short keys, whatever the ids look like
    Column("object", Octets(16), primary_key=True),
    Column("digest", Octets(255), nullable=False),
    Column("sent_at", Instant, nullable=False),
    sqlite_with_rowid=False,
)
leases = _table(
    "leases",
    _mapping(key=True),
    Column("epoch", Number, nullable=False),
    Column("owner", Words()),
    Column("since", Instant),
    Column("expires_at", Instant),
)
fires = _table(
    "fires",
    _mapping(key=True),
    Column("schedule", Words(_NAME), primary_key=True),
    Column("fired_at", Instant, nullable=False),
)


def upsert(dialect: Dialect, table: Table, *key: str) -> Insert:
    """An INSERT that replaces every column of the row with the same key (default: the primary key)."""
    names = key or tuple(table.primary_key.columns.keys())
    changed = [column.name for column in table.columns if not column.primary_key and column.name not in names]
    if dialect.name in ("mysql", "mariadb"):
        into = mysql.insert(table)
        return into.on_duplicate_key_update({name: into.inserted[name] for name in changed})
    insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
    statement = insert(table)
    new = {name: statement.excluded[name] for name in changed}
    return statement.on_conflict_do_update(index_elements=names, set_=new)


def insert_absent(dialect: Dialect, table: Table) -> Insert:
    """An INSERT that leaves an existing row with the same primary key as it is."""
    names = tuple(table.primary_key.columns.keys())
    if dialect.name in ("mysql", "mariadb"):
        # not INSERT IGNORE: that would also turn errors into warnings
        into = mysql.insert(table)
        return into.on_duplicate_key_update({name: into.inserted[name] for name in names})
    insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing(index_elements=names)
