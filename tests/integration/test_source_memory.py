"""Reading a large table costs no more memory than reading a small one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

#: reads a query in a process of its own and tells its rows and its largest resident size, in kilobytes
READER = """
import json, resource, sys
from syncer.core.model import CollectionMapping, Mode
from syncer.core.plan import RunPlan
from syncer.source import open_source

source = open_source("app", sys.argv[1])
mapping = CollectionMapping(name="rooms", source="app", query=sys.argv[2], primary_key=("id",))
described = source.describe(mapping)
rows = largest = 0
with source.read(RunPlan(mapping=mapping, primary_key=("id",), mode=Mode.FULL), described) as chunks:
    for chunk in chunks:
        rows += len(chunk.rows)
        largest = max(largest, sum(len(row[1]) for row in chunk.rows))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"rows": rows, "peak": peak, "largest": largest}))
"""
QUERIES = {
    "postgres": "SELECT n AS id, repeat('x', {width}) AS name FROM generate_series(1, {rows}) n",
    "mariadb": "SELECT seq AS id, REPEAT('x', {width}) AS name FROM seq_1_to_{rows}",
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) "
    "SELECT n AS id, replace(hex(zeroblob({width} / 2)), '0', 'x') AS name FROM s",
}
#: kilobytes that the peak may differ by: far less than the rows, which are over 100 MB as text alone
SLACK = 20_000


def read(url: str, query: str) -> dict[str, int]:
    done = subprocess.run([sys.executable, "-c", READER, url, query], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("engine", ["sqlite", "postgres", "mariadb"])
def test_a_million_rows_cost_no_more_than_ten_thousand(
    engine: str, request: pytest.FixtureRequest, execute_sql: Callable[[str, str], None]
) -> None:
    """The peak of 1,000,000 rows of 100 characters stays at that of 10,000."""
    url = request.getfixturevalue(f"{engine}_url")
    execute_sql(url, "CREATE TABLE placeholder (id INTEGER)")
    small = read(url, QUERIES[engine].format(rows=10_000, width=100))
    large = read(url, QUERIES[engine].format(rows=1_000_000, width=100))
    assert (small["rows"], large["rows"]) == (10_000, 1_000_000)
    assert large["peak"] < small["peak"] + SLACK


@pytest.mark.parametrize("engine", ["sqlite", "postgres", "mariadb"])
def test_wide_rows_make_small_chunks(
    engine: str, request: pytest.FixtureRequest, execute_sql: Callable[[str, str], None]
) -> None:
    """600 rows of 200,000 characters, 120 MB, come in chunks of about 4 MB."""
    url = request.getfixturevalue(f"{engine}_url")
    execute_sql(url, "CREATE TABLE placeholder (id INTEGER)")
    found = read(url, QUERIES[engine].format(rows=600, width=200_000))
    assert found["rows"] == 600
    assert found["largest"] <= 4_000_000
