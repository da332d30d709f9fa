"""The page as an ASGI application: routes, the door before all of them, headers and errors behind all of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncer.errors import SyncerError
from syncer.service.web.actions import Actions
from syncer.service.web.desk import Desk
from syncer.service.web.door import Door, Refused
from syncer.service.web.exposition import Programs
from syncer.service.web.pages import NotThere, Pages
from syncer.service.web.refusals import failed, turned_away

_log = logging.getLogger("syncer.web")

#: nothing but our own files, and no script or style in the pages themselves
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
#: a stricter referrer policy would have browsers send `Origin: null` with our own forms
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def create_app(desk: Desk, door: Door) -> Starlette:
    """The page. Every request goes by the door first, whatever its route."""
    sessions = door.sessions
    pages = Pages(desk, acting=sessions.configured)
    actions, programs = Actions(desk, pages, sessions), Programs(desk)
    mapping = "/mappings/{mapping}"
    app = Starlette(
        routes=[
            Route("/", pages.overview),
            Route(mapping, pages.mapping),
            Route(mapping + "/dead-letters/{code}", pages.letters),
            Route("/runs/{run}", pages.run),
            Route(mapping + "/run", actions.run, methods=["POST"]),
            Route(mapping + "/pause", actions.pause, methods=["POST"]),
            Route(mapping + "/resume", actions.resume, methods=["POST"]),
            Route(mapping + "/retry", actions.retry, methods=["POST"]),
            Route("/login", pages.login),
            Route("/login", actions.login, methods=["POST"]),
            Route("/logout", actions.logout, methods=["POST"]),
            Route("/metrics", programs.metrics),
            Route("/healthz", programs.healthz),
            Route("/readyz", programs.readyz),
            Route("/static/{name}", _Static().serve),
        ],
    )
    app.router.redirect_slashes = False
    for kind in (HTTPException, NotThere, SyncerError, ClientDisconnect):
        app.add_exception_handler(kind, failed)
    # a hundred mappings make a page of half a megabyte, which shrinks to a twentieth
    app.add_middleware(GZipMiddleware, minimum_size=2_000, compresslevel=4)
    app.add_middleware(_Guarded, door=door, pages=pages)
    return app


class _Static:
    """The files of the design, read once: no path of a request ever reaches the disk."""

    def __init__(self) -> None:
        folder = files("syncer.service.web") / "static"
        self._files: Mapping[str, bytes] = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}

    async def serve(self, request: Request) -> Response:
        """`GET /static/NAME`."""
        name = request.path_params["name"]
        content = self._files.get(name)
        if content is None:
            raise NotThere
        return Response(content, media_type=_TYPES[name.rpartition(".")[2]])


class _Guarded:
    """The door before the application, and the headers and the last resort around it."""

    def __init__(self, app: ASGIApp, door: Door, pages: Pages) -> None:
        self._app = app
        self._door = door
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        begun = False

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            await self._answer(scope, receive, with_headers)
        except Exception as error:  # noqa: BLE001  the job boundary
            # the text of an error may hold anything, and a traceback too
            _log.error("the page failed: unexpected %s", type(error).__name__)
            _log.debug("unexpected error in the page", exc_info=error)
            if not begun:
                await PlainTextResponse("something went wrong; the log has it\n", 500)(scope, receive, with_headers)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        decided = self._door.admit(scope["method"], scope["path"], Headers(scope=scope), client[0] if client else "")
        if not isinstance(decided, Refused):
            scope["syncer.admitted"] = decided
            await self._app(scope, receive, send)
            return
        await turned_away(Request(scope, receive), decided, self._pages)(scope, receive, send)
