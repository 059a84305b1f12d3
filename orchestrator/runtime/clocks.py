"""Compares an engine's clock with those of other writers. It only warns people that clocks differ.

Two signs are certain: the wall clock has moved against the monotonic one, or a partition's last decision is dated in
the future. The third is an estimate: the newest records of several polls, none of them an engine's, are all dated far
from this clock. One writer with a wrong clock does not trigger it while others write too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from ..codec.wire import header_map
from ..ports.clock import Clock
from ..ports.log import Position, Record
from .metrics import Metrics

__all__ = ["CLOCK_TOLERANCE_MS", "WatchedClock"]

CLOCK_TOLERANCE_MS: Final = 10_000
"""How far clocks may differ before a warning."""
_SAMPLES: Final = 5
_SAMPLE_EVERY_SECONDS: Final = 2.0
"""All samples together span more than a short outage of the log, after which many old records come at once."""
_STANDS_SECONDS: Final = 60.0
"""How long an alarm lasts after the last sign."""
_log = structlog.get_logger("sagaline.engine")


class WatchedClock:
    """The ``Clock`` port, on top of another clock.

    Args:
        clock: the clock itself.
        metrics: counts ``clock.moved`` and ``clock.differs``.
        source: ``ce_source`` of records that engines write.
    """

    def __init__(self, clock: Clock, metrics: Metrics, *, source: str) -> None:
        self._clock, self._metrics, self._source = clock, metrics, source.encode()
        self._offset_ms: int | None = None
        self._ages_ms: deque[int] = deque(maxlen=_SAMPLES)
        self._sample_at = float("-inf")
        self._alarm, self._until = "", float("-inf")

    def now_ms(self) -> int:
        now_ms = self._clock.now_ms()
        offset_ms = now_ms - round(self._clock.monotonic() * 1000)
        moved_ms = 0 if self._offset_ms is None else offset_ms - self._offset_ms
        self._offset_ms = offset_ms
        if abs(moved_ms) > CLOCK_TOLERANCE_MS:
            _log.warning("the wall clock was moved, or the host was suspended", by_seconds=moved_ms / 1000)
            self._metrics.add("clock.moved")
        return now_ms

    async def reach(self, at_ms: int) -> None:
        await self._clock.reach(at_ms)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def new_id(self) -> str:
        return self._clock.new_id()

    @property
    def alarm(self) -> str | None:
        """What is wrong with the clocks now, and what to do; None: nothing known."""
        return self._alarm if self._clock.monotonic() < self._until else None

    def taken(self, partition: int, position: Position) -> None:
        """Checks a taken partition: its last decision should not be in the future."""
        ahead_ms = position.now_ms - self.now_ms()
        if ahead_ms > CLOCK_TOLERANCE_MS:
            self._tell(
                f"the last decision on partition {partition} is dated {ahead_ms / 1000:g} s later than this host's "
                "clock: timers set by the clock that was ahead fire late by as much; compare the hosts' clocks"
            )

    def read(self, records: Sequence[Record]) -> None:
        """Checks records read at the end of the partition: the last one should be new."""
        if not records or self._clock.monotonic() < self._sample_at:
            return
        newest = records[-1]
        if header_map(newest.headers).get("ce_source") == self._source:
            return
        self._sample_at = self._clock.monotonic() + _SAMPLE_EVERY_SECONDS
        self._ages_ms.append(self.now_ms() - newest.timestamp_ms)
        if len(self._ages_ms) < _SAMPLES:
            return
        least_ms, most_ms = min(self._ages_ms), max(self._ages_ms)
        if least_ms > CLOCK_TOLERANCE_MS:
            self._tell(
                f"this host's clock is {least_ms / 1000:g} s ahead of the clocks of its writers: timers fire early by "
                "as much; compare the hosts' clocks"
            )
        elif most_ms < -CLOCK_TOLERANCE_MS:
            self._tell(
                f"this host's clock is {-most_ms / 1000:g} s behind the clocks of its writers: timers fire late by "
                "as much; compare the hosts' clocks"
            )

    def _tell(self, alarm: str) -> None:
        if self.alarm is None:
            _log.warning("clocks differ", reason=alarm)
            self._metrics.add("clock.differs")
        self._alarm, self._until = alarm, self._clock.monotonic() + _STANDS_SECONDS
