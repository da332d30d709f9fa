"""kill -9 at random instants of real runs, while writers go on: nothing is lost, nothing stale, little is sent twice.

Short: ten kills per database. Long: two hundred, of longer runs. The figures are printed (`pytest -rP`).

How many objects may come twice: a run notes the rows that are about to go out, and with the commit of what became of
them the note goes. What a killed run had noted is in doubt: every run that reads such a row sends it, and the one that
settles it, half a minute later, sends it once more. So a run sends at most twice again what is in doubt when it begins,
and a kill adds at most what is noted between two commits. Both are measured at every kill, in the files that were left.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import servers
from acceptance.support import end_of, until
from campaign import rounds
from kill_source import Writers
from kill_state import Left
from kill_world import GOOD, World, world

KILLS = rounds(10, 200)
LONG = KILLS > 10
#: every so many kills a run is left in peace, so that the watermark comes close to what is being written
PEACE = 4
#: rooms at the beginning; and how many change at once before every run, so that there is something to interrupt
ROOMS, CHANGED = (3_000, 1_500) if LONG else (1_000, 800)
#: a hundred requests a second at most, so that a run lasts for longer than it is between two commits
LATENCY_MS, IN_FLIGHT = 20, 2
#: seconds of silence after which nothing of a killed run is under way any more
QUIET = 0.1
#: seconds after which rows in doubt are settled
SETTLES = 31
#: most rows that a kill may put in doubt: five thousand are decided between two commits, and a thousand are noted at
#: once, so that many more may be only begun, and as many be part of what the last commit had to leave
AT_RISK = 5_000 + 2 * 1_000

#: where in a run a kill came
STARTING, READING, SENDING, COMMITTING, ENDING = (
    "before the run was recorded", "before the first request", "before a commit of what was accepted",
    "between two commits", "after the last commit",
)  # fmt: skip


@pytest.fixture(params=["sqlite", "postgres", "mariadb", "postgres, state in postgres"][: rounds(3, 4)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each database as the source; state in SQLite, and for PostgreSQL there as well."""
    kind, _, elsewhere = str(request.param).partition(", ")
    source: str = request.getfixturevalue(f"{kind}_url")
    state = request.getfixturevalue("postgres_state") if elsewhere else f"sqlite:///{tmp_path / 'syncer.db'}"
    with world(tmp_path, source, state, rooms=ROOMS, latency_ms=LATENCY_MS, in_flight=IN_FLIGHT) as there:
        yield there


@pytest.fixture
def postgres_state(postgres_server: servers.Server) -> Iterator[str]:
    """URL of an empty database for the state, beside the source's."""
    url = servers.new_postgres_database(postgres_server)
    yield url
    servers.drop_postgres_database(postgres_server, url)


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill, and what it left."""

    phase: str
    #: rows that it put in doubt
    cost: int


class Campaign:
    """Kills run after run, looking after each at what the dead one left."""

    def __init__(self, place: World, seed: int) -> None:
        self.kills: list[Kill] = []
        #: rows that were in doubt when a run began, of all runs together
        self.in_doubt = 0
        self._place = place
        self._choose = random.Random(seed)
        self._left = place.left()
        #: objects that a run sends in a second, as last seen
        self._rate = 1_000.0

    @property
    def hits(self) -> int:
        """Kills in the middle of a run."""
        return sum(each.phase in (SENDING, COMMITTING) for each in self.kills)

    def kill(self, times: int) -> None:
        """So many kills, half of them in the middle of a run; whatever else becomes of a run comes on top."""
        while len(self.kills) < times or self.hits < times / 2:
            assert len(self.kills) < 3 * times, Counter(each.phase for each in self.kills)
            self._place.rooms.change(self._choose, CHANGED)
            before, since = self._place.sink.accepted(), datetime.now(UTC)
            killed = self._kills()
            self._place.sink.settled(QUIET)
            left = self._place.left()
            if killed:
                self._weigh(left, self._place.sink.ids_after(before), since)
            self._look(left)
            if killed and len(self.kills) % PEACE == 0:
                self._place.run()
                self._look(self._place.left())

    def _kills(self) -> bool:
        """Start a run and kill it at a random instant: most from the first request on. False: it was done before."""
        before, sink = self._place.sink.accepted(), self._place.sink
        sending = len(self._place.different()) / self._rate
        with self._place.syncer.started("run") as process:
            if len(self.kills) % 5 == 0:
                _wait(process, self._choose.uniform(0, 0.6))
            else:
                until(lambda: sink.accepted() > before or process.poll() is not None)
                began, seen = time.monotonic(), sink.accepted()
                _wait(process, self._choose.uniform(0.02, sending))
                if process.poll() is None:
                    self._rate = max(100.0, (sink.accepted() - seen) / (time.monotonic() - began))
            process.kill()
            told = end_of(process)
        assert told.code in (-9, *GOOD), told
        return told.code == -9

    def _weigh(self, left: Left, ids: set[str], since: datetime) -> None:
        """The kill of a run that had these ids accepted since it began. What it had noted covers all that is unsure."""
        unknown = left.unknown(ids, since)
        noted = left.noted if left.runs > self._left.runs else frozenset()
        assert unknown <= noted
        self.kills.append(Kill(phase=_phase(self._left, left, ids, unknown), cost=len(noted)))

    def _look(self, left: Left) -> None:
        """At what a run left. Nothing may be lost at any moment; what is in doubt the next run sends again."""
        last = self._left
        assert left.epoch >= last.epoch
        assert last.watermark is None or (left.watermark is not None and left.watermark >= last.watermark)
        assert self._place.missed(left) == {}
        self._left = left
        self.in_doubt += len(left.doubted)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and (rest := deadline - time.monotonic()) > 0:
        time.sleep(min(rest, 0.02))


def _phase(last: Left, left: Left, ids: set[str], unknown: set[str]) -> str:
    if left.runs == last.runs:
        return STARTING
    if left.outcome is not None:
        return ENDING
    if not ids:
        return READING
    return SENDING if len(unknown) == len(ids) else COMMITTING


def test_killed_at_random_instants(place: World) -> None:
    """Runs killed at any instant beside writers lose nothing, leave nothing stale, and send little twice."""
    writers, campaign = Writers(place.rooms, seed=KILLS), Campaign(place, seed=KILLS)
    with writers.at_work():
        campaign.kill(KILLS)
    place.run()
    place.assert_equal()
    place.assert_usable()
    if LONG:
        assert_calm(place)
    tell(place, writers, campaign)
    assert place.sink.duplicates() <= 2 * campaign.in_doubt
    assert max(each.cost for each in campaign.kills) <= AT_RISK


def assert_calm(place: World) -> None:
    """Once rows in doubt have settled, all is still equal, nothing is in doubt, and nothing is sent any more."""
    time.sleep(SETTLES)
    place.run()
    before = place.sink.accepted()
    place.run()
    place.assert_equal()
    assert place.left().doubted == frozenset()
    assert place.sink.accepted() == before


def tell(place: World, writers: Writers, campaign: Campaign) -> None:
    """Print the figures."""
    kills, accepted, twice = campaign.kills, place.sink.accepted(), place.sink.duplicates()
    cost = sorted(each.cost for each in kills)
    phases = ", ".join(f"{times} {phase}" for phase, times in Counter(each.phase for each in kills).most_common())
    print(
        f"\n{place.rooms.kind}, state in {place.state.partition(':')[0]}: {len(kills)} kills ({phases}); "
        f"{writers.committed} transactions committed and {writers.rolled_back} rolled back beside them; "
        f"{len(place.rooms.all())} rooms, {accepted} objects accepted, {twice} of them as once before "
        f"({twice / len(kills):.0f} a kill; bound {2 * campaign.in_doubt / len(kills):.0f}); "
        f"rows in doubt by a kill: median {cost[len(cost) // 2]}, most {cost[-1]}, bound {AT_RISK}"
    )
