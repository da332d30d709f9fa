"""What syncer does in a second, on this machine: every feature on, real databases, a sink on loopback.

bench.py                        a million rows: some minutes
bench.py --rows 20000           a look at whether it works
bench.py --tenfold              also load ten times as many rows, to compare the memory: some minutes more
bench.py --write result.json    keep the figures; without it they are compared with the ones that are kept
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import servers  # noqa: E402  beside this folder

KEPT = HERE / "result.json"
CONFIG = """\
version: 1
sources: {app: {url: "%s"}}
destination: {write_key: bench, endpoint: "http://127.0.0.1:%d", max_in_flight: %d, api: %s}
mappings:
  rooms: {table: rooms, watermark: updated_at}
"""
_COLUMNS = (
    "id BIGINT PRIMARY KEY, name VARCHAR(40), city VARCHAR(40), price DECIMAL(10,2), rating DOUBLE PRECISION,"
    " reviews INTEGER, active BOOLEAN, listed DATE, updated_at %s NOT NULL"
)
_INDEX = "CREATE INDEX rooms_by_update ON rooms (updated_at, id);"
#: a table of so many rows; one row in a hundred that changes; so many rows that change, for an incremental run
_TABLES = {
    "postgresql": f"CREATE TABLE rooms ({_COLUMNS % 'TIMESTAMPTZ'});"
    " INSERT INTO rooms SELECT i, 'Room ' || i, 'City ' || i %% 997, i %% 500 + 0.5, i %% 50 / 10.0, i %% 1000,"
    " i %% 3 = 0, DATE '2020-01-01' + (i %% 2000)::int, TIMESTAMPTZ '2025-01-01' + i * INTERVAL '1 second'"
    f" FROM generate_series(1, %d) i; {_INDEX} ANALYZE rooms;",
    "mariadb": f"CREATE TABLE rooms ({_COLUMNS % 'DATETIME(6)'});"
    " INSERT INTO rooms SELECT seq, concat('Room ', seq), concat('City ', seq %% 997), seq %% 500 + 0.5,"
    " seq %% 50 / 10.0, seq %% 1000, seq %% 3 = 0, DATE '2020-01-01' + INTERVAL (seq %% 2000) DAY,"
    f" TIMESTAMP '2025-01-01 00:00:00' + INTERVAL seq SECOND FROM seq_1_to_%d; {_INDEX} ANALYZE TABLE rooms;",
    "sqlite": f"CREATE TABLE rooms ({_COLUMNS % 'TIMESTAMP'});"
    " INSERT INTO rooms WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
    " SELECT i, 'Room ' || i, 'City ' || i %% 997, i %% 500 + 0.5, i %% 50 / 10.0, i %% 1000, i %% 3 = 0,"
    " date('2020-01-01', i %% 2000 || ' days'), datetime('2025-01-01', i || ' seconds') FROM n;"
    f" {_INDEX} ANALYZE;",
}
_ONE_IN_A_HUNDRED = "UPDATE rooms SET price = price + 1 WHERE id % 100 = 7"
_A_THOUSAND = "UPDATE rooms SET price = price + 1, updated_at = %s WHERE id <= 1000"
_NOW = {"postgresql": "now()", "mariadb": "utc_timestamp(6)", "sqlite": "datetime('now')"}


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One command: what it took, and what it said."""

    seconds: float
    #: of the processor
    busy: float
    #: largest resident set, in megabytes
    memory: float
    told: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One thing that was measured."""

    name: str
    value: float
    unit: str
    #: what is aimed at; None: only for the record
    goal: str | None = None


@contextmanager
def sink(latency: float) -> Iterator[int]:
    """A sink's port."""
    command = [sys.executable, str(HERE / "sink.py"), str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


def run(folder: Path, *arguments: str) -> Ran:
    """A `syncer` command in a folder, from its start to its exit."""
    out = folder / "told.json"
    began = perf_counter()
    with out.open("wb") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "syncer", *arguments], cwd=folder, stdout=stdout, stderr=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = perf_counter() - began
    text = out.read_text()
    told = json.loads(text)["runs"][0] if text.startswith("{") and '"runs"' in text else {}
    if told and told["outcome"] != "succeeded":
        raise SystemExit(f"{arguments}: {told}")
    return Ran(seconds=seconds, busy=used.ru_utime + used.ru_stime, memory=used.ru_maxrss / 1024, told=told)


@contextmanager
def source(kind: str, rows: int) -> Iterator[tuple[str, Callable[[str], None]]]:
    """A database with the table in it: its URL, and how to change it."""
    with tempfile.TemporaryDirectory(prefix="syncer-bench-") as place:
        folder = Path(place)
        if kind == "sqlite":
            url = f"sqlite:///{folder}/app.db"
            servers.execute_sql(url, "PRAGMA journal_mode = WAL;" + _TABLES[kind] % rows)
            yield url, lambda sql: servers.execute_sql(url, sql)
            return
        starts = {"postgresql": servers.start_postgres, "mariadb": servers.start_mariadb}
        news = {"postgresql": servers.new_postgres_database, "mariadb": servers.new_mariadb_database}
        server = starts[kind](folder)
        try:
            url = news[kind](server)
            servers.execute_sql(url, _TABLES[kind] % rows)
            yield url, lambda sql: servers.execute_sql(url, sql)
        finally:
            server.stop()


@contextmanager
def project(url: str, *, latency: float, in_flight: int, api: str = "objects") -> Iterator[Path]:
    """A folder with a config, and a sink that it sends to."""
    with tempfile.TemporaryDirectory(prefix="syncer-bench-") as place, sink(latency) as port:
        folder = Path(place)
        (folder / "syncer.yaml").write_text(CONFIG % (url, port, in_flight, api))
        yield folder


FULL = ("run", "--full", "--output", "json")


def loads(kind: str, rows: int) -> list[Figure]:
    """A full load at once, one of which little changed, and an incremental run."""
    with source(kind, rows) as (url, change), project(url, latency=0, in_flight=32) as folder:
        first = run(folder, *FULL)
        change(_ONE_IN_A_HUNDRED)
        second = run(folder, *FULL)
        change(_A_THOUSAND % _NOW[kind])
        little = run(folder, "run", "--output", "json")
    of = f"{kind}, {rows:,} rows"
    return [
        Figure(name=f"full load, {of}", value=round(rows / first.seconds), unit="objects/s"),
        Figure(name=f"full load, {of}: processor", value=round(first.busy / rows * 1e6, 1), unit="µs/object"),
        Figure(name=f"full load, {of}: memory", value=round(first.memory), unit="MB", goal="under 150"),
        Figure(name=f"1% changed, {of}", value=round(rows / second.seconds), unit="rows/s", goal="100,000"),
        Figure(name=f"1% changed, {of}: sent", value=float(str(second.told["sent"])), unit="objects"),
        Figure(name=f"1,000 changed of {of}", value=round(little.seconds, 2), unit="s", goal="under 1"),
    ]


def slow_load(rows: int, in_flight: int) -> list[Figure]:
    """A full load over a line of 50 ms, and the share of what so many requests at once could carry."""
    with source("postgresql", rows) as (url, _), project(url, latency=0.05, in_flight=in_flight) as folder:
        first = run(folder, *FULL)
    rate = rows / first.seconds
    name = f"full load at 50 ms, {in_flight} in flight, {rows:,} rows"
    return [
        Figure(name=name, value=round(rate), unit="objects/s"),
        Figure(name=f"{name}: of the limit", value=round(rate / (in_flight * 10 / 0.05), 3), unit="", goal="0.95"),
    ]


def by_bulk(rows: int) -> list[Figure]:
    """The same full load by each API, over the same line: one without and one with a delay."""
    with source("postgresql", rows) as (url, _):
        return [each for latency in (0, 0.05) for each in _by_bulk(url, rows, latency)]


def _by_bulk(url: str, rows: int, latency: float) -> list[Figure]:
    took: dict[str, Ran] = {}
    for api in ("objects", "bulk"):
        with project(url, latency=latency, in_flight=16, api=api) as folder:
            took[api] = run(folder, *FULL)
    bulk, name = took["bulk"], f"full load by bulk at {latency * 1000:g} ms, {rows:,} rows"
    goal = "at least 3" if latency else None
    return [
        Figure(name=name, value=round(rows / bulk.seconds), unit="objects/s"),
        Figure(
            name=f"{name}: of /v1/set's", value=round(took["objects"].seconds / bulk.seconds, 2), unit="", goal=goal
        ),
        Figure(name=f"{name}: requests", value=float(str(bulk.told["requests"])), unit=""),
        Figure(name=f"{name}: memory", value=round(bulk.memory), unit="MB", goal="under 150"),
        Figure(name=f"{name}: memory by /v1/set", value=round(took["objects"].memory), unit="MB"),
    ]


def tenfold(rows: int) -> list[Figure]:
    """How much more memory ten times as many rows take, sent and then compared."""
    peaks: dict[int, list[Ran]] = {}
    for number in (rows, 10 * rows):
        with source("postgresql", number) as (url, _), project(url, latency=0, in_flight=32) as folder:
            peaks[number] = [run(folder, *FULL) for _ in range(2)]
    return [
        Figure(
            name=f"memory of {10 * rows:,} rows beyond that of {rows:,}, {done}",
            value=round(peaks[10 * rows][at].memory - peaks[rows][at].memory), unit="MB", goal="under 20",
        )
        for at, done in enumerate(("sent", "unchanged"))
    ]  # fmt: skip


def starts() -> list[Figure]:
    """What it takes until a command has begun."""
    with project("sqlite:///none.db", latency=0, in_flight=1) as folder:
        runs = {words: min(run(folder, words).busy for _ in range(5)) for words in ("--help", "status")}
    goals = {"--help": "under 0.15", "status": "under 0.3"}
    return [
        Figure(name=f"syncer {words}: processor", value=round(busy, 3), unit="s", goal=goals[words])
        for words, busy in runs.items()
    ]


def limits() -> list[Figure]:
    """What the sink could take: requests of ten objects by `wrk`, where it is installed."""
    if shutil.which("wrk") is None:
        return []
    with tempfile.TemporaryDirectory() as place, sink(0) as port:
        script = Path(place) / "post.lua"
        room = json.dumps({"id": "1", "properties": {"name": "Room 1", "city": "City 1", "price": 1.5, "reviews": 1}})
        body = json.dumps({"collection": "rooms", "objects": [json.loads(room)] * 10})
        script.write_text(f"wrk.method = 'POST'\nwrk.body = [==[{body}]==]\n")
        command = ["wrk", "-t1", "-c32", "-d5s", "-s", str(script), f"http://127.0.0.1:{port}/v1/set"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", told)
    return [Figure(name="wrk", value=round(float(found[1])), unit="requests/s")] if found else []


def ratios(found: Sequence[Figure]) -> list[Figure]:
    """The full load beside what the sink could take."""
    values = {each.name.partition(",")[0]: each.value for each in reversed(found) if each.unit.endswith("/s")}
    if "wrk" not in values or "full load" not in values:
        return []
    ratio = round(values["full load"] / 10 / values["wrk"], 3)
    return [Figure(name="full load: requests, of wrk's", value=ratio, unit="", goal="0.23")]


def show(found: Sequence[Figure]) -> None:
    """A line for each figure, with what was kept."""
    kept = {each["name"]: each["value"] for each in json.loads(KEPT.read_text())} if KEPT.exists() else {}
    for each in found:
        before = f"  (was {kept[each.name]:,})" if each.name in kept else ""
        goal = f"  [{each.goal}]" if each.goal else ""
        print(f"{each.name:58} {each.value:>12,} {each.unit}{goal}{before}", flush=True)


def main() -> None:
    """Measure everything."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--tenfold", action="store_true")
    options.add_argument("--write", type=Path)
    asked = options.parse_args()
    found: list[Figure] = []
    parts: list[Callable[[], list[Figure]]] = [
        starts,
        limits,
        *(lambda kind=kind: loads(kind, asked.rows) for kind in _TABLES),
        lambda: slow_load(asked.rows // 5, 16),
        lambda: slow_load(asked.rows // 2, 32),
        lambda: by_bulk(asked.rows),
    ]
    if asked.tenfold:
        parts.append(lambda: tenfold(asked.rows))
    for part in parts:
        new = part()
        show(new)
        found += new
    show(ratios(found))
    found += ratios(found)
    if asked.write is not None:
        asked.write.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
