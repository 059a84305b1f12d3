"""Timers that are decided before they are due, so that only the commit is left for then.

Only decisions that depend on nothing but the document (``is_timeless``) and remove it. One is used if its document has
not changed until the timer is due; otherwise it is forgotten and the timer decided as any other. They are in memory
only.
"""

from __future__ import annotations

from .guard import Ready
from .timers import DueTimer

__all__ = ["Ahead", "Room"]


class Room:
    """The memory that all partitions of a process share for their decisions.

    Args:
        max_bytes: after that no more are made until some are used, or a partition is left.
    """

    def __init__(self, max_bytes: int = 64 << 20) -> None:
        self._max_bytes, self.taken_bytes = max_bytes, 0

    @property
    def full(self) -> bool:
        return self.taken_bytes >= self._max_bytes


class Ahead:
    """The decisions of one partition that wait for their time. ``clear`` it at the end: others wait for its room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._ready: dict[str, tuple[DueTimer, Ready]] = {}

    @property
    def full(self) -> bool:
        """True: there is no room for more."""
        return self._room.full

    def put(self, timer: DueTimer, ready: Ready) -> None:
        """Keeps the decision about a timer of a committed document. An entity has one at most, the last."""
        self.forget(timer.instance)
        self._ready[timer.instance] = timer, ready
        self._room.taken_bytes += ready.size_bytes

    def take(self, timer: DueTimer) -> Ready | None:
        """The decision about a timer that is due, once; None: there is none."""
        kept, ready = self._ready.get(timer.instance, (None, None))
        if kept != timer:
            return None
        self.forget(timer.instance)
        return ready

    def forget(self, instance: str) -> None:
        """The document of this entity has changed."""
        found = self._ready.pop(instance, None)
        if found is not None:
            self._room.taken_bytes -= found[1].size_bytes

    def clear(self) -> None:
        """Forgets all of them."""
        for instance in list(self._ready):
            self.forget(instance)
