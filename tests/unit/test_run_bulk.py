"""Runs that deliver by the Bulk API, over memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
from bulk_far import BulkFar, Call
from unit.run_world import FULL, World, rooms

from syncer.core.model import Limits, Mode, Outcome, Row, RunReport
from syncer.core.plan import RunOptions
from syncer.delivery.bulk_api import BULK_API, BulkApi
from syncer.delivery.client import HttpClient
from syncer.delivery.line import Line
from syncer.delivery.line import World as Surroundings
from syncer.delivery.pacing import Pace


class Wire(httpx.AsyncBaseTransport):
    """A line to a Bulk API in memory."""

    def __init__(self, far: BulkFar) -> None:
        self._far = far

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        body = await request.aread()
        status, told = self._far.serve(request.url.raw_path.decode(), dict(request.headers), body)
        return httpx.Response(status, content=told)


class Small(BulkApi):
    """With sessions of four batches of fifty."""

    @property
    def limits(self) -> Limits:
        """Fifty."""
        return replace(super().limits, objects=50)

    @property
    def max_in_flight(self) -> int:
        """Four."""
        return 4


class BulkWorld(World):
    """A world whose destination is a Bulk API."""

    def __init__(self, rows: list[Row], *, chunk: int = 40, api: type[BulkApi] = Small) -> None:
        super().__init__(rows, chunk=chunk)
        self.far = BulkFar()
        self._api = api

    @property
    def cities(self) -> dict[str, object]:
        """What the destination holds."""
        return {each: properties["city"] for (_, each), properties in self.far.objects.items()}

    def run(self, options: RunOptions | None = None) -> RunReport:
        """One run, with a delivery of its own."""
        there = Surroundings()
        line = Line(
            api=BULK_API, write_key="canary", endpoint="https://bulk.example", max_in_flight=20, notice=lambda _: None,
            pace=Pace(requests_per_second=None, clock=there.clock), retry_for=0.0, world=there,
            client=HttpClient("https://bulk.example", transport=Wire(self.far)),
        )  # fmt: skip
        self.delivery = self._api(line=line, identity="memory", part_size=1_000)  # type: ignore[assignment]
        return super().run(options)


def test_rejections_that_come_before_acceptance_do_not_stop_a_run() -> None:
    """What shaping refuses is known at once, what the API takes only at a session's end: a half is not nearly all."""
    rows = [(number if number % 2 else None, f"city {number}", number) for number in range(1, 3_001)]
    world = BulkWorld(rows, api=BulkApi)
    report = world.run()
    assert report.outcome is Outcome.PARTIAL
    assert (report.counts.sent, report.counts.rejected) == (1_500, 1_500)
    assert len(world.far.sessions) == 1


def test_nearly_all_refused_by_the_api_stops_the_run() -> None:
    """And stores no dead letter."""
    world = BulkWorld(rooms(40))
    world.far.trouble = lambda call: (400, b"") if call.step == "upload" else None
    report = world.run()
    assert (report.outcome, len(world.store.dead_letters("rooms"))) == (Outcome.FAILED, 0)
    assert "40 of 40 objects were rejected" in str(report.error)


def test_a_run_takes_as_few_sessions_as_it_can() -> None:
    """As many objects in each as may be unsettled, in several parts."""
    world = BulkWorld(rooms(430))
    report = world.run()
    assert (report.outcome, report.counts.sent) == (Outcome.SUCCEEDED, 430)
    assert [len(each.ids) for each in world.far.sessions] == [200, 200, 30]
    assert all(part.size <= 1_000 for session in world.far.sessions for part in session.parts)
    assert report.counts.requests == len(world.far.calls)
    assert world.watermark == "430"


def test_a_failure_keeps_what_was_finished() -> None:
    """The watermark stands before the first object of the session that was not, and the next run brings the rest."""
    world = BulkWorld(rooms(500))

    def trouble(call: Call) -> tuple[int, bytes] | None:
        last = call.step == "finish" and call.session is not None and call.session.number == 1
        return (401, b"") if last else None

    world.far.trouble = trouble
    report = world.run()
    assert (report.outcome, report.counts.sent) == (Outcome.FAILED, 200)
    assert 160 <= int(world.watermark or 0) <= 200
    assert len(world.far.objects) == 200
    world.far.trouble = lambda _: None
    report = world.run()
    assert report.outcome is Outcome.SUCCEEDED
    assert {each: world.far.merged[each] for each in world.cities} == dict.fromkeys(map(str, range(1, 501)), 1)


def test_rows_in_doubt_are_settled_by_bulk() -> None:
    """A finish without an answer leaves its rows in doubt; the next run sends them again and is certain then."""
    world = BulkWorld(rooms(30))

    def trouble(call: Call) -> tuple[int, bytes] | None:
        if call.step != "finish":
            return None
        world.far.take(call)
        return 504, b""

    world.far.trouble = trouble
    assert world.run().outcome is Outcome.FAILED
    assert sum(len(each.keys) for each in world.store.doubts("rooms")) == 30
    world.far.trouble = lambda _: None
    world.now = world.now.replace(minute=5)
    report = world.run(FULL)
    assert (report.outcome, report.mode) == (Outcome.SUCCEEDED, Mode.FULL)
    assert not world.store.doubts("rooms")
    assert world.far.steps("start") == ["start"] * 3
