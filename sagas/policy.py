"""Retry policies: how often and how long a step or an undo is attempted."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from datetime import timedelta

from .errors import DefinitionError
from .given import check_count, check_span

__all__ = ["Retry", "backoff_ms", "spread_ms", "to_ms"]


def to_ms(span: timedelta) -> int:
    """Whole milliseconds of a span, at least 1 for any positive one."""
    return max(1, round(span.total_seconds() * 1000)) if span > timedelta(0) else 0


def backoff_ms(first_ms: int, factor: float, most_ms: int, failed_attempts: int) -> int:
    """Milliseconds to wait after the given count (1 or more) of failed attempts."""
    try:
        return int(min(most_ms, first_ms * factor ** (failed_attempts - 1)))
    except OverflowError:
        return most_ms if first_ms else 0


def spread_ms(delay_ms: int, name: str) -> int:
    """Milliseconds to subtract from a delay, up to a tenth: names that begin at one moment end at different ones."""
    return delay_ms * (zlib.crc32(name.encode()) % 1000) // 10_000


@dataclass(frozen=True, kw_only=True)
class Retry:
    """When a failed attempt is retried.

    Attempt n + 1 is sent ``first_delay * factor ** (n - 1)`` after attempt n failed, at most ``max_delay``. Up to a
    tenth is subtracted, derived from the command's id, so that many instances do not retry at the same moment.

    Args:
        max_attempts: 1 or more; 1 means no retry.
        first_delay: wait after the first failure; zero is allowed.
        factor: 1.0 or more.
        max_delay: the longest wait.
        attempt_timeout: an attempt without an answer fails after this time; None: only the step's ``timeout`` applies.

    Raises:
        DefinitionError: a value out of its range.
    """

    max_attempts: int = 3
    first_delay: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    max_delay: timedelta = timedelta(minutes=1)
    attempt_timeout: timedelta | None = None

    def __post_init__(self) -> None:
        check_count("Retry.max_attempts", self.max_attempts, 1)
        number = isinstance(self.factor, int | float) and not isinstance(self.factor, bool)
        if not number or not 1.0 <= self.factor < math.inf:
            raise DefinitionError(f"Retry.factor is {self.factor!r}; give 1.0 (equal delays) or more")
        check_span("Retry.first_delay", self.first_delay, zero=True)
        check_span("Retry.max_delay", self.max_delay, zero=True)
        if self.max_delay < self.first_delay:
            raise DefinitionError("Retry needs 0 <= first_delay <= max_delay; change one of the two delays")
        if self.attempt_timeout is not None:
            check_span("Retry.attempt_timeout", self.attempt_timeout)

    def delay_ms(self, failed_attempts: int) -> int:
        """Milliseconds to wait after the given count (1 or more) of failed attempts."""
        return backoff_ms(to_ms(self.first_delay), self.factor, to_ms(self.max_delay), failed_attempts)
