"""kill -9 in the middle of bulk sessions, beside a second process: only what was finished counts as sent."""

from __future__ import annotations

import threading
from pathlib import Path

import http_server
import pytest
from acceptance.support import CommandLine, execute, until
from bulk_far import BulkFar, Call
from http_server import Reply, Request

from syncer.state import open_store

CONFIG = """\
version: 1
sources: {{app: {{url: "sqlite:///app.db"}}}}
destination: {{write_key: a-write-key, endpoint: "{endpoint}", api: bulk, bulk: {{part_size: 400KB}}}}
mappings:
  rooms: {{table: rooms, watermark: version}}
"""
#: more than a session takes
ROWS = 20_000
ROOMS = f"""
CREATE TABLE rooms (id INTEGER PRIMARY KEY, city TEXT, version INTEGER NOT NULL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
INSERT INTO rooms SELECT i, 'city ' || (i % 97), i FROM n;
"""


class Far:
    """A Bulk API that falls silent at a step of its second session, before or after that has its effect."""

    def __init__(self, step: str, *, took: bool) -> None:
        self.bulk = BulkFar()
        self.silent = threading.Event()
        self.healthy = False
        self._step, self._took = step, took

    def script(self, request: Request) -> Reply:
        """One answer, or none."""
        call = self.bulk.call(request.line.split()[1], request.headers, request.body)
        assert not isinstance(call, tuple), call
        if self.healthy or not self._chosen(call):
            return http_server.answer(*self.bulk.take(call))
        if self._took:
            self.bulk.take(call)
        self.silent.set()
        return http_server.SILENT

    def _chosen(self, call: Call) -> bool:
        session = call.session
        if call.step != self._step or session is None or session.number != 1:
            return False
        return call.step == "finish" or not session.parts


def marked(folder: Path) -> set[str]:
    """Ids that the state holds as accepted."""
    store = open_store(f"sqlite:///{folder / 'syncer.db'}", read_only=True)
    try:
        return set(store.fingerprints("rooms", [str(number) for number in range(1, ROWS + 1)]))
    finally:
        store.close()


@pytest.mark.parametrize(
    ("step", "took"),
    [("upload", False), ("upload", True), ("finish", False), ("finish", True)],
    ids=["before an upload", "after an upload", "between upload and finish", "after finish"],
)
def test_killed_in_a_session(tmp_path: Path, step: str, took: bool) -> None:
    """What was finished may be marked as sent, nothing else is, and the next run brings the rest."""
    far, syncer = Far(step, took=took), CommandLine(folder=tmp_path)
    execute(tmp_path / "app.db", ROOMS)
    with http_server.serving(far.script) as server:
        syncer.write("syncer.yaml", CONFIG.format(endpoint=server.endpoint))
        with syncer.started("run") as process:
            until(far.silent.is_set, process)
            beside = syncer("run")
            assert (beside.code, "locked" in beside.out) == (4, True), beside
            process.kill()
            process.wait()
        finished = {each for _, each in far.bulk.objects}
        assert marked(tmp_path) <= finished
        assert 0 < len(finished) < ROWS or took
        far.healthy = True
        told = syncer("run")
        assert told.code == 0, told
        assert len(far.bulk.objects) == ROWS == len(marked(tmp_path))
        assert far.bulk.objects["rooms", "7"] == {"city": "city 7", "version": 7}
        sessions = far.bulk.sessions
        # the killed one's session stays as it was: only a finish counts
        assert sessions[1].ended == ("" if took and step == "finish" else None)
