"""Somebody who is notified: a receiver over real HTTP that remembers what came, and a config that names it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from http_server import Reply, Request, ScriptedServer, answer, serving

OK = answer(200, b"ok")


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """What came."""

    server: ScriptedServer

    @property
    def hook(self) -> str:
        """Where to post to."""
        return f"{self.server.endpoint}/hook"

    @property
    def posts(self) -> list[Any]:
        """The JSON of every post."""
        return [json.loads(each.body) for each in self.server.requests if each.line.startswith("POST ")]

    @property
    def texts(self) -> list[str]:
        """The first line of every text, without the word that it begins with."""
        return [each["text"].splitlines()[0].removeprefix("syncer: ") for each in self.posts]

    @property
    def pings(self) -> list[str]:
        """The path of every ping."""
        return [each.line.split()[1] for each in self.server.requests if each.line.startswith("GET ")]


@contextmanager
def receiving(script: Callable[[Request], Reply] = lambda _: OK) -> Iterator[Receiver]:
    """Receive while the context is open."""
    with serving(script) as server:
        yield Receiver(server=server)
