"""Two daemons on one PostgreSQL state, one killed in the middle of a run: the other goes on, and nothing runs twice.

Short: one kill on the same host, and one of a daemon that counts as another host's, whose lease is ended by SQL as if
a minute had passed. Long: ten of each, and there the minute is waited out. `pytest -rP` prints the figures.
"""

from __future__ import annotations

import random
import subprocess
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from acceptance.support import end_of, line_with, until
from campaign import rounds
from rooms_house import CONFIG, REQUESTS, ROOMS, House, furnished
from state_tables import ask, change, holders, outdate, unfinished
from witness import witnessing

from syncer.run.leasing import LEASE_TTL
from syncer.service.scheduler import LOOK

KILLS = rounds(1, 10)
#: whether a lease is waited out, or ended by SQL
WAITS = bool(rounds(0, 1))
#: of a request: a run that sends all takes two seconds, twice the interval
LATENCY = 0.05


@pytest.mark.parametrize("host", ["same host", "another host"])
def test_the_other_daemon_goes_on(postgres_url: str, tmp_path: Path, host: str) -> None:
    """Its mapping is run by the other within the lease's time, all of it; no two ever ran at once; one run each."""
    choose, took = random.Random(5), []
    with witnessing(LATENCY) as witness:
        house = furnished(tmp_path, postgres_url, witness)
        house.syncer.write(
            "syncer.yaml", CONFIG.replace("every: 1m", "every: 1s").replace("in_flight: 2", "in_flight: 1")
        )
        for _ in range(KILLS):
            house.change()
            witness.seen.clear()
            took.append(one_kill(house, choose.randrange(3, REQUESTS // 2), elsewhere=host == "another host"))
            assert witness.overlaps() == []
            assert house.delivered()
            assert holders(postgres_url) == []
            assert unfinished(postgres_url) == 0
    # one that the stop at the end met has no error
    told = ask(postgres_url, "SELECT error FROM syncer_runs WHERE outcome = 'interrupted' AND error IS NOT NULL")
    assert told == [("it ended without a word: its process was killed, or its machine stopped",)] * KILLS
    runs = ask(postgres_url, "SELECT started_at, finished_at, outcome FROM syncer_runs ORDER BY started_at")
    assert {row[2] for row in runs} == {"interrupted", "succeeded"}
    for (_, ended, outcome), (began, _, _) in pairwise(runs):
        assert outcome == "interrupted" or ended <= began
    print(f"{KILLS} kills, {host}: gone on after {', '.join(f'{each:.1f} s' for each in took)}")


def one_kill(house: House, point: int, *, elsewhere: bool) -> float:
    """Start two, kill the one that runs after so many requests; seconds until the other sent anything."""
    with ExitStack() as stack:
        pair = [stack.enter_context(house.syncer.started("serve", "--port", "0")) for _ in range(2)]
        until(lambda: any(house.arrived(each) >= point for each in pair))
        holder, other = sorted(pair, key=house.arrived, reverse=True)
        assert house.arrived(other) == 0
        line_with("found the mapping running in another process", other.stderr)
        holder.kill()
        assert house.accepted() < ROOMS, "it was in the middle of its run"
        killed = time.monotonic()
        holder.wait()
        if elsewhere:
            gone_unseen(house, other)
        until(lambda: house.arrived(other), other)
        gone_on = next(at for pid, at in house.witness.arrivals if pid == other.pid)
        line_with("run succeeded", other.stderr)
        stop(other)
    assert gone_on - killed < LEASE_TTL.total_seconds() + 2 * LOOK
    return gone_on - killed


def gone_unseen(house: House, other: subprocess.Popen[bytes]) -> None:
    """Let the lease be another host's, of which nobody can tell that its holder is gone, until it runs out."""
    change(house.state, "UPDATE syncer_leases SET owner = 'elsewhere'")
    if WAITS:
        return
    time.sleep(LOOK + 1)
    assert house.arrived(other) == 0, "the lease is another's still"
    outdate(house.state, "expires_at", "syncer_leases")


def stop(daemon: subprocess.Popen[bytes]) -> None:
    """Stop it, in order."""
    daemon.terminate()
    assert end_of(daemon).code == 143
