"""How long a consumer has had no response, by its partitions' poll timestamps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

__all__ = ["Silence"]

_LOOK_EVERY_S = 0.25


class Silence:
    """Time counts only between polls that follow each other: an idle caller does not make the broker silent."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._looked_at = self._loop.time()
        self._oldest = -1

    def heard(self) -> None:
        self._heard_at = self._loop.time()

    def resume(self) -> None:
        """A poll begins."""
        if self._loop.time() - self._looked_at > 2.0:
            self.heard()

    def too_long(self, stamps: Iterable[int]) -> bool:
        """True when a partition has had no response for longer than the limit."""
        now = self._loop.time()
        if now - self._looked_at < _LOOK_EVERY_S:
            return False
        self._looked_at = now
        oldest = min(stamps, default=-1)
        if oldest != self._oldest:
            self._oldest, self._heard_at = oldest, now
        return now - self._heard_at > self._limit_s
