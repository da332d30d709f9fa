"""Metrics in the Prometheus text format: finished runs are counted here; other numbers are told by whoever calls."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from syncer.core.events import DeliveryPaused, Event, RunFinished
from syncer.core.model import Mode, Outcome, RunReport

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

#: one value for each label of a metric
Labels: TypeAlias = tuple[str, ...]

#: upper bounds of the histogram of run durations, in seconds: from a quick look at changes to a night's load
DURATIONS: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0)

#: where the objects of a run went, by the counts' names
_FATES: Final = ("sent", "unchanged", "rejected", "skipped", "deleted")
#: counters of a mapping, by the counts' names
_SUMS: Final = {
    "read": ("syncer_rows_read_total", "Rows that finished runs read."),
    "requests": ("syncer_requests_total", "Requests that finished runs made."),
    "retried": ("syncer_request_retries_total", "Requests that finished runs made again."),
    "bytes": ("syncer_sent_bytes_total", "Bytes of the bodies that finished runs sent."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric and its values."""

    name: str
    help: str
    values: Mapping[Labels, float]
    labels: Labels = ("mapping",)
    kind: Literal["gauge", "counter"] = "gauge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How many observations fell below each bound."""

    name: str
    help: str
    labels: Labels
    #: by labels: how many fell into the bucket of each bound and into the one above all, and their sum
    values: Mapping[Labels, tuple[Sequence[int], float]]
    bounds: Sequence[float] = DURATIONS


class Meter:
    """Counts what finished runs did since it was made. An observer."""

    def __init__(self) -> None:
        self._runs: Counter[Labels] = Counter()
        self._objects: Counter[Labels] = Counter()
        self._sums: dict[str, Counter[Labels]] = {count: Counter() for count in _SUMS}
        self._durations: dict[Labels, tuple[list[int], float]] = {}
        self._pauses = 0

    def notice(self, event: Event) -> None:
        """Count it, where it is something that is counted."""
        match event:
            case RunFinished(report=report):
                self._count(report)
            case DeliveryPaused():
                self._pauses += 1
            case _:
                pass

    def _count(self, report: RunReport) -> None:
        name, mode = report.mapping, str(report.mode)
        self._runs[name, mode, str(report.outcome)] += 1
        for fate in _FATES:
            self._objects[name, fate] += getattr(report.counts, fate)
        for count, sums in self._sums.items():
            sums[name,] += getattr(report.counts, count)
        if report.finished_at is not None and report.outcome is not Outcome.LOCKED:
            self._time((name, mode), (report.finished_at - report.started_at).total_seconds())

    def _time(self, labels: Labels, seconds: float) -> None:
        buckets, total = self._durations.get(labels, ([0] * (len(DURATIONS) + 1), 0.0))
        buckets[bisect_left(DURATIONS, seconds)] += 1
        self._durations[labels] = buckets, total + seconds

    def metrics(self, mappings: Iterable[str]) -> list[Metric | Histogram]:
        """What was counted. Of these mappings also what never happened, as 0, so that the first time shows."""
        names = list(mappings)
        runs: dict[Labels, float] = {
            (name, str(mode), str(outcome)): 0 for name in names for mode in Mode for outcome in Outcome
        }
        fates: dict[Labels, float] = {(name, fate): 0 for name in names for fate in _FATES}
        return [
            Metric(
                name="syncer_runs_total", help="Runs that finished.", labels=("mapping", "mode", "outcome"),
                kind="counter", values=runs | self._runs,
            ),
            Metric(
                name="syncer_objects_total", help="Objects of finished runs by what became of them.",
                labels=("mapping", "fate"), kind="counter", values=fates | self._objects,
            ),
            *(
                Metric(name=name, help=told, kind="counter", values=_none_of(names) | found)
                for (name, told), found in zip(_SUMS.values(), self._sums.values(), strict=True)
            ),
            Metric(
                name="syncer_delivery_pauses_total", help="Times that the API asked for a pause.", labels=(),
                kind="counter", values={(): self._pauses},
            ),
            Histogram(
                name="syncer_run_duration_seconds", help="How long runs took.", labels=("mapping", "mode"),
                values={labels: (tuple(buckets), total) for labels, (buckets, total) in self._durations.items()},
            ),
        ]  # fmt: skip


def _none_of(names: Iterable[str]) -> dict[Labels, float]:
    return {(name,): 0 for name in names}


def exposition(metrics: Sequence[Metric | Histogram], *, of_process: bool = False) -> str:
    """The text that Prometheus reads: every metric, also one without a value, as its name says that it exists.

    `of_process`: also memory, processor time and open files of this process, where the system tells.
    """
    # imported where it is used: slow, and few commands speak Prometheus
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.registry import Collector

    class Once(Collector):
        """What is known now."""

        def collect(self) -> Iterable[Family]:
            """A family for each metric."""
            return map(_family, metrics)

    registry = CollectorRegistry()
    registry.register(Once())
    if of_process:
        ProcessCollector(registry=registry)
    return generate_latest(registry).decode()


def _family(metric: Metric | Histogram) -> Family:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if isinstance(metric, Histogram):
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        names = [*map(str, metric.bounds), "+Inf"]
        for labels, (buckets, total) in metric.values.items():
            histogram.add_metric(labels, list(zip(names, accumulate(buckets), strict=True)), total)
        return histogram
    made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = made(metric.name, metric.help, labels=metric.labels)
    for labels, value in metric.values.items():
        family.add_metric(labels, value)
    return family
