"""``Shared``: one request to the log for all concurrent callers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["Shared"]

T = TypeVar("T")


class Shared(Generic[T]):
    """Calls that come while a request is in progress share the next one, so that each result was requested after the
    call. At most two requests exist for any number of calls. All callers of a request get its error; cancelling one
    caller does not affect the others.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        if self._next is None:
            self._next = asyncio.create_task(self._answer(), name="shared question")
            self._next.add_done_callback(_looked_at)
        return await asyncio.shield(self._next)

    async def _answer(self) -> T:
        async with self._turn:
            self._next = None
            return await self._ask()


def _looked_at(task: asyncio.Task[T]) -> None:
    """Retrieves the error if all callers were cancelled, so that asyncio does not warn about it."""
    if not task.cancelled():
        task.exception()
