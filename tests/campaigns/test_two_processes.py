"""Many processes, one mapping: at any instant at most one holds it. Seen from outside, not taken from syncer's word.

Short: six processes, ten starts each. Long: twenty processes, two hundred starts each. `pytest -rP` prints the figures.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import servers
from acceptance.support import PATIENCE, CommandLine
from campaign import rounds
from state_tables import ask, holders, unfinished
from witness import Witness, witnessing

from syncer.state import open_store

PROJECT = Path(__file__).parents[2]
PROCESSES = rounds(6, 20)
STARTS = rounds(10, 200)
ROOMS = 30
#: seconds the destination takes for a request: a run is busy for three of them
LATENCY = 0.01

CONFIG = """\
version: 1
sources: {app: {url: "sqlite:///app.db"}}
destination: {write_key: a-write-key, endpoint: "${ENDPOINT}", max_in_flight: 1}
state: {url: "${STATE_URL}"}
mappings:
  rooms: {table: rooms, send: all}
"""


@pytest.fixture(params=["sqlite", "postgres", *["mariadb"] * rounds(0, 1)])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a place for the state, on each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'syncer.db'}"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@contextmanager
def together(commands: Sequence[Sequence[str]], **options: Any) -> Iterator[list[subprocess.Popen[str]]]:
    """Python processes that begin when all of them are ready; none is left behind."""
    processes: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE, text=True, **options,
                )
            )  # fmt: skip
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def outputs(processes: Sequence[subprocess.Popen[str]]) -> list[list[str]]:
    """The words each of them printed; they must all have ended well."""
    printed = []
    for process in processes:
        out, errors = process.communicate(timeout=PATIENCE * STARTS)
        assert process.returncode == 0, errors
        printed.append(out.split())
    return printed


STARTER = """
import io, random, sys, time
from contextlib import redirect_stderr, redirect_stdout
from syncer.cli.app import invoke
print("ready", flush=True)
sys.stdin.readline()
codes = []
for _ in range(int(sys.argv[1])):
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        codes.append(invoke(["run", "--select", "rooms"]))
    if codes[-1] not in (0, 4):
        sys.exit(said.getvalue())
    # who is locked out comes back while the others are at it, and not two hundred times during one run
    time.sleep(random.random() * 0.2 * (codes[-1] == 4))
print(*codes)
"""


def start_all(folder: Path, witness: Witness, state_url: str) -> Counter[int]:
    """Every process runs the mapping again and again; returns how often which exit code came."""
    syncer = CommandLine(folder=folder, environment={"ENDPOINT": witness.endpoint, "STATE_URL": state_url})
    syncer.write("syncer.yaml", CONFIG)
    values = ", ".join(f"({number}, 'room {number}')" for number in range(1, ROOMS + 1))
    servers.execute_sql(
        f"sqlite:///{folder / 'app.db'}",
        f"CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO rooms VALUES {values};",
    )
    commands = [[STARTER, str(STARTS)]] * PROCESSES
    with together(commands, cwd=folder, env=syncer.environ({})) as processes:
        codes = Counter(int(code) for printed in outputs(processes) for code in printed)
        pids = {process.pid for process in processes}
    assert {seen.process for seen in witness.seen} <= pids
    return codes


def test_runs_of_one_mapping_never_overlap(state_url: str, tmp_path: Path) -> None:
    """The destination sees no two processes busy at once; losers exit with 4; the history holds exactly the winners."""
    with witnessing(LATENCY) as witness:
        codes = start_all(tmp_path, witness, state_url)
    spans = witness.spans()
    print(f"{PROCESSES} processes, {STARTS} starts each: {codes[0]} ran, {codes[4]} were locked out,"
          f" {len({span.process for span in spans})} processes seen, {len(spans)} spans")  # fmt: skip
    assert witness.overlaps() == []
    assert len(spans) == codes[0]
    assert len({span.process for span in spans}) > 1, "they did not compete"
    assert codes[4], "they did not compete"
    assert set(codes) == {0, 4}
    assert codes.total() == PROCESSES * STARTS
    runs = ask(
        state_url, "SELECT outcome, count(*), sum(sent), min(sent), min(finished_at) FROM syncer_runs GROUP BY 1"
    )
    assert [(row[0], row[1], int(row[2]), row[3]) for row in runs] == [("succeeded", codes[0], codes[0] * ROOMS, ROOMS)]
    assert sum(len(seen.objects) for seen in witness.seen) == codes[0] * ROOMS
    assert unfinished(state_url) == 0
    assert holders(state_url) == []
    assert ask(state_url, "SELECT mapping, epoch FROM syncer_leases") == [("rooms", codes[0])]


HOLDER = """
import fcntl, os, sys, time
from datetime import UTC, datetime, timedelta
sys.path.insert(0, sys.argv[4])
from contract.store_examples import checkpoint, run
from syncer.errors import LeaseHeld
from syncer.state import Commit, current_owner, open_store
url, lock, wanted = sys.argv[1], os.open(sys.argv[2], os.O_RDWR | os.O_CREAT), int(sys.argv[3])
store, owner, epochs = open_store(url), current_owner(), []
print("ready", flush=True)
sys.stdin.readline()
while len(epochs) < wanted:
    try:
        lease = store.acquire("rooms", owner, datetime.now(UTC), timedelta(minutes=1))
    except LeaseHeld:
        time.sleep(0.001)
        continue
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    saved = store.checkpoint("rooms")
    following = str(int(saved.watermark.text) + 1 if saved else 1)
    store.commit(lease, Commit(run=run(run_id=following), checkpoint=checkpoint(text=following)))
    fcntl.flock(lock, fcntl.LOCK_UN)
    epochs.append(lease.epoch)
    store.release(lease)
print(*epochs)
"""


def test_holders_never_overlap(state_url: str, tmp_path: Path) -> None:
    """A lock of the kernel, which refuses a second holder, is never refused; no commit is lost; epochs are distinct."""
    open_store(state_url).close()
    command = [HOLDER, state_url, str(tmp_path / "witness"), str(STARTS), str(PROJECT / "tests")]
    with together([command] * PROCESSES, cwd=PROJECT) as processes:
        epochs = sorted(int(epoch) for printed in outputs(processes) for epoch in printed)
    held = PROCESSES * STARTS
    print(f"{PROCESSES} processes held the lease {held} times")
    assert epochs == list(range(1, held + 1))
    with closing(open_store(state_url)) as store:
        saved = store.checkpoint("rooms")
        assert saved is not None
        assert saved.watermark is not None
        assert saved.watermark.text == str(held)
        assert len(store.runs(limit=held + 1)) == held
        assert store.leases() == ()


def test_the_witness_sees_an_overlap() -> None:
    """The proof can fail: requests of two connections that are under way at once are told."""
    code = (
        "import sys, httpx; print('ready', flush=True); sys.stdin.readline(); "
        "httpx.post(sys.argv[1], json={'objects': [{'id': '1', 'properties': {}}]}, trust_env=False)"
    )
    with witnessing(0.5) as witness, together([[code, witness.endpoint]] * 2) as processes:
        outputs(processes)
        pids = {process.pid for process in processes}
    ((first, second),) = witness.overlaps()
    assert {first.process, second.process} == pids
