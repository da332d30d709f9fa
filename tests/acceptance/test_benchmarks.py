"""The benchmarks work; what they measure is for people to look at, on a machine that does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent.parent / "benchmarks" / "bench.py"


def test_a_small_benchmark(tmp_path: Path) -> None:
    """Every database is loaded, compared and followed, by both APIs, and the figures are kept as JSON."""
    kept = tmp_path / "result.json"
    told = subprocess.run(
        [sys.executable, str(BENCH), "--rows", "2000", "--write", str(kept)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    figures = {each["name"]: each for each in json.loads(kept.read_text())}
    for kind in ("postgresql", "mariadb", "sqlite"):
        assert figures[f"1% changed, {kind}, 2,000 rows: sent"]["value"] == 20
        assert figures[f"full load, {kind}, 2,000 rows"]["unit"] == "objects/s"
    assert figures["full load by bulk at 0 ms, 2,000 rows: requests"]["value"] == 3
    assert all(name in told.stdout for name in figures)
