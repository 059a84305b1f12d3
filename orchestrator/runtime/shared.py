"""``Shared``: one question to the log for all who ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["Shared"]

T = TypeVar("T")


class Shared(Generic[T]):
    """Calls that come while a question is under way share the next one, so that each answer was asked for after the
    call: at most two questions are under way for any number of calls. What it raises, all who share it get; one of them
    that is cancelled harms none of the others.
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
    """Where all who shared it are cancelled, nobody is left to hear of its error."""
    if not task.cancelled():
        task.exception()
