"""What is tried again after a failure: it says so once, waits longer each time, and tells readiness until it works."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

__all__ = ["Failures", "pauses"]

_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 2.0
_logger = structlog.get_logger(__name__)


def pauses(failures: int) -> float:
    """Seconds to wait after this many consecutive failures (1 or more)."""
    return float(min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 16)))


class Failures:
    """The failures in a row of one thing.

    Args:
        what: the name of its lines in the log: ``{what}.unavailable`` at the first failure, ``{what}.recovered`` after
            the last.
        about: what those lines say besides the error.
    """

    def __init__(self, what: str, **about: object) -> None:
        self._what, self._about, self._count = what, about, 0
        self.last: str | None = None
        """The last error; None: it works."""

    def failed(self, error: Exception) -> None:
        self._count, self.last = self._count + 1, str(error)
        if self._count == 1:
            _logger.warning(f"{self._what}.unavailable", error=self.last, **self._about)

    async def wait(self) -> None:
        """Until it may be tried again."""
        await asyncio.sleep(pauses(self._count))

    def succeeded(self) -> None:
        if self._count:
            _logger.info(f"{self._what}.recovered", failures=self._count, **self._about)
            self._count, self.last = 0, None
