"""The image: a Dockerfile that a linter finds nothing in, what it copies, and commands that work."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from deployed import DEPLOY, ROOT, missing, module, parses, program, run

DOCKERFILE = DEPLOY / "docker" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """The instructions and their arguments, lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    words = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return [(name, rest) for name, rest in words]


def last(name: str) -> str:
    """The arguments of the last instruction of this name."""
    return [rest for each, rest in instructions() if each == name][-1]


def test_a_linter_finds_nothing() -> None:
    """hadolint, with all its rules."""
    told = run(program("hadolint"), "--no-color", DOCKERFILE)
    assert (told.returncode, told.stdout) == (0, "")


def test_the_linter_would_tell(tmp_path: Path) -> None:
    """A base without a version is found by the test above."""
    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE.read_text("utf-8").replace("FROM ${BASE} AS build", "FROM python AS build"))
    assert "DL3006" in run(program("hadolint"), "--no-color", worse).stdout


def test_the_image_runs_as_nobody_special() -> None:
    """A number that is not root's, no build tools in the last stage, and the signal that drains."""
    names = [name for name, _ in instructions()]
    assert names.count("FROM") == 2
    user, group = last("USER").split(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000
    assert last("STOPSIGNAL") == "SIGTERM"
    assert last("VOLUME") == "/var/lib/syncer"


def test_the_image_runs_a_command_that_exists() -> None:
    """`ENTRYPOINT` and `CMD` together."""
    entry, *words = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
    assert entry == "syncer"
    parses(*words)


class Health(BaseHTTPRequestHandler):
    """Answers /healthz with the server's status, and everything else with 404."""

    def do_GET(self) -> None:
        self.send_response(getattr(self.server, "status", 500) if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def health() -> Iterator[ThreadingHTTPServer]:
    """A server on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (302, 1)])
def test_the_health_check_tells(health: ThreadingHTTPServer, status: int, code: int) -> None:
    """0 when the daemon says it works, else 1; a proxy of the environment is not asked."""
    health.status = status  # type: ignore[attr-defined]
    name, *words = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert name == "python"
    words = [word.replace("8080", str(health.server_port)) for word in words]
    told = run(sys.executable, *words, env={"http_proxy": "http://127.0.0.1:9"})
    assert told.returncode == code, told.stdout


def test_the_health_check_tells_that_nobody_answers() -> None:
    """No connection is ill health too; port 9 on loopback is nobody's."""
    _, *words = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert run(sys.executable, *(word.replace("8080", "9") for word in words)).returncode == 1


def copied() -> list[str]:
    """What the build copies from the project."""
    lines = [rest.split() for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    return [source for *sources, _ in lines for source in sources]


def test_what_is_copied_is_there_and_nothing_else_is_let_in() -> None:
    """The context is a list of what may come in: no secrets, no history, no state."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert allowed == set(copied())
    assert all((ROOT / each).exists() for each in copied())


def test_the_image_holds_no_secrets() -> None:
    """Nothing that is named like one is set while the image is built, or copied."""
    assert re.findall(r"(?i)(?:^|\s)(?:ENV|ARG)\b[^\n]*(?:key|token|password|secret)", DOCKERFILE.read_text()) == []


def test_the_wheel_of_the_image_is_whole(tmp_path: Path) -> None:
    """Built from what the image's build sees alone, it has every file of the package, and says its version."""
    # of a version that `build-system` asks for
    if int(module("setuptools").__version__.partition(".")[0]) < 77:
        missing("setuptools is older than 77: pip install -e '.[deploy]'")
    for each in copied():
        source, target = ROOT / each, tmp_path / "build" / each
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    built = run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir",
        tmp_path / "wheels", tmp_path / "build",
    )  # fmt: skip
    assert built.returncode == 0, built.stdout
    (wheel,) = (tmp_path / "wheels").glob("syncer-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("syncer/")}
        archive.extractall(tmp_path / "installed")
    written = {str(each.relative_to(ROOT)) for each in (ROOT / "syncer").rglob("*") if each.is_file()}
    assert packed == {each for each in written if "__pycache__" not in each}
    told = subprocess.run(
        [sys.executable, "-m", "syncer", "--version"], cwd=tmp_path / "installed", capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert f"syncer:{told.stdout.split()[-1]}" in DOCKERFILE.read_text()
