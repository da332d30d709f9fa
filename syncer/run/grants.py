"""The least rights that reading a source takes, as statements for its administrator. Pure: prints and asks nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncer.core.model import CollectionMapping


def grants(backend: str, user: str | None, mappings: Sequence[CollectionMapping]) -> list[str]:
    """What the source's user needs, and no more. None for databases without users.

    Args:
        backend: the name that SQLAlchemy URLs of the database begin with.
    """
    if backend in ("sqlite", "duckdb"):
        return []
    return list(_grants(backend, user or "the_user", mappings))


def _grants(backend: str, user: str, mappings: Sequence[CollectionMapping]) -> Iterator[str]:
    tables = dict.fromkeys(mapping.table for mapping in mappings if mapping.table is not None)
    if backend == "postgresql":
        for schema in dict.fromkeys(table.rpartition(".")[0] or "public" for table in tables):
            yield f"GRANT USAGE ON SCHEMA {schema} TO {user};"
    for table in tables:
        yield f"GRANT SELECT ON {table} TO {user};"
    queries = [mapping.name for mapping in mappings if mapping.table is None]
    if queries:
        yield f"SELECT on the tables and views in the {_queries(queries)}"
    if any(mapping.watermark for mapping in mappings):
        yield from _seeing_transactions(backend, user)


def _queries(names: Sequence[str]) -> str:
    return f"quer{'ies' if len(names) > 1 else 'y'} of {', '.join(names)}"


def _seeing_transactions(backend: str, user: str) -> Iterator[str]:
    why = "-- so that the watermark waits for transactions of other users, however long they take"
    if backend == "postgresql":
        yield f"GRANT pg_read_all_stats TO {user};  {why}"
    elif backend in ("mysql", "mariadb"):
        right = "SLAVE MONITOR" if backend == "mariadb" else "REPLICATION CLIENT"
        yield f"GRANT PROCESS ON *.* TO {user};  {why}"
        yield f"GRANT {right} ON *.* TO {user};  -- on a replica: tells how far it is behind"
