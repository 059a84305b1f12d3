"""The clock of an engine, compared with what others wrote. It decides nothing: it tells people that clocks differ.

Two signs are certain: the wall clock moved against the monotonic one, and a partition's last decision is dated later
than this clock shows. The third is a judgement: the newest records of some polls, none of them an engine's, are all
dated far from this clock. A single writer with a wrong clock is no such sign, while others write too.
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
"""By how much clocks may differ before somebody is told."""
_SAMPLES: Final = 5
_SAMPLE_EVERY_SECONDS: Final = 2.0
"""Together they span more than a short standstill of the log, after which much that is old comes at once."""
_STANDS_SECONDS: Final = 60.0
"""So long an alarm stands after the last sign."""
_log = structlog.get_logger("sagaline.engine")


class WatchedClock:
    """The ``Clock`` port on another clock.

    Args:
        clock: the clock itself.
        metrics: ``clock.moved`` and ``clock.differs`` count occasions.
        source: ``ce_source`` of what engines write.
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
        """What is wrong with the clocks now, and what to do; None: nothing that is known."""
        return self._alarm if self._clock.monotonic() < self._until else None

    def taken(self, partition: int, position: Position) -> None:
        """A partition was taken: its last decision should not lie ahead."""
        ahead_ms = position.now_ms - self.now_ms()
        if ahead_ms > CLOCK_TOLERANCE_MS:
            self._tell(
                f"the last decision on partition {partition} is dated {ahead_ms / 1000:g} s later than this host's "
                "clock: what was set by the clock that was ahead comes late by as much; compare the hosts' clocks"
            )

    def read(self, records: Sequence[Record]) -> None:
        """Everything that was there has been read: the last record should be a new one."""
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
                f"this host's clock is {least_ms / 1000:g} s ahead of those that write to it: timers fire early by as "
                "much; compare the hosts' clocks"
            )
        elif most_ms < -CLOCK_TOLERANCE_MS:
            self._tell(
                f"this host's clock is {-most_ms / 1000:g} s behind those that write to it: timers fire late by as "
                "much; compare the hosts' clocks"
            )

    def _tell(self, alarm: str) -> None:
        if self.alarm is None:
            _log.warning("clocks differ", reason=alarm)
            self._metrics.add("clock.differs")
        self._alarm, self._until = alarm, self._clock.monotonic() + _STANDS_SECONDS
