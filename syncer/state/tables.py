"""The state tables, version 1. How rows get into them is in `writing`; no transactions and no values here.

Every name begins with `syncer_`, so the tables can live in a database that holds others.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, UniqueConstraint

from syncer.state.columns import MYSQL, Instant, Number, Octets, Words
from syncer.state.ids import LONGEST

metadata = MetaData()

#: columns of `syncer_runs` that hold `Counts`, by the same names
COUNTS = (
    "read", "sent", "unchanged", "rejected", "skipped", "deleted",
    "retried", "requests", "bytes", "non_finite",
)  # fmt: skip
#: longest mapping name, run id, schedule; MySQL wants to know for keys
_NAME = 255


def _table(name: str, *parts: Column[Any] | Index | UniqueConstraint, **options: Any) -> Table:
    return Table(f"syncer_{name}", metadata, *parts, **options)


def spell_for_mysql() -> None:
    """Have MySQL and MariaDB compare names as they are written, whatever the server's default collation.

    Said when tables are made there, because SQLAlchemy loads a dialect to check its options.
    """
    for table in metadata.tables.values():
        for family in MYSQL:
            options = {"charset": "utf8mb4", "collate": "utf8mb4_bin", "engine": "InnoDB"}
            table.dialect_kwargs.update({f"{family}_{option}": value for option, value in options.items()})


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
    Column("position_kind", Words()),
    Column("position_text", Words()),
    Column("position_key", Words()),
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
    Column("bound", Instant),
    Column("held_by", Words()),
    Column("api", Words()),
    Column("api_reason", Words()),
    Column("error", Words()),
    Column("hint", Words()),
    Column("exit_code", Number, nullable=False),
    UniqueConstraint("run_id", name="syncer_runs_by_id"),
    Index("syncer_runs_by_mapping", "mapping", "started_at"),
    sqlite_autoincrement=True,
)
# runs whose run record is still to be sent
unrecorded = _table("unrecorded", Column("run_id", Words(_NAME), primary_key=True))
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
    # 16 bytes of BLAKE2b of its id, for an index in which the mapping's name is long enough; NULL: no usable key
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
mappings = _table(
    "mappings",
    # a short name for the fingerprints, of which there are many
    _number(),
    _mapping(key=False),
    # digest of the query that the fingerprinted objects came from
    Column("basis", Words()),
    UniqueConstraint("mapping", name="syncer_mappings_by_name"),
    sqlite_autoincrement=True,
)
fingerprints = _table(
    "fingerprints",
    # the number of `mappings`
    Column("mapping", Number, primary_key=True, autoincrement=False),
    # the id, as `ids` packs it
    Column("object", Octets(LONGEST), primary_key=True),
    Column("digest", Octets(255), nullable=False),
    Column("sent_at", Instant, nullable=False),
    sqlite_with_rowid=False,
)
doubts = _table(
    "doubts",
    _mapping(key=True),
    Column("run_id", Words(_NAME), primary_key=True),
    # `number`, because `part` means something to some databases
    Column("number", Number, primary_key=True, autoincrement=False),
    # NULL: on their way
    Column("since", Instant),
    Column("size", Number, nullable=False),
    # a JSON list of keys; bytes, as text with so many quotes takes long to escape
    Column("row_keys", Octets(), nullable=False),
)
properties = _table(
    "properties",
    _mapping(key=True),
    # their order; the names may be too long for a key
    Column("number", Number, primary_key=True, autoincrement=False),
    Column("property", Words(), nullable=False),
    Column("type", Words(), nullable=False),
    Column("since", Instant, nullable=False),
)
leases = _table(
    "leases",
    _mapping(key=True),
    Column("epoch", Number, nullable=False),
    # changes whenever the row is looked at for writing, which locks it on every database
    Column("turn", Number, nullable=False),
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
# mappings whose schedules begin no run
pauses = _table(
    "pauses",
    _mapping(key=True),
    Column("since", Instant, nullable=False),
)
