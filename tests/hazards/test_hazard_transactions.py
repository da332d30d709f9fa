"""W5, W6, W8: transactions that stay open for longer than every margin, and commit after others were read.

The mappings here have no lookback, so that only the horizon stands between a late commit and its loss. Their
transactions begin together, and one wait of more than the margin (5 s) serves all tests of the module.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import servers
from campaign import rounds
from hazard_world import NOW, World
from sqlalchemy import Connection

#: seconds; more than the margin below the present
OLD_ENOUGH = 5.3
RULE = {"column": "updated_at", "lookback": "0s"}


@dataclass(frozen=True, kw_only=True)
class Late:
    """A transaction that commits late: what it does at its beginning, after a while, and at its end."""

    begins: tuple[str, ...]
    then: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    #: name of a prepared one, whose session is gone: it is ended from another
    prepared: str | None = None


WRITE = "INSERT INTO rooms VALUES (1, 'late', {stamp})"
LATE: Mapping[tuple[str, str], Late] = {
    # now() is the beginning of the transaction
    ("postgresql", "written"): Late(begins=(WRITE.format(stamp="now()"),)),
    # as long as it wrote nothing it has no transaction number
    ("postgresql", "unwritten"): Late(begins=("SELECT now()",), ends=(WRITE.format(stamp="now()"),)),
    ("postgresql", "prepared"): Late(
        begins=(WRITE.format(stamp="now()"), "PREPARE TRANSACTION 'soon'"), prepared="soon"
    ),
    # the server remembers when it was prepared, and no longer when it began
    ("postgresql", "prepared late"): Late(
        begins=(WRITE.format(stamp="now()"),), then=("PREPARE TRANSACTION 'later'",), prepared="later"
    ),
    # NOW() is the beginning of the statement
    ("mariadb", "written"): Late(begins=(WRITE.format(stamp="NOW(6)"),)),
    ("mariadb", "unwritten"): Late(
        begins=("SELECT COUNT(*), NOW(6) INTO @rooms, @began FROM rooms",), ends=(WRITE.format(stamp="@began"),)
    ),
    ("mariadb", "prepared"): Late(
        begins=("XA START 'soon'", WRITE.format(stamp="NOW(6)"), "XA END 'soon'", "XA PREPARE 'soon'"),
        prepared="soon",
    ),
}
END_PREPARED = {"postgresql": "{} PREPARED '{}'", "mariadb": "XA {} '{}'"}


@dataclass(kw_only=True)
class Aged:
    """A world with a transaction in it that began a while ago."""

    world: World
    late: Late
    connection: Connection
    ended: bool = False

    def go_on(self) -> None:
        """Do what is done after a while; the session of a prepared one goes away."""
        for statement in self.late.then:
            self.connection.exec_driver_sql(statement)
        if self.late.prepared:
            self.connection.invalidate()

    def end(self, how: str = "COMMIT") -> None:
        """Commit it, or roll it back."""
        if self.ended:
            return
        self.ended = True
        if self.late.prepared:
            self.world.sql(END_PREPARED[self.world.engine].format(how, self.late.prepared))
        elif how == "COMMIT":
            for statement in self.late.ends:
                self.connection.exec_driver_sql(statement)
            self.connection.commit()
        else:
            self.connection.rollback()


@pytest.fixture(scope="module")
def aged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], Aged]]:
    """All the worlds, their transactions begun long enough ago."""
    with ExitStack() as stack:
        found = {each: _begun(request, stack, tmp_path_factory, *each) for each in LATE}
        time.sleep(OLD_ENOUGH)
        for each in found.values():
            each.go_on()
        yield found


def _begun(
    request: pytest.FixtureRequest, stack: ExitStack, folders: pytest.TempPathFactory, engine: str, variant: str
) -> Aged:
    server = request.getfixturevalue("postgres_server" if engine == "postgresql" else "mariadb_server")
    create, drop = {
        "postgresql": (servers.new_postgres_database, servers.drop_postgres_database),
        "mariadb": (servers.new_mariadb_database, servers.drop_mariadb_database),
    }[engine]
    url = create(server)
    stack.callback(drop, server, url)
    world = World(engine=engine, url=url, folder=folders.mktemp("aged"))
    world.rooms()
    world.map(watermark=RULE)
    connection = stack.enter_context(world.transaction())
    late = LATE[engine, variant]
    for statement in late.begins:
        connection.exec_driver_sql(statement)
    aged = Aged(world=world, late=late, connection=connection)
    stack.callback(aged.end, "ROLLBACK")  # where its test failed
    return aged


def _is_not_lost(aged: Aged, *, runs: int = 1) -> None:
    world = aged.world
    world.put((2, "early", NOW[world.engine]))
    for _ in range(runs):
        world.run()
    assert world.held == {"2": "early"}
    aged.end()
    world.run()
    assert not world.missing()


# First, because a prepared transaction makes every other run on its server wait for a second.
@pytest.mark.parametrize(
    ("engine", "variant"),
    [("postgresql", "prepared"), ("postgresql", "prepared late"), ("mariadb", "prepared")],
)
def test_w08_prepared_transactions(engine: str, variant: str, aged: Mapping[tuple[str, str], Aged]) -> None:
    """Prepared for two-phase commit and left alone, while runs come and go. A bound of the sessions' transactions
    loses it: no session holds it any more."""
    _is_not_lost(aged[engine, variant], runs=rounds(2, 50))


@pytest.mark.parametrize("variant", ["written", "unwritten"])
@pytest.mark.parametrize("engine", ["postgresql"])
def test_w05_late_commit_of_a_transactions_own_time(
    engine: str, variant: str, aged: Mapping[tuple[str, str], Aged]
) -> None:
    """Stamped at its beginning, committed after others were read, whether it wrote before or not. A bound of the
    highest value, of the clock less a margin, or of the oldest transaction number loses one or both."""
    _is_not_lost(aged[engine, variant])


@pytest.mark.parametrize("variant", ["written", "unwritten"])
@pytest.mark.parametrize("engine", ["mariadb"])
def test_w06_late_commit_of_a_statements_own_time(
    engine: str, variant: str, aged: Mapping[tuple[str, str], Aged]
) -> None:
    """Stamped by its statement, committed after others were read. A bound of the clock less a margin loses it."""
    aged[engine, "prepared"].end("ROLLBACK")  # as long as it stays it holds back every mapping of the server
    _is_not_lost(aged[engine, variant])
