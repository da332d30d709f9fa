"""What fingerprints cost: bytes on disk, memory, and rows a second, for as many ids as asked.

fingerprints.py 10000000            ten million ids of each form
fingerprints.py 1000000 numbers     of one form
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from uuid import UUID

from syncer.core.model import Mode, RunReport
from syncer.state import Commit, Fingerprint, open_store

#: ids in a commit, and in a lookup
_AT_ONCE = 5_000
_CHUNK = 1_000
_LONG_LEASE = timedelta(days=1)


def _digest(number: int, size: int) -> bytes:
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=size).digest()


FORMS: dict[str, Callable[[int], str]] = {
    "numbers": str,
    "uuids": lambda number: str(UUID(bytes=_digest(number, 16))),
    "words": lambda number: f"room-{_digest(number, 6).hex()}",
}


def measure(form: str, count: int, folder: Path) -> dict[str, object]:
    """Write so many ids, then look them all up."""
    make, now = FORMS[form], datetime.now(UTC)
    store = open_store(f"sqlite:///{folder}/{form}.db")
    lease = store.acquire("rooms", "bench", now, _LONG_LEASE)
    run = RunReport(
        run_id="bench", mapping="rooms", collection="rooms", mode=Mode.FULL, outcome=None, trigger="cli", started_at=now
    )
    began = perf_counter()
    for start in range(0, count, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, count))
        known = {make(each): Fingerprint(_digest(each, 16), now) for each in numbers}
        store.commit(lease, Commit(run=run, fingerprints=known))
    written = perf_counter() - began
    began = perf_counter()
    for start in range(0, count, _CHUNK):
        ids = [make(each) for each in range(start, min(start + _CHUNK, count))]
        assert len(store.fingerprints("rooms", ids)) == len(ids)
    read = perf_counter() - began
    store.close()
    size = sum(each.stat().st_size for each in folder.glob(f"{form}.db*"))
    return {
        "form": form,
        "ids": count,
        "bytes_per_id": round(size / count, 1),
        "written_per_second": round(count / written),
        "read_per_second": round(count / read),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Print a line of JSON for each form."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        for form in sys.argv[2:] or FORMS:
            print(json.dumps(measure(form, count, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
