"""Which API a run uses, and what it would take."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.core.batch import encoded_lines
from syncer.core.choice import Choice, Expected, choose, last_like
from syncer.core.model import Counts, Limits, Mode, Outcome, RunReport, SegmentObject
from syncer.delivery.memory import MemoryDelivery
from syncer.delivery.parts import Part
from syncer.run.outlay import Outlay

RUN = RunReport(
    run_id="1", mapping="rooms", collection="rooms", mode=Mode.FULL, outcome=Outcome.SUCCEEDED, trigger="cli",
    started_at=datetime(2026, 3, 1, tzinfo=UTC), counts=Counts(read=100, sent=60, unchanged=40, deleted=3),
)  # fmt: skip


@pytest.mark.parametrize(("objects", "api"), [(0, "objects"), (9_999, "objects"), (10_000, "bulk"), (10**7, "bulk")])
def test_from_the_threshold_on_by_bulk(objects: int, api: str) -> None:
    """Exactly from it on."""
    expected = Expected(objects=objects, told="{} objects planned")
    assert choose(expected, 10_000) == Choice(api=api, reason=f"{objects:,} objects planned; bulk from 10,000 on")


def test_the_last_run_of_the_same_mode_is_a_guide() -> None:
    """Of those that came to their end the newest, with its tombstones."""
    runs = [
        replace(RUN, outcome=Outcome.FAILED, counts=Counts(sent=1)),
        replace(RUN, outcome=None, counts=Counts(sent=2)),
        replace(RUN, outcome=Outcome.INTERRUPTED, counts=Counts(sent=3)),
        replace(RUN, mode=Mode.INCREMENTAL, counts=Counts(sent=4)),
        replace(RUN, outcome=Outcome.PARTIAL),
        replace(RUN, counts=Counts(sent=5)),
    ]
    assert last_like(Mode.FULL, runs) == Expected(objects=63, told="the last full run sent {} objects")
    assert last_like(Mode.INCREMENTAL, runs) == Expected(objects=4, told="the last incremental run sent {} objects")
    assert last_like(Mode.INCREMENTAL, runs[:3]) is None


# --- lines and parts


def rooms(count: int, size: int = 10) -> list[SegmentObject]:
    properties = orjson.dumps({"name": "x" * size})
    return [SegmentObject(id=str(row), properties=properties, row=row, key="") for row in range(count)]


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), st.sampled_from(["rooms", "a%b", "50%%", 'a"b']))
def test_lines(identifier: str, collection: str) -> None:
    """Whatever an id or a collection is made of, a line is one JSON object and one line."""
    each = SegmentObject(id=identifier, properties=b'{"share":"50%"}', row=0, key="")
    (line,) = encoded_lines(collection, [each])
    assert line.count(b"\n") == 1 == line.endswith(b"\n")
    assert orjson.loads(line) == {"id": identifier, "collection": collection, "properties": {"share": "50%"}}


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.integers(1, 2_000))
def test_a_part_takes_what_it_has_room_for(sizes: list[int], most: int) -> None:
    """From the first on, never more than it may hold unless that is a single one, and it gives back what it took."""
    given_objects = [each for size in sizes for each in rooms(1, size)]
    rest, taken_in = given_objects, b""
    while rest:
        part = Part("rooms", most)
        taken = part.add(rest)
        assert taken > 0
        text = gzip.decompress(part.close())
        assert text == b"".join(encoded_lines("rooms", rest[:taken]))
        assert (len(text), taken) == (part.size, part.objects)
        assert len(text) <= most or taken == 1
        rest, taken_in = rest[taken:], taken_in + text
    assert taken_in == b"".join(encoded_lines("rooms", given_objects))


# --- what it would take


@pytest.mark.parametrize(
    ("limits", "counts", "requests", "uploads"),
    [
        # requests of ten
        (Limits(), [25], 3, 0),
        # versions of one id do not go together
        (Limits(), [5, 5, 5], 3, 0),
        # a session of four batches of ten, each start, upload and finish: 95 are ten batches, so three sessions
        (Limits(objects=10, part=16_000_000), [95], 9, 3),
        (Limits(objects=10, part=16_000_000), [0], 0, 0),
        # lines of 66 bytes and a little more, so 7 in a part of 500: 6 parts of a full session, 3 of the rest
        (Limits(objects=10, part=500), [40], 8, 6),
        (Limits(objects=10, part=500), [55], 13, 9),
    ],
)
def test_outlay(limits: Limits, counts: list[int], requests: int, uploads: int) -> None:
    """Batches, uploads and sessions as the deliveries make them."""
    outlay = Outlay("rooms", MemoryDelivery(limits=limits, max_in_flight=4))
    for count in counts:
        outlay.add(rooms(count))
    outlay.end()
    assert (outlay.requests, outlay.uploads) == (requests, uploads)
    assert (outlay.bytes > 0) == (requests > 0)
