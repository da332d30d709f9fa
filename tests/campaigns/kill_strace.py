"""A command under strace: stopped after each of its writes to some files, killed at one, or refused them. No fixtures.

strace counts the calls of each thread for itself. To count all of them in their order, each is made to stop the whole
process, which is then continued or killed from here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from acceptance.support import PATIENCE, Told

#: calls that change a file or make it durable; `?`: not on every machine
WRITES = "pwrite64,fsync,fdatasync,ftruncate,fallocate,?unlink,unlinkat,?rename,?renameat,?renameat2,openat"
_STOPPED = re.compile(r"^(\d+) +--- SIGSTOP \{")
_CALL = re.compile(r"^(\d+) +(\w+)\(")


def whats_missing() -> str | None:
    """Why strace cannot be used here, if it cannot."""
    if shutil.which("strace") is None:
        return "strace is not installed: `apt-get install strace` provides it"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return f"strace may not be used here: {tried.stderr.strip()}" if tried.returncode else None


@dataclass(frozen=True, kw_only=True)
class Traced:
    """Runs a command in a folder, watching what it does to these files."""

    words: Sequence[str]
    folder: Path
    environ: Mapping[str, str]
    files: Sequence[Path]

    def killed_after(self, number: int | None) -> tuple[Told, int]:
        """Kill it once so many writes were done; None: never. How it ended, and how many were done."""
        mine, its = os.pipe()
        process = self._start(its, f"trace={WRITES}", f"inject={WRITES}:signal=STOP")
        os.close(its)
        done = 0
        with os.fdopen(mine, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if (found := _STOPPED.match(line)) is None:
                    continue
                done += 1
                os.kill(_process_of(int(found[1])), signal.SIGKILL if done == number else signal.SIGCONT)
        return _end_of(process), done

    def refused(self, call: str, error: str, number: int) -> Told:
        """Let this call fail from its so manyth time in a thread on."""
        with open(os.devnull, "wb") as nowhere:
            inject = f"inject={call}:error={error}:when={number}+"
            return _end_of(self._start(nowhere.fileno(), f"trace={call}", inject))

    def calls(self) -> Counter[str]:
        """Run it as it is: how often it makes each call, of all threads the one that makes it most often."""
        mine, its = os.pipe()
        process = self._start(its, f"trace={WRITES}")
        os.close(its)
        counts: Counter[tuple[str, str]] = Counter()
        with os.fdopen(mine, encoding="utf-8", errors="replace") as lines:
            counts.update((found[2], found[1]) for line in lines if (found := _CALL.match(line)))
        _end_of(process)
        return Counter({call: max(n for (each, _), n in counts.items() if each == call) for call, _ in counts})

    def _start(self, log: int, *rules: str) -> subprocess.Popen[bytes]:
        watched = [word for each in self.files for word in ("-P", str(each))]
        asked = [word for rule in rules for word in ("-e", rule)]
        return subprocess.Popen(
            ["strace", "-f", "-qq", "-o", f"/dev/fd/{log}", *watched, *asked, *self.words], cwd=self.folder,
            env=dict(self.environ), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            pass_fds=(log,),
        )  # fmt: skip


def _process_of(thread: int) -> int:
    """The process that a thread belongs to."""
    found = re.search(r"^Tgid:\s+(\d+)$", Path(f"/proc/{thread}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _end_of(process: subprocess.Popen[bytes]) -> Told:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return Told(process.returncode, out.decode(), err.decode())
