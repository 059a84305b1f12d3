"""What the tests on a real broker share: logs with short deadlines, and an independent reader."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as ReaderPartition

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.kafka_log import Connection, KafkaLog, Limits
from sagaline.orchestrator.errors import LogUnavailable, OwnershipLost
from sagaline.orchestrator.ports.log import Batch, Headers, Membership, Outgoing, Owner, Position
from sagaline.orchestrator.ports.topics import Topics

__all__ = [
    "PATIENT",
    "QUEUE",
    "SHORT",
    "Seen",
    "batch",
    "fresh",
    "member",
    "opened",
    "out",
    "read_committed",
    "retaken",
    "until_it_works",
]

T = TypeVar("T")
QUEUE = "stock"
PARTITIONS = 2
PATIENT = Limits(answer_s=20.0, commit_s=25.0, append_s=25.0, silence_s=25.0, take_s=40.0)
"""For a broker that answers, on a machine that may be busy."""
SHORT = Limits(answer_s=3.0, commit_s=4.0, append_s=4.0, silence_s=3.0)
"""For a broker or a topic that is going to be away."""


@asynccontextmanager
async def opened(address: str, limits: Limits = PATIENT) -> AsyncIterator[KafkaLog]:
    connection = Connection(bootstrap=address, limits=limits)
    log = KafkaLog(connection, clock=SystemClock(), development=True, member_timeout=timedelta(seconds=6))
    await log.open()
    try:
        yield log
    finally:
        await log.close()


async def fresh(log: KafkaLog) -> Topics:
    """A namespace of its own with all its topics."""
    topics = Topics(f"k{uuid.uuid4().hex[:12]}")
    await log.create_topics(topics.specs([QUEUE], PARTITIONS))
    return topics


async def member(log: KafkaLog, topics: Topics) -> Membership:
    """The only member of the group of engines, with every partition assigned."""
    membership = await log.join(topics.inputs, topics.state, f"{topics.namespace}.engine")
    async with asyncio.timeout(30):
        while len(await membership.changed()) < PARTITIONS:
            pass
    return membership


def out(topic: str, key: bytes, value: bytes = b"{}", headers: Headers = (), partition: int | None = 0) -> Outgoing:
    return Outgoing(topic, key, value, headers, partition)


def batch(state: dict[bytes, bytes | None], appends: Sequence[Outgoing], offset: int) -> Batch:
    return Batch(state, appends, Position(offset, offset))


async def until_it_works(call: Callable[[], Awaitable[T]], seconds: float = 40.0) -> T:
    """Repeats while the log is unavailable, as an engine does."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await call()
            except LogUnavailable:
                await asyncio.sleep(0.05)


async def retaken(membership: Membership, partition: int, seconds: float = 40.0) -> Owner:
    """Takes a partition as an engine does: again while the log is away, after the next assignment when it is lost."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await membership.take(partition)
            except LogUnavailable:
                await asyncio.sleep(0.05)
            except OwnershipLost:
                while partition not in await membership.changed():
                    pass


class Seen(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    id: bytes | None
    """The header ``ce_id``."""


def read_committed(address: str, topic: str, partition: int = 0, seconds: float = 20.0) -> list[Seen]:
    """What another client library (librdkafka), reading committed records only, finds in a partition."""
    reader = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "independent-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
    )
    reader.assign([ReaderPartition(topic, partition, 0)])
    seen: list[Seen] = []
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            for message in reader.consume(1000, 0.05):
                error = message.error()
                if error is None:
                    offset = message.offset()
                    assert offset is not None
                    id = dict(message.headers() or ()).get("ce_id")
                    assert not isinstance(id, str)
                    seen.append(Seen(offset, message.key(), message.value(), id))
                elif error.code() == KafkaError._PARTITION_EOF:
                    return seen
    finally:
        reader.close()
    raise AssertionError(f"the reader did not reach the end of {topic}/{partition} within {seconds} s")
