"""The Kubernetes manifests: valid by its own schemas, closed, and fitting what syncer is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deployed import DEPLOY, DRAIN, IMAGE, documents, module, parses, variables

from syncer.config import load_config
from syncer.core.calendar import parse_cron

FOLDER = DEPLOY / "kubernetes"
KUSTOMIZATIONS = sorted(FOLDER.glob("*/kustomization.yaml"))
CONFIG = FOLDER / "base" / "syncer.yaml"
FILES = sorted({*FOLDER.rglob("*.yaml")} - {*KUSTOMIZATIONS, CONFIG})
MANIFESTS = {str(each.relative_to(FOLDER)): documents(each)[0] for each in FILES}
#: the oldest that `timeZone` of a CronJob is certain in, and what the schemas at hand end with
VERSIONS = ("1.29", "latest")


def pods() -> dict[str, dict[str, Any]]:
    """The pod templates, by file."""
    found = {}
    for name, each in MANIFESTS.items():
        if each["kind"] == "Deployment":
            found[name] = each["spec"]["template"]
        if each["kind"] == "CronJob":
            found[name] = each["spec"]["jobTemplate"]["spec"]["template"]
    return found


PODS = pods()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_are_valid(name: str, version: str) -> None:
    """By the schema of their kind, without keys it does not know."""
    validate = module("kubernetes_validate")
    validate.validate(MANIFESTS[name], validate.latest_version() if version == "latest" else version, strict=True)


def test_faults_would_be_found() -> None:
    """A misspelt key fails the test above."""
    validate = module("kubernetes_validate")
    worse = {**MANIFESTS["daemon/deployment.yaml"], "spek": {}}
    with pytest.raises(validate.ValidationError, match="spek"):
        validate.validate(worse, VERSIONS[0], strict=True)


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda each: each.parent.name)
def test_kustomizations_name_what_is_there(path: Path) -> None:
    """Every file of the folder is in its kustomization, and every resource exists."""
    told = documents(path)[0]
    named = [*told["resources"], *(each for made in told.get("configMapGenerator", []) for each in made["files"])]
    assert [each for each in named if not (path.parent / each).exists()] == []
    there = {each.name for each in path.parent.iterdir()} - {path.name}
    assert there == {each for each in named if not each.startswith("../")}


@pytest.mark.parametrize("name", PODS)
def test_pods_are_closed(name: str) -> None:
    """As the restricted Pod Security Standard asks; a root that cannot be written, and no token of the cluster."""
    spec = PODS[name]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == MANIFESTS["base/serviceaccount.yaml"]["metadata"]["name"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}" in (DEPLOY / "docker/Dockerfile").read_text()
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        assert [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")] == ["/tmp"]
    assert [list(each)[1] for each in spec["volumes"]] == ["configMap", "emptyDir"]


@pytest.mark.parametrize("name", PODS)
def test_pods_run_commands_that_exist(name: str) -> None:
    """Of this version's image, with options that they have, and time to stop."""
    spec = PODS[name]["spec"]
    (container,) = spec["containers"]
    assert container["image"] == IMAGE
    parses(*container["args"])
    assert spec["terminationGracePeriodSeconds"] > DRAIN


def test_the_daemon_is_asked_how_it_is() -> None:
    """Whether it works decides over a restart; whether it takes up work does not."""
    (container,) = PODS["daemon/deployment.yaml"]["spec"]["containers"]
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]


def test_selectors_find_their_pods() -> None:
    """Those of the Deployment, the Service and the NetworkPolicy; the Service finds the daemon alone."""
    labels = {name: each["metadata"]["labels"] for name, each in PODS.items()}

    def found(selector: dict[str, str]) -> set[str]:
        return {name for name, its in labels.items() if selector.items() <= its.items()}

    assert found(MANIFESTS["daemon/deployment.yaml"]["spec"]["selector"]["matchLabels"]) == {"daemon/deployment.yaml"}
    assert found(MANIFESTS["daemon/service.yaml"]["spec"]["selector"]) == {"daemon/deployment.yaml"}
    assert found(MANIFESTS["base/networkpolicy.yaml"]["spec"]["podSelector"]["matchLabels"]) == set(PODS)


@pytest.mark.parametrize("name", [name for name, each in MANIFESTS.items() if each["kind"] == "CronJob"])
def test_cron_jobs_do_not_overlap_or_try_again(name: str) -> None:
    """Their times can be read, no two of a kind run at once, and a failed one waits for the next."""
    spec = MANIFESTS[name]["spec"]
    parse_cron(spec["schedule"])
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0


def test_cron_jobs_begin_at_different_times() -> None:
    """Of two runs of a mapping that begin together, one would end with 4."""
    minutes = [each["spec"]["schedule"].split()[0] for each in MANIFESTS.values() if each["kind"] == "CronJob"]
    assert len(minutes) == len(set(minutes)) == 2


def test_the_configuration_loads_with_the_secret_alone(tmp_path: Path) -> None:
    """Every variable is in the Secret, and nothing else is."""
    given = MANIFESTS["secret.example.yaml"]["stringData"]
    assert set(variables(CONFIG.read_text("utf-8"))) == set(given)
    path = tmp_path / "syncer.yaml"
    path.write_text(CONFIG.read_text("utf-8"), "utf-8")
    config = load_config(path, given)
    assert config.state_url.startswith("postgresql")
    assert config.serve.host == "0.0.0.0"
    assert config.serve.token == given["SYNCER_TOKEN"]


def test_the_configuration_is_where_the_image_looks_for_it() -> None:
    """Mounted as the file that SYNCER_CONFIG names."""
    assert "SYNCER_CONFIG=/etc/syncer/syncer.yaml" in (DEPLOY / "docker/Dockerfile").read_text()
    for pod in PODS.values():
        (container,) = pod["spec"]["containers"]
        assert container["volumeMounts"][0] == {"name": "config", "mountPath": "/etc/syncer", "readOnly": True}
        assert container["envFrom"] == [{"secretRef": {"name": "syncer"}}]
