"""`syncer serve`: runs by schedules, stops in order, catches up, and leaves no lease behind."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import http_server
from project import Project
from support import CONFIG, PATIENCE, end_of, execute, line_with, query, runs_of, until

from syncer.sandbox.app import create_app
from syncer.sandbox.faults import Faults
from syncer.sandbox.server import running


def scheduled(project: Project, every: str) -> None:
    """Let `hosts` run by itself."""
    project.syncer.write("syncer.yaml", CONFIG.replace("tags: [people]", f"schedules: [{{every: {every}}}]"))


@contextmanager
def slowly_serving(project: Project) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon with an API that takes its time, asked one request at a time."""
    with (
        running(create_app(project.warehouse, Faults(latency=0.3))) as url,
        project.syncer.started("serve", "--port", "0", ENDPOINT=url, MAX_IN_FLIGHT="1") as daemon,
    ):
        yield daemon


def email_of(project: Project, host: int) -> Callable[[str], bool]:
    """Whether the warehouse shows this e-mail of a host."""
    return lambda email: {"email": email} in project.warehouse.query(f"SELECT email FROM hosts WHERE id = '{host}'")


def give_email(project: Project, host: int, email: str) -> None:
    """Change a host as an application does."""
    moment = f"'2026-03-0{host} 08:00:00'"
    project.change(f"UPDATE hosts SET email = '{email}', updatedAt = {moment} WHERE id = {host}")


def test_serve(project: Project) -> None:
    """It runs at once and again and again, stops on SIGTERM with 143, and begins anew where it stopped."""
    scheduled(project, "1s")
    with project.syncer.started("serve", "--port", "0") as daemon:
        until(lambda: project.warehouse.collections().get("hosts") == 60, daemon)
        give_email(project, 3, "new@example.com")
        until(lambda: email_of(project, 3)("new@example.com"), daemon)
        daemon.send_signal(signal.SIGTERM)
        told = end_of(daemon)
    assert told.code == 143, told
    assert "Traceback" not in told.err
    assert project.progress()["leases"] == []
    assert project.warehouse.collections() == {"hosts": 60}
    give_email(project, 4, "while-down@example.com")
    with project.syncer.started("--log-format", "json", "serve", "--port", "0") as daemon:
        until(lambda: email_of(project, 4)("while-down@example.com"), daemon)
        daemon.send_signal(signal.SIGINT)
        assert end_of(daemon).code == 130
    assert "schedule" in project.syncer("runs", "hosts").out


def test_missed_fires(project: Project) -> None:
    """A fire that passed while the daemon was down is made up for by one run at the start."""
    scheduled(project, "1h")
    with project.syncer.started("serve", "--port", "0") as daemon:
        line_with("hosts: full run succeeded", daemon.stderr)
        daemon.send_signal(signal.SIGTERM)
        assert end_of(daemon).code == 143
    give_email(project, 5, "missed@example.com")
    three_hours = 3 * 3600 * 1_000_000  # instants are kept in microseconds
    execute(project.state, f"UPDATE syncer_fires SET fired_at = fired_at - {three_hours}")
    with project.syncer.started("serve", "--port", "0") as daemon:
        until(lambda: email_of(project, 5)("missed@example.com"), daemon)
        daemon.send_signal(signal.SIGTERM)
        told = end_of(daemon)
    assert "one run catches up" in told.err
    assert query(project.state, "SELECT count(*) FROM syncer_runs WHERE \"trigger\" = 'catch-up'") == [(1,)]


def test_stop_in_the_middle_of_a_run(project: Project) -> None:
    """SIGTERM during a run finishes what is in flight, saves it, and gives the lease back."""
    scheduled(project, "1h")
    with slowly_serving(project) as daemon:
        until(project.received, daemon)
        daemon.send_signal(signal.SIGTERM)
        assert end_of(daemon).code == 143
    state = project.progress()
    assert state["leases"] == []
    assert 0 < len(state["fingerprints"]) < 60
    assert len(state["fingerprints"]) == project.warehouse.collections()["hosts"]
    assert query(project.state, "SELECT outcome FROM syncer_runs") == [("interrupted",)]


def test_kill_nine(project: Project) -> None:
    """After kill -9 in the middle of a run, another process may run the mapping at once."""
    scheduled(project, "1h")
    with slowly_serving(project) as daemon:
        until(project.received, daemon)
        daemon.kill()
        daemon.wait()
    assert project.progress()["leases"] == [("hosts",)]
    told = project.syncer("run", "--select", "hosts", "--output", "json")
    assert (told.code, runs_of(told)["hosts"]["outcome"]) == (0, "succeeded")
    assert project.warehouse.collections() == {"hosts": 60}


def test_run_beside_the_daemon(project: Project) -> None:
    """While the daemon runs a mapping, a shell is told so, and the daemon is not disturbed."""
    scheduled(project, "1h")
    answering = threading.Event()

    def held_back(_: http_server.Request) -> http_server.Reply:
        assert answering.wait(PATIENCE)
        return http_server.ACCEPTED

    with (
        http_server.serving(held_back) as server,
        project.syncer.started("serve", "--port", "0", ENDPOINT=server.endpoint, MAX_IN_FLIGHT="1") as daemon,
    ):
        until(lambda: server.requests, daemon)
        assert project.syncer("run", "--select", "hosts").code == 4
        answering.set()
        line_with("hosts: full run succeeded", daemon.stderr)
        daemon.send_signal(signal.SIGTERM)
        assert end_of(daemon).code == 143
    assert len(server.requests) == 6
