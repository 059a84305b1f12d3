"""A simulated process: a connection of its own, the parts that run in it, and its sudden end.

What a part raises ends the whole process, as an exception that nobody catches would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from .broker import Broker
from .memory_inbox import InboxStore, MemoryInbox
from .memory_log import MemoryLog

__all__ = ["Process"]


class Process:
    """Parts that live and die together. A crash fault of its log or inbox kills all of it.

    Args:
        broker: what outlives it; its fault plan is the process's too.
        name: for messages.
        member_timeout: as ``MemoryLog``.
        deadline: as ``MemoryLog``.
    """

    def __init__(
        self,
        broker: Broker,
        name: str,
        *,
        member_timeout: timedelta = timedelta(seconds=5),
        deadline: timedelta = timedelta(seconds=10),
    ) -> None:
        self.name, self._broker = name, broker
        self.log = MemoryLog(broker, member_timeout=member_timeout, deadline=deadline, on_kill=self._end)
        self._inboxes: list[MemoryInbox] = []
        self._parts: list[asyncio.Task[None]] = []
        self.error: Exception | None = None
        """What ended it, where that was one of its own parts."""

    def inbox(self, store: InboxStore, *, retention: timedelta = timedelta(days=14)) -> MemoryInbox:
        """An inbox that dies with this process."""
        made = MemoryInbox(store, self._broker.faults, retention=retention, on_kill=self.kill)
        self._inboxes.append(made)
        return made

    def run(self, part: Coroutine[Any, Any, None], name: str = "") -> None:
        """Runs a part until it ends or the process does."""
        task = asyncio.create_task(self._guarded(part), name=f"{self.name} {name}".strip())
        task.add_done_callback(lambda _: part.close())  # one that is cancelled before its first step was never awaited
        self._parts.append(task)

    @property
    def killed(self) -> bool:
        return self.log.killed

    def kill(self) -> None:
        """Ends the process without a goodbye: from this instant on nothing of it reaches log or inbox.

        Its parts are cancelled afterwards, so that they end; what they do then is done by nobody.
        """
        self.log.kill()

    async def ended(self) -> None:
        """Returns when every part has ended: it was killed, or a part raised (``error``), or all are done."""
        if self._parts:
            await asyncio.wait(self._parts)

    async def stop(self) -> None:
        """Ends the process in good order: parts are cancelled and waited for, the log is closed."""
        for part in self._parts:
            part.cancel()
        if self._parts:
            await asyncio.wait(self._parts)
        for inbox in self._inboxes:
            await inbox.close()
        await self.log.close()

    def _end(self) -> None:
        for inbox in self._inboxes:
            inbox.kill()
        for part in self._parts:
            part.cancel()

    async def _guarded(self, part: Coroutine[Any, Any, None]) -> None:
        try:
            await part
        except Exception as error:
            if not self.killed:
                self.error = error
                self.kill()
