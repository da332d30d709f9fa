"""Values the store tests share: hosts, rooms and reviews, with every field filled. No fixtures, no assertions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from syncer.core.model import (
    Checkpoint,
    Counts,
    DeadLetter,
    Doubt,
    Kind,
    Lease,
    Mode,
    Outcome,
    Position,
    PropertyType,
    Rejection,
    RunReport,
    Watermark,
)
from syncer.state import Commit, Fingerprint, Store

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

#: text that some database cannot keep, cuts, folds or changes by itself
AWKWARD = (
    "",
    " ",
    "Zürich ",
    "nul \x00 inside",
    "half \ud83d of a pair",
    "🏨 hôtel 東京",
    "back\\slash \\u0000 \\\\",
    "'quote\" %s %(x)s :name ? ;--",
    "line\r\nline\u2028end",
    "long " * 20_000,
)


def run(mapping: str = "rooms", run_id: str = "run-1", started_at: datetime = NOON, **changes: object) -> RunReport:
    """A run that has begun."""
    fields: dict[str, object] = {"mode": Mode.INCREMENTAL, "outcome": None, "trigger": "cli", **changes}
    return RunReport(
        run_id=run_id,
        mapping=mapping,
        collection=mapping,
        started_at=started_at,
        **fields,  # type: ignore[arg-type]
    )


def finished_run(mapping: str = "rooms", run_id: str = "run-1") -> RunReport:
    """A run with every field filled and every count different."""
    counts = Counts(
        read=10, sent=1, unchanged=2, rejected=3, skipped=4, deleted=5, retried=6, requests=7, bytes=2**40,
        non_finite=8,
    )  # fmt: skip
    return run(
        mapping,
        run_id,
        outcome=Outcome.PARTIAL,
        finished_at=NOON + MINUTE,
        counts=counts,
        watermark=Watermark(kind=Kind.INSTANT, text="2026-03-01 11:59:59.999999+00"),
        bound=NOON - MINUTE,
        held_by="the prepared transaction 'inventory'",
        api="bulk",
        api_reason="objects planned: 12,000, of 10,000 at least",
        error="three objects were refused",
        hint="look at the dead letters",
        exit_code=3,
    )


def checkpoint(mapping: str = "rooms", text: str = "2026-03-01 11:59:59.999999") -> Checkpoint:
    """A checkpoint with a timestamp watermark and a place to go on at."""
    mark = Watermark(kind=Kind.TIMESTAMP, text=text)
    place = Position(watermark=Watermark(kind=Kind.INTEGER, text="7"), key='[["text","a"]]')
    return Checkpoint(mapping=mapping, digest="d" * 32, watermark=mark, updated_at=NOON, position=place)


def dead_letter(mapping: str = "rooms", id: str | None = "42", *, text: str = "a value is too large") -> DeadLetter:
    """A dead letter with every field filled."""
    rejection = Rejection(
        code="VALUE_TOO_LARGE", reason=text, row=7, id=id, key='["i:42"]', properties=b'{"name":"\x00\xff"}',
        status=400, response=text,
    )  # fmt: skip
    return DeadLetter(mapping=mapping, collection=mapping, run_id="run-1", created_at=NOON, rejection=rejection)


def fingerprint(digest: bytes = b"\x00" * 15 + b"\xff", sent_at: datetime = NOON) -> Fingerprint:
    """What is remembered of an accepted object."""
    return Fingerprint(digest=digest, sent_at=sent_at)


def property_type(word: str, since: datetime = NOON) -> PropertyType:
    """As what a property is sent."""
    return PropertyType(type=word, since=since)


def leased(store: Store, mapping: str = "rooms", owner: str = "a", now: datetime = NOON) -> Lease:
    """The mapping's lease for a minute."""
    return store.acquire(mapping, owner, now, MINUTE)


def doubt(run_id: str, part: int, since: datetime | None, *keys: str) -> Doubt:
    """Rows in doubt, or on their way."""
    return Doubt(run_id=run_id, part=part, since=since, keys=keys)


def everything(store: Store) -> tuple[object, ...]:
    """All a store tells, to see that nothing was written."""
    return (
        store.leases(),
        store.checkpoints(),
        store.runs(limit=1000),
        store.dead_letters(),
        store.fingerprints("rooms", ["1", "2", "3"]),
        store.doubts("rooms"),
        store.property_types("rooms"),
    )


FULL = Commit(
    run=finished_run(),
    checkpoint=checkpoint(),
    dead_letters=[dead_letter(id="1"), dead_letter(id="2")],
    fingerprints={"1": fingerprint(b"one"), "2": fingerprint(b"two", NOON + MINUTE)},
    doubts=[doubt("run-1", 0, NOON, "a"), doubt("run-1", 1, None, "b", "c")],
    property_types={"name": property_type("text"), "beds": property_type("integer", NOON + MINUTE)},
)
