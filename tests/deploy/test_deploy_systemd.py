"""The systemd units: understood by systemd, closed to everything they do not need, and with commands that exist."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from deployed import DEPLOY, DRAIN, parses, program, run

UNITS = sorted((DEPLOY / "systemd").glob("*.*"))
SERVICES = [each for each in UNITS if each.suffix == ".service"]
TIMERS = [each for each in UNITS if each.suffix == ".timer"]
SYNCER = "/opt/syncer/bin/syncer"
#: of 10.0; what is left is the network, which it is for, and /proc/sys, by which a lease tells reboots apart
EXPOSURE = 11


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as they would be installed, with this Python as the program: verify asks for one that can be run."""
    for each in UNITS:
        text = each.read_text("utf-8").replace(SYNCER, sys.executable)
        (tmp_path / each.name).write_text(text, "utf-8")
    return tmp_path


def settings(unit: Path) -> configparser.RawConfigParser:
    """What a unit says; of a key that is there several times the last."""
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text("utf-8"))
    return parser


def verified(folder: Path) -> str:
    """What systemd has to say about the units of a folder."""
    names = ("syncer.service", "syncer-full.timer", "syncer-run@rooms.service", "syncer-run@rooms.timer")
    if not (folder / "syncer-run@rooms.timer").exists():
        for kind in ("service", "timer"):
            shutil.copy(folder / f"syncer-run@.{kind}", folder / f"syncer-run@rooms.{kind}")
    told = run(program("systemd-analyze"), "verify", "--man=no", *(folder / name for name in names))
    return told.stdout if told.returncode == 0 else f"{told.returncode}: {told.stdout}"


def test_systemd_understands_every_unit(units: Path) -> None:
    """No unknown key, no value it cannot read, no unit that is named and not there."""
    assert verified(units) == ""


def test_systemd_would_tell(units: Path) -> None:
    """A misspelt key is found by the test above."""
    unit = units / "syncer.service"
    unit.write_text(unit.read_text().replace("ProtectHome=", "ProtectHouse="))
    assert "ProtectHouse" in verified(units)


@pytest.mark.parametrize("unit", SERVICES, ids=lambda each: each.name)
def test_units_are_closed(unit: Path) -> None:
    """As systemd counts it: 10 is open to everything, and 1.1 is left."""
    told = run(program("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE}", unit)
    assert told.returncode == 0, told.stdout


def system_calls(group: str) -> set[str]:
    """The system calls of a group, as systemd has it."""
    told = run(program("systemd-analyze"), "syscall-filter", group).stdout.splitlines()[1:]
    names = [line.strip() for line in told if line.strip() and not line.strip().startswith("#")]
    return {call for name in names for call in (system_calls(name) if name.startswith("@") else {name})}


def allowed(unit: Path) -> set[str]:
    """The system calls that a unit lets through: groups in its order, those with ~ are taken away again."""
    calls: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.+)$", unit.read_text("utf-8"), re.MULTILINE):
        groups = {call for name in line.removeprefix("~").split() for call in system_calls(name)}
        calls = calls - groups if line.startswith("~") else calls | groups
    return calls


def test_the_filter_lets_through_all_that_is_called(tmp_path: Path) -> None:
    """What the demo calls, with runs, a state and a server on loopback, is in the filter of system calls."""
    calls, written = allowed(DEPLOY / "systemd" / "syncer.service"), tmp_path / "calls"
    assert "connect" in calls
    assert "mount" not in calls
    # a question mark: not every kernel has each of them
    filter_ = "trace=!" + ",".join(f"?{call}" for call in sorted(calls))
    told = run(
        program("strace"), "-f", "-qq", "--seccomp-bpf", "-e", filter_, "-e", "signal=none", "-o", written,
        sys.executable, "-m", "syncer", "demo", cwd=tmp_path,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout
    found = set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)", written.read_text(), re.MULTILINE))
    # SQLite gives a file to the owner of the database when it runs as root, which the unit does not
    assert found - ({"fchown"} if os.geteuid() == 0 else set()) == set()


@pytest.mark.parametrize("unit", SERVICES, ids=lambda each: each.name)
def test_units_run_commands_that_exist(unit: Path) -> None:
    """`ExecStart` is a syncer command with options it has."""
    program_, *words = settings(unit)["Service"]["ExecStart"].split()
    assert program_ == SYNCER
    parses(*words)


@pytest.mark.parametrize("unit", SERVICES, ids=lambda each: each.name)
def test_units_wait_for_the_drain(unit: Path) -> None:
    """systemd kills after longer than finishing what is in flight may take, and takes SIGTERM's exit for a good one."""
    service = settings(unit)["Service"]
    assert int(service["TimeoutStopSec"]) > DRAIN
    assert "143" in service["SuccessExitStatus"].split()


def test_units_share_one_state() -> None:
    """The same user, directory and limits in all services: they take turns with one SQLite file."""
    kept = {"ExecStart", "ExecReload", "Type", "NotifyAccess", "WatchdogSec", "Restart", "RestartSec",
            "RestartPreventExitStatus", "TimeoutStartSec", "SuccessExitStatus"}  # fmt: skip
    first, *others = ({k: v for k, v in settings(each)["Service"].items() if k not in kept} for each in SERVICES)
    assert first["StateDirectory"] == "syncer"
    assert first["User"] == "syncer"
    assert others == [first, first]


@pytest.mark.parametrize("unit", TIMERS, ids=lambda each: each.name)
def test_timers_have_times_and_services(unit: Path) -> None:
    """Times that systemd can read, and a service of the same name."""
    told = run(program("systemd-analyze"), "calendar", settings(unit)["Timer"]["OnCalendar"])
    assert told.returncode == 0, told.stdout
    assert unit.with_suffix(".service") in SERVICES


def test_the_crontab_of_the_readme_is_one() -> None:
    """Five fields, the user, and commands that exist."""
    from syncer.core.calendar import parse_cron

    text = (DEPLOY / "README.md").read_text("utf-8")
    lines = re.findall(rf"^((?:\S+ +){{5}})syncer +{SYNCER} (.+)$", text, re.MULTILINE)
    assert len(lines) == 2
    for times, command in lines:
        parse_cron(times.strip())
        parses(*command.split())
