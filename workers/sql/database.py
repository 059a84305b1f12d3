"""The user's engine, synchronous or asynchronous, behind one way to run work in a transaction.

Work is written once, on a synchronous ``Connection``: a synchronous engine runs it in a thread, an asynchronous one
through SQLAlchemy's greenlets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from ..threads import Threads
from .tables import check_dialect

__all__ = ["AnyEngine", "Database", "is_away", "in_transaction"]

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
        deadline_seconds: the longest wait for one piece of work.

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

    @property
    def is_postgresql(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    async def run(self, work: Callable[[Connection], T], *, writes: bool = True) -> T:
        """What ``work`` gives, in a transaction that is committed afterwards.

        Raises:
            TimeoutError: no answer in time.
            SQLAlchemyError: the database failed, or refused something.
        """
        limit_ms = round(self._deadline_seconds * 1000)

        def transaction(connection: Connection) -> T:
            _begin(connection, limit_ms, writes=writes)
            result = work(connection)
            connection.commit()
            return result

        async with self._turns if writes else nullcontext(), asyncio.timeout(self._deadline_seconds):
            if isinstance(self.engine, AsyncEngine):
                async with self.engine.connect() as connection:
                    return await connection.run_sync(transaction)
            return await self.in_thread(lambda: self._connected(transaction))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, in a thread that no handler can hold."""
        return await self._threads.run(work)

    def _connected(self, transaction: Callable[[Connection], T]) -> T:
        assert isinstance(self.engine, Engine)
        with self.engine.connect() as connection:
            return transaction(connection)


def _begin(connection: Connection, limit_ms: int, *, writes: bool) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": str(limit_ms)})
    elif writes and not in_transaction(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


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
