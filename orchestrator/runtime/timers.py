"""The timer index of one partition: in memory, rebuilt from documents; the caller provides the time.

Timers are stored in documents; the index only finds the due ones. Timers that are due soon are in a heap with their
exact time. For later ones it only notes, per minute, which documents to read then, so that an instance that waits for
days costs little. Entries that the document no longer has are dropped when they come up.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ["DueTimer", "TimerIndex"]

_SPAN_MS = 60_000
_LOOK_MAX = 1_000
"""Documents read by one call of ``due``: limits how long it blocks the event loop."""


class DueTimer(NamedTuple):
    due_ms: int
    instance: str
    timer: str


class TimerIndex:
    """Which timer of which instance is due next.

    Args:
        look: returns the timers of the committed document of a key; empty if there is no such document.
        early: True for an instance whose timers ``soon`` returns.
    """

    def __init__(
        self, look: Callable[[bytes], Mapping[str, int]], early: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._look, self._early = look, early
        self._soon: list[DueTimer] = []
        self._heap: list[DueTimer] = []
        self._in_heap: set[DueTimer] = set()
        self._near: dict[str, Mapping[str, int]] = {}
        self._reached = -1
        self._spans: list[int] = []
        self._noted: dict[int, dict[bytes, None]] = {}

    def replace(self, key: bytes, timers: Mapping[str, int]) -> None:
        """Replaces the timers of an instance."""
        instance = key.decode()  # first, so that an invalid key is not noted
        near: dict[str, int] = {}
        for timer, due_ms in timers.items():
            span = due_ms // _SPAN_MS
            if span <= self._reached:
                near[timer] = due_ms
            elif (noted := self._noted.get(span)) is not None:
                noted[key] = None
            else:
                self._noted[span] = {key: None}
                heapq.heappush(self._spans, span)
        self._push(instance, near)
        if near:
            self._near[instance] = near
        else:
            self._near.pop(instance, None)

    def next_due_ms(self) -> int | None:
        """When to call ``due`` at the latest, for later timers a minute before theirs; None: there is no timer."""
        self._drop_stale()
        found = [self._heap[0].due_ms] if self._heap else []
        if self._spans:
            found.append((self._spans[0] - 1) * _SPAN_MS)
        return min(found, default=None)

    def soon(self, max_count: int) -> list[DueTimer]:
        """Up to ``max_count`` timers that will be due within two minutes, earliest first; again after each ``replace``.

        ``due`` returns them too, when they are due.
        """
        found: list[DueTimer] = []
        while self._soon and len(found) < max_count:
            entry = heapq.heappop(self._soon)
            if self._is_set(entry):
                found.append(entry)
        return found

    def due(self, now_ms: int, max_count: int) -> list[DueTimer]:
        """Up to ``max_count`` timers with ``due_ms <= now_ms``, earliest first; each is returned once.

        The caller commits a decision about each, or drops the whole index with its owner. After a long time
        without a call it may return fewer, and those of one minute out of order: call it until ``next_due_ms`` is in
        the future.
        """
        self._reach(now_ms // _SPAN_MS + 1)
        found: list[DueTimer] = []
        while len(found) < max_count:
            self._drop_stale()
            if not self._heap or self._heap[0].due_ms > now_ms:
                break
            found.append(self._pop())
        return found

    def _reach(self, span: int) -> None:
        """Moves the noted timers up to that minute into the heap, a limited number at a time."""
        looks = _LOOK_MAX
        while self._spans and self._spans[0] <= span:
            noted = self._noted[self._spans[0]]
            while noted:
                if not looks:
                    return
                looks -= 1
                key, _ = noted.popitem()
                instance, timers = key.decode(), self._look(key)
                found = {timer: due for timer, due in timers.items() if due // _SPAN_MS == self._spans[0]}
                if found:
                    self._push(instance, found)
                    self._near[instance] = {**self._near.get(instance, {}), **found}
            del self._noted[heapq.heappop(self._spans)]
        self._reached = max(self._reached, span)

    def _push(self, instance: str, timers: Mapping[str, int]) -> None:
        early = self._early(instance)
        for timer, due_ms in timers.items():
            entry = DueTimer(due_ms, instance, timer)
            if early:
                heapq.heappush(self._soon, entry)
            if entry not in self._in_heap:
                self._in_heap.add(entry)
                heapq.heappush(self._heap, entry)

    def _drop_stale(self) -> None:
        heap = self._heap
        while heap and not self._is_set(heap[0]):
            self._pop()

    def _is_set(self, entry: DueTimer) -> bool:
        return self._near.get(entry.instance, {}).get(entry.timer) == entry.due_ms

    def _pop(self) -> DueTimer:
        entry = heapq.heappop(self._heap)
        self._in_heap.discard(entry)
        return entry
