"""Slots run handlers: a limited number at a time, one at a time per key, in the order of arrival.

A slot is one long-lived task in which handlers are awaited, so that a command needs no task of its own. A slot wakes
another one only when there is more to do, and only one at a time: handlers that never wait all run in the first slot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, Protocol, TypeVar

__all__ = ["ByKey", "Keyed", "Slots", "Ready"]

_SWITCH_AFTER: Final = 32
"""After this many handlers that never wait, a slot yields to other tasks."""


class Keyed(Protocol):
    """An item with a key; items of the same key keep their order."""

    @property
    def key(self) -> object: ...


K = TypeVar("K", bound=Keyed)
T = TypeVar("T")


class ByKey(Generic[K]):
    """Admits one item per key at a time; the others of that key wait in order."""

    def __init__(self, start: Callable[[K], None]) -> None:
        self._start = start
        self._waiting: dict[object, deque[K] | None] = {}

    def admit(self, item: K) -> None:
        key = item.key
        if key not in self._waiting:
            self._waiting[key] = None
            self._start(item)
            return
        queue = self._waiting[key]
        if queue is None:
            queue = self._waiting[key] = deque()
        queue.append(item)

    def release(self, item: K) -> None:
        """The admitted item is done: the next one of its key starts."""
        queue = self._waiting[item.key]
        if queue:
            self._start(queue.popleft())
        else:
            del self._waiting[item.key]


class Ready(Protocol[T]):
    """Items that wait for a slot, and which of them is next."""

    def put(self, item: T, /) -> None: ...

    def take(self) -> T | None:
        """The next item; None: none may begin now."""
        ...

    def __len__(self) -> int: ...


class _InOrder(Generic[T]):
    """Items in the order of arrival."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()

    def put(self, item: T) -> None:
        self._items.append(item)

    def take(self) -> T | None:
        return self._items.popleft() if self._items else None

    def __len__(self) -> int:
        return len(self._items)


class Slots(Generic[T]):
    """Runs ``handle`` for each item, at most ``count`` at a time, in tasks of the given group.

    What ``handle`` returns is awaited in the same task; None: it is done, and nothing had to be awaited.
    ``ready`` says which of the waiting items is next; None: the one that came first.
    """

    def __init__(
        self, count: int, handle: Callable[[T], Coroutine[Any, Any, None] | None], ready: Ready[T] | None = None
    ) -> None:
        self._count, self._handle = count, handle
        self._ready: Ready[T] = _InOrder() if ready is None else ready
        self._idle: list[asyncio.Future[None]] = []
        self._made = 0
        self._waking = False
        self._group: asyncio.TaskGroup | None = None

    def open(self, group: asyncio.TaskGroup) -> None:
        """Starts slots when they are needed, as tasks of this group, until the group ends."""
        self._group = group

    def put(self, item: T) -> None:
        self._ready.put(item)
        self.wake()

    def wake(self) -> None:
        """Wakes one more slot for the ready items, unless one is being woken."""
        if self._waking or not self._ready:
            return
        if self._idle:
            self._waking = True
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
        elif self._made < self._count and self._group is not None:
            self._make(self._group)

    def _make(self, group: asyncio.TaskGroup) -> None:
        slot = self._run()
        try:
            group.create_task(slot, name=f"slot-{self._made + 1}")
        except RuntimeError:  # the group is ending, and every slot with it: what is released there begins nothing
            slot.close()
            self._group = None
        else:
            self._waking = True
            self._made += 1

    async def _run(self) -> None:
        while True:
            self._waking = False
            for _ in range(_SWITCH_AFTER):
                if (item := self._ready.take()) is None:
                    break
                if (rest := self._handle(item)) is not None:
                    self.wake()
                    await rest
            else:
                await asyncio.sleep(0)
                continue
            idle = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle
