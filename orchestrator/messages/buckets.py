"""``Bucket``: a token bucket, for limits of workers and quotas of the API. It is told the time, and keeps none."""

from __future__ import annotations

__all__ = ["Bucket"]


class Bucket:
    """Tokens that come evenly, never more than a most. Who takes some subtracts them, also below zero: a debt."""

    def __init__(self, tokens: float) -> None:
        self.tokens, self._at = tokens, 0.0

    def fill(self, now: float, per_second: float, most: float) -> float:
        """The tokens that are there at ``now``, in monotonic seconds. Time that goes back brings none."""
        self.tokens = min(most, self.tokens + max(0.0, now - self._at) * per_second)
        self._at = now
        return self.tokens

    def seconds_to(self, tokens: float, per_second: float) -> float:
        """When so many are there, seconds after the last ``fill``."""
        return max(0.0, tokens - self.tokens) / per_second
