"""docs/notifications.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from syncer.config import load_config
from syncer.core import alerts
from syncer.core.alerts import AlertKind
from syncer.core.notes import FIELDS, TEXT

DOC = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text("utf-8")
BLOCKS = re.findall(r"```yaml\n(.+?)```", DOC, re.DOTALL)
ENVIRON = dict.fromkeys(("SLACK_WEBHOOK_URL", "PING_URL", "PAGERDUTY_KEY"), "https://hooks.test/x")
REST = """
version: 1
sources: {app: {url: "sqlite:///app.db"}}
destination: {write_key: key}
mappings: {rooms: {table: rooms}}
"""


def test_every_field_is_listed_and_no_other() -> None:
    """The table of fields is complete."""
    table = DOC.split("| field | |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"\{(\w+)\}", table.replace("`template`", ""))) == {*FIELDS, TEXT}


def test_every_cause_is_listed_with_its_kind() -> None:
    """The table of causes is what `core.alerts` tells."""
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", DOC, re.MULTILINE)[1:]
    source = Path(alerts.__file__).read_text("utf-8")
    told = set(re.findall(r'kind=AlertKind\.(\w+), cause="(\w+)"', source)) - {("RECOVERY", "stuck")}
    assert {(kind.upper(), cause) for kind, cause in rows} == told
    assert {kind for kind, _ in rows} | {"recovery"} == set(AlertKind)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_examples_are_valid(block: str, tmp_path: Path) -> None:
    """Each loads, beside what every config needs."""
    assert "notifications" in yaml.safe_load(block)
    (tmp_path / "syncer.yaml").write_text(block + REST, "utf-8")
    assert load_config(tmp_path / "syncer.yaml", ENVIRON).notifications.wanted
