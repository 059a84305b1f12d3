"""The only writer of this process: a thread that collects the operations of all callers into one SQLite transaction.

- Callers submit operations and await a future, which is resolved after COMMIT: an acknowledged write is on disk.
- While one transaction is synced the next batch collects: no caller waits for a batch to fill.
- An operation that fails affects only itself: it is checked before it writes anything, or runs in its own SAVEPOINT. If
  a statement fails for another reason than the disk or a lock, the batch is rolled back and its operations are repeated
  one by one, so that only the faulty one fails.
- When idle, the thread checks every 10 ms whether another process has written the file.

A crash before COMMIT loses the whole batch; after COMMIT everything is on disk, acknowledged or not.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol, TypeVar

from ...errors import LogUnavailable, SagalineError
from ...ports.clock import Clock
from .schema import harms_all, is_passing, translate
from .transaction import Memory, Transaction

__all__ = ["News", "Operation", "Writer"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_OPERATIONS_PER_BATCH = 1000
_WAITING_MAX = 100_000
_BUSY_PAUSE_SECONDS = 0.0005
_FOREIGN_POLL_SECONDS = 0.010
_SCRUB_MS = 500


class Operation(Protocol[T_co]):
    """The operation of one caller. ``isolated`` False: if it raises, it has changed nothing."""

    @property
    def isolated(self) -> bool: ...

    def apply(self, transaction: Transaction, /) -> T_co: ...


class News(NamedTuple):
    """The changes of a transaction, for the event loop: new ends of partitions, and whether groups changed."""

    ends: dict[int, int]
    groups_changed: bool
    foreign: bool
    """Another process has written the file; its changes are unknown."""


_Waiting = tuple[Operation[Any], "asyncio.Future[Any]"]
_Outcome = tuple["asyncio.Future[Any]", Any, Exception | None]


class Writer:
    """Owns the writing connection; ``tell`` is called in the event loop after every transaction."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, clock: Clock, deadline: float, tell: Callable[[News], None]
    ) -> None:
        self._path, self._connection, self._clock, self._deadline, self._tell = path, connection, clock, deadline, tell
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._memory = Memory()
        self._data_version = -1
        self._foreign = False
        self._closing = False
        self.watched = False
        """True while other processes' writes must be noticed."""
        self._thread = threading.Thread(target=self._run, name=f"sqlite-log {path.name}", daemon=True)
        self._thread.start()

    async def submit(self, operation: Operation[T]) -> T:
        """The result of ``operation``, once it is durable.

        Raises:
            LogUnavailable: the disk, a lock or the deadline prevented it; it may still take effect.
        """
        if self._closing:
            raise LogUnavailable(f"the log {self._path} is closed; open it again")
        if self._queue.qsize() >= _WAITING_MAX:
            raise LogUnavailable(
                f"{_WAITING_MAX:,} calls wait for the log {self._path}; retry later, with fewer calls at once"
            )
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put((operation, future))
        try:
            async with asyncio.timeout(self._deadline):
                return await future
        except TimeoutError:
            raise LogUnavailable(
                f"the log {self._path} did not write within {self._deadline:g} s; check its disk and its lock"
            ) from None

    def watch(self, wanted: bool) -> None:
        """Starts or stops checking for other processes' writes when idle."""
        if wanted and not self.watched:
            self._queue.put(None)
        self.watched = wanted

    async def close(self) -> None:
        """Ends the thread after the queued operations; waits at most five seconds for it."""
        self._closing = self.watched = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, 5)

    # In the writer's thread

    def _run(self) -> None:
        try:
            while batch := self._gather():
                self._write([waiting for waiting in batch if not waiting[1].done()])
        finally:
            self._connection.close()

    def _gather(self) -> list[_Waiting]:
        """Waits for the first operation and takes the others that are queued; empty: the writer is closed."""
        while True:
            try:
                first = self._queue.get(timeout=_FOREIGN_POLL_SECONDS if self.watched else None)
            except Empty:
                if self._closing:
                    return []
                self._look_for_foreign_writes()
                continue
            if first is None:
                continue
            batch = [first]
            try:
                while len(batch) < _OPERATIONS_PER_BATCH:
                    if (waiting := self._queue.get_nowait()) is not None:
                        batch.append(waiting)
            except Empty:
                pass
            return batch

    def _look_for_foreign_writes(self) -> None:
        try:
            self._read_data_version()
        except sqlite3.Error:
            return
        if self._foreign:
            self._post([], {}, False)

    def _read_data_version(self) -> None:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._data_version:
            self._memory.forget()
            self._foreign = True
            self._data_version = version

    def _write(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        try:
            outcomes, transaction = self._transact(batch)
        except Exception as error:
            self._roll_back()
            if len(batch) > 1 and isinstance(error, sqlite3.Error) and not harms_all(error):
                for waiting in batch:
                    self._write([waiting])
                return
            failure = translate(error, self._path) if isinstance(error, sqlite3.Error) else error
            self._post([(future, None, failure) for _, future in batch], {}, False)
        else:
            self._post(outcomes, transaction.ends, transaction.groups_changed)

    def _transact(self, batch: list[_Waiting]) -> tuple[list[_Outcome], Transaction]:
        self._begin()
        self._read_data_version()
        transaction = Transaction(self._connection, self._memory, self._clock.now_ms())
        outcomes = [(future, *self._apply(operation, transaction)) for operation, future in batch]
        transaction.flush()
        self._connection.execute("COMMIT")
        if transaction.scrubbed:
            self._scrub()
        return outcomes, transaction

    def _scrub(self) -> None:
        """Empties the journal, which has the erased records until then. If readers are in the way for too long, the
        next checkpoints overwrite them.
        """
        try:
            self._connection.execute(f"PRAGMA busy_timeout = {_SCRUB_MS}")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._connection.execute("PRAGMA busy_timeout = 0")
        except sqlite3.Error:
            return  # it is committed

    def _apply(self, operation: Operation[Any], transaction: Transaction) -> tuple[Any, Exception | None]:
        if not operation.isolated:
            try:
                return operation.apply(transaction), None
            except SagalineError as refused:
                return None, refused
        transaction.execute("SAVEPOINT operation")
        try:
            result = operation.apply(transaction)
            transaction.flush()
        except SagalineError as refused:
            self._connection.execute("ROLLBACK TO operation")
            self._connection.execute("RELEASE operation")
            self._memory.forget()
            return None, refused
        self._connection.execute("RELEASE operation")
        return result, None

    def _begin(self) -> None:
        """Takes SQLite's write lock, trying often: with the built-in waiting a busy process could starve this one."""
        until = time.monotonic() + self._deadline * 0.8
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                if not is_passing(error) or self._closing or time.monotonic() >= until:
                    raise
                time.sleep(_BUSY_PAUSE_SECONDS)
            else:
                return

    def _roll_back(self) -> None:
        self._memory.forget()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # The next BEGIN reports it to its callers.
            return

    def _post(self, outcomes: list[_Outcome], ends: dict[int, int], groups_changed: bool) -> None:
        news = News(ends, groups_changed, self._foreign)
        self._foreign = False
        try:
            self._loop.call_soon_threadsafe(self._deliver, outcomes, news)
        except RuntimeError:
            # The event loop is closed: no caller waits any more.
            self._closing = self.watched = True

    # In the event loop

    def _deliver(self, outcomes: list[_Outcome], news: News) -> None:
        for future, result, error in outcomes:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        self._tell(news)
