"""The clock of a simulated world: virtual time, a wall clock that tests can move, and ids from the seed."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

__all__ = ["SimClock"]

START_MS = 1_750_000_000_000
"""2025-06-15T15:06:40Z: the default wall clock at the start of every simulation."""


class SimClock:
    """The ``Clock`` port on the running event loop's time.

    Args:
        seed: of the ids.
        start_ms: the wall clock, since epoch, when the loop's time is 0.
    """

    def __init__(self, seed: int | str, *, start_ms: int = START_MS) -> None:
        self._random = random.Random(f"{seed}/ids")
        self._start_ms = start_ms
        self._moved = asyncio.Event()

    def now_ms(self) -> int:
        # Time is a sum of floats: without the fraction, a wait for a millisecond would end slightly too early.
        return self._start_ms + int(self.monotonic() * 1000 + 1e-4)

    async def reach(self, at_ms: int) -> None:
        while (left_ms := at_ms - self.now_ms()) > 0:
            try:
                async with asyncio.timeout(left_ms / 1000):
                    await self._moved.wait()
            except TimeoutError:
                pass

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def new_id(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    def jump(self, by: timedelta) -> None:
        """Moves the wall clock, forward or (negative) back. No timer of the event loop is touched."""
        self._start_ms += round(by.total_seconds() * 1000)
        self._moved.set()
        self._moved = asyncio.Event()
