"""SIGTERM and SIGINT at random instants of real runs, of `run` and of `serve`: in order, whenever they come.

Short: three signals for each kind of state. Long: two hundred and fifty. `pytest -rP` prints the figures.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from acceptance.support import Told, end_of, until
from campaign import rounds
from rooms_house import REQUESTS, ROOMS, House, furnished
from state_tables import ask, holders, outdate, unfinished
from witness import witnessing

ROUNDS = rounds(3, 250)
LATENCY = 0.02
#: one run in so many gets the signal twice
TWICE = 4
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(params=["sqlite", "postgres"])
def house_state(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a place for the state."""
    return (
        f"sqlite:///{tmp_path / 'syncer.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    )


class Signalled:
    """A command that got signals at a random instant."""

    def __init__(self, house: House, choose: random.Random) -> None:
        self.number = choose.choice(SIGNALS)
        self.command = choose.choice(("run", "serve"))
        self.twice = choose.randrange(TWICE) == 0
        # one in six while it starts; otherwise after so many requests, the last of them included, and some milliseconds
        self.requests = choose.randrange(REQUESTS + 1) if choose.randrange(6) else 0
        self.later = choose.random() * (0.03 if self.requests else 1.5)
        self.again = choose.random() * 0.05
        self.told = self._carry_out(house)

    def __str__(self) -> str:
        which = f"{self.number.name}{' twice' if self.twice else ''}"
        return f"{which} to {self.command} after {self.requests} requests and {self.later * 1000:.0f} ms: {self.told}"

    def _carry_out(self, house: House) -> Told:
        arguments = ["--log-format", "json", self.command]
        arguments += ["--output", "json"] if self.command == "run" else ["--port", "0"]
        with house.syncer.started(*arguments) as process:
            until(lambda: house.arrived(process) >= self.requests or process.poll() is not None)
            time.sleep(self.later)
            process.send_signal(self.number)
            if self.twice:
                time.sleep(self.again)
                process.send_signal(self.number)
            return end_of(process)

    @property
    def quit_itself(self) -> bool:
        """Whether the signal ended the process, and not the process itself."""
        return self.told.code == -self.number or self.never_began

    @property
    def never_began(self) -> bool:
        """Whether Python itself was still starting, and says so in its own words."""
        return "KeyboardInterrupt" in self.told.err and "syncer/" not in self.told.err


def test_a_signal_at_any_instant(house_state: str, tmp_path: Path) -> None:
    """One signal: 143 or 130, nobody holds the lease, no run is left without an end, what was accepted is known and
    the next run sends exactly the rest. Two: the next run begins at once and loses nothing."""
    choose, seen = random.Random(15), Counter[str]()
    with witnessing(LATENCY) as witness:
        house = furnished(tmp_path, house_state, witness)
        for _ in range(ROUNDS):
            house.change()
            if ask(house_state, "SELECT 1 FROM syncer_fires"):
                outdate(house_state, "fired_at", "syncer_fires")
            signalled = Signalled(house, choose)
            seen[judged(house, signalled)] += 1
            assert house.delivered()
    print(f"{ROUNDS} signals: {dict(sorted(seen.items()))}")


def judged(house: House, signalled: Signalled) -> str:
    """What became of it, in a word. Fails unless all is in order."""
    assert "Traceback" not in signalled.told.err or signalled.never_began, str(signalled)
    if signalled.twice and signalled.quit_itself:
        told = house.syncer("run")
        assert told.code == 0, f"{signalled}; then {told}"
        house.converge()
        return "quit at once"
    accepted, outcomes = house.accepted(), ask(house.state, "SELECT outcome FROM syncer_runs ORDER BY number DESC")
    assert unfinished(house.state) == 0, str(signalled)
    assert holders(house.state) == [], str(signalled)
    assert ask(house.state, "SELECT * FROM syncer_doubts") == [], str(signalled)
    assert rest(house) == ROOMS - accepted, str(signalled)
    if signalled.quit_itself:
        # before the command listened, or when all was done
        assert accepted in (0, ROOMS), str(signalled)
        return "before it began" if accepted == 0 else "after its end"
    if signalled.told.code == 0:
        assert accepted == ROOMS
        return "too late"
    assert signalled.told.code == 128 + signalled.number, str(signalled)
    if not accepted:
        return "before the first request"
    # the last answer may come before the source's end is seen: then it was interrupted with nothing left to do
    outcome: str = outcomes[0][0]
    assert outcome in ("interrupted", *["succeeded"] * (accepted == ROOMS)), str(signalled)
    return outcome


def rest(house: House) -> int:
    """How many rooms the next run sends."""
    told = house.syncer("run", "--output", "json")
    assert told.code == 0, told
    sent: int = json.loads(told.out)["runs"][0]["sent"]
    return sent
