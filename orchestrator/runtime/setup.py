"""What an engine needs to decide any batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..kernel import Limits, Registry
from ..ports.topics import Topics
from ..tracing import Tracing
from .destinations import Destinations
from .metrics import Metrics

__all__ = ["Deciding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """The same for all partitions. ``partitions``: of ``inputs``; ``max_value_bytes``: of the log."""

    registry: Registry
    topics: Topics
    partitions: int
    limits: Limits
    tracing: Tracing
    metrics: Metrics
    max_value_bytes: int
    destinations: Destinations = field(default_factory=Destinations)
