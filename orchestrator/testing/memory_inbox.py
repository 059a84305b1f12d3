"""The workers' inbox in memory: the code of the SQLite inbox on an in-memory database, without its threads.

``InboxStore`` is the database and outlives processes; ``MemoryInbox`` is one process's access to it, with the faults of
a plan. It passes the inbox port's contract suite.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from ...workers.errors import InboxUnavailable
from ...workers.sqlite_inbox import _SCHEMA, SqliteInbox, _Lane
from .faults import Fault, Faults, Operation

__all__ = ["InboxStore", "MemoryInbox"]

T = TypeVar("T")


class InboxStore:
    """The database of an inbox and of its handlers' own tables.

    Args:
        schema: SQL that creates the handlers' own tables.
    """

    def __init__(self, schema: str = "") -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.connection.executescript(_SCHEMA + schema)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """The rows of a query on the handlers' tables."""
        return self.connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        self.connection.close()


class MemoryInbox(SqliteInbox):
    """The ``Inbox`` port on an ``InboxStore``.

    Args:
        faults: the plan; None: no faults.
        retention: entries are kept at least this long; None: forever.
        on_kill: called when a fault kills the process; it must end the process's parts.
    """

    def __init__(
        self,
        store: InboxStore,
        faults: Faults | None = None,
        *,
        retention: timedelta | None = None,
        on_kill: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(":memory:", retention=retention)
        self._on_kill = on_kill
        self._killed = False
        plan = faults or Faults()
        self._reading = _Way(self, store, plan, Operation.FIND)
        self._writing = _Way(self, store, plan, Operation.APPLY)

    def kill(self) -> None:
        """Ends the process: none of its calls reaches the store any more."""
        if not self._killed:
            self._killed = True
            if self._on_kill is not None:
                self._on_kill()

    def check(self) -> None:
        """Raises: InboxUnavailable, after ``kill``."""
        if self._killed:
            raise InboxUnavailable("the process of this inbox was killed; open another one")


class _Way(_Lane):
    """Carries a call out at once, in the event loop, with the plan's fault."""

    def __init__(self, inbox: MemoryInbox, store: InboxStore, faults: Faults, operation: Operation) -> None:
        super().__init__(lambda: store.connection, 0.0, operation)
        self._inbox, self._store, self._faults, self._operation = inbox, store, faults, operation

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._inbox.check()
        fault = self._faults.draw(self._operation)
        await asyncio.sleep(self._faults.seconds(fault) if fault is Fault.DELAY else 0)
        self._inbox.check()
        if fault is Fault.LOSE:
            raise InboxUnavailable("the inbox did not answer, nothing was done; try again")
        if fault is Fault.CRASH_BEFORE:
            self._inbox.kill()
            self._inbox.check()
        result = self._carry_out(work)
        if fault is Fault.CRASH_AFTER:
            self._inbox.kill()
            self._inbox.check()
        if fault is Fault.UNANSWERED:
            raise InboxUnavailable("the inbox did not answer in time, the outcome is unknown; try again")
        return result

    def _carry_out(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._store.connection)
        except sqlite3.Error as error:
            raise InboxUnavailable(f"the inbox failed: {error}; check its schema") from error
