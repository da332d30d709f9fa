"""The page's application asked without a network, as if by a client at some address. No fixtures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import httpx
from web_control import NOON, StillControl

from syncer.service.web import Watch
from syncer.service.web.app import create_app
from syncer.service.web.desk import Desk
from syncer.service.web.door import COOKIE, Door, Place
from syncer.service.web.sessions import Sessions

TOKEN = "a-token-of-some-length"
PORT = 8080


@dataclass(kw_only=True)
class Client:
    """One page, with a clock of its own. Off loopback it is served as `sync.example`."""

    control: StillControl
    watch: Watch = field(default_factory=lambda: Watch(lambda: NOON))
    loopback: bool = True
    token: str | None = TOKEN
    names: tuple[str, ...] = ()
    now: datetime = NOON
    #: seconds to add to the clock
    later: float = 0.0

    def __post_init__(self) -> None:
        host = "127.0.0.1" if self.loopback else "sync.example"
        self.host = f"{host}:{PORT}"
        place = Place(host=host, port=PORT, loopback=self.loopback, names=self.names)
        self.sessions = Sessions(self.token, self.monotonic)
        desk = Desk(self.control, self.watch, now=lambda: self.now, monotonic=self.monotonic)
        self.desk = desk
        self.app = create_app(desk, Door(place, self.sessions))

    def monotonic(self) -> float:
        return time.monotonic() + self.later

    def __call__(self, method: str, path: str, headers: Mapping[str, str] | None = None, **form: str) -> httpx.Response:
        """One request; what it began behind is over when it is answered."""
        return asyncio.run(self._ask(method, path, list((headers or {}).items()), form))

    def raw(self, method: str, path: str, headers: list[tuple[str, str]]) -> httpx.Response:
        """One request with these headers, also repeated ones, and no others that matter."""
        return asyncio.run(self._ask(method, path, headers, {}))

    async def _ask(
        self, method: str, path: str, headers: list[tuple[str, str]], form: Mapping[str, str]
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1" if self.loopback else "203.0.113.7", 50_000))
        if "host" not in {name.lower() for name, _ in headers}:
            headers = [("Host", self.host), *headers]
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{self.host}") as client:
            answer = await client.request(method, path, headers=headers, data=form or None)
        await self.desk.finish()
        return answer

    def session(self) -> dict[str, str]:
        """Headers of a browser that is signed in."""
        return {"Cookie": f"{COOKIE}={self.sessions.begin()}", "Origin": f"http://{self.host}"}


BEARER = {"Authorization": f"Bearer {TOKEN}"}
BROWSER = {"Accept": "text/html,application/xhtml+xml"}
