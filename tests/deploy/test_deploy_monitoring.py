"""Alerts and dashboard: understood by Prometheus, tested by its own rule tests, about metrics that exist."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deployed import DEPLOY, ROOT, documents, program, run

from syncer.sandbox.sample import create_sample

PROMETHEUS = DEPLOY / "prometheus"
RULES = [rule for group in documents(PROMETHEUS / "alerts.yaml")[0]["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((DEPLOY / "grafana" / "syncer.json").read_text("utf-8"))
PANELS = [each for each in DASHBOARD["panels"] if each["type"] != "row"]
#: what Prometheus itself adds
ITS_OWN = {"up"}
PAGE = re.compile(r"the status page is at http://127\.0\.0\.1:(\d+)")
TOKEN = "a-token-for-this-test"
CONFIG = f"""\
version: 1
sources: {{app: {{url: "sqlite:///app.db"}}}}
destination: {{write_key: a-write-key, endpoint: "http://127.0.0.1:9"}}
serve: {{token: {TOKEN}}}
mappings:
  rooms: {{table: rooms, watermark: updatedAt, schedules: [{{cron: "0 0 1 1 *"}}]}}
"""


def expressions() -> list[str]:
    """Every PromQL expression of the alerts and the dashboard, with the dashboard's variables filled in."""
    drawn = [target["expr"] for panel in PANELS for target in panel["targets"]]
    drawn += [each["expr"] for each in DASHBOARD["annotations"]["list"]]
    drawn += [re.sub(r"label_values\((.+), \w+\)", r"\1", each["definition"])
              for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]  # fmt: skip
    filled = (each.replace("$mapping", ".*") for each in drawn)
    return [rule["expr"] for rule in RULES] + [re.sub(r"\$__(rate_interval|range)", "5m", each) for each in filled]


def metrics_of(text: str) -> set[str]:
    """The metrics that a text names; a histogram's parts by its name."""
    names = set(re.findall(r"\b(?:syncer|process)_[a-z_]+\b", text))
    return {re.sub(r"_(bucket|sum|count)$", "", each) if "duration" in each else each for each in names}


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """`syncer serve`, and the port of its page."""

    process: subprocess.Popen[bytes]
    port: int


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """One that is up."""
    create_sample(tmp_path / "app.db")
    (tmp_path / "syncer.yaml").write_text(CONFIG, "utf-8")
    log = tmp_path / "log"
    command = [sys.executable, "-m", "syncer", "serve", "--port", "0"]
    with ExitStack() as stack:
        told = stack.enter_context(log.open("wb"))
        process = stack.enter_context(
            subprocess.Popen(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, stdout=told, stderr=told)
        )
        stack.callback(process.kill)
        deadline = time.monotonic() + 60
        while (at := PAGE.search(log.read_text())) is None or status(int(at[1]), "/readyz") != 200:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield Daemon(process=process, port=int(at[1]))


def get(port: int, path: str) -> tuple[int, str]:
    """What the daemon answers; status 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def status(port: int, path: str) -> int:
    """Of its answer."""
    return get(port, path)[0]


def test_the_probes_are_answered(daemon: Daemon) -> None:
    """What Docker and Kubernetes ask for; and SIGTERM ends it with the code that the unit takes for a good one."""
    told = {path: status(daemon.port, path) for path in ("/healthz", "/readyz", "/metrics", "/nowhere")}
    assert told == {"/healthz": 200, "/readyz": 200, "/metrics": 200, "/nowhere": 404}
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(60) == 143


def test_every_metric_that_is_asked_for_exists(daemon: Daemon) -> None:
    """Those of every expression of alerts and dashboard, and those that the pages name, are told by the daemon."""
    told = set(re.findall(r"^# TYPE (\w+) ", get(daemon.port, "/metrics")[1], re.MULTILINE))
    asked = {name for each in expressions() for name in metrics_of(each)}
    assert len(asked) > 20
    assert sorted(asked - told) == []
    # what the daemon tells is drawn or watched, but for what one looks up by hand
    assert {each for each in told if each.startswith("syncer_")} - asked == {"syncer_build_info"}
    pages = "".join(each.read_text("utf-8") for each in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    named = set(re.findall(r"\bsyncer_[a-z_]+_(?:total|seconds|info|held|stuck|rows|letters|successful)\b", pages))
    assert sorted(named - told) == []


def test_prometheus_understands_the_alerts_and_the_scraping() -> None:
    """promtool, which also looks for the rule files."""
    told = run(program("promtool"), "check", "rules", PROMETHEUS / "alerts.yaml")
    assert told.returncode == 0, told.stdout
    told = run(program("promtool"), "check", "config", "--syntax-only", PROMETHEUS / "prometheus.yaml")
    assert told.returncode == 0, told.stdout


@pytest.mark.parametrize("name", ["alerts.test.yaml", "alerts-days.test.yaml"])
def test_alerts_fire_when_they_should(name: str) -> None:
    """Prometheus' own tests of rules: series over time, and which alerts there are then."""
    told = run(program("promtool"), "test", "rules", PROMETHEUS / name)
    assert told.returncode == 0, told.stdout


def test_every_alert_is_tested_and_told() -> None:
    """Each fires in a test of its own and has words for a person."""
    tested = "".join(each.read_text("utf-8") for each in PROMETHEUS.glob("*.test.yaml"))
    fired = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:(?! \[\])", tested))
    assert fired == {rule["alert"] for rule in RULES}
    for rule in RULES:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}


def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    """Those of the dashboard as well, as if they were rules."""
    rules = [{"record": f"drawn:{number}", "expr": each} for number, each in enumerate(expressions())]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": "drawn", "rules": rules}]}))
    told = run(program("promtool"), "check", "rules", path)
    assert told.returncode == 0, told.stdout


def sources(part: object) -> Iterator[Any]:
    """Every data source that is named anywhere in a part of the dashboard."""
    if isinstance(part, dict):
        yield from [part["datasource"]] if "datasource" in part else []
        for each in part.values():
            yield from sources(each)
    elif isinstance(part, list):
        for each in part:
            yield from sources(each)


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """Its data source is a variable, its ids are its own, and no panel lies on another."""
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in sources(DASHBOARD))
    ids = [each["id"] for each in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    covered: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & covered, panel["title"]
        assert at["x"] + at["w"] <= 24
        covered |= cells


@pytest.mark.parametrize("panel", PANELS, ids=lambda each: each["title"])
def test_panels_say_what_they_show(panel: dict[str, Any]) -> None:
    """A title, a sentence, a unit, and a query for every letter once."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    letters = [each["refId"] for each in panel["targets"]]
    assert len(letters) == len(set(letters)) > 0
