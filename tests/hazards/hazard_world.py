"""A source table, real runs over it, and the destination to compare with the table. No tests, no fixtures.

A world is one database, one configuration file, one state file and one destination in memory. Its runs are those
of the command line: the configuration is loaded from YAML, the source is a `SqlSource`, the state a SQLite file.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import servers
import yaml
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from syncer.config import Config, load_config
from syncer.core.events import Event, Noticed
from syncer.core.model import DeadLetter, Mode, RunReport
from syncer.core.plan import RunOptions
from syncer.delivery.memory import MemoryDelivery
from syncer.run.examine import Examined, examine
from syncer.run.executor import execute, exit_code
from syncer.run.runner import Runner
from syncer.source import open_source
from syncer.state import open_store

#: the databases, as the tests' ids name them
ENGINES = ("postgresql", "mariadb", "sqlite")
#: a column of instants; in SQLite they are texts in UTC
INSTANT = {"postgresql": "TIMESTAMPTZ(6)", "mariadb": "TIMESTAMP(6) NULL", "sqlite": "DATETIME"}
#: a column of local times without a zone
LOCAL = {"postgresql": "TIMESTAMP(6)", "mariadb": "DATETIME(6)", "sqlite": "DATETIME"}
#: now, by the database's clock, in a column of instants
NOW = {
    "postgresql": "clock_timestamp()",
    "mariadb": "NOW(6)",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
}
#: an instant as a literal, to be filled with a time in UTC
UTC = {"postgresql": "'{}+00'", "mariadb": "CONVERT_TZ('{}', '+00:00', @@time_zone)", "sqlite": "'{}'"}


def on(*engines: str) -> pytest.MarkDecorator:
    """Run the test on these databases."""
    assert set(engines) <= set(ENGINES)
    return pytest.mark.parametrize("world", engines, indirect=True)


everywhere = on(*ENGINES)


@dataclass(kw_only=True, repr=False)
class World:
    """One source database and everything a run of it needs."""

    engine: str
    url: str
    folder: Path
    delivery: MemoryDelivery = field(default_factory=MemoryDelivery)
    #: how far the clock of the host that syncer runs on is ahead of the database's
    ahead: timedelta = timedelta(0)
    events: list[Event] = field(default_factory=list)
    _config: Config | None = None

    def __repr__(self) -> str:
        return f"<World on {self.engine}>"

    # --- the source

    def sql(self, text: str) -> None:
        """Execute statements, each committed as it is done."""
        servers.execute_sql(self.url, text)

    def rooms(self, moment: str | None = None, *, rows: Sequence[tuple[int, str, str]] = ()) -> None:
        """Create `rooms (id, name, updated_at)`; rows are ids, names and SQL expressions of `updated_at`."""
        moment = INSTANT[self.engine] if moment is None else moment
        self.sql(f"CREATE TABLE rooms (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(60), updated_at {moment})")
        if rows:
            self.put(*rows)

    def put(self, *rows: tuple[int, str, str]) -> None:
        """Insert rows: ids, names and SQL expressions of `updated_at`."""
        values = ", ".join(f"({number}, '{name}', {stamp})" for number, name, stamp in rows)
        self.sql(f"INSERT INTO rooms VALUES {values}")

    def many(self, count: int, stamp: str = "2026-01-01 10:00:00", *, every: int = 0) -> None:
        """Insert rooms 1 to count, stamped `every` so many seconds, or all alike."""
        moment = {
            "postgresql": f"timestamptz '{stamp}+00' + n * {every} * interval '1 second'",
            "mariadb": f"CONVERT_TZ('{stamp}', '+00:00', @@time_zone) + INTERVAL n * {every} SECOND",
            "sqlite": f"strftime('%Y-%m-%d %H:%M:%S', '{stamp}', (n * {every}) || ' seconds')",
        }[self.engine]
        series = f"WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < {count})"
        rows = f"SELECT n, 'room', {moment} FROM s"
        lifted = "SET max_recursive_iterations = 1000000; " if self.engine == "mariadb" else ""
        insert = (
            f"INSERT INTO rooms {series} {rows}" if self.engine == "mariadb" else f"{series} INSERT INTO rooms {rows}"
        )
        self.sql(f"{lifted}{insert}")

    def at(self, moment: str) -> str:
        """SQL of an instant, given in UTC."""
        return UTC[self.engine].format(moment)

    @property
    def now(self) -> str:
        """SQL of the database's present instant."""
        return NOW[self.engine]

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Another client's connection; what it did not commit is rolled back at the end."""
        engine = create_engine(self.url, poolclass=NullPool)
        with closing(engine.connect()) as connection:
            yield connection
        engine.dispose()

    def read(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query, read without syncer."""
        with self.transaction() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    # --- configuration

    def map(self, *, timezone: str = "UTC", **keys: Any) -> None:
        """Map the table `rooms`, or what the keys say, by its `updated_at`, or what they say."""
        default = {} if "query" in keys else {"table": "rooms"}
        self.maps({"rooms": default | {"watermark": "updated_at"} | keys}, timezone=timezone)

    def maps(self, mappings: Mapping[str, Any], *, timezone: str = "UTC") -> None:
        """Write the configuration file with these mappings, and load it."""
        document = {
            "version": 1,
            "sources": {"app": {"url": self.url, "timezone": timezone}},
            "destination": {"write_key": "key", "endpoint": "http://127.0.0.1:9"},
            "state": {"url": "sqlite:///state.db"},
            "mappings": {
                name: {key: value for key, value in keys.items() if value is not None}
                for name, keys in mappings.items()
            },
        }
        path = self.folder / "syncer.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
        self._config = load_config(path, {})

    @property
    def config(self) -> Config:
        """The loaded configuration."""
        assert self._config is not None
        return self._config

    def check(self, name: str = "rooms") -> Examined:
        """What `syncer check` says of the mapping."""
        with closing(open_source("app", self.url)) as source:
            return examine(self.config.mappings[name], source, self.config.sources["app"].timezone)

    # --- runs

    def run(self, name: str = "rooms", *, full: bool = False, **options: Any) -> RunReport:
        """One run, as `syncer run` does it."""
        mode = Mode.FULL if full else Mode.INCREMENTAL
        return asyncio.run(self._run(name, RunOptions(mode=mode, **options)))

    async def _run(self, name: str, options: RunOptions) -> RunReport:
        async with Runner(self.config, self.events.append) as runner:
            job = runner.job(self.config.mappings[name], options)
            now = job.ports.now
            ports = replace(job.ports, delivery=self.delivery, now=lambda: now() + self.ahead)
            return await execute(replace(job, ports=ports))

    def new_delivery(self, script: Any = (), **settings: Any) -> MemoryDelivery:
        """Talk to the same destination in another way from now on; returns the delivery before."""
        before, self.delivery = self.delivery, MemoryDelivery(script, **settings)
        self.delivery.objects = before.objects
        return before

    @property
    def began_again(self) -> bool:
        """Whether a run found nothing at its watermark, and read everything: it would find lost rows all the same."""
        return any(isinstance(each, Noticed) and "reading all" in each.message for each in self.events)

    @property
    def state(self) -> Path:
        """The state file."""
        return self.folder / "state.db"

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """What is recorded in the meantime is lost: what a process leaves that was killed before its commit."""
        saved = self.folder / "before"
        shutil.copytree(self.folder, saved, ignore=lambda _, names: [each for each in names if "state.db" not in each])
        yield
        for place in self.folder.glob("state.db*"):
            place.unlink()
        for place in saved.glob("state.db*"):
            shutil.move(place, self.folder / place.name)
        shutil.rmtree(saved)

    def begin_anew(self) -> None:
        """Forget every run, and everything that was sent."""
        for place in self.folder.glob("state.db*"):
            place.unlink()
        self.delivery = MemoryDelivery()

    @property
    def watermark(self) -> str | None:
        """Text of the saved watermark."""
        with closing(open_store(f"sqlite:///{self.state}")) as store:
            saved = store.checkpoint("rooms")
        return saved.watermark.text if saved and saved.watermark else None

    @property
    def letters(self) -> Sequence[DeadLetter]:
        """The dead letters."""
        with closing(open_store(f"sqlite:///{self.state}")) as store:
            return store.dead_letters("rooms")

    # --- the comparison

    @property
    def held(self) -> dict[str, object]:
        """The property `name` of every object at the destination, by id."""
        return {key: each.get("name") for (_, key), each in self.delivery.objects.items()}

    def missing(self, query: str = "SELECT id, name FROM rooms") -> dict[str, object]:
        """Rows (id, name) that the destination does not hold as they are."""
        held = self.held
        rows = {str(key): name for key, name in self.read(query)}
        return {key: name for key, name in rows.items() if key not in held or held[key] != name}

    def sent_ids(self) -> list[str]:
        """Ids of everything sent through the present delivery, in order."""
        return [each.id for batch in self.delivery.batches for each in batch.objects]


def refused(report: RunReport) -> str:
    """The error of a run that was refused as a matter of configuration (exit code 2), with its hint."""
    assert exit_code([report]) == 2, report
    assert report.counts.sent == 0
    return f"{report.error} {report.hint}"
