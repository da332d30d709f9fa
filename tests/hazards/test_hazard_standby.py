"""W35: a read replica that lags behind its primary, and takes over from it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from hazard_world import World, on
from standby import caught_up, follow, start_standby


@pytest.fixture
def standby(postgres_server: servers.Server) -> Iterator[servers.Server]:
    """A standby of the tests' server. See tests/conftest.py for the folder."""
    with tempfile.TemporaryDirectory(prefix="syncer-server-", ignore_cleanup_errors=True) as folder:
        server = start_standby(postgres_server, Path(folder))
        yield server
        server.stop()


@on("postgresql")
def test_w35_replica_lag_and_failover(world: World, standby: servers.Server, tmp_path: Path) -> None:
    """Read from a standby whose replay stands still for a while, with a transaction open on the primary meanwhile;
    then from the same standby as the primary. A watermark of the standby's clock passes what is not replayed yet."""
    replica = World(engine="postgresql", url=follow(world.url, standby), folder=tmp_path)
    world.rooms(rows=[(1, "loft", "clock_timestamp()")])
    replica.map()

    def both() -> None:
        caught_up(lambda query: world.read(query)[0][0], lambda query: replica.read(query)[0][0])

    both()
    replica.run()
    replica.read("SELECT pg_wal_replay_pause()")
    with world.transaction() as late:
        late.exec_driver_sql("INSERT INTO rooms VALUES (2, 'late', now())")
        world.put((3, "attic", "clock_timestamp()"))
        replica.run()
        assert replica.held == {"1": "loft"}
        replica.read("SELECT pg_wal_replay_resume()")
        both()
        replica.run()
        assert set(replica.held) == {"1", "3"}
        late.commit()
    both()
    replica.run()
    assert not replica.missing()
    replica.read("SELECT pg_promote()")
    replica.put((4, "after", "clock_timestamp()"))
    assert replica.run().counts.sent == 1
    assert not replica.missing()
