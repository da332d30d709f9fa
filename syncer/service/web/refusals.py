"""Answers to what is not answered: who is turned away, what is not there, what failed. No traceback, ever."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from syncer.errors import StateError, SyncerError, UsageError
from syncer.service.web.door import Refused
from syncer.service.web.pages import NotThere, Pages
from syncer.service.web.templating import page


class Unclear(UsageError):
    """A form that asks for what there is none of."""


def turned_away(request: Request, refused: Refused, pages: Pages) -> Response:
    """What the door says; people who may sign in get the form."""
    if refused.status == 401 and _is_browser(request) and request.method == "GET":
        answer: Response = pages.sign_in(request, None, 401)
    else:
        answer = _told(request, refused.status, refused.message, refused.hint)
    if refused.status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="syncer"'
    if refused.wait is not None:
        answer.headers["Retry-After"] = str(int(refused.wait) + 1)
    return answer


async def failed(request: Request, error: Exception) -> Response:
    """What a route could not do. The errors of syncer are written to be read; of others only the kind is told."""
    match error:
        case NotThere():
            return _told(request, 404, "there is no such page", "the overview has what there is")
        case HTTPException():
            answer = _told(request, error.status_code, error.detail.lower(), "the overview has what there is")
            answer.headers.update(error.headers or {})
            return answer
        case ClientDisconnect():
            return Response(status_code=400)  # nobody reads it
        case SyncerError():
            return _told(request, _status_of(error), error.message, error.hint)
    raise error


def _status_of(error: SyncerError) -> int:
    if isinstance(error, StateError):
        return 503
    if isinstance(error, Unclear):
        return 400
    return 409 if isinstance(error, UsageError) else 500


def _told(request: Request, status: int, message: str, hint: str | None) -> Response:
    if not _is_browser(request):
        return PlainTextResponse(f"{message}\n" + (f"Try: {hint}\n" if hint else ""), status)
    return page("problem.html", {"status": status, "message": message, "hint": hint}, status=status)


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")
