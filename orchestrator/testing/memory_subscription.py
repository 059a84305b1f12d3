"""A worker's subscription in memory: assigned partitions are claimed with an epoch, from the committed position on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ..errors import LogUnavailable
from ..ports.log import Record, TopicPartition
from .broker import Broker
from .connection import Connection
from .cursor import Cursor
from .faults import Fault, Operation
from .groups import Member

__all__ = ["MemorySubscription"]


class MemorySubscription:
    """See ``Subscription``."""

    def __init__(self, broker: Broker, connection: Connection, topics: tuple[str, ...], group: str) -> None:
        self._broker, self._connection = broker, connection
        self._cursor = Cursor(connection)
        self._member = Member(group=group, topics=topics, connection=connection, wake=self._cursor.wake)
        self._held: dict[TopicPartition, int] = {}
        self._generation = -1
        self._closed = False
        broker.groups.enter(self._member)

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        until = asyncio.get_running_loop().time() + timeout
        self._refuse_if_closed()
        if await self._connection.read(Operation.RECEIVE) is Fault.REDELIVER:
            self._held = {}
            self._generation = -1
        while True:
            self._refuse_if_closed()
            if self._connection.reachable:
                self._reassign()
            records = self._cursor.read(max_records)
            if records or not await self._cursor.wait(until):
                return records

    def assigned(self) -> frozenset[TopicPartition]:
        if not self._connection.reachable:
            return frozenset(self._held)
        return frozenset(place for place in self._broker.groups.assignment(self._member) if place in self._held)

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        known = {place: (self._held[place], offset) for place, offset in positions.items() if place in self._held}
        if known:
            group = self._member.group
            await self._connection.write(Operation.ADVANCE, lambda: self._broker.groups.advance(group, known))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._held = {}
            self._cursor.close()
            self._connection.leave(self._member)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise LogUnavailable("this subscription is closed; subscribe again")

    def _reassign(self) -> None:
        """Claims the assigned partitions; one that another member held continues at its committed position."""
        groups = self._broker.groups
        if self._generation == groups.generation:
            return
        if not groups.has(self._member):  # it was silent for too long
            self._held = {}
            groups.enter(self._member)
        wanted = groups.assignment(self._member)
        starts: dict[TopicPartition, int] = {}
        held: dict[TopicPartition, int] = {}
        for place in wanted:
            held[place], start = groups.claim(self._member.group, place, self._held.get(place))
            if start is not None:
                starts[place] = start
        parts = {place: self._broker.topic(place.topic)[place.partition] for place in wanted}
        self._held, self._generation = held, groups.generation
        self._cursor.assign(parts, starts)
