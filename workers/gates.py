"""Gates: what keeps a command from beginning although a handler is free. A gate is told the time, and keeps none.

- ``Rate`` and ``AtOnce``: limits, of which each process takes the share of its partitions.
- ``Circuit``: a contract whose handler fails again and again is tried once a second until it succeeds.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from ..orchestrator.messages.buckets import Bucket

__all__ = ["AtOnce", "Circuit", "Gate", "Rate"]

_WINDOW: Final = 20
"""A circuit opens when so many attempts in a row had an outcome, and at least this share of them failed."""
_FAILED_SHARE: Final = 0.8
_PROBE_EVERY_SECONDS: Final = 1.0
_UNBOUNDED: Final = sys.maxsize
Share = Callable[[int], float]
"""The share of a whole number that this process has."""


class Gate(Protocol):
    """One condition. ``opens_at``: when it may open by itself; None: only after something has left."""

    name: str

    @property
    def is_empty(self) -> bool:
        """Nothing that it counts has still to leave."""
        ...

    def room(self, now: float) -> int:
        """How many may begin now; below 1: none."""
        ...

    def enter(self, now: float) -> None: ...

    def leave(self, failed: bool | None, now: float) -> None:
        """``failed`` None: it was not carried out."""
        ...

    def opens_at(self, now: float) -> float | None: ...


class Rate:
    """So many begin in so many seconds, evenly: at most one second's worth, or one, at the same moment."""

    def __init__(self, name: str, count: int, seconds: int, share: Share) -> None:
        self.name, self._count, self._seconds, self._share = name, count, seconds, share
        self._bucket = Bucket(self._most)

    @property
    def is_empty(self) -> bool:
        return True

    @property
    def _per_second(self) -> float:
        return max(self._share(self._count) / self._seconds, 1e-9)

    @property
    def _most(self) -> float:
        return max(1.0, self._per_second)

    def room(self, now: float) -> int:
        return int(self._bucket.fill(now, self._per_second, self._most) + 1e-6)

    def enter(self, now: float) -> None:
        self._bucket.tokens -= 1.0

    def leave(self, failed: bool | None, now: float) -> None: ...

    def opens_at(self, now: float) -> float:
        return now + self._bucket.seconds_to(1.0, self._per_second)


class AtOnce:
    """So many run at the same time, at least one."""

    def __init__(self, name: str, count: int, share: Share) -> None:
        self.name, self._count, self._share = name, count, share
        self._running = 0

    @property
    def is_empty(self) -> bool:
        return not self._running

    def room(self, now: float) -> int:
        return max(1, int(self._share(self._count))) - self._running

    def enter(self, now: float) -> None:
        self._running += 1

    def leave(self, failed: bool | None, now: float) -> None:
        self._running -= 1

    def opens_at(self, now: float) -> None:
        return None


class Circuit:
    """Closed while a handler works. Open: one command a second is tried; the first that succeeds closes it."""

    def __init__(self, contract: str) -> None:
        self.name = contract
        self._failed: deque[bool] = deque(maxlen=_WINDOW)
        self._next_at: float | None = None

    @property
    def is_empty(self) -> bool:
        return True

    @property
    def is_open(self) -> bool:
        return self._next_at is not None

    def room(self, now: float) -> int:
        if self._next_at is None:
            return _UNBOUNDED
        return 1 if now >= self._next_at else 0

    def enter(self, now: float) -> None:
        if self._next_at is not None:
            self._next_at = now + _PROBE_EVERY_SECONDS

    def leave(self, failed: bool | None, now: float) -> None:
        if failed is None:
            if self._next_at is not None:
                self._next_at = now  # it has tried nothing: another one may
            return
        if not failed and self._next_at is not None:
            self._next_at = None
            self._failed.clear()
        self._failed.append(failed)
        if self._next_at is None and len(self._failed) == _WINDOW and sum(self._failed) >= _FAILED_SHARE * _WINDOW:
            self._next_at = now + _PROBE_EVERY_SECONDS

    def opens_at(self, now: float) -> float | None:
        return self._next_at
