"""`syncer serve` while it runs: SIGHUP with a good file and a bad one, pauses over restarts, timeouts, a port taken."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from project import Project
from support import CONFIG, assert_one_clear_error, end_of, line_with, query, until

from syncer.sandbox.app import create_app
from syncer.sandbox.faults import Faults
from syncer.sandbox.server import running
from syncer.state import open_store

HOSTS = CONFIG.replace("tags: [people]", "schedules: [{every: 1s}]")


@contextmanager
def served(project: Project, text: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon on a file of this text."""
    project.syncer.write("syncer.yaml", text)
    with project.syncer.started("serve", "--port", "0", **environment) as daemon:
        yield daemon


def stopped(daemon: subprocess.Popen[bytes]) -> None:
    """Stop it, in order."""
    daemon.send_signal(signal.SIGTERM)
    told = end_of(daemon)
    assert told.code == 143, told
    assert "Traceback" not in told.err


def runs_of(project: Project, mapping: str) -> int:
    """How many runs of a mapping the state tells of."""
    ((count,),) = query(project.state, f"SELECT count(*) FROM syncer_runs WHERE mapping = '{mapping}'")
    return int(count)


def test_a_good_file_is_taken_over(project: Project) -> None:
    """After SIGHUP a new mapping runs, a removed one does not, and what only a start can change is said to be so."""
    with served(project, HOSTS) as daemon:
        line_with("hosts: full run succeeded", daemon.stderr)
        changed = CONFIG.replace("tags: [core]", "schedules: [{every: 1s}]") + "serve: {concurrency: 2}\n"
        project.syncer.write("syncer.yaml", changed)
        daemon.send_signal(signal.SIGHUP)
        line_with("the configuration was read again: 2 mappings", daemon.stderr)
        line_with("serve.concurrency was changed, which takes effect at the next start only", daemon.stderr)
        line_with("rooms: full run succeeded", daemon.stderr)
        before = runs_of(project, "hosts")
        for _ in range(2):
            line_with("rooms: incremental run succeeded", daemon.stderr)
        assert runs_of(project, "hosts") <= before + 1, "one may have been going on"
        stopped(daemon)


def test_a_changed_destination_is_that_of_later_runs(project: Project) -> None:
    """After SIGHUP objects go elsewhere, without a restart."""
    with running(create_app(project.warehouse)) as elsewhere, served(project, HOSTS) as daemon:
        line_with("hosts: full run succeeded", daemon.stderr)
        project.syncer.write("syncer.yaml", HOSTS.replace("${ENDPOINT}", "http://127.0.0.1:9").replace("20s", "1s"))
        daemon.send_signal(signal.SIGHUP)
        line_with("the configuration was read again", daemon.stderr)
        project.change("UPDATE hosts SET email = 'new@example.com', updatedAt = '2026-03-09 08:00:00' WHERE id = 3")
        line_with("no connection to 127.0.0.1:9", daemon.stderr)
        project.syncer.write("syncer.yaml", HOSTS.replace("${ENDPOINT}", elsewhere))
        daemon.send_signal(signal.SIGHUP)
        told = "SELECT email FROM hosts WHERE id = '3'"
        until(lambda: {"email": "new@example.com"} in project.warehouse.query(told), daemon)
        stopped(daemon)


#: what may be wrong with a file, and what is said of it
BAD: tuple[tuple[Callable[[str], str], str], ...] = (
    (lambda text: text.replace("every: 1s", "every: often"), "mappings.hosts.schedules[0].every"),
    (lambda text: text + "  nowhere: {after: hots}\n", "did you mean `hosts`"),
    (lambda text: "mappings: [", "syncer.yaml:1"),
    (lambda text: text.replace("syncer.db", "other.db"), "state.url was changed, which takes a restart"),
    (lambda text: text.replace("schedules: [{every: 1s}]", "tags: []"), "no mapping has a schedule"),
)


def test_a_bad_file_changes_nothing(project: Project) -> None:
    """The old one stays in force, what is wrong is told with its place, and runs go on."""
    with served(project, HOSTS) as daemon:
        line_with("hosts: full run succeeded", daemon.stderr)
        for change, said in BAD:
            project.syncer.write("syncer.yaml", change(HOSTS))
            daemon.send_signal(signal.SIGHUP)
            line_with("the configuration read before stays in force", daemon.stderr)
            line_with(said, daemon.stderr)
            line_with("hosts: incremental run succeeded", daemon.stderr)
        stopped(daemon)
    assert not (project.syncer.folder / "other.db").exists()


def test_a_pause_holds_over_a_restart_and_a_person_runs_all_the_same(project: Project) -> None:
    """A paused mapping is not run by schedules, before and after a restart; `run` says so and runs; `status` tells."""
    with served(project, HOSTS) as daemon:
        line_with("hosts: full run succeeded", daemon.stderr)
        with closing(open_store(f"sqlite:///{project.state}")) as store:
            store.pause("hosts", datetime.now(UTC))
        line_with("waits: the mapping is paused", daemon.stderr)
        stopped(daemon)
    before = runs_of(project, "hosts")
    status = project.syncer("status").out
    assert "Paused: hosts, since " in status
    with served(project, HOSTS) as daemon:
        line_with("waits: the mapping is paused", daemon.stderr)
        told = project.syncer("run", "--select", "hosts")
        assert told.code == 0
        assert "hosts: it is paused, which holds for its schedules only" in told.err
        assert runs_of(project, "hosts") == before + 1
        with closing(open_store(f"sqlite:///{project.state}")) as store:
            store.resume("hosts")
        line_with("hosts: incremental run succeeded", daemon.stderr)
        stopped(daemon)
    assert "Paused" not in project.syncer("status").out


def test_a_timeout_on_the_command_line(project: Project) -> None:
    """A run over its time fails with exit code 1 and says what to do; mappings behind it run, after those they name."""
    text = CONFIG.replace("tags: [people]", "timeout: 1s, after: rooms").replace("${MAX_IN_FLIGHT:-16}", "1")
    project.syncer.write("syncer.yaml", text)
    with running(create_app(project.warehouse, Faults(latency=0.3))) as url:
        told = project.syncer("run", "--select", "hosts", ENDPOINT=url)
    assert_one_clear_error(told, 1, "its timeout of 1s", "mappings.hosts")
    assert 0 < project.warehouse.collections()["hosts"] < 60
    told = project.syncer("run")
    assert told.code == 0
    assert told.out.index("rooms") < told.out.index("hosts"), "rooms go first"
    assert project.warehouse.collections()["hosts"] == 60


def test_two_on_one_port(project: Project) -> None:
    """A port that is taken is an error that names it, before anything runs."""
    project.syncer.write("syncer.yaml", HOSTS)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = project.syncer("serve", "--port", port)
    assert_one_clear_error(told, 2, port, "is in use")
    assert not Path(project.state).exists() or runs_of(project, "hosts") == 0


def test_what_systemd_is_told(project: Project, tmp_path: Path) -> None:
    """That it has begun, that it reads the file again and is done with that, that it lives, and that it ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(30)

        def said() -> str:
            return heard.recv(200).decode().partition("\n")[0]

        watch = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000000"}
        with served(project, HOSTS, **watch) as daemon:
            assert [said(), said()] == ["READY=1", "WATCHDOG=1"]
            daemon.send_signal(signal.SIGHUP)
            assert [said(), said()] == ["RELOADING=1", "READY=1"]
            stopped(daemon)
            assert said() == "STOPPING=1"
