"""The source: rows with versions, transactions that commit in any order, snapshots, and a horizon in its own clock."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

from sim_settings import EPOCH, SECOND, Settings

from syncer.core.model import CollectionMapping, Column, Kind, Position, Row, Watermark
from syncer.core.plan import RunPlan
from syncer.core.watermark import decode_key, lookback_of
from syncer.errors import QueryError, SourceUnreachable
from syncer.source.base import Chunk, Described, KeyFaults
from syncer.source.chunks import chunks
from syncer.source.dialect_generic import GenericDialect
from syncer.source.drivers import Sql
from syncer.source.keyset import ReadOrder
from syncer.source.statements import Reading

COLUMNS = (
    Column(name="id", kind=Kind.INTEGER),
    Column(name="city", kind=Kind.TEXT),
    Column(name="stars", kind=Kind.INTEGER),
    Column(name="updated_at", kind=Kind.INTEGER),
)
#: text that is no Unicode: the shaper refuses the row
UNSHAPELY = "\ud800"
#: what the API refuses
UNWELCOME = "nowhere"
#: what an object carries while its row is there, where rows that are gone become tombstones
ALIVE: Mapping[str, object] = {"is_deleted": False, "deleted_at": None}
#: ids of the rows that only weigh
BALLAST = 1_000_000


@dataclass(frozen=True, slots=True)
class Version:
    """A row as one transaction left it."""

    id: int
    city: str
    stars: int | None
    stamp: int | None
    #: world seconds of its commit
    committed_at: float = 0.0

    @property
    def row(self) -> Row:
        """As the driver returns it."""
        return (self.id, self.city, self.stars, self.stamp)


@dataclass(slots=True, eq=False)
class Transaction:
    """Open until it commits or rolls back. `started` is in the source's clock."""

    started: int
    writes: dict[int, Version | None] = field(default_factory=dict)


class Table:
    """The rows and the transactions on them. Not a `Source`: every process opens one on it."""

    def __init__(self, settings: Settings, rng: random.Random, now: Callable[[], float]) -> None:
        self.rows: dict[int, Version] = {}
        self.open: list[Transaction] = []
        self._first: dict[int, Version] = {}
        self._settings = settings
        self._rng = rng
        self._now = now
        self.ballast = [(BALLAST + number, "", None, None) for number in range(settings.ballast)]

    @property
    def clock(self) -> int:
        """The source's own clock."""
        return int((EPOCH + self._now()) * SECOND) + self._settings.source_skew

    @property
    def horizon(self) -> int:
        """No transaction that is not visible yet will ever show an older stamp, but for the application's skew."""
        oldest = min([self.clock, *(each.started for each in self.open)])
        return self._floor(oldest - self._settings.margin)

    def _floor(self, stamp: int) -> int:
        return stamp - stamp % self._settings.resolution

    def begin(self) -> Transaction:
        """Open one."""
        transaction = Transaction(self.clock)
        self.open.append(transaction)
        return transaction

    def write(self, transaction: Transaction, identifier: int) -> None:
        """Insert, change or delete a row, unless another transaction has it locked."""
        if any(identifier in each.writes for each in self.open if each is not transaction):
            return
        if identifier in self.rows and self._rng.random() < self._settings.gone_share:
            transaction.writes[identifier] = None
            return
        settings, rng = self._settings, self._rng
        city = f"city {rng.randrange(settings.cities)}"
        if rng.random() < settings.bad_share:
            city = rng.choice((UNSHAPELY, UNWELCOME))
        stars = rng.choice((None, 1, 2))
        stamp = None if rng.random() < settings.null_share else self._stamp(transaction)
        written = Version(identifier, city, stars, stamp)
        if settings.wavers and rng.random() < 0.6:
            written = replace(self._first.setdefault(identifier, written), stamp=stamp)
        transaction.writes[identifier] = written

    def _stamp(self, transaction: Transaction) -> int:
        settings = self._settings
        if settings.stamps == "transaction":
            return self._floor(transaction.started)
        if settings.stamps == "statement":
            return self._floor(self.clock)
        return self._floor(transaction.started + self._rng.randint(-settings.skew, settings.skew))

    def commit(self, transaction: Transaction) -> None:
        """Everything it wrote is visible from now on."""
        self.open.remove(transaction)
        for identifier, version in transaction.writes.items():
            if version is None:
                self.rows.pop(identifier, None)
            else:
                self.rows[identifier] = Version(
                    version.id, version.city, version.stars, version.stamp, committed_at=self._now()
                )

    def roll_back(self, transaction: Transaction) -> None:
        """As if it had never been."""
        self.open.remove(transaction)


class SimSource:
    """One process's connection to the table. See `syncer.source.base.Source`."""

    def __init__(
        self, table: Table, settings: Settings, rng: random.Random, *,
        faulty: Callable[[str], bool], asked_at: Callable[[], float], now: Callable[[], float],
    ) -> None:  # fmt: skip
        self.table = table
        #: rows handed out, and cursors opened
        self.read_rows = 0
        self.cursors = 0
        self._settings = settings
        self._rng = rng
        self._faulty = faulty
        self._asked_at = asked_at
        self._now = now
        self._interrupted_at = -1.0

    def identity(self) -> str:
        """See `Source`."""
        self._answer()
        return "simulated"

    def describe(self, mapping: CollectionMapping) -> Described:
        """See `Source`."""
        self._answer()
        rule = mapping.watermark
        return Described(columns=COLUMNS, primary_key=("id",), watermark=rule.column if rule else None)

    def key_faults(self, mapping: CollectionMapping, described: Described) -> KeyFaults:
        """See `Source`."""
        self._answer()
        return KeyFaults(null_watermarks=sum(each.stamp is None for each in self.table.rows.values()))

    def read_keys(self, mapping: CollectionMapping, described: Described, keys: Sequence[str]) -> list[Row]:
        """See `Source`."""
        self._answer()
        found = [self.table.rows.get(int(decode_key(key)[0][1])) for key in keys]
        rows = [each.row for each in found if each is not None]
        self.read_rows += len(rows)
        return rows

    @contextmanager
    def read(self, plan: RunPlan, described: Described) -> Iterator[Iterator[Chunk]]:
        """See `Source`. Horizon and snapshot are of one instant; the chunks are those of every SQL source."""
        self._answer()
        self.cursors += 1
        horizon = plan.ceiling
        if plan.rule is not None and plan.saves and horizon is None:
            horizon = Watermark(kind=Kind.INTEGER, text=str(self.table.horizon))
        rows = [_Placed(plan, horizon).row(row) for row in self._chosen(plan)[: plan.limit]]
        order = ReadOrder(
            dialect=_DIALECT, watermark=COLUMNS[3] if plan.rule else None, key=COLUMNS[:1],
            index=3 if plan.rule else None, indexes=(0,),
        )  # fmt: skip
        reading = Reading(sql=Sql(text=""), order=order, positioned=True, saved=plan.watermark, horizon=horizon)
        yield chunks(self._fetching(rows), reading, _DIALECT, limit=plan.limit)

    def horizon(self, *, numbers: bool = False) -> None:
        """Nobody is told."""

    def interrupt(self) -> None:
        """What was asked before fails."""
        self._interrupted_at = self._now()

    def close(self) -> None:
        """See `Source`."""

    def _answer(self) -> None:
        if self._asked_at() <= self._interrupted_at:
            raise QueryError("the question was interrupted")
        if self._faulty("unreachable"):
            raise SourceUnreachable("no connection to the source")

    def _chosen(self, plan: RunPlan) -> list[Row]:
        """The plan's rows of now, in read order."""
        rows = self.table.rows
        if plan.rule is None:
            chosen = sorted(each.row for each in rows.values())
            return [row for row in chosen if self._between(plan, row)]
        lower = -(10**18)
        if plan.watermark is not None:
            back = lookback_of(plan.rule, Kind.INTEGER)
            assert isinstance(back, int)
            lower = int(plan.watermark.text) - back
        if plan.start is not None:
            lower = max(lower, int(plan.start))
        ranged = plan.end is not None or (plan.start is not None and not plan.advances)
        bounded = plan.watermark is not None or plan.start is not None
        chosen = [each.row for each in rows.values() if each.stamp is not None and each.stamp >= lower]
        if not ranged and not (bounded and plan.rule.nulls == "skip"):
            chosen += [each.row for each in rows.values() if each.stamp is None] + self.table.ballast
        chosen.sort(key=lambda row: self._order(row[3], row[0]))
        return [row for row in chosen if self._between(plan, row)]

    def _order(self, stamp: object, identifier: object) -> tuple[int, object, object]:
        if stamp is None:
            return (0 if self._settings.nulls_first else 2, 0, identifier)
        return (1, stamp, identifier)

    def _place(self, plan: RunPlan, position: Position) -> object:
        identifier = int(decode_key(position.key)[0][1])
        if plan.rule is None:
            return identifier
        return self._order(int(position.watermark.text) if position.watermark else None, identifier)

    def _between(self, plan: RunPlan, row: Row) -> bool:
        place = row[0] if plan.rule is None else self._order(row[3], row[0])
        if plan.after is not None and place < self._place(plan, plan.after):  # type: ignore[operator]
            return False
        return plan.until is None or place <= self._place(plan, plan.until)  # type: ignore[operator]

    def _fetching(self, rows: list[Row]) -> Callable[[int], list[Row]]:
        """A cursor that hands out few rows at a time, and may break."""
        left = iter(rows)
        ahead = len(rows)

        def fetch(size: int) -> list[Row]:
            nonlocal ahead
            self._answer()
            most = size if ahead > len(self.table.rows) else self._rng.randint(1, self._settings.chunk)
            found = list(islice(left, min(size, most)))
            ahead -= len(found)
            self.read_rows += len(found)
            return found

        return fetch


class _Dialect(GenericDialect):
    """Just enough of a database: all numbers."""

    orders_nulls = "first"

    def __init__(self) -> None:
        """There is no URL."""


_DIALECT = _Dialect()


@dataclass(frozen=True, slots=True)
class _Placed:
    """What `GenericDialect.position` has the database say."""

    plan: RunPlan
    horizon: Watermark | None

    def row(self, row: Row) -> Row:
        """With its position behind it."""
        stamp, saved = row[3], self.plan.watermark
        if not isinstance(stamp, int) or self.plan.rule is None:
            return (*row, 1)
        if saved is not None and stamp < int(saved.text):
            return (*row, 0)
        if self.horizon is None or stamp <= int(self.horizon.text):
            return (*row, 1)
        return (*row, 0 if saved is not None and int(self.horizon.text) < int(saved.text) else 2)


def projection(version: Version, settings: Settings) -> dict[str, object]:
    """The object a row has to become, by the rules of the mapping and not by the code under test."""
    stamp = {} if settings.returns else {"updated_at": version.stamp}
    named = {"city": version.city, "stars": version.stars, **stamp}
    found = {name: value for name, value in named.items() if value is not None or not settings.omits}
    return found if settings.max_share is None else {**found, **ALIVE}


def is_tombstone(properties: Mapping[str, object]) -> bool:
    """Whether it marks its object as deleted."""
    return properties.get("is_deleted") is True


def identifiers(doubt_keys: Sequence[str]) -> set[str]:
    """Object ids of encoded keys."""
    return {json.loads(key)[0][1] for key in doubt_keys}
