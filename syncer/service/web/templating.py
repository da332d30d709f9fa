"""Templates to answers: escaped by themselves, with the page's words as filters. No routes live here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse

from syncer.service.web import words
from syncer.service.web.views import STATES


def _segment(text: str) -> str:
    """Text as one part of a path."""
    return quote(text, safe="")


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("syncer.service.web"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": words.number, "size": words.size, "span": words.span, "segment": _segment}
    made.filters |= {"exact": words.moment, "clock": words.clock, "machine": words.machine, "plural": words.count}
    made.globals["STATES"] = STATES
    return made


_ENVIRONMENT: Final = _environment()


async def large_page(template: str, values: Mapping[str, Any]) -> HTMLResponse:
    """As `page`, in a thread: with many mappings it takes longer than the runs beside it should wait."""
    return await asyncio.to_thread(page, template, values)


def page(template: str, values: Mapping[str, Any], *, status: int = 200) -> HTMLResponse:
    """A template filled in."""
    return HTMLResponse(_ENVIRONMENT.get_template(template).render(values), status_code=status)
