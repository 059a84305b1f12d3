"""Slots run handlers: a limited number at a time, one at a time per key, in the order of arrival.

A slot is one long-lived task in which handlers are awaited, so that a command needs no task of its own. A slot wakes
another one only when there is more to do, and only one at a time: handlers that never wait all run in the first slot.

- Each item has a context of its own, a copy of the one in which the slots were opened.
- Only the end of their group ends the slots. User code can get hold of a slot's task and cancel it, then or later: that
  is the failure of the handler that runs in it, or of none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, Final, Generic, Protocol, TypeVar

from .errors import is_cancelled
from .own_context import within

__all__ = ["ByKey", "Keyed", "Slots", "Ready"]

_SWITCH_AFTER: Final = 32
"""After this many handlers that never wait, a slot yields to other tasks."""
_CANCELLED: Final = (
    "the task of a handler was cancelled when the handler had ended and its outcome was being stored; do not keep "
    "asyncio.current_task() of a handler: start a task of your own, and cancel that"
)


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
        self._context = Context()

    def open(self, group: asyncio.TaskGroup) -> None:
        """Starts slots when they are needed, as tasks of this group, until the group ends."""
        self._group, self._context = group, copy_context()

    def put(self, item: T) -> None:
        self._ready.put(item)
        self.wake()

    def wake(self) -> None:
        """Wakes one more slot for the ready items, unless one is being woken."""
        if self._waking or not self._ready:
            return
        while self._idle:
            if not (idle := self._idle.pop()).done():  # else it was cancelled
                idle.set_result(None)
                self._waking = True
                return
        if self._made < self._count and (slot := self._task(self._run())) is not None:
            self._waking = True
            self._made += 1
            slot.add_done_callback(self._ended)

    def ends(self, error: BaseException) -> bool:
        """True when the slot in which it was raised is being ended. Else it is a failure of what runs in the slot."""
        return is_cancelled(error) and (isinstance(error, GeneratorExit) or not self._goes_on())

    def _goes_on(self) -> bool:
        """Takes back a cancellation of the current slot; False: its group is ending, and every slot with it."""
        if self._task(_nothing()) is None:
            return False
        slot = asyncio.current_task()
        while slot is not None and slot.cancelling():
            slot.uncancel()
        return True

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """A new task of the group; None: that is ending, so that what is released there begins nothing."""
        if self._group is not None:
            try:
                return self._group.create_task(work, name=f"slot-{self._made + 1}", context=self._context.copy())
            except RuntimeError:
                self._group = None
        work.close()
        return None

    def _ended(self, _slot: asyncio.Task[None]) -> None:
        """A slot has ended, perhaps before it woke: another one does what is ready."""
        self._made -= 1
        self._waking = False
        self.wake()

    async def _run(self) -> None:
        slot = asyncio.current_task()
        assert slot is not None
        while True:
            self._waking = False
            for _ in range(_SWITCH_AFTER):
                if (item := self._ready.take()) is None:
                    break
                context = self._context.copy()
                if (rest := context.run(self._handle, item)) is not None:
                    self.wake()
                    try:
                        await within(context, rest)
                    except asyncio.CancelledError as error:
                        if self.ends(error):
                            raise
                        raise RuntimeError(_CANCELLED) from error
                if slot.cancelling():
                    return  # by what ran in it, too late for that: the next item gets another slot
            else:
                await asyncio.sleep(0)
                continue
            idle = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle


async def _nothing() -> None:
    """Whether the group takes it says whether that is ending."""
