"""Who may ask what of the page. One decision for every request, made before any route is looked at.

In this order:
1. A `Host` that is not ours is refused: a page elsewhere could have had its own name lead here (DNS rebinding).
2. What changes something must come from our own pages, or from a program that sends the token and no `Origin`.
3. `/healthz`, `/readyz`, the form for signing in and the design's files, which are the same everywhere, are open.
4. Reading is free to whoever came to a loopback address by a loopback name; all else takes the token, by
   `Authorization: Bearer` or by the session that the form begins.

A new route falls under 2 and 4 by itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from syncer.service.web.sessions import Sessions, TooManyTries

COOKIE: Final = "syncer_session"
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_OPEN: Final = ("/healthz", "/readyz")
#: what a proxy adds: then a loopback connection is not one of this machine's own
_FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
_SAFE: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why a request is not answered."""

    status: int
    message: str
    hint: str
    #: seconds after which to try again
    wait: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """What a request may do."""

    #: it brought the token, or a session's cookie
    signed_in: bool
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the page is served."""

    #: as it was asked for: a name or an address
    host: str
    port: int
    loopback: bool
    #: further names under which it is reached, `name` or `name:port`
    names: Sequence[str] = ()


class Door:
    """Admits requests, or says why not."""

    def __init__(self, place: Place, sessions: Sessions) -> None:
        self._place = place
        self.sessions = sessions

    def admit(self, method: str, path: str, headers: Headers, address: str) -> Admitted | Refused:
        """Decide. `address`: of the client, for the limit on guessing."""
        if not self._is_ours(headers):
            return Refused(
                status=421, message="this page is not served under that name",
                hint="use the address that `syncer serve` printed, or list the name in `serve.hosts`",
            )  # fmt: skip
        if method not in _SAFE and not _from_here(headers):
            return Refused(
                status=403, message="this request does not come from a page of syncer",
                hint="use the buttons of the page, or send the token as `Authorization: Bearer` and no Origin",
            )  # fmt: skip
        if path in _OPEN and method in _SAFE:
            return Admitted(signed_in=False)
        try:
            admitted = self._identify(headers, address)
        except TooManyTries as error:
            return Refused(
                status=429, message="too many wrong tokens", hint="wait a little, then try again", wait=error.wait
            )
        if admitted.signed_in or self._is_open(method, path, headers):
            return admitted
        return self._unknown(method)

    def _unknown(self, method: str) -> Refused:
        if not self.sessions.configured:
            return Refused(
                status=403, message="nothing can be done from the page while no token is configured",
                hint="set `serve: {token: ${SYNCER_TOKEN}}` and start syncer with that variable",
            )  # fmt: skip
        told = "reading this page takes the token" if method in _SAFE else "this takes the token"
        return Refused(status=401, message=told, hint="sign in with `serve.token`, or send it as a Bearer token")

    def _is_open(self, method: str, path: str, headers: Headers) -> bool:
        if method not in _SAFE:
            return path == "/login" and self.sessions.configured
        return path == "/login" or path.startswith("/static/") or self._is_local(headers)

    def _identify(self, headers: Headers, address: str) -> Admitted:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.sessions.configured:
            return Admitted(signed_in=self.sessions.is_token(token.strip(), address))
        session = _cookie(headers)
        known = session is not None and self.sessions.knows(session)
        return Admitted(signed_in=known, session=session if known else None)

    def _is_local(self, headers: Headers) -> bool:
        """Whether it came from this machine, by a name of this machine, and through no proxy."""
        name, _ = _split(headers["host"])
        return self._place.loopback and name in _LOCAL and not any(each in headers for each in _FORWARDED)

    def _is_ours(self, headers: Headers) -> bool:
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            return False
        name, port = _split(hosts[0])
        if hosts[0].lower() in self._place.names or (name and name in self._place.names):
            return True
        if self._place.loopback:
            return name in _LOCAL and (port if port is not None else 80) == self._place.port
        # only names can be made to lead here by somebody else, so an address written as one is as good as ours
        return name in _LOCAL or name == self._place.host.lower() or _is_address(name)


def _split(host: str) -> tuple[str, int | None]:
    """Name, without brackets, and port of a `Host` header; an empty name where it is not one."""
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname or "", parts.port
    except ValueError:
        return "", None
    stray = parts.path or parts.query or parts.fragment or parts.username is not None or host.endswith(":")
    return ("", None) if stray else (name, port)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _from_here(headers: Headers) -> bool:
    """Whether the request was sent by one of our pages: browsers say so, and programs send their token themselves."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("authorization", "").lower().startswith("bearer ")
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc.lower() == headers["host"].lower()


def _cookie(headers: Headers) -> str | None:
    jar = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        return None
    return jar[COOKIE].value if COOKIE in jar else None
