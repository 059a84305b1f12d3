"""The clock port: the only source of time, ids and randomness."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """What the outside world gives to a decision."""

    def now_ms(self) -> int:
        """Wall clock in milliseconds since epoch; may jump. Users of it keep their own "never back"."""
        ...

    async def reach(self, at_ms: int) -> None:
        """Returns once the wall clock shows ``at_ms`` or later; where a jump takes it there, within a second."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back. For deadlines and measuring, never stored."""
        ...

    def new_id(self) -> str:
        """A fresh id, unique without coordination: 32 hex digits."""
        ...
