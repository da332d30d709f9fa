"""A PostgreSQL standby of the tests' server: a copy of its cluster that follows it. No tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
import servers
from sqlalchemy.engine import make_url


def start_standby(primary: servers.Server, folder: Path) -> servers.Server:
    """Copy the cluster of a running server, and start the copy as its standby."""
    programs, user = servers.postgres_programs(), servers._unprivileged_user()
    if user is not None:
        shutil.chown(folder, user)
    cluster = folder / "cluster"
    servers._run(
        [programs / "pg_basebackup", "-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres", "-D", cluster,
         "--checkpoint=fast", "--write-recovery-conf", "--no-sync", "--no-manifest"], folder, user,
    )  # fmt: skip

    def command(port: int) -> Sequence[str | Path]:
        settings = (
            "listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "fsync=off",
            "shared_buffers=32MB", "max_connections=60", "max_prepared_transactions=4",
        )  # fmt: skip
        given = [part for setting in settings for part in ("-c", setting)]
        return [programs / "postgres", "-D", cluster, *given]

    return servers._start(command, _answers, folder, user, primary.stop_signal)


def _answers(port: int) -> None:
    psycopg.connect(servers._postgres_dsn(port, "postgres")).close()


def follow(url: str, standby: servers.Server) -> str:
    """The URL of the same database on the standby."""
    return make_url(url).set(port=standby.port).render_as_string(hide_password=False)


def caught_up(primary: Callable[[str], object], standby: Callable[[str], object]) -> None:
    """Wait until the standby shows everything that the primary committed so far.

    Args:
        primary: the one value that a query on it returns.
        standby: the same.
    """
    place = primary("SELECT pg_current_wal_insert_lsn()::text")
    for _ in range(6_000):
        if standby(f"SELECT pg_last_wal_replay_lsn() >= '{place}'::pg_lsn"):
            return
        standby("SELECT pg_sleep(0.01)")
    raise AssertionError("the standby does not follow")
