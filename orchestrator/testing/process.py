"""A simulated process: its connection, the parts that run in it, and its crash.

An error of a part ends the whole process, like an uncaught exception.
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
    """Parts that run and end together. A crash fault of its log or inbox kills the whole process.

    Args:
        broker: the broker, which outlives the process; its fault plan applies to the process too.
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
        """The error of the part that ended it, if any."""

    def inbox(self, store: InboxStore, *, retention: timedelta = timedelta(days=14)) -> MemoryInbox:
        """An inbox that is killed with this process."""
        made = MemoryInbox(store, self._broker.faults, retention=retention, on_kill=self.kill)
        self._inboxes.append(made)
        return made

    def run(self, part: Coroutine[Any, Any, None], name: str = "") -> None:
        """Runs a part until it or the process ends."""
        task = asyncio.create_task(self._guarded(part), name=f"{self.name} {name}".strip())
        task.add_done_callback(
            lambda _: part.close()
        )  # a part that is cancelled before its first step was never awaited
        self._parts.append(task)

    @property
    def killed(self) -> bool:
        return self.log.killed

    def kill(self) -> None:
        """Kills the process: after this none of its calls reaches log or inbox.

        Its parts are then cancelled, so that they end; their cleanup has no effect outside.
        """
        self.log.kill()

    async def ended(self) -> None:
        """Returns when every part has ended: it was killed, or a part raised (``error``), or all are done."""
        if self._parts:
            await asyncio.wait(self._parts)

    async def stop(self) -> None:
        """Stops the process cleanly: its parts are cancelled and awaited, the log is closed."""
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
