"""Leases and doubts between hosts whose clocks differ: on a server it is the server's clock that counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from contract.store_examples import doubt, run
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from syncer.errors import LeaseHeld
from syncer.state import Commit, leases, open_store
from syncer.state.clocks import agreed, difference
from syncer.state.database import Database, server_database
from syncer.state.sql import SqlStore

MINUTE = timedelta(minutes=1)
FIVE_MINUTES = timedelta(minutes=5)
#: longer than any of these tests takes, shorter than clocks are apart here
SOON = timedelta(seconds=30)

apart = pytest.mark.parametrize("ahead", [FIVE_MINUTES, -FIVE_MINUTES], ids=["ahead", "behind"])


@pytest.fixture(params=["postgres", "mariadb"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A state store on each kind of server, as the leases see it."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    open_store(url).close()
    opened = server_database(make_url(url), "a server", read_only=False)
    yield opened
    opened.close()


def host(ahead: timedelta) -> Callable[[], datetime]:
    """The clock of a host that is so much ahead of the others."""
    return lambda: datetime.now(UTC) + ahead


def take(database: Database, owner: str, clock: Callable[[], datetime]) -> datetime:
    """Take the lease of rooms on a host; returns when it ends."""

    def work(connection: Connection) -> datetime:
        leases.prepare(connection, "rooms")
        return leases.take(connection, "rooms", owner, clock(), MINUTE, clock=clock).expires_at

    return database.write(work)


@apart
def test_a_live_lease_is_not_stolen(database: Database, ahead: timedelta) -> None:
    """A host whose clock is five minutes off cannot take a lease that was given a moment ago."""
    take(database, "a", host(timedelta(0)))
    with pytest.raises(LeaseHeld, match="is being run by a") as refused:
        take(database, "b", host(ahead))
    left = int(str(refused.value.hint).rpartition("in ")[2].split()[0])
    assert MINUTE - SOON <= timedelta(seconds=left) <= MINUTE


@apart
def test_an_expired_lease_is_taken(database: Database, ahead: timedelta) -> None:
    """A lease left by a host whose clock is five minutes off can be taken as soon as it has ended."""
    ends = take(database, "a", host(ahead))
    assert abs(ends - datetime.now(UTC) - MINUTE) < SOON
    with pytest.raises(LeaseHeld):
        take(database, "b", host(timedelta(0)))
    database.write(lambda connection: connection.exec_driver_sql(
        f"UPDATE syncer_leases SET expires_at = expires_at - {MINUTE // timedelta(microseconds=1)}"
    ))  # fmt: skip
    take(database, "b", host(timedelta(0)))


@apart
def test_a_renewed_lease_lasts(database: Database, ahead: timedelta) -> None:
    """What a host with a wrong clock renews lasts its time to live for all hosts."""
    take(database, "a", host(ahead))
    (held,) = database.read(leases.held)
    clock = host(ahead)
    renewed = database.write(lambda connection: leases.prolong(connection, held, clock(), MINUTE, clock=clock))
    assert held.expires_at <= renewed.expires_at < held.expires_at + SOON
    with pytest.raises(LeaseHeld):
        take(database, "b", host(timedelta(0)))


@apart
def test_doubts_age_by_one_clock(database: Database, ahead: timedelta) -> None:
    """What a host with a wrong clock had in doubt just now is no older and no younger for the others."""
    wrong, right = host(ahead), host(timedelta(0))
    theirs, ours = SqlStore(database, clock=wrong), SqlStore(database, clock=right)
    noted = [doubt("run-1", 0, wrong(), "a"), doubt("run-1", 1, None, "b")]
    theirs.commit(theirs.acquire("rooms", "a", wrong(), MINUTE), Commit(run=run(), doubts=noted))
    for store, clock in ((ours, right), (theirs, wrong)):
        told, on_its_way = store.doubts("rooms")
        assert told.since is not None
        assert abs(clock() - told.since) < SOON
        assert on_its_way == noted[1]


def test_clocks_that_agree_change_nothing(database: Database) -> None:
    """Where the clocks are less than a second apart, the caller's instant is taken as it is, to the microsecond."""
    now = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    assert database.read(lambda connection: agreed(connection, now, host(timedelta(0)))) == now


@pytest.mark.parametrize(
    ("there", "expected"),
    [(0, 0), (3, 0), (10.9, 0), (-0.9, 0), (12, 2), (-2, -2), (310, 300), (-300, -300)],
)
def test_a_slow_answer_is_no_difference(there: float, expected: float) -> None:
    """Of an answer that took ten seconds only what no moment of theirs explains is a difference of clocks."""
    asked = datetime(2026, 3, 1, 12, tzinfo=UTC)
    found = difference(asked + timedelta(seconds=there), asked, asked + timedelta(seconds=10))
    assert found == timedelta(seconds=expected)
