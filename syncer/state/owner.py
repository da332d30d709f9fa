"""Who holds a lease: an owner is JSON text that names a process well enough to tell later whether it is gone.

Nothing here knows about stores. Without /proc an owner is never known to be gone; then its lease runs out.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """What an owner says about its process. The last three are None where the system does not tell."""

    host: str
    pid: int
    #: clock ticks between boot and the start of the process: tells it from a later one with the same pid
    started: int | None
    boot: str | None
    #: pid numbers mean something only inside one namespace (containers share the boot)
    namespace: str | None


def current_owner() -> str:
    """A new owner for this process. Each call differs, so two runs in one process exclude each other too."""
    return json.dumps({**asdict(_this_process()), "token": secrets.token_hex(8)}, sort_keys=True)


def describe(owner: str) -> str:
    """The owner in words, such as `process 4242 on build-7`; unknown text comes back as it is."""
    identity = _identity_of(owner)
    return owner if identity is None else f"process {identity.pid} on {identity.host}"


def is_gone(owner: str) -> bool:
    """Whether the owner's process certainly no longer runs; False whenever that cannot be known here.

    Certain only for a process of this very boot and pid namespace that does not exist any more, is a zombie,
    or whose pid now belongs to a process that began at another time.
    """
    identity, here = _identity_of(owner), _this_process()
    if identity is None or None in (identity.started, identity.boot, identity.namespace):
        return False
    if (identity.boot, identity.namespace) != (here.boot, here.namespace):
        return False
    try:
        # signal 0 asks for existence; /proc alone may hide other users' processes
        os.kill(identity.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    seen = _state_and_start(str(identity.pid))
    return seen is not None and (seen[0] in "ZX" or seen[1] != identity.started)


def _this_process() -> _Identity:
    seen = _state_and_start("self")
    return _Identity(
        host=socket.gethostname(),
        pid=os.getpid(),
        started=None if seen is None else seen[1],
        boot=_boot(),
        namespace=_namespace(),
    )


def _identity_of(owner: str) -> _Identity | None:
    try:
        told = json.loads(owner)
        identity = _Identity(**{name: told[name] for name in _Identity.__slots__})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    usable = isinstance(identity.pid, int) and 0 < identity.pid < 2**31
    return identity if usable else None


def _state_and_start(pid: str) -> tuple[str, int] | None:
    """State letter and start ticks of a process, fields 3 and 22 of proc(5) stat."""
    try:
        text = (_PROC / pid / "stat").read_text(encoding="utf-8", errors="replace")
        # the command name in field 2 may itself hold blanks and parentheses
        fields = text.rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def _boot() -> str | None:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def _namespace() -> str | None:
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return None
