"""Full disks, read-only disks, folders of other users: every failure is one clear error, and nothing is torn."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from contract.store_examples import MINUTE, NOON, checkpoint, dead_letter, fingerprint, run

from syncer.errors import StateUnwritable
from syncer.state import Commit, Store, open_store

PROJECT = Path(__file__).parents[2]


def mounted(folder: Path, *options: str) -> None:
    """Mount on the folder, or skip where that is not allowed."""
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that may become a mount point."""
    place = tmp_path / "mounted"
    place.mkdir()
    yield place
    while f" {place} " in Path("/proc/mounts").read_text():
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def write(store: Store, number: int) -> None:
    """One commit whose parts all carry the same number."""
    lease = store.acquire("rooms", f"owner {number}", NOON + number * 2 * MINUTE, MINUTE)
    commit = Commit(
        run=run(run_id=str(number)),
        checkpoint=checkpoint(text=str(number)),
        fingerprints={f"{number}-{item}": fingerprint() for item in range(50)},
        dead_letters=[dead_letter(id=str(number))],
    )
    store.commit(lease, commit)


def numbers(store: Store) -> tuple[int, int, int]:
    """Commits as seen from the checkpoint, the dead letters and the runs."""
    saved = store.checkpoint("rooms")
    assert saved is None or saved.watermark is not None
    last = 0 if saved is None or saved.watermark is None else int(saved.watermark.text)
    return last, len(store.dead_letters()), len(store.runs(limit=10_000))


def fill_up(store: Store) -> tuple[int, StateUnwritable]:
    """Write until it fails: how many commits there were, and the error."""
    for number in itertools.count(1):
        try:
            write(store, number)
        except StateUnwritable as refusal:
            return number - 1, refusal
    raise AssertionError


def test_full_disk(folder: Path) -> None:
    """On a full disk a commit fails whole, saying so; once there is room the same store goes on."""
    mounted(folder, "-t", "tmpfs", "-o", "size=2m", "tmpfs")
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    with closing(open_store(f"sqlite:///{folder / 'syncer.db'}")) as store:
        done, refusal = fill_up(store)
        assert "the disk is full" in str(refusal)
        assert "free some space" in str(refusal.hint)
        assert done > 0
        assert numbers(store) == (done, done, done)
        ballast.unlink()
        write(store, done + 1)
        assert numbers(store) == (done + 1,) * 3


LIMITED = """
import os, resource, sys
from datetime import timedelta
sys.path.insert(0, "tests")
from contract.store_examples import MINUTE, NOON, checkpoint, dead_letter, fingerprint, run
from integration.test_state_disk import numbers, write
from syncer.errors import StateUnwritable
from syncer.state import open_store

def attempt(place, limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        store = open_store(f"sqlite:///{place}")
        for number in range(1, 4):
            write(store, number)
    except StateUnwritable:
        return 3
    return 0

outcomes = set()
for limit in range(0, 400_000, 4_096):
    place = f"{sys.argv[1]}/{limit}.db"
    child = os.fork()
    if child == 0:
        try:
            os._exit(attempt(place, limit))
        except BaseException as error:
            print(limit, repr(error), flush=True)
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 3), (limit, code)
    outcomes.add(code)
    store = open_store(f"sqlite:///{place}")
    last, letters, runs = numbers(store)
    assert last == letters == runs, (limit, last, letters, runs)
    assert code == 3 or last == 3, (limit, last)
    store.close()
assert outcomes == {0, 3}, outcomes
"""


def test_every_write_may_be_the_last(tmp_path: Path) -> None:
    """Wherever the files stop growing, the error is clear, and the store opens later with whole commits only."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("new", [False, True])
def test_read_only_disk(folder: Path, tmp_path: Path, new: bool) -> None:
    """On a read-only disk the error names the file and the user; reading what is there still works."""
    origin = tmp_path / "origin"
    origin.mkdir()
    if not new:
        with closing(open_store(f"sqlite:///{origin / 'syncer.db'}")) as store:
            write(store, 1)
    mounted(folder, "--bind", str(origin))
    mounted(folder, "-o", "remount,ro,bind")
    url = f"sqlite:///{folder / 'syncer.db'}"
    with pytest.raises(StateUnwritable, match=f"uid {os.getuid()}") as refused:
        write(open_store(url), 2)
    assert str(folder / "syncer.db") in str(refused.value)
    with closing(open_store(url, read_only=True)) as store:
        assert numbers(store) == ((0, 0, 0) if new else (1, 1, 1))


OTHER_USER = """
import os, sys, tempfile
from contextlib import closing
sys.path.insert(0, "tests")
from integration.test_state_disk import numbers, write
from syncer.errors import SyncerError
from syncer.state import open_store
# everything is imported before this user loses the right to read the interpreter's own files
with tempfile.TemporaryDirectory() as folder:
    open_store(f"sqlite:///{folder}/syncer.db").close()
if os.getuid() == 0:
    os.setuid(65534)
url = f"sqlite:///{sys.argv[1]}"
with closing(open_store(url, read_only=True)) as store:
    print(*numbers(store))
try:
    with closing(open_store(url)) as store:
        write(store, 2)
except SyncerError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("in_use", [False, True])
def test_other_users_file(in_use: bool) -> None:
    """A user without the right to write can read the state, and is told so when it tries to write."""
    folder = Path(tempfile.mkdtemp(prefix="state-"))
    folder.chmod(0o755)
    path = folder / "syncer.db"
    store = open_store(f"sqlite:///{path}")
    try:
        write(store, 1)
        if not in_use:
            store.close()
        for each in folder.iterdir():
            each.chmod(0o444)
        folder.chmod(0o555)
        code = [sys.executable, "-c", OTHER_USER, str(path)]
        done = subprocess.run(code, cwd=PROJECT, capture_output=True, text=True, check=False)
    finally:
        store.close()
        folder.chmod(0o755)
        shutil.rmtree(folder)
    first, _, second = done.stdout.strip().partition("\n")
    assert first == "1 1 1", done.stderr
    assert second.startswith(f"StateUnwritable the state store {path} cannot be used by uid "), done.stderr
