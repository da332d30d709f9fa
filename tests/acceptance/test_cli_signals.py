"""Signals in the middle of a run: what was done is kept, the exit code says which signal, the next run completes it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Iterator

import pytest
from project import Project
from support import command, end_of, line_with, runs_of, until

from syncer.sandbox.app import create_app
from syncer.sandbox.faults import Faults
from syncer.sandbox.server import running

RUN = ["run", "--select", "rooms", "--output", "json"]


@pytest.fixture
def slow(project: Project) -> Iterator[Project]:
    """The project with an API that takes its time, asked one request at a time: forty requests, four seconds."""
    with running(create_app(project.warehouse, Faults(latency=0.1))) as url:
        project.syncer.environment |= {"ENDPOINT": url, "MAX_IN_FLIGHT": "1"}
        yield project


def finished_by_the_next_run(project: Project, sent: int) -> None:
    """Nothing is held, and a run at once sends exactly what was not yet accepted."""
    assert project.progress()["leases"] == []
    told = project.syncer(*RUN, MAX_IN_FLIGHT="16")
    assert (told.code, runs_of(told)["rooms"]["sent"]) == (0, 400 - sent)
    assert project.warehouse.collections() == {"rooms": 400}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_run(slow: Project, number: signal.Signals, code: int) -> None:
    """One signal: what is in flight is finished, progress is saved, the document says `interrupted`."""
    with slow.syncer.started(*RUN) as process:
        until(lambda: slow.received() >= 5, process)
        process.send_signal(number)
        told = end_of(process)
    rooms = runs_of(told)["rooms"]
    assert told.code == code, told
    assert rooms["outcome"] == "interrupted"
    assert "Stopping" in told.err
    assert "Traceback" not in told.err
    assert 50 <= rooms["sent"] < 400
    assert rooms["sent"] == slow.warehouse.collections()["rooms"] == len(slow.progress()["fingerprints"])
    finished_by_the_next_run(slow, rooms["sent"])


def test_mappings_behind_the_interrupted_one_do_not_begin(slow: Project) -> None:
    """After the signal no further mapping starts."""
    with slow.syncer.started("run", "--output", "json") as process:
        until(slow.received, process)
        process.send_signal(signal.SIGTERM)
        told = end_of(process)
    assert (told.code, list(runs_of(told))) == (143, ["hosts"])


def test_second_signal_quits_at_once(slow: Project) -> None:
    """The second signal ends the process itself; its lease does not lock out the next run, which loses nothing."""
    with (
        running(create_app(slow.warehouse, Faults(latency=30))) as url,
        slow.syncer.started(*RUN, ENDPOINT=url) as process,
    ):
        line_with("run started", process.stderr)
        process.send_signal(signal.SIGTERM)
        line_with("Stopping", process.stderr)
        process.send_signal(signal.SIGTERM)
        assert end_of(process).code == -signal.SIGTERM
        assert slow.progress()["leases"] == [("rooms",)]
    told = slow.syncer(*RUN, MAX_IN_FLIGHT="16")
    assert (told.code, slow.warehouse.collections()) == (0, {"rooms": 400})


def test_progress_on_a_terminal(project: Project) -> None:
    """At a terminal progress is drawn on standard error, and standard output stays clean."""
    ours, theirs = pty.openpty()
    try:
        environ = project.syncer.environ({"TERM": "xterm-256color", "COLUMNS": "120"})
        process = subprocess.Popen(
            command(["run", "--output", "json"]), cwd=project.syncer.folder, env=environ, stdout=subprocess.PIPE,
            stderr=theirs, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs)
        drawn = b""
        while part := _read(ours):
            drawn += part
        told = end_of(process)
    finally:
        os.close(ours)
    assert (told.code, list(runs_of(told))) == (0, ["hosts", "rooms"])
    assert b"\x1b[" in drawn
    assert b"rooms" in drawn
    assert b"400 read" in drawn


def _read(terminal: int) -> bytes:
    """What was drawn; nothing once the other end is closed, which Linux tells as an error."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""
