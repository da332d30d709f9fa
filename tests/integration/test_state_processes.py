"""Several processes on one store: races for a lease, kill -9 at any moment, opening a new store at once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from campaign import rounds
from contract.store_examples import MINUTE, NOON
from strange_dialects import strange

from syncer.errors import LeaseHeld
from syncer.state import current_owner, open_store
from syncer.state.owner import describe, is_gone

PROJECT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres", "mariadb", "strange postgres", "strange mariadb"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a place without a store, on each kind of database, and on servers that syncer does not know."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'syncer.db'}"
    *strangely, kind = request.param.split()
    url: str = request.getfixturevalue(f"{kind}_url")
    return strange(url) if strangely else url


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process of ours, for which the strange servers are as strange."""
    known = "import sys; sys.path.insert(0, 'tests'); import strange_dialects\n"
    command = [sys.executable, "-c", known + code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def outputs(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What they printed; they must all have ended well."""
    results = [(process.communicate(timeout=120), process.returncode) for process in processes]
    for (_, errors), code in results:
        assert code == 0, errors
    return [printed.strip() for (printed, _), _ in results]


RACER = """
import os, sys, time
from datetime import UTC, datetime, timedelta
from syncer.errors import LeaseHeld
from syncer.state import current_owner, open_store
url, marker, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
store, owner, epochs = open_store(url), current_owner(), []
for _ in range(rounds):
    try:
        lease = store.acquire("rooms", owner, datetime.now(UTC), timedelta(minutes=10))
    except LeaseHeld:
        time.sleep(0.001)
        continue
    os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    time.sleep(0.002)
    os.unlink(marker)
    epochs.append(lease.epoch)
    store.release(lease)
print(*epochs)
"""


def test_one_holder_at_any_instant(state_url: str, tmp_path: Path) -> None:
    """Many processes race for one lease: never two hold it, and every holder has an epoch of its own."""
    racers = [start(RACER, state_url, tmp_path / "held", 15) for _ in range(rounds(8, 20))]
    epochs = sorted(int(epoch) for printed in outputs(racers) for epoch in printed.split())
    assert epochs
    assert epochs == list(range(1, len(epochs) + 1))


OPENER = """
import sys
from syncer.state import open_store
print("ready", flush=True)
sys.stdin.readline()
store = open_store(sys.argv[1])
print(len(store.checkpoints()))
store.close()
"""


def test_opening_a_new_store_at_once(state_url: str) -> None:
    """Eight processes open the same new store at once; all of them can use it."""
    openers = [start(OPENER, state_url) for _ in range(8)]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("\n")
        opener.stdin.flush()
    assert outputs(openers) == ["0"] * 8


COMMITTER = """
import itertools, sys
from datetime import UTC, datetime, timedelta
from contract.store_examples import checkpoint, dead_letter, fingerprint, run
from syncer.state import Commit, current_owner, open_store
store = open_store(sys.argv[1])
lease = store.acquire("rooms", current_owner(), datetime.now(UTC), timedelta(hours=1))
saved = store.checkpoint("rooms")
first = int(saved.watermark.text) + 1 if saved else 1
for number in itertools.count(first):
    store.commit(lease, Commit(
        run=run(run_id=str(number)), checkpoint=checkpoint(text=str(number)),
        fingerprints={f"{number}-{item}": fingerprint() for item in range(300)},
        dead_letters=[dead_letter(id=str(number))],
    ))
    print(number, flush=True)
"""


def test_killed_while_committing(state_url: str) -> None:
    """A process killed at any instant leaves whole commits, none it had told of is lost, and the next one goes on."""
    choose = random.Random(3)
    with closing(open_store(state_url)) as store:
        told = 0
        for kill in range(rounds(4, 20)):
            victim = start(COMMITTER, state_url)
            assert victim.stdout is not None
            # the first line proves that the lease of the one killed before was taken over at once
            told = int(victim.stdout.readline())
            time.sleep(choose.random() * 0.05)
            victim.kill()
            printed = victim.communicate()[0].split()
            told = max(told, *map(int, printed), 0)
            saved = store.checkpoint("rooms")
            assert saved is not None
            assert saved.watermark is not None
            last = int(saved.watermark.text)
            assert told <= last <= told + 1
            assert len(store.runs(limit=100_000)) == len(store.dead_letters()) == last
            assert len(store.fingerprints("rooms", [f"{last}-{item}" for item in range(300)])) == 300
            assert store.fingerprints("rooms", [f"{last + 1}-{item}" for item in range(300)]) == {}
            assert store.leases()[0].epoch == kill + 1


OWNER = "from syncer.state import current_owner; print(current_owner(), flush=True); input()"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[str]]:
    """A process that tells its owner and waits."""
    process = start(OWNER)
    with process:
        yield process
        process.kill()


class TestOwners:
    def test_alive(self) -> None:
        """This process is not gone."""
        assert not is_gone(current_owner())

    def test_owners_differ(self) -> None:
        """Each owner is a new one."""
        assert current_owner() != current_owner()

    def test_stopped_then_killed_then_reaped(self, sleeper: subprocess.Popen[str]) -> None:
        """A stopped process is there; a killed one is gone, before and after its parent noticed."""
        assert sleeper.stdout is not None
        owner = sleeper.stdout.readline().strip()
        assert f"process {sleeper.pid} on " in describe(owner)
        sleeper.send_signal(signal.SIGSTOP)
        assert not is_gone(owner)
        sleeper.kill()
        while "\nState:\tZ" not in Path(f"/proc/{sleeper.pid}/status").read_text():
            time.sleep(0.01)
        assert is_gone(owner)
        sleeper.wait()
        assert is_gone(owner)

    def test_stopped_holder(self, tmp_path: Path, sleeper: subprocess.Popen[str]) -> None:
        """The lease of a stopped process is refused until it has expired."""
        assert sleeper.stdout is not None
        owner = sleeper.stdout.readline().strip()
        sleeper.send_signal(signal.SIGSTOP)
        with closing(open_store(f"sqlite:///{tmp_path / 'syncer.db'}")) as store:
            store.acquire("rooms", owner, NOON, MINUTE)
            with pytest.raises(LeaseHeld, match=f"process {sleeper.pid} on"):
                store.acquire("rooms", "b", NOON, MINUTE)
            assert store.acquire("rooms", "b", NOON + MINUTE, MINUTE).epoch == 2
