"""Threads of our own for blocking code, as many as are asked for at once.

The event loop's own are few (six on two cores). Handlers that wait in all of them, for the lock of a row or for a slow
service, would keep out each other, and the commit or the closing that releases the lock: so each purpose has its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Final, ParamSpec, TypeVar

__all__ = ["Threads"]

P = ParamSpec("P")
T = TypeVar("T")

_THREADS_MAX: Final = 1_000
"""More than a worker's ``concurrency`` in practice; threads are made when they are needed, and used again."""


class Threads:
    """Runs functions in threads. ``name``: of the threads, for tools that show them."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(_THREADS_MAX, name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function gives; it sees the caller's context variables, as with ``asyncio.to_thread``."""
        call = partial(copy_context().run, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)
