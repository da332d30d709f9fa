"""compose.yaml: valid, closed, and its sample, configuration and sandbox work together."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import servers
import warm
import yaml
from deployed import DEPLOY, DRAIN, IMAGE, documents, module, parses, variables
from sqlalchemy import make_url

from syncer.sandbox.app import create_app
from syncer.sandbox.server import running
from syncer.sandbox.warehouse import Warehouse

FOLDER = DEPLOY / "docker"
COMPOSE = documents(FOLDER / "compose.yaml")[0]
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, each in SERVICES.items() if each["image"] == IMAGE]
EXAMPLE = dict(
    line.split("=", 1)
    for line in (FOLDER / "env.example").read_text().splitlines()
    if line and not line.startswith("#")
)


def faults(document: dict[str, Any]) -> list[str]:
    """What the Compose Specification has against it. Its model lets unknown keys pass, so they are looked for here."""
    models = module("compose_spec").models
    known = {field.alias or name for name, field in models.ComposeSpecification.model_fields.items()}
    keys = {field.alias or name for name, field in models.Service.model_fields.items()}
    found = [key for key in document if key not in known and not key.startswith("x-")]
    found += [f"{name}.{key}" for name, each in document["services"].items() for key in each if key not in keys]
    try:
        models.ComposeSpecification.model_validate({k: v for k, v in document.items() if k in known})
    except ValueError as error:
        found.append(str(error))
    return found


def test_it_is_a_compose_file() -> None:
    """By the specification."""
    assert faults(COMPOSE) == []


@pytest.mark.parametrize(
    ("word", "worse"),
    [("read_only:", "read_onli:"), ("condition: service_healthy", "condition: happy"), ("\nvolumes:", "\nvolumen:")],
)
def test_faults_would_be_found(word: str, worse: str) -> None:
    """Of a key of a service, of a value, and of a key at the top."""
    text = (FOLDER / "compose.yaml").read_text("utf-8")
    assert word in text
    assert faults(yaml.safe_load(text.replace(word, worse))) != []


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_closed(name: str) -> None:
    """No privilege is kept or gained; what is published is published on loopback; ours write to volumes only."""
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "devices"} & set(service)
    assert [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")] == []
    assert "healthcheck" in service or name == "syncer"
    if name in OURS:
        assert service["read_only"] is True
        assert "cap_add" not in service


def test_only_the_page_leads_out() -> None:
    """Database and sandbox are in a network without a way out."""
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert {name for name, each in SERVICES.items() if each["networks"] != ["inside"]} == {"syncer"}


@pytest.mark.parametrize("name", OURS)
def test_services_run_commands_that_exist(name: str) -> None:
    """With options that they have."""
    parses(*SERVICES[name]["command"])


def test_services_wait_for_each_other_and_for_the_drain() -> None:
    """The daemon begins when both others are well, and is killed later than it may take to stop."""
    daemon = SERVICES["syncer"]
    assert {name: each["condition"] for name, each in daemon["depends_on"].items()} == {
        "postgres": "service_healthy",
        "sandbox": "service_healthy",
    }
    assert int(daemon["stop_grace_period"].removesuffix("s")) > DRAIN


def test_every_variable_is_in_the_example() -> None:
    """Those of the compose file stand in env.example, no more; those of the configuration are given to the daemon."""
    text = (FOLDER / "compose.yaml").read_text("utf-8")
    assert set(re.findall(r"\$\{(\w+)", text)) == set(EXAMPLE)
    assert set(variables((FOLDER / "syncer.yaml").read_text())) <= set(SERVICES["syncer"]["environment"])


def test_no_service_knows_what_it_does_not_need() -> None:
    """The superuser's password is PostgreSQL's alone, and the token the daemon's."""
    told = {name: yaml.safe_dump(each) for name, each in SERVICES.items()}
    assert [name for name in told if "POSTGRES_PASSWORD" in told[name]] == ["postgres"]
    assert [name for name in told if "SYNCER_TOKEN" in told[name]] == ["syncer"]


@pytest.fixture
def sample(postgres_server: servers.Server) -> Iterator[Callable[[str, str], str]]:
    """URL of a user in a database, after sample.sh ran as PostgreSQL's image runs it. All is removed at the end."""
    admin = f"host=127.0.0.1 port={postgres_server.port} user=postgres dbname=postgres"
    clean = [f"DROP DATABASE IF EXISTS {each} WITH (FORCE)" for each in ("app", "syncer")]
    clean += [f"DROP ROLE IF EXISTS {each}" for each in ("reader", "syncer")]
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("CREATE DATABASE app")
        try:
            environment = {
                **EXAMPLE, "POSTGRES_USER": "postgres", "PGHOST": "127.0.0.1", "PGPORT": str(postgres_server.port),
                "PATH": f"{servers.postgres_programs()}:{os.environ['PATH']}",
            }  # fmt: skip
            subprocess.run(["sh", FOLDER / "sample.sh"], env=environment, check=True, capture_output=True, timeout=60)
            yield lambda user, database: f"postgresql://{user}@127.0.0.1:{postgres_server.port}/{database}"
        finally:
            for statement in clean:
                connection.execute(statement.encode())


def test_the_sample_is_synced(sample: Callable[[str, str], str], tmp_path: Path) -> None:
    """As the three services would: what sample.sh makes is read by its reader, and all of it reaches the sandbox."""
    (tmp_path / "syncer.yaml").write_text((FOLDER / "syncer.yaml").read_text("utf-8"), "utf-8")
    with Warehouse(":memory:") as warehouse, running(create_app(warehouse)) as url:
        environment = {
            **{name: EXAMPLE[name] for name in ("SEGMENT_WRITE_KEY", "SYNCER_TOKEN")},
            "APP_DATABASE_URL": sample("reader", "app"),
            "STATE_URL": sample("syncer", "syncer"),
            "SEGMENT_ENDPOINT": url,
        }
        for command in ("check", "run"):
            told = warm.run([command], tmp_path, environment, 60)
            assert told.code == 0, told
        assert (len(warehouse.rows("hosts")), len(warehouse.rows("rooms"))) == (50, 2000)


def test_the_urls_of_the_compose_file_are_those_of_the_sample() -> None:
    """Users and databases that sample.sh makes, with the passwords it gives them."""
    given = SERVICES["syncer"]["environment"]
    reader, state = (make_url(given[name]) for name in ("APP_DATABASE_URL", "STATE_URL"))
    assert (reader.username, reader.password, reader.database) == ("reader", "${READER_PASSWORD}", "app")
    assert (state.username, state.password, state.database) == ("syncer", "${STATE_PASSWORD}", "syncer")
    assert {reader.host, state.host} == {"postgres"}
