"""The keys under `notifications`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import jsonschema
import pytest
import yaml

from syncer.config import json_schema
from syncer.core.alerts import AlertKind

HOOK = "https://hooks.test/T0/B0/s3cr3t"


def test_all_of_them(load: Callable[..., object], valid: str) -> None:
    """A webhook and pings as written."""
    text = f"""
notifications:
  webhook:
    url: {HOOK}
    kinds: [failure]
    template: "{{mapping}}: {{message}}"
    body: {{summary: "{{text}}", tags: ["{{kind}}"], routing_key: "${{ROUTING}}"}}
  ping: {{url: "https://ping.test/{{mapping}}", failure_url: "http://ping.test/fail?of={{mapping}}"}}
"""
    config = load(valid + text, {"ROUTING": "r0ut1ng"})
    webhook = config.notifications.webhook
    assert (webhook.url, webhook.kinds) == (HOOK, {AlertKind.FAILURE})
    assert webhook.form.template == "{mapping}: {message}"
    assert webhook.form.body == {"summary": "{text}", "tags": ["{kind}"], "routing_key": "r0ut1ng"}
    assert config.notifications.ping == "https://ping.test/{mapping}"
    assert config.notifications.failure_ping == "http://ping.test/fail?of={mapping}"
    assert "s3cr3t" not in repr(config)
    assert "r0ut1ng" not in repr(config)
    assert "ping.test" not in repr(config)


def test_nobody_is_told_unless_asked_for(load: Callable[..., object], valid: str) -> None:
    """Also where a variable that would name a webhook is empty."""
    assert not load(valid).notifications.wanted
    text = "notifications: {webhook: {url: '${HOOK:-}', kinds: [failure]}, ping: {url: '${PING:-}'}}\n"
    assert not load(valid + text).notifications.wanted
    assert load(valid + text, {"HOOK": HOOK}).notifications.wanted
    assert load(valid + text, {"PING": HOOK}).notifications.wanted


def test_limits_of_a_mapping(load: Callable[..., object], mapping: Callable[[str], str]) -> None:
    """A duration and a share; without them there are none."""
    rooms = load(mapping("max_lag: 26h\nmax_deviation: 50%")).mappings["rooms"]
    assert (rooms.max_lag, rooms.max_deviation) == (timedelta(hours=26), 0.5)
    rooms = load(mapping("send: all")).mappings["rooms"]
    assert (rooms.max_lag, rooms.max_deviation) == (None, None)


@pytest.mark.parametrize(
    ("line", "path", "words"),
    [
        ("webhook: {url: hooks.test}", "webhook.url", "expected a URL such as"),
        ("webhook: {url: 'ftp://hooks.test/x'}", "webhook.url", "expected a URL such as"),
        ("webhook: {url: 'https://hooks.test/#x'}", "webhook.url", "no `#`"),
        ("ping: {url: 'https://hooks.test/{collection}'}", "ping.url", "`{mapping}` is the only field"),
        ("webhook: {kinds: [failures]}", "webhook.kinds", "did you mean `failure`?"),
        ("webhook: {kinds: []}", "webhook.kinds", "at least one"),
        (
            "webhook: {template: '{maping} failed'}",
            "webhook.template",
            "no field `{maping}`; did you mean `{mapping}`?",
        ),
        ("webhook: {template: '{text}'}", "webhook.template", "no field `{text}`"),
        ("webhook: {template: '{'}", "webhook.template", "write `{{` and `}}`"),
        ("webhook: {template: '{mapping.__class__}'}", "webhook.template", "only the name of a field"),
        ("webhook: {template: '{s3cr3t/key}'}", "webhook.template", "only the name of a field"),
        ("webhook: {body: {a: [{b: '{maping}'}]}}", "webhook.body", "did you mean `{mapping}`?"),
        ("webhook: {body: text}", "webhook.body", "expected keys and values"),
        ("webhok: {url: x}", "webhok", "did you mean `webhook`?"),
        ("ping: {fail_url: x}", "ping.fail_url", "did you mean `failure_url`?"),
    ],
)
def test_problems(problems: Callable[..., object], valid: str, line: str, path: str, words: str) -> None:
    """Each is told at its key, in one sentence, without what may be secret."""
    (found,) = problems(valid + f"notifications:\n  {line}\n")
    assert found.path.startswith(f"notifications.{path}")
    assert words in found.message
    assert "s3cr3t" not in str(found)
    assert "hooks.test" not in found.message.replace("hooks.test`", "")


REST = "version: 1\nsources: {app: {url: 'sqlite:///app.db'}}\ndestination: {write_key: k}\n"


@pytest.mark.parametrize(
    ("notifications", "limits", "valid"),
    [
        ("{}", "", True),
        (f"{{webhook: {{url: '{HOOK}', kinds: [failure, recovery]}}}}", "max_lag: 1d, max_deviation: 0.5", True),
        ("{webhook: {url: '${HOOK:-}', body: {a: [{b: '{text}'}], c: 5}}}", "max_lag: '${LAG:-1h}'", True),
        ("{webhook: {kinds: []}}", "", False),
        ("{webhook: {kinds: [failures]}}", "", False),
        ("{webhook: {body: [a]}}", "", False),
        ("{webhook: {body: {}}}", "", False),
        ("{pings: {}}", "", False),
        ("{}", "max_lag: 5", False),
        ("{}", "max_deviation: 101%", False),
    ],
)
def test_the_schema_and_the_loader_agree(
    load: Callable[..., object], problems: Callable[..., object], notifications: str, limits: str, valid: bool
) -> None:
    """What an editor lets pass loads, what it underlines is refused."""
    text = f"{REST}notifications: {notifications}\nmappings: {{rooms: {{table: rooms, {limits}}}}}\n"
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(yaml.safe_load(text)) == valid
    (load if valid else problems)(text)
