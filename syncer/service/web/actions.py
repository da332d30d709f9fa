"""What can be done from the page: run now, pause, resume, retry dead letters; and signing in and out."""

from __future__ import annotations

from functools import partial
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from syncer.core.model import Mode
from syncer.service.web.desk import Desk
from syncer.service.web.door import COOKIE
from syncer.service.web.pages import NotThere, Pages, admitted
from syncer.service.web.refusals import Unclear
from syncer.service.web.sessions import LASTS, Sessions, TooManyTries

#: bytes of a form; digits of a dead letter's number; dead letters of a cause that are retried at once
_FORM: Final = 8_192
_DIGITS: Final = 18
AT_ONCE: Final = 1_000


class Actions:
    """Forms that are sent. Each answers with the page that it was sent from."""

    def __init__(self, desk: Desk, pages: Pages, sessions: Sessions) -> None:
        self._desk = desk
        self._pages = pages
        self._sessions = sessions

    async def run(self, request: Request) -> Response:
        """`POST /mappings/NAME/run`: `mode` is `incremental` or `full`."""
        form = await _form(request)
        mapping = self._pages.mapping_of(request).name
        mode = form.get("mode", str(Mode.INCREMENTAL))
        if mode not in list(Mode):
            raise Unclear(f"there is no mode {mode!r}", "incremental or full")
        await self._desk.control.run_now(mapping, Mode(mode))
        return self._back(mapping, form)

    async def pause(self, request: Request) -> Response:
        """`POST /mappings/NAME/pause`."""
        form, mapping = await _form(request), self._pages.mapping_of(request).name
        await self._desk.control.pause(mapping)
        return self._back(mapping, form)

    async def resume(self, request: Request) -> Response:
        """`POST /mappings/NAME/resume`."""
        form, mapping = await _form(request), self._pages.mapping_of(request).name
        await self._desk.control.resume(mapping)
        return self._back(mapping, form)

    async def retry(self, request: Request) -> Response:
        """`POST /mappings/NAME/retry`: the dead letter `number`, those of `code`, or all. The run goes on behind."""
        form, mapping = await _form(request), self._pages.mapping_of(request).name
        numbers: list[int] | None = None
        if "number" in form:
            numbers = [_number(form["number"])]
        elif "code" in form:
            numbers = [each.number for each in await self._desk.letters(mapping, form["code"], limit=AT_ONCE)]
            if not numbers:
                raise NotThere
        self._desk.send_for(mapping, partial(self._desk.control.retry_dead_letters, mapping, numbers))
        return self._back(mapping, form)

    def _back(self, mapping: str, form: dict[str, str]) -> Response:
        self._desk.forget()
        return RedirectResponse(inner(form.get("back"), f"/mappings/{quote(mapping, safe='')}"), 303)

    async def login(self, request: Request) -> Response:
        """`POST /login`: begin a session for who gives the token."""
        form = await _form(request)
        address = request.client.host if request.client else ""
        try:
            right = self._sessions.is_token(form.get("token", "").strip(), address)
        except TooManyTries as error:
            answer: Response = self._pages.sign_in(request, "Too many wrong tokens. Wait a little.", 429)
            answer.headers["Retry-After"] = str(int(error.wait) + 1)
            return answer
        if not right:
            return self._pages.sign_in(request, "That is not the token.", 401)
        answer = RedirectResponse(inner(form.get("next"), "/"), 303)
        https = urlsplit(request.headers.get("origin", "")).scheme == "https"
        answer.set_cookie(
            COOKIE, self._sessions.begin(), max_age=int(LASTS), path="/", httponly=True, samesite="strict", secure=https
        )
        return answer

    async def logout(self, request: Request) -> Response:
        """`POST /logout`: end the session."""
        session = admitted(request).session
        if session is not None:
            self._sessions.end(session)
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return answer


def inner(path: str | None, otherwise: str) -> str:
    """A path of ours to go to next; anything that could lead elsewhere is not followed."""
    if not path or not path.startswith("/") or path.startswith("//") or not path.isprintable() or "\\" in path:
        return otherwise
    return quote(path, safe="/?&=%:+,;@!$'()*~-._")


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, the first of each name."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM:
            raise HTTPException(413, "the form is too long")
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise HTTPException(413, "the form has too many fields") from None
    return {name: values[0] for name, values in fields.items()}


def _number(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= _DIGITS:
        return int(text)
    raise Unclear("a dead letter is named by its number", "leave `number` out to retry all of the mapping")
