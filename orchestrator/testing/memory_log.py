"""The log in memory: one process's connection to a ``Broker``. It passes the log port's contract suite.

It can be closed cleanly, and like a process it can be killed, cut off and paused; the broker outlives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Literal

from ..errors import LogUnavailable
from ..ports.log import Outgoing, Record, Standing, Start, TopicPartition, TopicSpec
from .broker import Broker, Row
from .connection import Connection
from .cursor import Cursor
from .faults import Fault, Operation
from .memory_owner import MemoryMembership, Share, recorded_offset
from .memory_subscription import MemorySubscription

__all__ = ["MemoryLog", "MemoryTail"]


class MemoryTail:
    """See ``Tail``."""

    def __init__(self, connection: Connection, cursor: Cursor) -> None:
        self._connection, self._cursor = connection, cursor

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        await self._connection.read(Operation.POLL)
        return await self._cursor.poll(max_records, timeout)

    def positions(self) -> Mapping[TopicPartition, int]:
        return self._cursor.positions()

    async def close(self) -> None:
        self._cursor.close()


class MemoryLog:
    """The ``Log`` port on a ``Broker``; its faults are those of the broker's plan.

    Args:
        broker: the broker, which outlives the connection.
        member_timeout: after this time of silence it is removed from its groups.
        deadline: of every call while the connection is paused.
        on_kill: called when a fault kills the process; it must end the process's parts.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        member_timeout: timedelta = timedelta(seconds=5),
        deadline: timedelta = timedelta(seconds=10),
        on_kill: Callable[[], None] | None = None,
    ) -> None:
        self._broker = broker
        self._connection = Connection(
            broker,
            member_timeout_seconds=member_timeout.total_seconds(),
            deadline_seconds=deadline.total_seconds(),
            on_kill=on_kill,
        )

    async def __aenter__(self) -> MemoryLog:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # For tests

    @property
    def killed(self) -> bool:
        return self._connection.killed

    def kill(self) -> None:
        """Kills the process: requests in flight may or may not arrive, every later call raises."""
        self._connection.kill()

    def cut(self, duration: timedelta | None = None) -> None:
        """Cuts the connection, for this long or until ``mend``: calls raise at once."""
        self._connection.cut(None if duration is None else duration.total_seconds())

    def pause(self, duration: timedelta | None = None) -> None:
        """Pauses the connection, for this long or until ``mend``: calls wait, and raise at their deadline."""
        self._connection.pause(None if duration is None else duration.total_seconds())

    def mend(self) -> None:
        """Ends a cut and a pause."""
        self._connection.mend()

    # The port

    @property
    def max_value_bytes(self) -> int:
        return self._broker.max_value_bytes

    async def create_topics(self, specs: Sequence[TopicSpec]) -> Sequence[str]:
        await self._connection.read(Operation.READ)
        return self._broker.create(specs)

    async def check_topics(self, specs: Sequence[TopicSpec]) -> None:
        await self._connection.read(Operation.READ)
        self._broker.check(specs)

    async def topics(self) -> Collection[str]:
        await self._connection.read(Operation.READ)
        return self._broker.names()

    async def partitions(self, topic: str) -> int:
        await self._connection.read(Operation.READ)
        return self._broker.partitions(topic)

    async def append(self, records: Sequence[Outgoing]) -> None:
        rows = self._broker.route(records)
        if rows:
            otherwise = {Fault.DOUBLE: lambda: self._append_twice(rows), Fault.TORN: lambda: self._append_torn(rows)}
            await self._connection.write(Operation.APPEND, lambda: self._broker.append(rows), otherwise)

    async def join(self, inputs: str, state: str, group: str, *, start: Start = "earliest") -> MemoryMembership:
        self._broker.topic(inputs)
        self._broker.topic(state)
        self._broker.poisons([inputs])
        await self._connection.read(Operation.JOIN)
        return MemoryMembership(self._broker, self._connection, Share(inputs, state, group, start))

    async def standing(self, inputs: str, state: str, group: str) -> Mapping[int, Standing]:
        await self._connection.read(Operation.READ)
        owned, documents = self._broker.topic(inputs), self._broker.topic(state)
        return {
            part.place.partition: Standing(self._broker.groups.owned(group, part.place), recorded_offset(part, kept))
            for part, kept in zip(owned, documents, strict=True)
        }

    async def is_read(self, topic: str, group: str) -> bool:
        await self._connection.read(Operation.READ)
        return all(self._broker.groups.owned(group, part.place) for part in self._broker.topic(topic))

    async def consumed(self, topic: str, group: str) -> Mapping[TopicPartition, int]:
        await self._connection.read(Operation.READ)
        kept = self._broker.groups.positions
        return {part.place: kept.get((group, part.place), 0) for part in self._broker.topic(topic)}

    async def subscribe(self, topics: Sequence[str], group: str) -> MemorySubscription:
        for topic in topics:
            self._broker.topic(topic)
        self._broker.poisons(topics)
        await self._connection.read(Operation.JOIN)
        return MemorySubscription(self._broker, self._connection, tuple(topics), group)

    async def tail(
        self,
        topics: Sequence[str],
        start: Mapping[TopicPartition, int] | Literal["earliest", "latest"],
        *,
        partitions: Collection[int] | None = None,
    ) -> MemoryTail:
        await self._connection.read(Operation.READ)
        parts = {
            part.place: part
            for topic in topics
            for part in self._broker.topic(topic)
            if partitions is None or part.place.partition in partitions
        }
        starts: Mapping[TopicPartition, int] = {}
        if start == "latest":
            starts = self._broker.ends(topics)
        elif start != "earliest":
            starts = start
        cursor = Cursor(self._connection)
        cursor.assign(parts, starts)
        return MemoryTail(self._connection, cursor)

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        await self._connection.read(Operation.READ)
        return self._broker.ends(topics)

    async def close(self) -> None:
        self._connection.close()
        await asyncio.sleep(0)

    def _append_twice(self, rows: Sequence[Row]) -> None:
        self._broker.append(rows)
        self._broker.append(rows)

    def _append_torn(self, rows: Sequence[Row]) -> None:
        self._broker.append(rows[: self._broker.faults.random.randrange(len(rows))])
        raise LogUnavailable("the log did not answer in time, some records may have been written; append all again")
