"""A real database, syncer, the sandbox, and the reference's model beside them: run, and compare everything."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import reference_warehouse
import yaml
from reference_model import Expected, Model
from reference_rules import Table
from reference_warehouse import column

from syncer.config import Config
from syncer.core.model import DeadLetter, Mode, Outcome, RunReport
from syncer.core.plan import RunOptions
from syncer.run.runner import Runner

#: a row this young may be beyond what the source's clock says is safe to save
YOUNG = timedelta(minutes=1)

Reader = Callable[[], Mapping[str, Table]]


class World:
    """Runs a configuration, and proves after each run that the destination is what the reference says.

    Args:
        config: its mappings have the names of their collections.
        tables: the table of every mapping, by the mapping's name.
        watermarked: the mappings that have a watermark.
        read: the reference's reading of the tables, by name.
        execute: executes SQL on the source.
        warehouse: the sandbox's file.
    """

    def __init__(
        self,
        config: Config,
        tables: Mapping[str, str],
        watermarked: Collection[str],
        read: Reader,
        *,
        execute: Callable[[str], None],
        warehouse: Path,
    ) -> None:
        self._config = config
        self._tables = tables
        self._read = read
        self._execute = execute
        self._warehouse = warehouse
        self._models = {name: Model(watermarked=name in watermarked) for name in tables}
        self._found: Mapping[str, Table] | None = None

    def change(self, sql: str) -> None:
        """Change the source."""
        self._execute(sql)
        self._found = None

    def run(self, *, full: bool = False) -> dict[str, Expected]:
        """One run of every mapping; returns what it did, which is what the reference expected."""
        found = self._found = self._found or self._read()
        expected = {name: self._models[name].run(found[table], full=full) for name, table in self._tables.items()}
        times = Counter(reference_warehouse.times(self._warehouse))
        requests = len(reference_warehouse.requests(self._warehouse))
        began = datetime.now(UTC)
        reports, letters = asyncio.run(_run(self._config, Mode.FULL if full else Mode.INCREMENTAL))
        assert reports.keys() == expected.keys()
        for name, report in reports.items():
            _compare_report(report, expected[name])
            self._compare_watermark(name, report, began)
        sent = Counter(reference_warehouse.times(self._warehouse)) - times
        assert sent == Counter({(name, key): 1 for name, each in expected.items() for key in each.sent})
        self._compare_requests(requests, reports)
        self._compare_letters(letters)
        # collections of which nothing was received are as they were when they were compared last
        for name, each in expected.items():
            if each.sent:
                self._compare_objects(name)
        return expected

    def _compare_watermark(self, name: str, report: RunReport, began: datetime) -> None:
        """The newest row is where the next run begins; what is younger than the source's horizon, before it."""
        model = self._models[name]
        if model.saved is None:
            assert report.watermark is None
            return
        assert report.watermark is not None
        told = datetime.fromisoformat(report.watermark.text)
        told = told if told.tzinfo else told.replace(tzinfo=UTC)
        if model.saved < began - YOUNG:
            assert told == model.saved
        assert told <= model.saved
        model.saved = told

    def _compare_requests(self, before: int, reports: Mapping[str, RunReport]) -> None:
        """All accepted, none sent twice."""
        made = reference_warehouse.requests(self._warehouse)[before:]
        assert {status for status, _ in made} <= {200, 201, 202}
        assert len(made) == sum(report.counts.requests for report in reports.values())
        assert sum(objects for _, objects in made) == sum(report.counts.sent for report in reports.values())

    def _compare_letters(self, letters: Sequence[DeadLetter]) -> None:
        found = Counter((each.mapping, each.rejection.id, each.rejection.code) for each in letters)
        assert found == Counter(
            {(name, *told): count for name, model in self._models.items() for told, count in model.letters.items()}
        )

    def _compare_objects(self, name: str) -> None:
        """Every object of a collection digit by digit, and every column of every row of its table."""
        held = self._models[name].held
        found = reference_warehouse.objects(self._warehouse, name)
        rows = reference_warehouse.columns(self._warehouse, name)
        assert (set(found), set(rows)) == (set(held), set(held))
        wrong = [(key, found[key], properties) for key, properties in held.items() if found[key] != properties]
        assert not wrong[:1], name
        told = {key: {each: column(value) for each, value in properties.items()} for key, properties in held.items()}
        wrong_rows = [(key, rows[key], told[key]) for key in told if not _same(rows[key], told[key])]
        assert not wrong_rows[:1], name


def _same(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Equal and of equal types: 1, 1.0 and true are equal, but are not the same."""
    return one == other and all(type(one[each]) is type(value) for each, value in other.items())


def _compare_report(report: RunReport, expected: Expected) -> None:
    counts = report.counts
    assert (report.error, report.outcome) == (None, Outcome.PARTIAL if expected.rejected else Outcome.SUCCEEDED)
    told = (counts.read, counts.sent, counts.unchanged, counts.rejected, counts.skipped, counts.non_finite)
    sent = len(expected.sent)
    assert (report.mapping, *told) == (
        report.mapping, expected.read, sent, expected.unchanged, expected.rejected, 0, expected.not_finite,
    )  # fmt: skip
    # by bulk a session of sixteen thousand objects is a start, an upload, which holds them here, and a finish
    requests = 3 * -(-sent // 16_000) if report.api == "bulk" else -(-sent // 10)
    assert (counts.requests, counts.retried) == (requests, 0)


async def _run(config: Config, mode: Mode) -> tuple[dict[str, RunReport], Sequence[DeadLetter]]:
    async with Runner(config, lambda event: None) as runner:
        reports = await runner.run_all(list(config.mappings.values()), RunOptions(mode=mode))
        return {report.mapping: report for report in reports}, runner.store.dead_letters()


def write_config(path: Path, tables: Mapping[str, str], watermarks: Mapping[str, str], timezone: str) -> None:
    """A configuration that maps every table whole.

    Args:
        tables: as a mapping's `table` takes them, by the mapping's name.
        watermarks: the mappings that have one, and its column.
    """
    mappings = {
        name: {"table": table} | ({"watermark": watermarks[name]} if name in watermarks else {})
        for name, table in tables.items()
    }
    document = {
        "version": 1,
        "sources": {"shop": {"url": "${SOURCE_URL}", "timezone": timezone}},
        "destination": {"write_key": "key", "endpoint": "${SEGMENT_ENDPOINT}"},
        "state": {"url": "sqlite:///state.db"},
        "mappings": mappings,
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "utf-8")
