"""Metrics in the Prometheus text format. Names and values only: which numbers there are is told by whoever calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One metric of every mapping that has a value of it."""

    name: str
    help: str
    #: by mapping
    values: Mapping[str, float]


class _Once(Collector):
    def __init__(self, gauges: Sequence[Gauge]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Every gauge, also those without a value: their names say that they exist."""
        for gauge in self._gauges:
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=["mapping"])
            for mapping, value in gauge.values.items():
                family.add_metric([mapping], value)
            yield family


def exposition(gauges: Sequence[Gauge]) -> str:
    """The text that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(_Once(gauges))
    return generate_latest(registry).decode()
