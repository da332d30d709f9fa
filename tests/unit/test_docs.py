"""What README and example say is what the code does."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
import yaml

from syncer import __version__
from syncer.cli.app import COMMANDS, cli
from syncer.config import load_config
from syncer.core.model import Mode, Outcome, RunReport
from syncer.core.naming import object_id, snake_case
from syncer.core.run_fields import fields_of

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and subcommand with its full name."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            for sub, inner in command.commands.items():
                yield f"{name} {sub}", inner


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_has_help_with_an_example(name: str, command: click.Command) -> None:
    """`--help` says what it does and shows how."""
    assert command.help
    if not isinstance(command, click.Group):
        assert f"syncer {name}" in (command.epilog or "") or f"syncer --log-format json {name}" in (
            command.epilog or ""
        )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    """The table of commands is complete."""
    assert f"`{name}" in README


def test_every_option_the_readme_names_exists() -> None:
    """No option is promised that is not there."""
    known = {option for _, command in commands() for each in command.params for option in each.opts}
    known |= {option for each in cli.params for option in each.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) <= known | {"--help"}


def test_every_option_of_run_is_in_the_readme() -> None:
    """The command used most is told in full."""
    context = click.Context(cli)
    run = cli.get_command(context, "run")
    assert run is not None
    for parameter in run.params:
        assert f"`{parameter.opts[-1]}" in README


def test_exit_codes_are_documented() -> None:
    """All of them."""
    line = README.split("Exit codes:", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"\*\*(\d+)\*\*", line)) == {"0", "1", "2", "3", "4", "130", "143"}


def test_the_json_document_is_documented_with_its_keys() -> None:
    """The keys of `run --output json` in the README are those it prints, in their order."""
    told = re.search(r'\{"runs": \[\{(.+?)\}\]\}', README, re.DOTALL)
    assert told is not None
    keys = re.findall(r'"(\w+)"', told[1])
    run = RunReport(
        run_id="1", mapping="rooms", collection="rooms", mode=Mode.FULL, outcome=None, trigger="cli",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    assert keys == list(fields_of(run))


def test_outcomes_are_documented() -> None:
    """Every outcome a run can have."""
    for outcome in Outcome:
        assert f"`{outcome}`" in README


def test_the_table_of_names_is_true() -> None:
    """Each line of the snake_case table."""
    section = README.split("| column | property |", 1)[1].split("\n\n", 1)[0]
    pairs = re.findall(r"`([^`]+)` \| `([^`]+)`", section)
    assert len(pairs) == 8
    assert [(column, snake_case(column)) for column, _ in pairs] == pairs


def test_the_readmes_config_is_valid(tmp_path: Path) -> None:
    """The explained config loads as it stands."""
    blocks = re.findall(r"```yaml\n(version: 1.+?)```", README, re.DOTALL)
    assert len(blocks) == 1
    path = tmp_path / "syncer.yaml"
    path.write_text(blocks[0], "utf-8")
    config = load_config(path, {"APP_DATABASE_URL": "sqlite:///app.db", "SEGMENT_WRITE_KEY": "key"})
    assert list(config.mappings) == ["rooms"]
    assert yaml.safe_load(blocks[0])["mappings"]["rooms"]["tags"] == ["core"]


def test_extras_named_in_the_readme_exist() -> None:
    """`pip install '.[postgres]'` and its siblings."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for extra in ("postgres", "mysql", "mssql", "oracle", "snowflake", "bigquery", "duckdb"):
        assert extra in README
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE)


def test_the_changelog_knows_this_version() -> None:
    """CHANGELOG and package agree."""
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_ids_are_made_as_the_page_says() -> None:
    """Every line of its table, and the long ones."""
    page = (ROOT / "docs" / "types.md").read_text("utf-8").split("## Ids", 1)[1].split("\n## ", 1)[0]
    lines = re.findall(r"^\| (`.+`) \| `(.+)` \|$", page, re.MULTILINE)
    assert len(lines) == 4
    for key, made in lines:
        assert object_id(re.findall(r"`([^`]+)`", key)) == made
    assert "first 59, a `~`, and the first 40 hexadecimal digits of the whole one's SHA-256" in page
    assert object_id(["x" * 101]) == "x" * 59 + "~" + hashlib.sha256(b"x" * 101).hexdigest()[:40]
