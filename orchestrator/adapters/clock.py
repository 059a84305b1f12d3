"""The only place that reads the clock and creates ids."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Final

__all__ = ["SystemClock"]

_LOOK_SECONDS: Final = 1.0


class SystemClock:
    """The ``Clock`` port on the operating system."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def reach(self, at_ms: int) -> None:
        while (left_ms := at_ms - self.now_ms()) > 0:  # noqa: ASYNC110  # there is no event for a moved clock
            await asyncio.sleep(min(_LOOK_SECONDS, left_ms / 1000))

    def monotonic(self) -> float:
        return time.monotonic()

    def new_id(self) -> str:
        return uuid.uuid4().hex
