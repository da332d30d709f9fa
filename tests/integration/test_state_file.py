"""The SQLite state file: opening, refusing, damage. Nothing is ever reset by itself."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from campaign import rounds
from contract.store_examples import (
    MINUTE,
    NOON,
    checkpoint,
    dead_letter,
    doubt,
    fingerprint,
    finished_run,
    run,
)
from sqlalchemy import Connection

from syncer.errors import StateCorrupt, StateError, StateUnwritable
from syncer.state import Commit, MemoryStore, Store, open_store
from syncer.state.database import sqlite_database
from syncer.state.migrations import STEPS
from syncer.state.sql import SqlStore
from syncer.state.sqlite_file import APPLICATION_ID

MAPPINGS = ("rooms", "hosts", "cities")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a state file may be."""
    return tmp_path / "state" / "syncer.db"


@pytest.fixture
def filled(path: Path) -> Path:
    """A state file that knows three mappings, closed."""
    path.parent.mkdir()
    fill(path)
    return path


def url(path: Path) -> str:
    """The URL of a state file."""
    return f"sqlite:///{path}"


def fill(path: Path) -> None:
    """Put something into every table."""
    with closing(open_store(url(path))) as store:
        for mapping in MAPPINGS:
            lease = store.acquire(mapping, "a", NOON, MINUTE)
            known = {str(number): fingerprint(bytes([number]) * 16) for number in range(200)}
            letters = [dead_letter(mapping)] * 5
            report = finished_run(mapping, mapping)
            commit = Commit(run=report, checkpoint=checkpoint(mapping), fingerprints=known, dead_letters=letters)
            store.commit(lease, commit)
            store.record_fire(mapping, "0 * * * *", NOON)


def use(store: Store) -> None:
    """Call every method once."""
    for mapping in MAPPINGS:
        store.checkpoint(mapping)
        store.fingerprints(mapping, [str(number) for number in range(200)])
        store.last_fire(mapping, "0 * * * *")
    store.checkpoints()
    store.leases()
    store.runs(limit=100)
    store.dead_letters()
    store.dead_letter_counts()
    lease = store.acquire("rooms", "b", NOON + MINUTE, MINUTE)
    lease = store.renew(lease, NOON + MINUTE, MINUTE)
    commit = Commit(
        run=run(run_id="later"), checkpoint=checkpoint(), dead_letters=[dead_letter()],
        fingerprints={"1": fingerprint()}, doubts=[doubt("later", 0, NOON, "a")],
        assured=[("run-1", 0)], resolved=[1],
    )  # fmt: skip
    store.commit(lease, commit)
    store.reset(lease, fingerprints=True)
    store.discard([2])
    store.record_fire("rooms", "0 * * * *", NOON)
    store.release(lease)


class TestOpening:
    def test_new_file(self, path: Path) -> None:
        """A new file is recognisable as ours, in WAL mode, and nobody else's to read."""
        path.parent.mkdir()
        open_store(url(path)).close()
        with closing(sqlite3.connect(path)) as raw:
            assert raw.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
            assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            version = raw.execute("SELECT content FROM syncer_meta WHERE name = 'version'").fetchone()
            assert version == (str(len(STEPS)),)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_state_survives(self, filled: Path) -> None:
        """What was committed is there when the file is opened again."""
        with closing(open_store(url(filled))) as store:
            assert store.checkpoint("rooms") == checkpoint()
            assert [lease.epoch for lease in store.leases()] == [1, 1, 1]
            use(store)

    def test_durable_and_patient(self, path: Path) -> None:
        """Every connection syncs each commit to the disk and waits ten seconds for other writers."""
        path.parent.mkdir()
        path.touch()
        database = sqlite_database(path, read_only=False)
        with database.bare() as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
            assert connection.execute("PRAGMA busy_timeout").fetchone() == (10_000,)
        database.close()

    def test_zero_length(self, path: Path) -> None:
        """A file of length zero is a new one."""
        path.parent.mkdir()
        path.touch()
        with closing(open_store(url(path))) as store:
            use(store)

    def test_odd_names(self, tmp_path: Path) -> None:
        """A path may hold characters that mean something in a URL."""
        odd = tmp_path / "50% off? #1 & été.db"
        database = sqlite_database(odd, read_only=False)
        odd.touch()
        with database.bare() as connection:
            connection.execute("CREATE TABLE rooms (id)")
        database.close()
        assert odd.stat().st_size > 0
        assert [odd.name] == os.listdir(tmp_path)

    @pytest.mark.parametrize("memory", ["sqlite://", "sqlite:///:memory:"])
    def test_in_memory(self, memory: str) -> None:
        """A SQLite database without a file is the store in memory."""
        assert isinstance(open_store(memory), MemoryStore)

    def test_rebuilt_from_a_dump(self, filled: Path) -> None:
        """A file rebuilt from a dump is still recognised, though a dump loses the number in the header."""
        rebuilt = filled.with_name("rebuilt.db")
        with closing(sqlite3.connect(filled)) as old, closing(sqlite3.connect(rebuilt)) as new:
            new.executescript("\n".join(old.iterdump()))
        with closing(open_store(url(rebuilt))) as store:
            assert store.checkpoint("rooms") == checkpoint()

    def test_repr(self, filled: Path) -> None:
        """A store says what it is over."""
        with closing(open_store(url(filled))) as store:
            assert repr(store) == f"SqlStore({filled})"


class TestNoPlace:
    def test_missing_folder(self, path: Path) -> None:
        """A missing folder is named, with the command that makes it; it is not created."""
        with pytest.raises(StateUnwritable, match="there is no folder") as refused:
            open_store(url(path))
        assert str(path.parent) in str(refused.value)
        assert f"mkdir -p {path.parent}" in str(refused.value.hint)
        assert not path.parent.exists()

    @pytest.mark.parametrize("read_only", [False, True])
    def test_folder_as_file(self, path: Path, read_only: bool) -> None:
        """A folder in the place of the file is refused, and so is a file in the place of the folder."""
        path.mkdir(parents=True)
        with pytest.raises(StateUnwritable, match="not a file"):
            open_store(url(path), read_only=read_only)
        path.rmdir()
        path.touch()
        with pytest.raises(StateUnwritable, match="Not a directory"):
            open_store(url(path / "syncer.db"), read_only=read_only)


def foreign_tables(path: Path) -> None:
    """Another application's database."""
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE bookings (id INTEGER)")
        raw.commit()


def foreign_number(path: Path) -> None:
    """Another application's database that says so in its header."""
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA application_id = 252006673")
        raw.execute("CREATE TABLE syncer_meta (name, content)")
        raw.commit()


def not_a_database(path: Path) -> None:
    """Some text."""
    path.write_text("version: 1\nsources: {}\n" * 100)


def half_a_page(path: Path) -> None:
    """A state file cut short."""
    fill(path)
    os.truncate(path, 2000)


def half_a_file(path: Path) -> None:
    """A state file that lost its second half."""
    fill(path)
    os.truncate(path, path.stat().st_size // 2)


def zeros(path: Path) -> None:
    """What a file system leaves after a crash now and then."""
    path.write_bytes(bytes(16_384))


def lost_version(path: Path) -> None:
    """A state file whose version was deleted."""
    fill(path)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("DELETE FROM syncer_meta")
        raw.commit()


def lost_meta(path: Path) -> None:
    """A state file whose version table was dropped."""
    fill(path)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("DROP TABLE syncer_meta")


def odd_version(path: Path) -> None:
    """A state file with a version nobody wrote."""
    fill(path)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE syncer_meta SET content = '²'")
        raw.commit()


class TestDamage:
    @pytest.mark.parametrize("read_only", [False, True])
    @pytest.mark.parametrize(
        "make",
        [
            foreign_tables,
            foreign_number,
            not_a_database,
            half_a_page,
            half_a_file,
            zeros,
            lost_version,
            lost_meta,
            odd_version,
        ],
    )
    def test_refused(self, path: Path, make: Callable[[Path], None], read_only: bool) -> None:
        """What is not a sound state file is refused with a way out, and not one byte of it changes."""
        path.parent.mkdir()
        make(path)
        before = path.read_bytes()
        with pytest.raises(StateCorrupt, match="nothing was changed") as refused:
            open_store(url(path), read_only=read_only)
        assert str(path) in str(refused.value)
        assert refused.value.hint
        assert path.read_bytes() == before

    def test_dropped_table(self, filled: Path) -> None:
        """A table that vanished is reported as damage by the method that needs it."""
        with closing(sqlite3.connect(filled)) as raw:
            raw.execute("DROP TABLE syncer_leases")
        with closing(open_store(url(filled))) as store, pytest.raises(StateCorrupt):
            store.leases()

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE syncer_checkpoints SET watermark_kind = 'rooms'",
            "UPDATE syncer_checkpoints SET watermark_kind = NULL",
            "UPDATE syncer_checkpoints SET updated_at = 'yesterday'",
            "UPDATE syncer_checkpoints SET updated_at = 9223372036854775807",
            "UPDATE syncer_checkpoints SET watermark_text = x'ff'",
            "UPDATE syncer_checkpoints SET watermark_text = CAST(x'2073656372657420ff' AS TEXT)",
        ],
    )
    def test_impossible_values(self, filled: Path, change: str) -> None:
        """A value that was never written there is reported as damage, and not repeated."""
        with closing(sqlite3.connect(filled)) as raw:
            raw.execute(change)
            raw.commit()
        with closing(open_store(url(filled))) as store, pytest.raises(StateCorrupt) as refused:
            store.checkpoints()
        assert "secret" not in f"{refused.value!r} {refused.value.__cause__!r}"

    def test_flipped_bytes(self, filled: Path) -> None:
        """With any byte flipped the store opens or is refused; there is no other error and no silent reset."""
        whole = filled.read_bytes()
        choose = random.Random(1)
        places = [*range(100), *(choose.randrange(len(whole)) for _ in range(rounds(20, 2_000)))]
        for place in places:
            self.flip(filled, whole, place, choose.choice([0xFF, 0x01, 0x80, 0x20]))

    @staticmethod
    def flip(path: Path, whole: bytes, place: int, bits: int) -> None:
        """Open and use the file with some bits of one byte flipped."""
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
        with suppress(StateError), closing(open_store(url(path))) as store:
            assert isinstance(store, SqlStore)
            assert store.checkpoints(), f"byte {place}: reset"
            use(store)


class TestReadOnly:
    @pytest.mark.parametrize("length", [None, 0])
    def test_nothing_there(self, path: Path, length: int | None) -> None:
        """Without a file there is an empty store for reading; no file is created."""
        path.parent.mkdir()
        if length is not None:
            path.touch()
        before = os.listdir(path.parent)
        store = open_store(url(path), read_only=True)
        assert isinstance(store, MemoryStore)
        assert os.listdir(path.parent) == before

    def test_reading(self, filled: Path) -> None:
        """A store opened for reading answers, and refuses to write."""
        with closing(open_store(url(filled), read_only=True)) as store:
            assert store.checkpoint("rooms") == checkpoint()
            before = store.leases()
            with pytest.raises(StateUnwritable, match=f"uid {os.getuid()}"):
                store.acquire("rooms", "b", NOON + MINUTE, MINUTE)
            assert store.leases() == before

    def test_while_another_writes(self, filled: Path) -> None:
        """Readers see what was last committed while another process is in the middle of writing."""
        writer = sqlite_database(filled, read_only=False)
        with closing(open_store(url(filled), read_only=True)) as store:

            def write(connection: Connection) -> None:
                connection.exec_driver_sql("DELETE FROM syncer_checkpoints")
                assert len(store.checkpoints()) == 3

            writer.write(write)
            assert store.checkpoints() == ()
        writer.close()
