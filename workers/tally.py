"""What a group did with its messages, for metrics: an instrument costs as much as all else, so it is asked seldom."""

from __future__ import annotations

import asyncio
from typing import Final

from ..orchestrator.runtime.metrics import Metrics

__all__ = ["Tally"]

_SHORT_SECONDS: Final = 0.01
"""The first bound of the histogram. Of shorter durations one is recorded for each turn of the event loop."""


class Tally:
    """Counts messages, and passes the sums on when the event loop turns."""

    def __init__(self, metrics: Metrics, group: str) -> None:
        self._metrics, self._group = metrics, group
        self._counts: dict[tuple[str, str], int] = {}
        self._short: dict[str, float] = {}

    def add(self, name: str, outcome: str, seconds: float | None = None) -> None:
        """One message of the subscription ``name``; ``seconds``: what its handling took."""
        key, counts = (name, outcome), self._counts
        if not counts:
            asyncio.get_running_loop().call_soon(self._pass_on)
        counts[key] = counts.get(key, 0) + 1
        if seconds is None:
            return
        if seconds < _SHORT_SECONDS:
            self._short[name] = seconds
        else:
            self._metrics.record("subscriptions.duration", seconds, self._group, name)

    def _pass_on(self) -> None:
        counts, self._counts = self._counts, {}
        short, self._short = self._short, {}
        for (name, outcome), count in counts.items():
            self._metrics.add("subscriptions.messages", count, self._group, name, outcome)
        for name, seconds in short.items():
            self._metrics.record("subscriptions.duration", seconds, self._group, name)
