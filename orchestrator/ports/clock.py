"""The clock port: the only source of time, ids and randomness."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """What the outside world gives to a decision."""

    def now_ms(self) -> int:
        """Wall clock in milliseconds since epoch; may jump. Users of it keep their own "never back"."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back. For deadlines and measuring, never stored."""
        ...

    def new_id(self) -> str:
        """A fresh id, unique without coordination: 32 hex digits."""
        ...
