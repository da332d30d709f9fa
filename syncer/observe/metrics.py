"""Metrics in the Prometheus text format. Names and values only: which numbers there are is told by whoever calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One metric of every mapping that has a value of it."""

    name: str
    help: str
    #: by mapping
    values: Mapping[str, float]


def exposition(gauges: Sequence[Gauge]) -> str:
    """The text that Prometheus reads: every metric, also one without a value, as its name says that it exists."""
    # imported where it is used: slow, and few commands speak Prometheus
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector

    class Once(Collector):
        """What is known now."""

        def collect(self) -> Iterable[GaugeMetricFamily]:
            """A family for each metric."""
            for gauge in gauges:
                family = GaugeMetricFamily(gauge.name, gauge.help, labels=["mapping"])
                for mapping, value in gauge.values.items():
                    family.add_metric([mapping], value)
                yield family

    registry = CollectorRegistry()
    registry.register(Once())
    return generate_latest(registry).decode()
