"""A holder that is stopped for longer than its lease lives, and resumed, changes no state and harms no object.

Short: two random points for each kind of state. Long: fifty. There the lease is ended by SQL, as if a minute had
passed. The long form also waits out the real minute, ten holders at a time. `pytest -rP` prints the figures.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from acceptance.support import assert_one_clear_error, end_of, until
from campaign import rounds
from http_server import ACCEPTED, Reply, Request, answer, serving
from rooms_house import REQUESTS, House, furnished
from state_tables import dump, holders, outdate
from witness import witnessing

from syncer.core.model import CollectionMapping, Column, Kind, Mode, Outcome, RunReport, WatermarkRule
from syncer.core.plan import RunOptions
from syncer.delivery import open_delivery
from syncer.run.executor import execute
from syncer.run.job import Job, Ports
from syncer.run.leasing import LEASE_TTL
from syncer.run.runner import utc_now
from syncer.source.memory import MemorySource
from syncer.state import MemoryStore

ROUNDS = rounds(2, 50)
#: holders that sleep through a real minute at the same time, and how often
SLEEPERS, NIGHTS = 10, rounds(0, 3)
LATENCY = 0.02


@pytest.fixture(params=["sqlite", "postgres"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a place for the state."""
    return (
        f"sqlite:///{tmp_path / 'syncer.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    )


def stop_at(holder: subprocess.Popen[bytes], house: House, requests: int, later: float) -> None:
    """Stop a run after so many of its requests and some seconds more."""
    until(lambda: house.arrived(holder) >= requests, holder)
    time.sleep(later)
    holder.send_signal(signal.SIGSTOP)
    while "\nState:\tT" not in Path(f"/proc/{holder.pid}/status").read_text():
        time.sleep(0.001)


def test_a_resumed_holder_changes_no_state(state_url: str, tmp_path: Path) -> None:
    """Stopped anywhere, resumed after another process ran to the end: not a byte of state is its own any more, it
    says so and ends with 1, and the next run makes the destination equal to the source."""
    choose, ends = random.Random(9), Counter[str]()
    with witnessing(LATENCY) as witness:
        house = furnished(tmp_path, state_url, witness)
        for _ in range(ROUNDS):
            house.change()
            with house.syncer.started("run", "--output", "json") as holder:
                until(lambda: holders(state_url), holder)
                stop_at(holder, house, choose.randrange(REQUESTS - 5), choose.random() * 0.03)
                ((_, epoch),) = holders(state_url)
                outdate(state_url, "expires_at", "syncer_leases")
                house.change("id % 2 = 0")
                told = house.syncer("run")
                assert told.code == 0, told
                before = dump(state_url)
                holder.send_signal(signal.SIGCONT)
                told = end_of(holder)
            assert dump(state_url) == before
            assert_one_clear_error(told, 1, f"this run's lease (epoch {epoch}) was taken over")
            ends["settled" if house.delivered() else "in doubt"] += 1
            house.converge()
    print(f"{ROUNDS} holders stopped and resumed: {dict(ends)}")


@pytest.mark.skipif(not NIGHTS, reason="the long form waits out a real minute")
@pytest.mark.parametrize("busy", [False, True], ids=["sending", "trying again"])
def test_a_holder_that_slept_sends_nothing(tmp_path: Path, busy: bool) -> None:
    """Stopped for longer than its lease lives, it notices by its own clock: not one more request leaves it, whether it
    was stopped while all went well or while the API was asking it to come back later."""
    choose, refused = random.Random(11), set[int]()
    with witnessing(LATENCY, lambda process: process in refused) as witness:
        houses = [
            furnished(tmp_path / str(number), f"sqlite:///{tmp_path / str(number) / 'syncer.db'}", witness)
            for number in range(SLEEPERS)
        ]
        for _ in range(NIGHTS):
            night(houses, choose, refused if busy else None)


def night(houses: list[House], choose: random.Random, refused: set[int] | None) -> None:
    """Stop a holder in every house, wait, let another run to the end, and wake the holder."""
    with ExitStack() as stack:
        sleepers = []
        for house in houses:
            house.change()
            holder = stack.enter_context(house.syncer.started("run", "--output", "json"))
            point = choose.randrange(REQUESTS // 2)
            if refused is not None:
                until(lambda: house.arrived(holder) >= point, holder)  # noqa: B023  called in this round
                refused.add(holder.pid)
            stop_at(holder, house, point + 3, choose.random() * 0.3 * (refused is not None))
            sleepers.append(holder)
        time.sleep(LEASE_TTL.total_seconds() + 1)
        for house, holder in zip(houses, sleepers, strict=True):
            house.change("id % 2 = 0")
            told = house.syncer("run")
            assert told.code == 0, told
            before, sent = dump(house.state), house.arrived(holder)
            holder.send_signal(signal.SIGCONT)
            assert_one_clear_error(end_of(holder), 1, "lease")
            assert dump(house.state) == before
            assert house.arrived(holder) == sent
            house.converge()


async def suspended_while_trying_again() -> tuple[RunReport, int]:
    """A run that is suspended, for longer than its lease lives, after its first request was answered with a 503.

    Returns its report, and how many requests it made."""
    suspended = False

    def busy_once(request: Request) -> Reply:
        nonlocal suspended
        suspended = True
        return answer(503) if request.number == 0 else ACCEPTED

    with serving(busy_once) as server:
        delivery = open_delivery(write_key="a-write-key", endpoint=server.endpoint, notice=lambda _: None)
        columns = (Column(name="id", kind=Kind.INTEGER), Column(name="version", kind=Kind.INTEGER))
        mapping = CollectionMapping(
            name="rooms", source="app", query="rooms", collection="rooms", primary_key=("id",),
            watermark=WatermarkRule(column="version"),
        )  # fmt: skip
        ports = Ports(
            source=lambda: MemorySource(columns, ("id",), [(1, 1)]), delivery=delivery, store=MemoryStore(),
            notice=lambda _: None, now=utc_now, stop=asyncio.Event(),
            monotonic=lambda: time.monotonic() + 3600 * suspended,
        )  # fmt: skip
        report = await execute(
            Job(
                mapping=mapping, options=RunOptions(mode=Mode.FULL), ports=ports, timezone="UTC", owner="me", run_id="1"
            )
        )
        await delivery.close()
    return report, len(server.requests)


def test_no_attempt_is_made_after_the_lease_ran_out() -> None:
    """A holder that slept while it waited to try again does not: the next holder may have sent newer rows since."""
    report, requests = asyncio.run(suspended_while_trying_again())
    assert report.outcome is Outcome.FAILED
    assert requests == 1
