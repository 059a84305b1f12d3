"""Work on the database in threads: one for writing, some for reading, each call with a deadline.

A call that is given up, by its deadline or because nobody waits for it any more, is interrupted in the database: its
statement fails within milliseconds, its transaction is rolled back, and its thread is free for the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from ...errors import TransientError
from .dialects import READERS_MAX, interruptible

__all__ = ["Threads"]

T = TypeVar("T")

_STOP_SECONDS = 5.0


class Threads:
    """See the module. ``close`` it at the end."""

    def __init__(self, engine: Engine, deadline_seconds: float) -> None:
        self._engine, self._deadline_seconds = engine, deadline_seconds
        self._readings = engine.execution_options(reading=True)
        self._writer = ThreadPoolExecutor(1, "read-model-write")
        self._readers = ThreadPoolExecutor(READERS_MAX, "read-model-read")
        self._closed = False

    async def write(self, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
        """What ``work`` gives, in a transaction of its own; one at a time.

        Raises:
            TransientError: not done within ``seconds`` (default the deadline), or the database refused.
        """
        return await self._call(self._writer, _Job(self._engine, work), seconds)

    async def read(self, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
        """As ``write``, beside it and beside each other: each on a snapshot."""
        return await self._call(self._readers, _Job(self._readings, work), seconds)

    async def prepared(self, work: Callable[[], T]) -> T:
        """What ``work`` gives that needs no connection, in the writing thread."""
        self._require_open()
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def close(self) -> None:
        """Never raises. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._writer.shutdown(wait=False)
        self._readers.shutdown(wait=False)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await asyncio.to_thread(self._end)
        except TimeoutError:
            # A statement hangs; its connection is dropped with the process, and nothing of it can be lost.
            return

    def _end(self) -> None:
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._engine.dispose()

    async def _call(self, threads: ThreadPoolExecutor, job: _Job[T], seconds: float | None) -> T:
        self._require_open()
        limit = self._deadline_seconds if seconds is None else seconds
        try:
            async with asyncio.timeout(limit):
                return await asyncio.get_running_loop().run_in_executor(threads, job.run)
        except TimeoutError:
            job.given_up = True
            raise TransientError(f"the read model did not answer within {limit:g} s; try again") from None
        except asyncio.CancelledError:
            job.given_up = True
            raise
        except SQLAlchemyError as error:
            raise TransientError(f"the read model did not take it ({type(error).__name__}); try again") from error

    def _require_open(self) -> None:
        if self._closed:
            raise TransientError("the read model is closed; open it again")


class _Job(Generic[T]):
    """One transaction in a thread. ``given_up`` may be set from another one, also before it begins."""

    def __init__(self, engine: Engine, work: Callable[[Connection], T]) -> None:
        self._engine, self._work = engine, work
        self.given_up = False

    def run(self) -> T:
        with (
            self._engine.begin() as connection,
            interruptible(connection.connection.dbapi_connection, lambda: self.given_up),
        ):
            return self._work(connection)
