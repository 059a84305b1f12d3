"""A stage collects items while its last batch is being processed: an idle stage never waits, a busy one batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ..orchestrator.errors import TransientError
from .errors import is_cancelled
from .failures import Failures

__all__ = ["Stage", "until_done"]

T = TypeVar("T")


class Stage(Generic[T]):
    """Passes collected items on in one call, in order. Its size is bounded by the worker's commands in flight.

    Args:
        name: for the log.
        carry_out: called again with the same batch after it raised ``TransientError``, with growing pauses, for as long
            as the stage runs; must allow that. See ``until_done``.
        batch_max: the largest number of items in one call.
    """

    def __init__(self, name: str, carry_out: Callable[[list[T]], Awaitable[None]], batch_max: int) -> None:
        self._name, self._carry_out, self._batch_max = name, carry_out, batch_max
        self._items: deque[T] = deque()
        self._wakeup: asyncio.Future[None] | None = None

    def put(self, item: T) -> None:
        self._items.append(item)
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def run(self) -> None:
        """Runs until it is cancelled, or until ``carry_out`` raises an error that is not transient."""
        while True:
            if not self._items:
                self._wakeup = asyncio.get_running_loop().create_future()
                await self._wakeup
                self._wakeup = None
            batch = [self._items.popleft() for _ in range(min(self._batch_max, len(self._items)))]
            await until_done(self._name, self._carry_out, batch)


async def until_done(
    name: str,
    carry_out: Callable[[list[T]], Awaitable[None]],
    batch: list[T],
    ends: Callable[[BaseException], bool] = is_cancelled,
) -> None:
    """Calls it again with the same batch after ``TransientError``, with growing pauses, and after a foreign cancel.

    Args:
        ends: whether a cancellation is the end of the current task, and not foreign code's: a library may keep the
            task of a handler and cancel it when the handler has ended.
    """
    failures = Failures("worker.stage", stage=name, count=len(batch))
    while True:
        try:
            if failures.last is not None:
                await failures.wait()
            await carry_out(batch)
        except TransientError as error:
            failures.failed(error)
        except asyncio.CancelledError as error:
            if ends(error):
                raise
            failures.failed(InterruptedError("foreign code cancelled it; it is done again"))
        else:
            failures.succeeded()
            return
