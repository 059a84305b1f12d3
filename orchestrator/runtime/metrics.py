"""Metrics for OpenTelemetry and for tests. Their names are in docs/operations.md."""

from __future__ import annotations

from collections import Counter

from opentelemetry import metrics

__all__ = ["Metrics"]


class Metrics:
    """Counters and gauges with the prefix ``sagaline.``; ``counts`` and ``values`` have the same for this process.

    Args:
        provider: exports them; None: the global provider, by default none.
    """

    def __init__(self, provider: metrics.MeterProvider | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._meter = metrics.get_meter("sagaline", meter_provider=provider)
        self._counters: dict[str, metrics.Counter] = {}
        self.values: dict[str, float] = {}
        self._gauges: dict[str, metrics._Gauge] = {}

    def add(self, name: str, count: int = 1) -> None:
        """Adds to a counter; created at its first use."""
        self.counts[name] += count
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = self._meter.create_counter(f"sagaline.{name}")
        counter.add(count)

    def set(self, name: str, value: float) -> None:
        """Sets a gauge; created at its first use."""
        self.values[name] = value
        gauge = self._gauges.get(name)
        if gauge is None:
            gauge = self._gauges[name] = self._meter.create_gauge(f"sagaline.{name}")
        gauge.set(value)
