"""The parts of the state store that decide without touching anything: leases, owners, columns, errors."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import psycopg
import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql, postgresql, sqlite

from syncer.core.model import Counts, Lease
from syncer.errors import LeaseHeld, StateCorrupt, StateError, StateUnwritable
from syncer.state.columns import Instant, Number, Octets, Words
from syncer.state.faults import fault, is_deadlock
from syncer.state.owner import describe, is_gone
from syncer.state.tables import COUNTS
from syncer.state.tenure import Tenure, succeed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DIALECTS = [sqlite.dialect(), postgresql.dialect(), mysql.dialect()]

dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


class TestTenure:
    held = Tenure(epoch=4, owner="a", since=NOON, expires_at=NOON + MINUTE)

    @pytest.mark.parametrize(
        ("tenure", "owner", "now", "gone"),
        [
            (Tenure(), "b", NOON, False),
            (Tenure(epoch=4), "b", NOON, False),
            (held, "a", NOON, False),
            (held, "b", NOON + MINUTE, False),
            (held, "b", NOON, True),
        ],
        ids=["new", "released", "same owner", "expired", "owner gone"],
    )
    def test_granted(self, tenure: Tenure, owner: str, now: datetime, gone: bool) -> None:
        """A lease that is free, one's own, expired or left by a dead process is granted with the next epoch."""
        lease = succeed(tenure, "rooms", owner, now, MINUTE, is_gone=lambda _: gone)
        assert lease == Lease(mapping="rooms", owner=owner, epoch=tenure.epoch + 1, expires_at=now + MINUTE)

    def test_refused(self) -> None:
        """Otherwise it is refused, rounding the rest of its time up."""
        now = NOON + timedelta(seconds=30, microseconds=1)
        with pytest.raises(LeaseHeld, match="mapping rooms is being run by a since") as refused:
            succeed(self.held, "rooms", "b", now, MINUTE, is_gone=lambda _: False)
        assert "in 30 s" in str(refused.value.hint)


class TestOwners:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "cron on build-7",
            "[]",
            "{}",
            "null",
            '"a"',
            "[" * 100_000,
            json.dumps({"host": "h", "pid": 0, "started": 1, "boot": "b", "namespace": "n"}),
            json.dumps({"host": "h", "pid": -1, "started": 1, "boot": "b", "namespace": "n"}),
            json.dumps({"host": "h", "pid": 2**40, "started": 1, "boot": "b", "namespace": "n"}),
            json.dumps({"host": "h", "pid": "1", "started": 1, "boot": "b", "namespace": "n"}),
        ],
        ids=range(11),
    )
    def test_unknown_owners(self, text: str) -> None:
        """Text that names no process is shown as it is and never taken for gone."""
        assert describe(text) == text
        assert not is_gone(text)

    @pytest.mark.parametrize(
        "told",
        [
            {"started": 1, "boot": "another boot", "namespace": "pid:[1]"},
            {"started": None, "boot": None, "namespace": None},
        ],
    )
    def test_elsewhere(self, told: dict[str, object]) -> None:
        """A process of another boot or host, or of a system that tells nothing, is never taken for gone."""
        owner = json.dumps({"host": "build-7", "pid": 2**22 + 1, **told})
        assert describe(owner) == "process 4194305 on build-7"
        assert not is_gone(owner)


class TestColumns:
    @dialects
    @given(text=st.text(st.characters(), max_size=20))
    def test_text(self, dialect: object, text: str) -> None:
        """Every string comes back; what is stored has no NUL, no half pair and no blank at its end."""
        stored = Words().process_bind_param(text, dialect)  # type: ignore[arg-type]
        assert stored is not None
        assert Words().result_processor(dialect, None)(stored) == text  # type: ignore[arg-type]
        stored.encode()
        assert "\x00" not in stored
        assert not stored.endswith(" ")

    @given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\\x00 ")))
    def test_plain_text(self, text: str) -> None:
        """Ordinary text is stored as it is, so that a person can read the tables."""
        assert Words().process_bind_param(text, DIALECTS[0]) == text

    @given(at=st.datetimes(timezones=st.just(UTC)))
    def test_instants(self, at: datetime) -> None:
        """Instants are whole microseconds since 1970, exact and in order."""
        stored = Instant().process_bind_param(at, DIALECTS[0])
        since = at - datetime(1970, 1, 1, tzinfo=UTC)
        assert stored == (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        assert Instant().result_processor(DIALECTS[0], None)(stored) == at

    @pytest.mark.parametrize("column", [Words(), Octets(), Number(), Instant()], ids=lambda c: type(c).__name__)
    def test_null(self, column: Words | Octets | Number | Instant) -> None:
        """NULL is None."""
        assert column.result_processor(DIALECTS[0], None)(None) is None

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            (Words(), b"rooms"),
            (Words(), 7),
            (Octets(), "rooms"),
            (Number(), "7"),
            (Number(), 7.0),
            (Instant(), "2026"),
            (Instant(), 2**63 - 1),
            (Instant(), -(2**63)),
        ],
    )
    def test_damage(self, column: Words | Octets | Number | Instant, value: object) -> None:
        """A value of another type than was written means damage."""
        with pytest.raises(StateCorrupt):
            column.result_processor(DIALECTS[0], None)(value)

    def test_naive_instants(self) -> None:
        """A datetime without a zone is a mistake of ours and is refused."""
        with pytest.raises(TypeError):
            Instant().process_bind_param(datetime(2026, 3, 1), DIALECTS[0])

    def test_counts_have_columns(self) -> None:
        """Every count of a run is stored."""
        assert list(COUNTS) == [field.name for field in fields(Counts)]


def of_sqlite(code: int, text: str) -> sqlite3.Error:
    """An error as SQLite raises it."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


class TestFaults:
    @pytest.mark.parametrize(
        ("error", "kind", "told"),
        [
            (of_sqlite(11, "database disk image is malformed"), StateCorrupt, "damaged"),
            (of_sqlite(267, "database disk image is malformed"), StateCorrupt, "damaged"),
            (of_sqlite(26, "file is not a database"), StateCorrupt, "damaged"),
            (of_sqlite(1, "no such table: syncer_runs"), StateCorrupt, "damaged"),
            (sqlite3.OperationalError("Could not decode to UTF-8 column"), StateCorrupt, "damaged"),
            (of_sqlite(13, "database or disk is full"), StateUnwritable, "disk is full"),
            (of_sqlite(5, "database is locked"), StateUnwritable, "locked by another"),
            (of_sqlite(8, "attempt to write a readonly database"), StateUnwritable, "readonly"),
            (of_sqlite(778, "disk I/O error"), StateUnwritable, "disk I/O error"),
            (of_sqlite(1, "near SELECT: syntax error"), StateError, "code 1"),
            (psycopg.errors.UndefinedTable("relation"), StateCorrupt, "damaged"),
            (psycopg.errors.IndexCorrupted("index"), StateCorrupt, "damaged"),
            (psycopg.errors.DiskFull("could not extend file"), StateUnwritable, "disk is full"),
            (psycopg.errors.LockNotAvailable("canceling"), StateUnwritable, "locked by another"),
            (psycopg.errors.DeadlockDetected("deadlock"), StateUnwritable, "locked by another"),
            (psycopg.errors.InsufficientPrivilege("permission denied"), StateUnwritable, "permission denied"),
            (psycopg.errors.ReadOnlySqlTransaction("cannot execute"), StateUnwritable, "cannot execute"),
            (psycopg.errors.TooManyConnections("too many clients"), StateError, "cannot be reached: too many"),
            (psycopg.errors.AdminShutdown("terminating"), StateError, "cannot be reached"),
            (psycopg.OperationalError("connection refused\nhint"), StateError, "reached: connection refused"),
            (pymysql.OperationalError(2003, "Can't connect"), StateError, "cannot be reached: Can't connect"),
            (pymysql.OperationalError(1045, "Access denied"), StateError, "cannot be reached: Access denied"),
            (pymysql.OperationalError(1290, "--read-only"), StateUnwritable, "--read-only"),
            (pymysql.OperationalError(1205, "Lock wait timeout"), StateUnwritable, "locked by another"),
            (pymysql.OperationalError(1114, "table is full"), StateUnwritable, "disk is full"),
            (pymysql.ProgrammingError(1146, "no table"), StateCorrupt, "damaged"),
        ],
        ids=str,
    )
    def test_kinds(self, error: Exception, kind: type[StateError], told: str) -> None:
        """Each driver's error becomes the error that says what a person can do."""
        found = fault(error, "the-store")
        assert type(found) is kind
        assert told in str(found)
        assert "the-store" in str(found)
        assert "\n" not in str(found)
        assert found.hint or kind is StateError

    @pytest.mark.parametrize(
        "error",
        [
            sqlite3.OperationalError("Could not decode to UTF-8 column 'error' with text 's3cret'"),
            sqlite3.IntegrityError("UNIQUE s3cret"),
            psycopg.errors.UniqueViolation("Key (run_id)=(s3cret) already exists"),
            psycopg.errors.InvalidTextRepresentation("invalid input syntax: s3cret"),
            pymysql.DataError(1406, "Data too long: s3cret"),
            pymysql.IntegrityError(1062, "Duplicate entry 's3cret'"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_values_are_not_repeated(self, error: Exception) -> None:
        """What may quote a row's value is not repeated."""
        found = fault(error, "the-store")
        assert "s3cret" not in f"{found!r} {found.hint}"

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (psycopg.errors.DeadlockDetected("deadlock"), True),
            (psycopg.errors.SerializationFailure("serialization"), True),
            (pymysql.OperationalError(1213, "Deadlock found"), True),
            (pymysql.OperationalError(1205, "Lock wait timeout"), False),
            (of_sqlite(5, "database is locked"), False),
            (None, False),
        ],
        ids=str,
    )
    def test_deadlocks(self, error: Exception | None, expected: bool) -> None:
        """Only a transaction that the database itself gave up is tried again."""
        assert is_deadlock(error) == expected
