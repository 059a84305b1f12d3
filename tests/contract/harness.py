"""What a binding of the log port's suite supplies, and the words the laws are written in.

A binding is a subclass of ``LogContract`` that overrides three fixtures: ``log``, ``second_log`` and ``breakable``; it
may override ``topics`` and the class constants. Everything is awaited with a bound (``PATIENCE_SECONDS``): an adapter
may be slow (a Kafka rebalance takes seconds), it may not hang.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from itertools import count
from typing import ClassVar, NamedTuple, Protocol

import pytest

from sagaline.orchestrator.errors import LogUnavailable
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import (
    Batch,
    Headers,
    Log,
    Membership,
    Outgoing,
    Owner,
    Position,
    Record,
    Start,
    TopicSpec,
    size_bytes,
)
from sagaline.orchestrator.ports.topics import POSITION_KEY, Topics

__all__ = ["QUEUE", "Breakable", "LogHarness", "batch", "contents", "key_for", "of_size", "out", "read", "read_all"]

QUEUE = "stock"
PATIENCE_SECONDS = 30.0


class Breakable(NamedTuple):
    """A connection whose other side can be taken away (``cut``) and given back (``mend``)."""

    log: Log
    cut: Callable[[], Awaitable[None]]
    mend: Callable[[], Awaitable[None]]


class Reader(Protocol):
    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]: ...


class LogHarness:
    """Fixtures and entities of the suite; see the module's text for what a binding overrides."""

    partitions: ClassVar[int] = 4
    """Of every topic that the suite creates; at least two."""
    deadline_seconds: ClassVar[float] = 10.0
    """Within this a call on ``breakable.log`` has raised once its other side is gone."""

    @pytest.fixture
    def log(self) -> AsyncIterator[Log]:
        raise NotImplementedError("the binding supplies an open log")

    @pytest.fixture
    def second_log(self) -> AsyncIterator[Log]:
        raise NotImplementedError("the binding supplies a second connection to the same log, as from another process")

    @pytest.fixture
    def breakable(self) -> AsyncIterator[Breakable]:
        raise NotImplementedError("the binding supplies a third connection, with short deadlines, that can be cut off")

    @pytest.fixture
    async def topics(self, log: Log) -> Topics:
        """A fresh namespace with all topics of an engine and one queue."""
        topics = Topics(f"t{uuid.uuid4().hex[:12]}")
        await log.create_topics(topics.specs([QUEUE], self.partitions))
        return topics

    async def member(
        self, log: Log, topics: Topics, wanted: Callable[[frozenset[int]], bool] | None = None
    ) -> Membership:
        """A member of the group of engines, returned when what is assigned to it is as wanted (first: everything)."""
        membership = await log.join(topics.inputs, topics.state, f"{topics.namespace}.engine")
        try:
            await self.assigned(membership, wanted or (lambda found: len(found) == self.partitions))
        except LogUnavailable:
            await membership.leave()
            raise
        return membership

    async def assigned(self, membership: Membership, wanted: Callable[[frozenset[int]], bool]) -> frozenset[int]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not wanted(found := await membership.changed()):
                pass
        return found

    async def fill(self, log: Log, topics: Topics) -> None:
        """Ten inputs in every partition: a position may not stand past the end of its partition."""
        await log.append([out(topics.inputs, b"k", b"%d" % i, p) for i in range(10) for p in range(self.partitions)])

    async def owner(self, log: Log, topics: Topics, partition: int = 0) -> Owner:
        """The owner of one partition, with nobody else in the group."""
        membership = await self.member(log, topics)
        try:
            return await membership.take(partition)
        except LogUnavailable:
            await membership.leave()  # or whoever tries again never gets every partition
            raise

    async def other_owner(self, log: Log, topics: Topics, name: str, start: Start = "earliest") -> Owner:
        """The owner of partition 0 of a group of that name beside the engines, with a state topic of its own."""
        state = f"{topics.namespace}.parked.{name}"
        await log.create_topics([TopicSpec(state, self.partitions, "compact")])
        group = f"{topics.namespace}.{name}.{uuid.uuid4().hex[:6]}"
        membership = await log.join(topics.inputs, state, group, start=start)
        await self.assigned(membership, lambda found: 0 in found)
        return await membership.take(0)

    async def successor(self, second_log: Log, topics: Topics) -> Owner:
        """Joins beside a first member and takes one of the partitions that are the second one's now."""
        membership = await second_log.join(topics.inputs, topics.state, f"{topics.namespace}.engine")
        found = await self.assigned(membership, lambda found: 0 < len(found) < self.partitions)
        return await membership.take(min(found))


def out(topic: str, key: bytes | None, value: bytes | None = b"{}", partition: int | None = None) -> Outgoing:
    return Outgoing(topic, key, value, _HEADERS, partition)


def of_size(topic: str, size: int, part: str) -> Outgoing:
    """A record that counts exactly so many bytes, most of them in one part: key, value, header or many headers."""
    headers = tuple((f"h{number}", b"v") for number in range(20_000)) if part == "many headers" else (("é", b""),)
    small = Outgoing(topic, b"k", b"v", headers)
    filling = b"x" * (size - size_bytes(small.key, small.value, small.headers))
    match part:
        case "key":
            return small._replace(key=b"k" + filling)
        case "header":
            return small._replace(headers=(("é", filling),))
        case _:
            return small._replace(value=b"v" + filling)


_HEADERS: Headers = (("ce_id", b"1"), ("ce_type", b"test"))


def batch(
    state: dict[bytes, bytes | None] | None = None,
    appends: Iterable[Outgoing] = (),
    offset: int = 0,
    now_ms: int = 1,
) -> Batch:
    return Batch(state=state or {}, appends=list(appends), position=Position(offset, now_ms))


def key_for(partition: int, partitions: int, prefix: str = "order-checkout/A") -> bytes:
    """A key that the partitioner sends to that partition."""
    candidates = (f"{prefix}-{i}".encode() for i in count())
    return next(key for key in candidates if partition_of(key, partitions) == partition)


async def read(reader: Reader, wanted: int) -> list[Record]:
    """Polls until that many records have come; fails the test when they do not come."""
    records: list[Record] = []
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(records) < wanted:
                records += await reader.poll(max_records=100, timeout=1.0)
    except TimeoutError:
        pytest.fail(f"{len(records)} of {wanted} records came: {records}")
    return records


async def read_all(log: Log, *topics: str) -> list[Record]:
    """Every record that is visible now."""
    ends = await log.end_offsets(topics)
    tail = await log.tail(topics, "earliest")
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(tail.positions()[partition] < end for partition, end in ends.items()):
            records += await tail.poll(max_records=100, timeout=1.0)
    await tail.close()
    return records


async def contents(owner: Owner) -> dict[bytes, bytes]:
    return {key: value async for key, value in owner.documents()}


def position_in(records: Iterable[Record], partition: int) -> tuple[int, int] | None:
    """What the last position record of a partition says, as any tool would read it."""
    found = [record for record in records if record.key == POSITION_KEY and record.partition == partition]
    if not found or found[-1].value is None:
        return None
    value = json.loads(found[-1].value)
    return value["offset"], value["now_ms"]
