"""A sandbox and a plain HTTP sender for its bulk API. No tests and no syncer client here."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from syncer.sandbox.app import create_app
from syncer.sandbox.faults import Faults
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse

HEADERS = {"Content-Type": "binary/octet-stream", "Content-Encoding": "gzip"}
NO_FAULTS = Faults()


class Sender:
    """Sends what it is told to one sandbox."""

    def __init__(self, url: str, key: str = "key", local_address: str | None = None) -> None:
        self.http = httpx.Client(
            base_url=url,
            auth=httpx.BasicAuth(key, ""),
            timeout=30,
            transport=httpx.HTTPTransport(local_address=local_address),
        )

    def start(self) -> str:
        """A new session's id."""
        answer = self.http.post("/v0/start")
        assert answer.status_code == 201, answer.text
        return str(answer.json()["sync_id"])

    def upload(self, sync_id: str, *objects: dict) -> httpx.Response:
        return self.upload_bytes(sync_id, gzip.compress(lines(*objects), 1))

    def upload_bytes(self, sync_id: str, body: bytes, **headers: str) -> httpx.Response:
        return self.http.post(f"/v0/upload/{sync_id}", content=body, headers=HEADERS | headers)

    def keep_alive(self, sync_id: str) -> httpx.Response:
        return self.http.post(f"/v0/keep-alive/{sync_id}")

    def finish(self, sync_id: str, error: str = "") -> httpx.Response:
        return self.http.post(f"/v0/finish/{sync_id}", json={"error": error})


@contextmanager
def sending(
    warehouse: Warehouse, faults: Faults = NO_FAULTS, write_key: str | None = None, **rest: object
) -> Iterator[Sender]:
    """A sender to a sandbox around this warehouse."""
    with running(create_app(warehouse, faults, write_key, **rest)) as url:
        sender = Sender(url)
        with sender.http:
            yield sender


@contextmanager
def bulk_sandbox(
    faults: Faults = NO_FAULTS, write_key: str | None = None, **rest: object
) -> Iterator[tuple[Warehouse, Sender]]:
    """A warehouse in memory, and a sender to a sandbox around it."""
    with Warehouse(":memory:") as warehouse, sending(warehouse, faults, write_key, **rest) as sender:
        yield warehouse, sender


def room(number: int, collection: str = "rooms", **properties: object) -> dict:
    return {"id": str(number), "collection": collection, "properties": properties or {"n": number}}


def lines(*objects: dict) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)
