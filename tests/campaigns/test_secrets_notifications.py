"""Addresses of webhooks and pings are secrets, and what goes there holds none, nor values of rows."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import http_server
import pytest
from acceptance.support import CommandLine
from campaign import rounds
from canaries import PASSWORD, PASSWORD_IN_URL, VALUE, WRITE_KEY, assert_tells_nothing, secrets_in, values_in
from http_server import Reply, Request, answer, serving
from secret_world import CONFIG, ROOMS, STYLES, fails, prepared

NOTIFICATIONS = """\
notifications:
  webhook:
    url: "${HOOK:-}"
    template: "{mapping} {message} {error} {hint} {run_id} {host} {read} {trigger}"
    body: {routing_key: "${ROUTING_KEY:-}", summary: "{text}", all: ["{error}", "{message}"]}
  ping: {url: "${PING:-}", failure_url: "${PING:-}"}
"""


@pytest.fixture
def syncer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """The command in a folder with canaries, of which one is in the addresses."""
    made = prepared(tmp_path, capfd)
    made.write("syncer.yaml", NOTIFICATIONS + CONFIG + ROOMS)
    return made


def told_by(path: str) -> dict[str, str]:
    """The environment that names a receiver at a secret address."""
    return {"HOOK": f"{path}/{PASSWORD_IN_URL}", "PING": f"{path}/{PASSWORD_IN_URL}", "ROUTING_KEY": PASSWORD}


def echo(request: Request) -> Reply:
    """A refusal that repeats what came, and where to."""
    return answer(404, (request.line + request.body.decode()).encode(), ("Location", request.line.split()[1]))


def echoing_api(request: Request) -> Reply:
    """An API that refuses the key, and repeats key and rows."""
    return answer(401, json.dumps({"error": f"{WRITE_KEY} {VALUE}", "objects": request.body.decode()}).encode())


@pytest.mark.parametrize(
    "reply", [echo, http_server.always(answer(302, b"", ("Location", f"http://127.0.0.1:9/{PASSWORD_IN_URL}")))]
)
def test_a_receiver_that_refuses(
    syncer: CommandLine, reply: http_server.Script, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither it nor its address is told, in any style of the log; and what it got tells neither key nor row.

    Nor do the libraries tell it, though they may log what they want.
    """
    caplog.set_level(logging.DEBUG)
    with serving(reply) as receiver, serving(echoing_api) as api:
        fails(syncer, ENDPOINT=api.endpoint, **told_by(receiver.endpoint))
        for style in STYLES:
            told = syncer(*style, "check", "--notify", ENDPOINT=api.endpoint, **told_by(receiver.endpoint))
            assert told.code != 0
            assert_tells_nothing(told, syncer.folder)
    assert secrets_in(caplog.text.encode()) == []
    posted = [json.loads(each.body) for each in receiver.requests if each.body]
    assert len(posted) >= 2
    for body in posted:
        assert body.pop("routing_key") == PASSWORD
        assert secrets_in(json.dumps(body).encode()) == values_in(json.dumps(body).encode()) == []


@pytest.mark.skipif(not rounds(0, 1), reason="waits eight seconds between tries: in the long form")
def test_nobody_listens(syncer: CommandLine) -> None:
    """A refused connection is told without its place."""
    with serving(http_server.always(http_server.ACCEPTED)) as api:
        told = syncer("-v", "check", "--notify", ENDPOINT=api.endpoint, **told_by("http://127.0.0.1:9"))
    assert "there is no connection to it" in told.out
    assert_tells_nothing(told, syncer.folder)


@pytest.mark.parametrize(
    "value",
    [
        f"hooks.test/{PASSWORD_IN_URL}", f"ftp://hooks.test/{PASSWORD_IN_URL}", f"https://hooks.test/#{PASSWORD_IN_URL}",
        f"https://hooks.test/{{{PASSWORD_IN_URL}}}", f"https://hooks.test:{PASSWORD_IN_URL}/", PASSWORD,
    ],
)  # fmt: skip
def test_an_address_that_is_none(syncer: CommandLine, value: str) -> None:
    """It is refused without being repeated."""
    fails(syncer, "notifications.webhook.url", codes=(2,), ENDPOINT="http://127.0.0.1:9", HOOK=value)
