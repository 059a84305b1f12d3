"""The user's engine, synchronous or asynchronous, behind one way to run work in a transaction.

Work is written once, on a synchronous ``Connection``: a synchronous engine runs it in a thread, an asynchronous one
through SQLAlchemy's greenlets.

Everything that waits for the database is a task of its own. Its caller leaves at the deadline; the task ends behind
the statement that it waits for, closes what it had opened, and then gives its turn to the next one. A thread cannot be
cancelled, and nothing may use its connection beside it; aiosqlite's is one too: a statement that is cancelled there can
hold SQLite's lock until the garbage is collected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from ..threads import Threads
from .tables import check_dialect

__all__ = ["AnyEngine", "Database", "in_transaction", "is_away", "to_its_end"]

T = TypeVar("T")
AnyEngine = Engine | AsyncEngine

_SQLITE_AWAY: Final = frozenset({3, 5, 6, 7, 8, 9, 10, 11, 13, 14, 26})
"""Primary result codes about the store, not about the statement: PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, …"""
_POSTGRES_AWAY: Final = ("08", "25", "40", "53", "55", "57", "58")
"""Classes of SQLSTATE: connection, transaction state, rollback, resources, not available, intervention, system."""


class Database:
    """One engine of the user; never disposed here.

    Args:
        engine: for SQLite or PostgreSQL.
        deadline_seconds: the longest wait for one piece of work, its turn included.

    Raises:
        ValueError: another database.
    """

    def __init__(self, engine: AnyEngine, deadline_seconds: float) -> None:
        check_dialect(engine.dialect)
        self.engine, self._deadline_seconds = engine, deadline_seconds
        # Not the loop's threads: handlers that wait there for locks would keep out the commits that release them.
        self._threads = Threads("sagaline-sql")
        # SQLite lets waiting writers in without an order: those of one process take turns.
        self._turns = asyncio.Semaphore(1_000_000 if engine.dialect.name == "postgresql" else 1)
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def is_postgresql(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    async def run(self, work: Callable[[Connection], T], *, writes: bool = True) -> T:
        """What ``work`` gives, in a transaction that is committed afterwards.

        Raises:
            TimeoutError: no answer in time; it may still be committed.
            SQLAlchemyError: the database failed, or refused something.
        """
        return await self.within(self._run(work, writes=writes))

    async def within(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` gives. At the deadline, and when the caller is cancelled, it is cancelled and ends alone.

        Raises:
            TimeoutError: it gave nothing in time.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait([task], timeout=self._deadline_seconds)
            if not task.done():
                raise TimeoutError
            return task.result()
        finally:
            if not task.done():
                asyncio.get_running_loop().call_soon(task.cancel)  # behind its beginning: what it has it must close

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # nobody else may ask for it

    async def drain(self) -> None:
        """Waits until what was left alone has ended, no longer than the deadline."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._deadline_seconds)

    async def _run(self, work: Callable[[Connection], T], *, writes: bool) -> T:
        def transaction(connection: Connection) -> T:
            self.limit(connection)
            if writes and not self.is_postgresql and not in_transaction(connection):
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            result = work(connection)
            connection.commit()
            return result

        async with self._turns if writes else nullcontext():
            if isinstance(self.engine, AsyncEngine):
                return await self.by_coroutine(self._connected_async(self.engine, transaction))
            return await self.in_thread(partial(self._connected, self.engine, transaction))

    def limit(self, connection: Connection) -> None:
        """Ends each statement of the transaction at the deadline, also if nobody waits. SQLite's driver has one."""
        if self.is_postgresql:
            limit = {"limit": str(round(self._deadline_seconds * 1000))}
            connection.execute(text("SELECT set_config('statement_timeout', :limit, true)"), limit)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, in a thread that no handler can hold. A cancelled caller waits for the thread's end."""
        return await to_its_end(self._threads.run(work))

    async def by_coroutine(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` on an asynchronous engine gives; it can be cancelled where the driver can."""
        return await (work if self.is_postgresql else to_its_end(work))

    def _connected(self, engine: Engine, transaction: Callable[[Connection], T]) -> T:
        with engine.connect() as connection:
            return transaction(connection)

    async def _connected_async(self, engine: AsyncEngine, transaction: Callable[[Connection], T]) -> T:
        async with engine.connect() as connection:
            return await connection.run_sync(transaction)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives; it is not cancelled with its caller, who waits for its end."""
    running = asyncio.create_task(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def in_transaction(connection: Connection) -> bool:
    """Whether SQLite's own connection is in a transaction: a statement may have ended it."""
    return bool(getattr(connection.connection.driver_connection, "in_transaction", True))


def is_away(error: SQLAlchemyError) -> bool:
    """True when an error is about the database or its connection, not about a statement: the same again may succeed."""
    if not isinstance(error, DBAPIError):
        return type(error).__name__ == "TimeoutError"  # of the connection pool
    if error.connection_invalidated:
        return True
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_AWAY
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_POSTGRES_AWAY)
    return isinstance(error, OperationalError) or error.orig is None
