"""What those who are to be notified get of `syncer run`, and how `syncer check --notify` tries them out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from http_server import answer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from project import Project
from receiver import Receiver, receiving
from support import CONFIG, assert_one_clear_error, end_of, query, until

NOTIFICATIONS = """\
notifications:
  webhook: {url: "${HOOK:-}", kinds: [failure, recovery, degradation]}
  ping: {url: "${PING:-}", failure_url: "${FAILURE_PING:-}"}
"""


@pytest.fixture
def receiver(project: Project) -> Iterator[Receiver]:
    """Somebody whom the project notifies."""
    project.syncer.write("syncer.yaml", NOTIFICATIONS + CONFIG)
    with receiving() as there:
        places = {
            "HOOK": there.hook,
            "PING": f"{there.server.endpoint}/well",
            "FAILURE_PING": f"{there.server.endpoint}/ill",
        }
        project.syncer.environment |= places
        yield there


def test_failing_and_mended_as_by_cron(project: Project, receiver: Receiver) -> None:
    """Two failed runs of `rooms` and then good ones: told once, then that it is over, each in its own process."""
    assert project.syncer("run").code == 0
    assert (receiver.texts, receiver.pings) == ([], ["/well"])
    project.change("ALTER TABLE rooms RENAME TO rooms_away")
    for _ in range(2):
        assert project.syncer("run").code == 1
    (text,) = receiver.texts
    assert text.startswith("rooms: the incremental run failed: ")
    assert receiver.posts[0]["text"].splitlines()[1].startswith("Try: ")
    assert receiver.pings == ["/well", "/ill", "/ill"]
    project.change("ALTER TABLE rooms_away RENAME TO rooms")
    for _ in range(2):
        assert project.syncer("run").code == 0
    assert receiver.texts[1].startswith("rooms: works again, the incremental run read ")
    assert (len(receiver.texts), receiver.pings[3:]) == (2, ["/well", "/well"])


def test_dead_letters_are_told(project: Project, receiver: Receiver) -> None:
    """The first full run of a table with a value that is too large."""
    project.syncer.write("syncer.yaml", NOTIFICATIONS + CONFIG + "  letters: {table: letters, watermark: updatedAt}\n")
    assert project.syncer("run", "--select", "letters").code == 3
    assert receiver.texts == ["letters: 1 object was refused and is a dead letter"]
    assert receiver.pings == ["/well"]


@pytest.mark.parametrize("option", ["--dry-run", "--limit=1", "--from=2026-01-01"])
def test_a_run_of_which_nothing_follows_is_told_to_nobody(project: Project, receiver: Receiver, option: str) -> None:
    """It says nothing of how the mapping stands."""
    project.change("ALTER TABLE rooms RENAME TO rooms_away")
    assert project.syncer("run", option).code == 1
    assert receiver.server.requests == []


def test_a_receiver_that_takes_nothing_changes_nothing(project: Project) -> None:
    """The run is as good as it was; the log says it once, without the address."""
    project.syncer.write("syncer.yaml", NOTIFICATIONS + CONFIG)
    with receiving(lambda _: answer(404)) as gone:
        told = project.syncer("run", PING=f"{gone.server.endpoint}/s3cr3t")
    assert told.code == 0
    assert told.err.count("the ping's receiver did not take a notification: HTTP 404") == 1
    assert "s3cr3t" not in told.err
    assert gone.server.endpoint.removeprefix("http://") not in told.err


def test_the_daemon_tells_a_failure_once(project: Project, receiver: Receiver) -> None:
    """Three runs of a schedule fail alike; at the end of the daemon the other address is got, for all of them."""
    scheduled = CONFIG.replace("    tags: [core]\n", "    schedules: [{every: 1s}]\n")
    project.syncer.write("syncer.yaml", NOTIFICATIONS + scheduled)
    assert project.syncer("run", HOOK="", PING="").code == 0
    project.change("ALTER TABLE rooms RENAME TO rooms_away")
    failed = "SELECT 1 FROM syncer_runs WHERE outcome = 'failed'"
    with project.syncer.started("serve", "--port", "0") as process:
        until(lambda: len(query(project.state, failed)) >= 3, process)
        process.terminate()
        assert end_of(process).code == 143
    (text,) = receiver.texts
    assert text.startswith("rooms: the incremental run failed: ")
    assert receiver.pings == ["/ill"]


def test_check_tries_them_out(project: Project, receiver: Receiver) -> None:
    """A message that says that it is a test, and a ping, whatever the mappings are like."""
    told = project.syncer("check", "--notify", "--select", "rooms")
    assert told.code == 0, told
    assert receiver.texts == ["rooms: this is a test of notifications; nothing has happened"]
    assert receiver.pings == ["/well"]
    assert [line.split() for line in told.out.splitlines()[-2:]] == [
        ["ok", "webhook:", "a", "test", "was", "taken"], ["ok", "ping:", "a", "test", "was", "taken"],
    ]  # fmt: skip


def test_check_tells_what_does_not_work(project: Project) -> None:
    """Which of them, why, and where it is written; not where it is."""
    project.syncer.write("syncer.yaml", NOTIFICATIONS + CONFIG)
    with receiving(lambda _: answer(404)) as gone:
        told = project.syncer("check", "--notify", HOOK=f"{gone.hook}/s3cr3t", PING=f"{gone.server.endpoint}/s3cr3t")
    assert told.code == 1
    assert (
        "error    webhook: the test was not taken: HTTP 404\n           Try: look at notifications.webhook.url"
        in told.out
    )
    assert "Try: look at notifications.ping.url" in told.out
    assert "s3cr3t" not in told.out + told.err


def test_check_has_to_have_somebody_to_notify(project: Project) -> None:
    """And may not be offline."""
    assert_one_clear_error(project.syncer("check", "--notify"), 2, "nobody to notify", "notifications.webhook.url")
    assert_one_clear_error(project.syncer("check", "--notify", "--offline"), 2, "--offline connects to nothing")


def test_runs_are_traced_when_the_environment_names_a_collector(project: Project) -> None:
    """A trace of each mapping, sent before the command ends."""
    with receiving(lambda _: answer(200)) as collector:
        told = project.syncer("run", OTEL_EXPORTER_OTLP_ENDPOINT=collector.server.endpoint)
        assert told.code == 0, told
        bodies = [ExportTraceServiceRequest.FromString(each.body) for each in collector.server.requests]
    scopes = [scope for body in bodies for resource in body.resource_spans for scope in resource.scope_spans]
    spans = [span for scope in scopes for span in scope.spans]
    assert sorted(span.name for span in spans) == ["prepare"] * 2 + ["run"] * 2 + ["sync"] * 2
