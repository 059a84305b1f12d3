"""Database work in threads: one for writing, several for reading, each call with a deadline.

A call that has passed its deadline or was cancelled is interrupted in the database: its statement fails within
milliseconds, its transaction is rolled back, and its thread is free again. An interrupt may come just before its
statement, so it is repeated until the work has ended.

Work that loses its connection is repeated once, on another one: all work may be repeated, and a restart of the database
then causes no error.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ...errors import TransientError
from .dialect import READERS_MAX, Dialect

__all__ = ["Threads"]

T = TypeVar("T")

_STOP_SECONDS = 5.0
_AGAIN_SECONDS = 0.05


class Threads:
    """See the module's docstring. ``close`` it at the end.

    Raises:
        ConfigurationError: the database's driver is not installed.
    """

    def __init__(self, dialect: Dialect, deadline_seconds: float) -> None:
        self._dialect, self._deadline_seconds = dialect, deadline_seconds
        self._engine = dialect.engine(deadline_seconds)
        self._writer = ThreadPoolExecutor(1, "read-model-write")
        self._readers = ThreadPoolExecutor(READERS_MAX, "read-model-read")
        self._interrupts = ThreadPoolExecutor(1, "read-model-interrupt")
        self._closed = False

    async def write(self, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
        """The result of ``work``, in its own transaction; one at a time.

        Raises:
            TransientError: not done within ``seconds`` (default: the deadline), or the database failed.
        """
        limit = self._deadline_seconds if seconds is None else seconds
        return await self._call(self._writer, work, limit, self._dialect.begin(limit))

    async def read(self, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
        """The result of ``work``, which runs one statement; concurrently with writes and other reads."""
        return await self._call(self._readers, work, self._deadline_seconds if seconds is None else seconds)

    async def prepared(self, work: Callable[[], T]) -> T:
        """The result of ``work``, which needs no connection, in the writing thread."""
        self._require_open()
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def close(self) -> None:
        """Never raises. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for threads in (self._writer, self._readers):
            threads.shutdown(wait=False)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await asyncio.to_thread(self._end)
        except TimeoutError:
            # A statement hangs; its connection ends with the process, and no data can be lost.
            return

    def _end(self) -> None:
        for threads in (self._writer, self._readers, self._interrupts):
            threads.shutdown(wait=True)
        self._engine.dispose()

    async def _call(
        self, threads: ThreadPoolExecutor, work: Callable[[Connection], T], limit: float, begin: str | None = None
    ) -> T:
        self._require_open()
        job = _Job(self._engine, begin, work, self._dialect.interrupt)
        try:
            async with asyncio.timeout(limit):
                return await asyncio.get_running_loop().run_in_executor(threads, job.run)
        except TimeoutError:
            self._give_up(job)
            raise TransientError(f"the read model did not answer within {limit:g} s; retry") from None
        except asyncio.CancelledError:
            self._give_up(job)
            raise
        except SQLAlchemyError as error:
            raise TransientError(
                "the read model's database cannot be used now: start it, or read its error in this server's log; "
                "then retry"
            ) from (getattr(error, "orig", None) or error)

    def _give_up(self, job: _Job[Any]) -> None:
        with suppress(RuntimeError):  # closed in the meantime: all work has ended
            self._interrupts.submit(job.give_up)

    def _require_open(self) -> None:
        if self._closed:
            raise TransientError("the read model is closed; open it again")


class _Job(Generic[T]):
    """Work in a thread, in a transaction if there is a ``begin``. ``give_up`` may be called from another thread, even
    before the work begins.
    """

    def __init__(
        self, engine: Engine, begin: str | None, work: Callable[[Connection], T], interrupt: Callable[[Any], None]
    ) -> None:
        self._engine, self._begin, self._work, self._interrupt = engine, begin, work, interrupt
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._given_up = False
        self._at_work: Any = None

    def run(self) -> T:
        try:
            return self._run()
        except DBAPIError as error:
            if not error.connection_invalidated or self._given_up:
                raise
            return self._run()
        finally:
            self._ended.set()

    def _run(self) -> T:
        with self._engine.connect() as connection:
            try:
                with self._turn:
                    if self._given_up:
                        raise _GivenUp
                    self._at_work = connection.connection.dbapi_connection
                if self._begin is not None:
                    connection.exec_driver_sql(self._begin)
                done = self._work(connection)
            finally:
                with self._turn:
                    self._at_work = None
                if self._given_up:
                    # An interrupt may still be in flight.
                    connection.invalidate()
            connection.commit()
            return done

    def give_up(self) -> None:
        """Returns when the work has ended; at once if it has not begun, and then it never begins."""
        self._given_up = True
        while True:
            with self._turn:
                if self._at_work is None:
                    return
                self._interrupt(self._at_work)
            self._ended.wait(_AGAIN_SECONDS)


class _GivenUp(Exception):
    """The caller has given up."""
