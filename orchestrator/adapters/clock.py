"""The one place that reads the clock and makes ids."""

from __future__ import annotations

import time
import uuid

__all__ = ["SystemClock"]


class SystemClock:
    """The ``Clock`` port on the operating system."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    def new_id(self) -> str:
        return uuid.uuid4().hex
