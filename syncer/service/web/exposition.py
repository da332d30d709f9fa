"""`/metrics`, `/healthz` and `/readyz`: what programs read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from syncer import __version__
from syncer.observe.metrics import Labels, Metric, exposition
from syncer.run.standing import gauges
from syncer.service.control import Control
from syncer.service.web.desk import Desk
from syncer.service.web.views import Known


class Programs:
    """The routes for programs."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def metrics(self, _: Request) -> Response:
        """`GET /metrics`, in the Prometheus text format."""
        control = self._desk.control
        surveyed, known = await self._desk.survey()
        found = [
            *gauges([each.standing for each in surveyed.values()]),
            *self._desk.watch.meter.metrics(control.config.mappings),
            *_daemon(control, known),
        ]
        text = await asyncio.to_thread(exposition, found, of_process=True)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def healthz(self, _: Request) -> Response:
        """`GET /healthz`: whether the daemon works at all; if not, it is to be started anew."""
        return _told(self._desk.control.alive())

    async def readyz(self, _: Request) -> Response:
        """`GET /readyz`: whether it takes up work."""
        return _told(self._desk.control.ready())


def _told(problem: str | None) -> Response:
    return PlainTextResponse("ok\n" if problem is None else f"{problem}\n", 200 if problem is None else 503)


def _daemon(control: Control, known: Known) -> list[Metric]:
    """What the daemon does."""
    reload = control.reloaded()
    names = list(control.config.mappings)

    def flags(which: Mapping[str, object]) -> dict[Labels, float]:
        return {(name,): float(name in which) for name in names}

    stuck = {name: each for name, each in known.running.items() if each.stuck}
    fires: dict[Labels, float] = {(mapping, str(end)): count for (mapping, end), count in control.endings().items()}
    return [
        Metric(name="syncer_running", help="1 while a run of this process goes on.", values=flags(known.running)),
        Metric(name="syncer_run_stuck", help="1 while the run that goes on does not move.", values=flags(stuck)),
        Metric(name="syncer_paused", help="1 while the schedules are paused.", values=flags(known.paused)),
        Metric(
            name="syncer_fires_total", help="Fires of schedules by what became of them.",
            labels=("mapping", "ending"), kind="counter", values=fires,
        ),
        Metric(
            name="syncer_config_reload_successful", help="1 if the file was taken over when it was last read.",
            labels=(), values={(): float(reload.problem is None)},
        ),
        Metric(
            name="syncer_config_reload_timestamp_seconds", help="When the file was last read.",
            labels=(), values={(): reload.at.timestamp()},
        ),
        Metric(
            name="syncer_build_info", help="Always 1; the version is a label.", labels=("version",),
            values={(__version__,): 1.0},
        ),
    ]  # fmt: skip
