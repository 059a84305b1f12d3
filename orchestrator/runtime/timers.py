"""The timer index of one partition: a heap in memory, rebuilt from documents, that is told the time.

Documents remember timers; this only finds the due ones. Entries that the document no longer holds are dropped when they
come up.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["DueTimer", "TimerIndex"]


class DueTimer(NamedTuple):
    due_ms: int
    instance: str
    timer: str


class TimerIndex:
    """Which timer of which instance is due next."""

    def __init__(self) -> None:
        self._heap: list[DueTimer] = []
        self._in_heap: set[DueTimer] = set()
        self._current: dict[str, Mapping[str, int]] = {}

    def __len__(self) -> int:
        return sum(len(timers) for timers in self._current.values())

    def replace(self, instance: str, timers: Mapping[str, int]) -> None:
        """Makes these the timers of an instance, whatever it had before."""
        for timer, due_ms in timers.items():
            entry = DueTimer(due_ms, instance, timer)
            if entry not in self._in_heap:
                self._in_heap.add(entry)
                heapq.heappush(self._heap, entry)
        if timers:
            self._current[instance] = timers
        else:
            self._current.pop(instance, None)

    def next_due_ms(self) -> int | None:
        """When the next timer is due; None: there is none."""
        self._drop_stale()
        return self._heap[0].due_ms if self._heap else None

    def due(self, now_ms: int, max_count: int) -> list[DueTimer]:
        """Up to ``max_count`` timers with ``due_ms <= now_ms``, earliest first; each is handed out once.

        Whoever takes them commits a decision about each, or drops the whole index with its owner.
        """
        found: list[DueTimer] = []
        while len(found) < max_count:
            self._drop_stale()
            if not self._heap or self._heap[0].due_ms > now_ms:
                break
            found.append(self._pop())
        return found

    def _drop_stale(self) -> None:
        heap = self._heap
        while heap and self._current.get(heap[0].instance, {}).get(heap[0].timer) != heap[0].due_ms:
            self._pop()

    def _pop(self) -> DueTimer:
        entry = heapq.heappop(self._heap)
        self._in_heap.discard(entry)
        return entry
