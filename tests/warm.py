"""Commands in processes of their own that are forked from one which has imported everything already. No fixtures.

A start of Python costs half a second, and these tests start hundreds. `support` starts real ones where that matters.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(
    [
        "syncer.cli.app", "syncer.cli.run", "syncer.cli.check", "syncer.config.model", "syncer.run.runner",
        "syncer.source.dialect_sqlite", "syncer.sandbox.app", "sqlalchemy.dialects.sqlite", "rich.progress",
    ]
)  # fmt: skip


class Told(NamedTuple):
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


def run(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], patience: float) -> Told:
    """`syncer ARGUMENTS` in a folder, to its end. `patience`: seconds until it is killed, which is an error."""
    with tempfile.TemporaryDirectory() as place:
        told = Path(place)
        process = _FORKED.Process(target=_command, args=(list(arguments), str(folder), dict(environment), place))
        process.start()
        process.join(patience)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"syncer {' '.join(arguments)} did not end")
        # written by the command itself: the server that forks sometimes loses what it is told (it says 255 then)
        code = int((told / "code").read_text()) if (told / "code").exists() else process.exitcode
        return Told(code, (told / "out").read_text(), (told / "err").read_text())


def _command(arguments: list[str], folder: str, environment: dict[str, str], place: str) -> None:
    from syncer.cli import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((0, os.devnull), (1, f"{place}/out"), (2, f"{place}/err")):
        opened = os.open(name, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv = ["syncer", *arguments]
    try:
        main()
    except SystemExit as ended:
        sys.stdout.flush()
        Path(place, "code").write_text(str(ended.code or 0))
        raise
