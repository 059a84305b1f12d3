"""The inbox on one SQLite file: entries and the handlers' own tables, in one transaction.

Rules:
- One connection writes, in a thread of its own; one reads. WAL, ``synchronous=FULL``: a verdict is given after commit.
- Many effects share one transaction; each has a savepoint, so that a rejected statement undoes only its own effect.
- When a statement ends the whole transaction (``OR ROLLBACK``, a trigger), the batch is applied one by one.
- Several processes may share the file: ``BEGIN IMMEDIATE`` serializes them.
- Every call has a deadline; when it passes, the connection is interrupted and the call raises.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar

from .errors import InboxUnavailable
from .inbox import Applied, Effect, Found, Verdict

__all__ = ["SqliteInbox"]

T = TypeVar("T")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sagaline_inbox (
    effect_key TEXT NOT NULL,
    undo INTEGER NOT NULL,
    command_id TEXT NOT NULL,
    reply BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (effect_key, undo)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sagaline_inbox_at ON sagaline_inbox (at_ms);
"""
_FIND_MAX: Final = 500
_STORE_TROUBLE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
    }
)
"""Primary result codes that are about the store, not about the statement."""


class _Torn(Exception):
    """A statement ended the transaction that it shared with others."""


class SqliteInbox:
    """The ``Inbox`` port on a SQLite file, which may hold the handlers' own tables too.

    Args:
        path: the file; created at first use, like the connection.
        schema: SQL that creates the handlers' own tables (``CREATE TABLE IF NOT EXISTS``); run when the file is opened.
        retention: entries are kept at least this long; None: forever. A step may be undone as long as its instance
            lives, so give more than the longest life of an instance, ``attention`` included. When an entry was dropped
            too early, its undo finds that the step never took effect.
        deadline: the longest wait for one call.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        schema: str = "",
        retention: timedelta | None = None,
        deadline: timedelta = timedelta(seconds=10),
    ) -> None:
        self._path, self._schema = str(path), schema
        self._retention_ms = None if retention is None else round(retention.total_seconds() * 1000)
        self._deadline_seconds = deadline.total_seconds()
        self._writing = _Lane(self._open, self._deadline_seconds, "inbox-write")
        self._reading = _Lane(self._open, self._deadline_seconds, "inbox-read")

    async def find(self, effect_keys: Sequence[str]) -> Mapping[str, Found]:
        """See ``Inbox.find``."""
        return await self._reading.run(lambda connection: _find(connection, effect_keys))

    async def apply(self, effects: Sequence[Effect]) -> Sequence[Applied]:
        """See ``Inbox.apply``."""
        return await self._writing.run(lambda connection: _apply(connection, effects))

    async def forget(self, now_ms: int, *, limit: int) -> int:
        """See ``Inbox.forget``."""
        if self._retention_ms is None:
            return 0
        before_ms = now_ms - self._retention_ms
        return await self._writing.run(lambda connection: _forget(connection, before_ms, limit))

    async def close(self) -> None:
        """See ``Inbox.close``."""
        await self._reading.close()
        await self._writing.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=self._deadline_seconds / 2, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.executescript(_SCHEMA + self._schema)
        except BaseException:
            connection.close()
            raise
        return connection


class _Lane:
    """One connection and the one thread that uses it."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], deadline_seconds: float, name: str) -> None:
        self._connect, self._deadline_seconds, self._name = connect, deadline_seconds, name
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, self._name)
        call = self._thread.submit(self._work, work)
        done = asyncio.wrap_future(call)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await asyncio.shield(done)
        except TimeoutError as error:
            if not call.cancel() and self._connection is not None:
                self._connection.interrupt()
            raise InboxUnavailable(
                f"the inbox did not answer within {self._deadline_seconds:g} s; check whether another process holds it"
            ) from error
        finally:
            if not done.done():
                done.add_done_callback(_unheard)
                call.cancel()

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        call = asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
        thread.shutdown(wait=False)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._deadline_seconds):
                await asyncio.shield(call)

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._connect()
            return work(self._connection)
        except sqlite3.Error as error:
            self._disconnect()
            raise InboxUnavailable(
                f"the inbox failed: {error}; check the file, its disk, its permissions and its schema"
            ) from error

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _unheard(done: asyncio.Future[T]) -> None:
    """Retrieves the result of a call without a caller, so that asyncio does not warn about it."""
    if not done.cancelled():
        done.exception()


def _find(connection: sqlite3.Connection, effect_keys: Sequence[str]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for start in range(0, len(effect_keys), _FIND_MAX):
        some = effect_keys[start : start + _FIND_MAX]
        marks = ",".join("?" * len(some))
        which = f"WHERE effect_key IN ({marks})"
        query = f"SELECT effect_key, undo, reply FROM sagaline_inbox {which}"  # nosec B608  # only question marks
        with closing(connection.execute(query, some)) as rows:
            for effect_key, undo, reply in rows:
                before = found.get(effect_key, Found())
                found[effect_key] = Found(before.forward, reply) if undo else Found(reply, before.undo)
    return found


def _apply(connection: sqlite3.Connection, effects: Sequence[Effect]) -> list[Applied]:
    try:
        return _transaction(connection, lambda: [_settle(connection, effect) for effect in effects])
    except _Torn as torn:
        if len(effects) == 1:
            return [Applied(Verdict.FAILED, error=str(torn))]
    return [_apply(connection, [effect])[0] for effect in effects]


def _forget(connection: sqlite3.Connection, before_ms: int, limit: int) -> int:
    def delete() -> int:
        return connection.execute(
            "DELETE FROM sagaline_inbox WHERE (effect_key, undo) IN"
            " (SELECT effect_key, undo FROM sagaline_inbox WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
            (before_ms, limit),
        ).rowcount

    return _transaction(connection, delete)


def _transaction(connection: sqlite3.Connection, work: Callable[[], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work()
        try:
            connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:  # a deferred constraint of the handlers' tables
            raise _Torn(f"IntegrityError: {error}") from error
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _settle(connection: sqlite3.Connection, effect: Effect) -> Applied:
    """The verdict on one effect inside a running transaction."""
    found = _find(connection, [effect.effect_key]).get(effect.effect_key, Found())
    if effect.undo:
        if found.undo is not None:
            return Applied(Verdict.REPEATED, found.undo)
        if (found.forward is not None) is not effect.forward_seen:
            return Applied(Verdict.STALE)
    elif found.undo is not None:
        return Applied(Verdict.FENCED)
    elif found.forward is not None:
        return Applied(Verdict.REPEATED, found.forward)
    return _carry_out(connection, effect)


def _carry_out(connection: sqlite3.Connection, effect: Effect) -> Applied:
    connection.execute("SAVEPOINT effect")
    try:
        connection.execute(
            "INSERT INTO sagaline_inbox VALUES (?, ?, ?, ?, ?)",
            (effect.effect_key, effect.undo, effect.command_id, effect.reply, effect.at_ms),
        )
        for sql, parameters in effect.statements:
            connection.execute(sql, parameters).close()
    except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError) as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in _STORE_TROUBLE:
            raise
        if not connection.in_transaction:
            raise _Torn(f"{type(error).__name__}: {error}") from error
        connection.execute("ROLLBACK TO effect")
        connection.execute("RELEASE effect")
        return Applied(Verdict.FAILED, error=f"{type(error).__name__}: {error}")
    connection.execute("RELEASE effect")
    return Applied(Verdict.STORED)
