"""Metrics: one table of instruments, for OpenTelemetry and for tests. docs/operations.md lists the same table.

Labels are definitions, steps, queues, contracts, outcomes and partitions: their number is limited by the deployed code.
Never an instance, a key, or a name from outside that is not declared here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache, partial
from typing import NamedTuple

from opentelemetry import metrics

from ..tracing import SCOPE, scope_version

__all__ = ["INSTRUMENTS", "OTHER", "Instrument", "Kind", "Metrics"]

OTHER = "other"
"""The label for names that are not declared here."""


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Instrument(NamedTuple):
    """``labels`` are attributes without the prefix ``sagaline.``; ``bounds``: upper bounds of a histogram's buckets."""

    kind: Kind
    unit: str
    labels: tuple[str, ...]
    about: str
    bounds: tuple[float, ...] = ()


_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1_800, 3_600, 6 * 3_600, 86_400, 7 * 86_400, 30 * 86_400)
_COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500)

INSTRUMENTS: dict[str, Instrument] = {
    "decisions": Instrument(Kind.COUNTER, "{decision}", ("definition", "outcome"), "Decisions that were committed"),
    "decisions.lost": Instrument(
        Kind.COUNTER, "{decision}", (), "Timers whose failure could not be stored either: look at the log"
    ),
    "steps.overdue": Instrument(Kind.COUNTER, "{step}", ("definition",), "Steps that became overdue"),
    "steps.duration": Instrument(
        Kind.HISTOGRAM,
        "s",
        ("definition", "step", "status"),
        "From a step's last attempt, or the beginning of its wait, to its end",
        _LONG,
    ),
    "runs.duration": Instrument(Kind.HISTOGRAM, "s", ("definition", "status"), "From a run's start to its end", _LONG),
    "timers.lateness": Instrument(Kind.HISTOGRAM, "s", (), "From when a timer was due to its decision", _SHORT),
    "batches.size": Instrument(Kind.HISTOGRAM, "{message}", (), "Messages and timers of one commit", _COUNTS),
    "batches.commit": Instrument(Kind.HISTOGRAM, "s", (), "What a commit took", _SHORT),
    "instances": Instrument(
        Kind.GAUGE, "{instance}", ("definition", "state"), "Instances that are open, in attention, or overdue"
    ),
    "inputs.oldest_undecided": Instrument(Kind.GAUGE, "s", (), "How long the oldest undecided record of inputs waits"),
    "inputs.lag": Instrument(Kind.GAUGE, "{record}", ("partition",), "Records of inputs that are not decided"),
    "inputs.forwarded": Instrument(Kind.COUNTER, "{record}", (), "Records that came on the wrong partition"),
    "dead_letters": Instrument(Kind.COUNTER, "{record}", ("source",), "Records that can never be processed"),
    "dead_letters.open": Instrument(Kind.GAUGE, "{record}", (), "Dead letters that nobody has redriven or discarded"),
    "documents.restored": Instrument(Kind.COUNTER, "{document}", (), "Documents read when a partition is taken"),
    "partitions.restoring": Instrument(Kind.GAUGE, "{partition}", (), "Partitions whose documents are being read here"),
    "partitions.processing": Instrument(Kind.GAUGE, "{partition}", (), "Partitions that are decided here"),
    "partitions.stopped": Instrument(Kind.COUNTER, "{partition}", (), "Stops until an operator has looked"),
    "queues.lag": Instrument(
        Kind.GAUGE, "{record}", ("queue",), "Commands on the partitions of this worker that it has not answered"
    ),
    "queues.unread": Instrument(Kind.GAUGE, "{queue}", ("queue",), "1 while no worker reads the queue, else 0"),
    "workers.in_flight": Instrument(Kind.GAUGE, "{command}", ("worker",), "Commands polled and not yet answered"),
    "workers.commands": Instrument(Kind.COUNTER, "{command}", ("queue", "contract", "outcome"), "Commands answered"),
    "workers.duration": Instrument(Kind.HISTOGRAM, "s", ("queue", "contract"), "What a handler took", _LONG),
    "subscriptions.messages": Instrument(
        Kind.COUNTER, "{message}", ("group", "subscription", "outcome"), "Messages that a subscription was given"
    ),
    "subscriptions.duration": Instrument(
        Kind.HISTOGRAM, "s", ("group", "subscription"), "What a subscription's handler took", _LONG
    ),
    "outbox.published": Instrument(Kind.COUNTER, "{record}", (), "Rows of the outbox that this relay has published"),
    "outbox.backlog": Instrument(Kind.GAUGE, "{record}", (), "Rows of the outbox that wait, counted up to 100,000"),
    "outbox.oldest": Instrument(Kind.GAUGE, "s", (), "How long the oldest row of the outbox waits"),
    "outbox.refused": Instrument(Kind.GAUGE, "{record}", (), "Rows of the outbox that the log can never take"),
    "commands.late": Instrument(
        Kind.COUNTER, "{command}", (), "Commands that came, or were done, after their deadline"
    ),
    "clock.differs": Instrument(Kind.COUNTER, "{difference}", (), "Clocks of two hosts that differ too much"),
    "clock.moved": Instrument(Kind.COUNTER, "{jump}", (), "Jumps of this host's clock"),
    "quotas.refused": Instrument(
        Kind.COUNTER, "{request}", ("of", "scope"), "Requests and streams that the API refused by a quota"
    ),
    "projector.skipped": Instrument(Kind.COUNTER, "{record}", (), "Records that the read model could not read"),
}


class Metrics:
    """The instruments under ``sagaline.<name>``; ``counts`` and ``values`` hold the same for this process.

    Args:
        provider: exports them; None: the global provider, by default none.
    """

    def __init__(self, provider: metrics.MeterProvider | None = None) -> None:
        meter = metrics.get_meter(SCOPE, scope_version(), meter_provider=provider)
        self.exported = provider is not None
        """True when metrics are exported; values that cost a request are only measured then."""
        self.counts: Counter[str] = Counter()
        """Values of counters: by name over all labels, and by name with labels in brackets."""
        self.values: dict[str, float] = {}
        """Last values of gauges and histograms, named as in ``counts``."""
        self._counters: dict[str, metrics.Counter] = {}
        # Observed, not set: older SDKs export a gauge that is set only once per set, and then it is missing.
        self._gauges: dict[str, dict[tuple[str, ...], float]] = {}
        self._histograms: dict[str, metrics.Histogram] = {}
        for name, (kind, unit, _, about, bounds) in INSTRUMENTS.items():
            full = f"{SCOPE}.{name}"
            match kind:
                case Kind.COUNTER:
                    self._counters[name] = meter.create_counter(full, unit, about)
                case Kind.GAUGE:
                    self._gauges[name] = {}
                    meter.create_observable_gauge(full, [partial(self._observed, name)], unit, about)
                case Kind.HISTOGRAM:
                    self._histograms[name] = meter.create_histogram(
                        full, unit, about, explicit_bucket_boundaries_advisory=bounds
                    )

    def add(self, name: str, count: int = 1, *labels: str) -> None:
        """Adds to a counter; ``labels`` in the order of the table."""
        self.counts[name] += count
        named, attributes = _labelled(name, labels)
        if labels:
            self.counts[named] += count
        self._counters[name].add(count, attributes)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Sets a gauge."""
        self.values[_labelled(name, labels)[0]] = value
        self._gauges[name][labels] = value

    def record(self, name: str, value: float, *labels: str) -> None:
        """Adds a value to a histogram. A value below zero (a clock was set back) counts as zero."""
        named, attributes = _labelled(name, labels)
        self.values[named] = value
        self._histograms[name].record(value if value > 0.0 else 0.0, attributes)

    def _observed(self, name: str, _: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
        # In the exporter's thread: a copy, as labels may be added meanwhile.
        for labels, value in list(self._gauges[name].items()):
            yield metrics.Observation(value, _labelled(name, labels)[1])


@lru_cache(maxsize=4_096)
def _labelled(name: str, labels: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """The name with labels, and attributes for the SDK, which copies them."""
    attributes = {f"{SCOPE}.{label}": value for label, value in zip(INSTRUMENTS[name].labels, labels, strict=True)}
    return f"{name}[{','.join(labels)}]" if labels else name, attributes
