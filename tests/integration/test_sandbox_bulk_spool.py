"""Where the sandbox's uploaded parts wait: order, forgetting, memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from syncer.sandbox.spool import Spool
from syncer.sandbox.warehouse import Warehouse

FILL = """
import os, resource, sys
from syncer.sandbox.spool import Spool

spool, piece = Spool(), os.urandom(250_000)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 if sys.platform == "linux" else 1024)
before = peak()
for number in range(200):
    spool.append(1 + number % 2, piece)
assert sum(map(len, spool.pieces(1))) == 25_000_000
print(peak() - before)
"""


@pytest.fixture
def spool():
    with Warehouse(":memory:") as warehouse:
        yield warehouse.spool


def test_parts_that_grow_together_stay_apart(spool):
    """Each has its own bytes in their order, as often as it is read."""
    first, second = spool.new(), spool.new()
    for number in range(3):
        spool.append(first, b"a%d" % number)
        spool.append(second, b"b%d" % number)
    for _ in range(2):
        assert list(spool.pieces(second)) == [b"b0", b"b1", b"b2"]
        assert list(spool.pieces(first)) == [b"a0", b"a1", b"a2"]


def test_dropped_parts_are_gone(spool):
    """And only those; what was never there does not matter."""
    first, second, third = (spool.new() for _ in range(3))
    for part in (first, second, third):
        spool.append(part, b"x")
    spool.drop(first, third, 99)
    assert [list(spool.pieces(part)) for part in (first, second, third)] == [[], [b"x"], []]


def test_a_spool_is_on_disk():
    """50 MB of parts take a few megabytes of memory."""
    told = subprocess.run([sys.executable, "-c", FILL], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 15_000  # KB


def test_a_closed_warehouse_has_no_spool(tmp_path):
    """It ends with the warehouse, and leaves no file beside it."""
    with Warehouse(tmp_path / "warehouse.db") as warehouse:
        warehouse.spool.append(warehouse.spool.new(), b"x" * 5_000_000)
    assert [each.name for each in tmp_path.iterdir()] == ["warehouse.db"]
    spool = Spool()
    spool.close()
    spool.close()
