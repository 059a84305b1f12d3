"""The clock port: the only source of time, ids and randomness."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """Time and ids for decisions."""

    def now_ms(self) -> int:
        """Wall clock in milliseconds since epoch. It may jump, also back; callers must handle that."""
        ...

    async def reach(self, at_ms: int) -> None:
        """Returns once the wall clock shows ``at_ms`` or later; after a jump of the clock within a second."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back. For deadlines and measuring, never stored."""
        ...

    def new_id(self) -> str:
        """A fresh id, unique without coordination: 32 hex digits."""
        ...
