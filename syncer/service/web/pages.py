"""What is read: the overview, a mapping, a run, the dead letters of a cause. What changes something is in `actions`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from syncer import __version__
from syncer.core.model import CollectionMapping, DeadLetter, RunReport, Schedule
from syncer.service.control import Running
from syncer.service.web import charts, views, words
from syncer.service.web.desk import Desk
from syncer.service.web.door import Admitted
from syncer.service.web.templating import large_page, page
from syncer.service.web.timeline import timeline

#: dead letters on one page
LETTERS: Final = 50


class NotThere(Exception):
    """There is no such page."""


def admitted(request: Request) -> Admitted:
    """What the request may do, as the door decided."""
    found: Admitted = request.scope["syncer.admitted"]
    return found


class Pages:
    """The pages for people."""

    def __init__(self, desk: Desk, *, acting: bool) -> None:
        """`acting`: there is a token, so that something can be done from the page."""
        self._desk = desk
        self._acting = acting

    def common(self, request: Request, *, title: str) -> dict[str, Any]:
        """What every page is filled in with."""
        reload = self._desk.control.reloaded()
        return {
            "title": title,
            "version": __version__,
            "file": self._desk.control.config.path.name,
            "signed_in": admitted(request).signed_in,
            "has_session": admitted(request).session is not None,
            "acting": self._acting,
            "here": request.url.path,
            "now": self._desk.now(),
            "reload": reload,
            "trouble": None,
            "not_ready": self._desk.control.ready(),
        }

    async def overview(self, request: Request) -> Response:
        """`GET /`: every mapping."""
        lines = await self._lines()
        values = {"lines": lines, "summary": views.summary(lines), "width": views.PLACES * charts.STEP}
        return await large_page("overview.html", self.common(request, title="Mappings") | values)

    async def _lines(self) -> list[views.Line]:
        surveyed, known = await self._desk.survey()
        mappings = self._desk.control.config.mappings
        # a mapping that a reload brought in the meantime is there from the next look on
        return [views.line(each, surveyed[name], known) for name, each in mappings.items() if name in surveyed]

    def mapping_of(self, request: Request) -> CollectionMapping:
        """The mapping that the path names. Raises `NotThere`."""
        found = self._desk.control.config.mappings.get(request.path_params["mapping"])
        if found is None:
            raise NotThere
        return found

    async def mapping(self, request: Request) -> Response:
        """`GET /mappings/NAME`: one mapping, its runs and its dead letters by cause."""
        mapping = self.mapping_of(request)
        surveyed, known = await self._desk.survey()
        if mapping.name not in surveyed:
            raise NotThere
        trouble, runs = self._desk.troubles.get(mapping.name), surveyed[mapping.name].runs
        values = {
            "line": views.line(mapping, surveyed[mapping.name], known, places=len(runs)),
            "width": len(runs) * charts.STEP,
            "runs": [(run, views.moment(run.started_at, known.now)) for run in runs],
            "causes": await self._desk.causes(mapping.name),
            "schedules": [told_schedule(each) for each in mapping.schedules],
            "mapping": mapping,
            "trouble": (views.moment(trouble[0], known.now), trouble[1]) if trouble else None,
        }
        return await large_page("mapping.html", self.common(request, title=mapping.name) | values)

    async def run(self, request: Request) -> Response:
        """`GET /runs/ID`: what one run did."""
        run_id = request.path_params["run"]
        going = next((each for each in self._desk.control.running() if each.run_id == run_id), None)
        run = await self._desk.run(run_id)
        if run is None and going is not None:
            run = self._begun(going)
        if run is None:
            raise NotThere
        if going is not None:
            run = replace(run, counts=going.counts)
        now, watch = self._desk.now(), self._desk.watch
        values = {
            "run": run,
            "look": charts.look(run) if run.outcome or going else "unfinished",
            "progress": views.progress(going, now) if going else None,
            "steps": timeline(run, watch.noted(run_id, run.collection)),
            "way": charts.way(watch.samples(run_id)),
            "started": views.moment(run.started_at, now),
            "known": run.mapping in self._desk.control.config.mappings,
        }
        return await large_page("run.html", self.common(request, title=f"Run of {run.mapping}") | values)

    def _begun(self, going: Running) -> RunReport:
        """A run that nothing was recorded of yet."""
        mapping = self._desk.control.config.mappings.get(going.mapping)
        return RunReport(
            run_id=going.run_id, mapping=going.mapping, collection=mapping.collection if mapping else going.mapping,
            mode=going.mode, outcome=None, trigger=going.trigger, started_at=going.started_at,
        )  # fmt: skip

    async def letters(self, request: Request) -> Response:
        """`GET /mappings/NAME/dead-letters/CODE`: the dead letters of a cause. Row contents take the token."""
        mapping, code = self.mapping_of(request), request.path_params["code"]
        after = request.query_params.get("after", "0")
        after_number = int(after) if after.isdecimal() and len(after) < 19 else 0
        found = await self._desk.letters(mapping.name, code, limit=LETTERS + 1, after=after_number)
        open_ = admitted(request).signed_in
        values = {
            "mapping": mapping,
            "code": code,
            "letters": [_shown(each, whole=open_) for each in found[:LETTERS]],
            "more": found[LETTERS - 1].number if len(found) > LETTERS else None,
            "after": after_number,
        }
        return await large_page("letters.html", self.common(request, title=f"{code} in {mapping.name}") | values)

    async def login(self, request: Request) -> Response:
        """`GET /login`: the form for signing in."""
        return self.sign_in(request, None, 200)

    def sign_in(self, request: Request, problem: str | None, status: int) -> HTMLResponse:
        """The form, and why it is shown. It tells strangers nothing of the daemon."""
        wanted = request.query_params.get("next") or request.url.path
        values = {"problem": problem, "wanted": "/" if wanted == "/login" else wanted, "acting": self._acting}
        return page("login.html", values, status=status)


def told_schedule(schedule: Schedule) -> tuple[str, str]:
    """When a schedule fires, and how it runs: `every 15m`, `full`."""
    if schedule.every is not None:
        return f"every {words.span(schedule.every).replace('.0s', 's')}", str(schedule.mode)
    zone = "" if schedule.timezone == "UTC" else f", {schedule.timezone}"
    return schedule.cron or "", f"{schedule.mode}{zone}"


def _shown(letter: DeadLetter, *, whole: bool) -> Mapping[str, Any]:
    """What may be seen of a dead letter: without the token nothing of the row."""
    refused = letter.rejection
    fields = {
        "number": letter.number, "reason": refused.reason, "status": refused.status, "at": letter.created_at,
        "run_id": letter.run_id, "id": None, "object": None, "response": None,
    }  # fmt: skip
    if whole:
        fields |= {"id": refused.id, "object": _pretty(refused.properties), "response": refused.response}
    return fields


def _pretty(properties: bytes | None) -> str | None:
    if properties is None:
        return None
    try:
        return json.dumps(json.loads(properties), ensure_ascii=False, indent=2)
    except ValueError:
        return properties.decode("utf-8", "replace")
