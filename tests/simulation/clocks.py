"""The clocks of the hosts of a run: ahead of the log's clock or behind it, and jumping, until faults are healed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Final

from sagaline.orchestrator.testing.clock import SimClock

__all__ = ["HostClock", "HostClocks"]

_AHEAD_MS: Final = (0, 0, 0, 1_500, -1_500, 40_000, -40_000, 120_000, -120_000)
"""The largest difference between two hosts, within a worker's ``clock_skew``."""
_HOUR_MS: Final = 3_600_000


class HostClock:
    """The ``Clock`` port of one host. ``ahead_ms`` survives the processes that run on it."""

    def __init__(self, clock: SimClock) -> None:
        self._clock, self.ahead_ms = clock, 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.ahead_ms

    async def reach(self, at_ms: int) -> None:
        while (left_ms := at_ms - self.now_ms()) > 0:  # noqa: ASYNC110  # as the system's clock does it
            await asyncio.sleep(min(1.0, left_ms / 1000))

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def new_id(self) -> str:
        return self._clock.new_id()


class HostClocks:
    """All of them.

    Args:
        clock: the log's.
        names: of the hosts.
        drawn: decides which clocks are wrong; in half of all runs none is.
    """

    def __init__(self, clock: SimClock, names: Iterable[str], drawn: random.Random) -> None:
        self._hosts = {name: HostClock(clock) for name in names}
        self._drawn = drawn
        self.are_wrong = drawn.random() < 0.5
        """True when one of them ever differs from the log's clock."""
        self._jumps = drawn.choice((0, 1, 3)) if self.are_wrong else 0
        for host in self._hosts.values() if self.are_wrong else ():
            host.ahead_ms = drawn.choice(_AHEAD_MS)

    def __getitem__(self, name: str) -> HostClock:
        return self._hosts[name]

    async def jump(self, seconds: float) -> None:
        """Within this many seconds some clocks jump ahead by an hour, and are set back."""
        for _ in range(self._jumps):
            await asyncio.sleep(self._drawn.uniform(0, seconds / self._jumps))
            host = self._drawn.choice(list(self._hosts.values()))
            host.ahead_ms += _HOUR_MS
            await asyncio.sleep(self._drawn.uniform(0, 1.0))
            host.ahead_ms -= _HOUR_MS

    def set_right(self) -> None:
        """Sets all clocks to the log's time."""
        for host in self._hosts.values():
            host.ahead_ms = 0
