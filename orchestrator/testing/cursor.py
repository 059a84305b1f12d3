"""Reads partitions in memory: each in order, none starved by another; and waits for more records."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ..ports.log import Record, TopicPartition
from .connection import Connection
from .partition import Partition

__all__ = ["Cursor"]


class Cursor:
    """A read position in each of its partitions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parts: dict[TopicPartition, Partition] = {}
        self._next: dict[TopicPartition, int] = {}
        self._news = asyncio.Event()
        self._turn = 0
        connection.listen(self, self.wake)

    def assign(self, parts: Mapping[TopicPartition, Partition], starts: Mapping[TopicPartition, int]) -> None:
        """Reads exactly these partitions: from the given offsets, or else from the current position."""
        for place, part in self._parts.items():
            if place not in parts:
                part.listen(self, None)
        for part in parts.values():
            part.listen(self, self.wake)
        self._next = {place: starts.get(place, self._next.get(place, 0)) for place in parts}
        self._parts = dict(parts)
        self.wake()

    def positions(self) -> dict[TopicPartition, int]:
        return dict(self._next)

    def wake(self) -> None:
        self._news.set()

    def read(self, max_records: int) -> list[Record]:
        """The available records; none while the connection is silent.

        Raises:
            LogUnavailable: the connection is cut or has ended.
        """
        self._news.clear()
        self._connection.check()
        if not self._connection.reachable:
            return []
        ready = [place for place, part in self._parts.items() if part.stable > self._next[place]]
        self._turn += 1
        turn = self._turn % len(ready) if ready else 0
        records: list[Record] = []
        for place in ready[turn:] + ready[:turn]:
            part, wanted = self._parts[place], max_records - len(records)
            found = part.read(self._next[place], wanted)
            # Offsets after the last record may be missing: a marker, a compacted record.
            more = len(found) == wanted and part.read(found[-1].offset + 1, 1)
            self._next[place] = found[-1].offset + 1 if more else part.stable
            records += found
            if len(records) >= max_records:
                break
        return records

    async def wait(self, until: float) -> bool:
        """Waits for new records until that time of the event loop; True: there are some."""
        if self._news.is_set():
            return True
        try:
            async with asyncio.timeout_at(until):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def poll(self, max_records: int, timeout: float) -> list[Record]:
        """Raises: LogUnavailable."""
        until = asyncio.get_running_loop().time() + timeout
        while not (records := self.read(max_records)):
            if not await self.wait(until):
                return []
        return records

    def close(self) -> None:
        self.assign({}, {})
        self._connection.listen(self, None)
