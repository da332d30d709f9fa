"""What `/metrics` exposes: names, types and values, as Prometheus's own parser reads them."""

from __future__ import annotations

import sys
from datetime import timedelta

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from web_client import BEARER, Client
from web_control import NOON, StillControl

from syncer.core.events import DeliveryPaused, RunFinished
from syncer.core.model import Counts, Mode, Outcome, RunReport
from syncer.service.control import Reload
from syncer.service.web import Watch

Sample = tuple[StillControl, Watch]
Samples = dict[tuple[str, ...], float]

#: what dashboards and alerts are built on
NAMES = {
    "syncer_last_run_timestamp_seconds", "syncer_last_success_timestamp_seconds", "syncer_next_run_timestamp_seconds",
    "syncer_bound_timestamp_seconds", "syncer_bound_held", "syncer_dead_letters", "syncer_in_doubt_rows",
    "syncer_runs_total", "syncer_rows_read_total", "syncer_objects_total", "syncer_requests_total",
    "syncer_request_retries_total", "syncer_sent_bytes_total", "syncer_run_duration_seconds", "syncer_running",
    "syncer_run_stuck", "syncer_paused", "syncer_fires_total", "syncer_config_reload_successful",
    "syncer_config_reload_timestamp_seconds", "syncer_delivery_pauses_total", "syncer_build_info",
}  # fmt: skip


def exposed(client: Client) -> dict[str, Metric]:
    """Families by name; counters with their `_total`."""
    answer = client("GET", "/metrics", BEARER)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {each.name + ("_total" if each.type == "counter" else ""): each for each in families}


def samples(family: Metric, *labels: str) -> Samples:
    """Values by labels."""
    return {tuple(each.labels[label] for label in labels): each.value for each in family.samples}


def report(mapping: str, seconds: float, outcome: Outcome, counts: Counts) -> RunReport:
    """A finished run."""
    return RunReport(
        run_id=f"{mapping} {seconds}", mapping=mapping, collection=mapping, mode=Mode.FULL, outcome=outcome,
        trigger="schedule", started_at=NOON, finished_at=NOON + timedelta(seconds=seconds), counts=counts,
    )  # fmt: skip


@pytest.fixture
def client(sample: Sample) -> Client:
    """The page of the sample."""
    return Client(control=sample[0], watch=sample[1])


def test_all_metrics_are_there_also_without_values(client: Client, tmp_path: object) -> None:
    """Every name that was agreed on, whether anything happened yet or not; nothing of ours beside them."""
    quiet = Client(control=StillControl(config=client.control.config, store=client.control.store))
    for each in (client, quiet):
        assert {name for name in exposed(each) if name.startswith("syncer_")} == NAMES


def test_names_follow_the_conventions(client: Client) -> None:
    """Counters end in `_total`, times are in seconds, every metric has a help text that is a sentence."""
    for name, family in exposed(client).items():
        if name.startswith("syncer_"):
            assert (family.type == "counter") == name.endswith("_total"), name
            assert family.documentation.endswith("."), name
            assert not any(unit in name for unit in ("_ms", "milli", "minutes", "kilobytes", "percent")), name
            assert family.type != "unknown", name


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process uses")
def test_the_process_is_measured(client: Client) -> None:
    """Memory, processor time and open files of the daemon."""
    found = exposed(client)
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert found[name].samples[0].value > 0


def test_finished_runs_are_counted(tmp_path: object, sample: Sample) -> None:
    """Runs by how they ended, rows, objects by fate, requests, retries and bytes add up over runs."""
    watch = Watch(lambda: NOON)
    one = Counts(read=10, sent=4, unchanged=3, rejected=2, skipped=1, deleted=5, requests=7, retried=6, bytes=800)
    for outcome in (Outcome.PARTIAL, Outcome.PARTIAL, Outcome.FAILED):
        watch.notice(RunFinished(report=report("hosts", 4.0, outcome, one)))
    watch.notice(DeliveryPaused(reason="429", wait=1.0))
    found = exposed(Client(control=sample[0], watch=watch))
    runs = samples(found["syncer_runs_total"], "mapping", "mode", "outcome")
    assert runs["hosts", "full", "partial"] == 2
    assert runs["hosts", "full", "failed"] == 1
    assert runs["photos", "incremental", "succeeded"] == 0
    assert sum(runs.values()) == 3
    objects = samples(found["syncer_objects_total"], "mapping", "fate")
    fates = {"sent": 12, "unchanged": 9, "rejected": 6, "skipped": 3, "deleted": 15}
    assert {fate: objects["hosts", fate] for fate in fates} == fates
    sums = {"rows_read": 30, "requests": 21, "request_retries": 18, "sent_bytes": 2400}
    for name, value in sums.items():
        assert samples(found[f"syncer_{name}_total"], "mapping")["hosts",] == value
        assert samples(found[f"syncer_{name}_total"], "mapping")["rooms",] == 0
    assert samples(found["syncer_delivery_pauses_total"]) == {(): 1}


def test_durations_are_a_histogram(sample: Sample) -> None:
    """Cumulative buckets up to all runs, their number and their sum; a bound belongs to its bucket."""
    watch = Watch(lambda: NOON)
    for seconds in (0.2, 1.0, 3.0, 100.0, 20_000.0):
        watch.notice(RunFinished(report=report("hosts", seconds, Outcome.SUCCEEDED, Counts())))
    watch.notice(RunFinished(report=report("hosts", 0.0, Outcome.LOCKED, Counts())))
    family = exposed(Client(control=sample[0], watch=watch))["syncer_run_duration_seconds"]
    buckets = {each.labels["le"]: each.value for each in family.samples if each.name.endswith("_bucket")}
    assert (buckets["1.0"], buckets["5.0"], buckets["60.0"], buckets["120.0"], buckets["14400.0"]) == (2, 3, 3, 4, 4)
    assert buckets["+Inf"] == 5
    assert list(buckets.values()) == sorted(buckets.values())
    rest = {each.name.rpartition("_")[2]: each.value for each in family.samples if not each.name.endswith("_bucket")}
    assert rest == {"count": 5, "sum": 20_104.2}


def test_what_the_daemon_does(client: Client) -> None:
    """Running, stuck, paused, fires by ending, the last reading of the file."""
    client.control.reload = Reload(at=NOON, problem="no such key")
    found = exposed(client)
    running = samples(found["syncer_running"], "mapping")
    assert (running["rooms",], running["hosts",], len(running)) == (1, 0, 6)
    assert samples(found["syncer_paused"], "mapping")["amenities",] == 1
    assert set(samples(found["syncer_run_stuck"], "mapping").values()) == {0}
    assert samples(found["syncer_fires_total"], "mapping", "ending")["rooms", "folded"] == 1
    assert samples(found["syncer_config_reload_successful"]) == {(): 0}
    assert samples(found["syncer_config_reload_timestamp_seconds"]) == {(): NOON.timestamp()}


def test_how_mappings_stand(client: Client) -> None:
    """Dead letters, rows in doubt and times, only where they are known."""
    found = exposed(client)
    assert samples(found["syncer_dead_letters"], "mapping")["reviews",] == 9
    assert samples(found["syncer_in_doubt_rows"], "mapping")["cities",] == 3
    assert ("photos",) not in samples(found["syncer_last_run_timestamp_seconds"], "mapping")
    last = client.control.store.runs("hosts", 1)[0]
    assert samples(found["syncer_last_success_timestamp_seconds"], "mapping")["hosts",] == last.started_at.timestamp()
