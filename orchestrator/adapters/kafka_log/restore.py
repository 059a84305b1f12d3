"""Reads the state partition: an owner's documents and position, and the partitions of the last transaction.

Restore ends when the consumer's position has reached the end offset read after fencing. Records are not counted:
markers, aborted records and compaction leave gaps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import structlog

from ...errors import CorruptRecord, LogUnavailable
from ...ports.log import Position, TopicPartition
from ...ports.topics import POSITION_KEY
from .driver import Consumer, Partition
from .ending import stop_consumer, translated, within
from .position import Mark, read_mark
from .settings import Connection
from .wire import Wire

__all__ = ["Restored", "last_touched", "restore"]

_FETCH_BYTES_MAX = 8 << 20
_TAIL_RECORDS = 64
_CHUNK_RECORDS = 1_000
_SAY_EVERY_S = 5.0

_log = structlog.get_logger(__name__)


class Restored(NamedTuple):
    documents: dict[bytes, bytes]
    position: Position | None


async def restore(connection: Connection, wire: Wire, state: TopicPartition) -> Restored:
    """All live documents and the position.

    Raises:
        LogUnavailable: no progress for ``silence_s``.
        CorruptRecord: there are documents and no position, or a position that cannot be read.
    """
    end = (await wire.offsets([state], "stable"))[state]
    start = (await wire.offsets([state], "earliest"))[state]
    documents: dict[bytes, bytes] = {}
    mark: Mark | None = None
    async for message in _records(connection, state, start, end, "read_committed"):
        if message.key == POSITION_KEY:
            mark = read_mark(message.value, f"{state.topic}/{state.partition}/{message.offset}")
        elif message.value is None:
            documents.pop(message.key, None)
        else:
            documents[message.key] = message.value
    if mark is None and documents:
        raise CorruptRecord(
            f"{state.topic}/{state.partition}",
            f"{len(documents)} documents and no position record: was another program writing to this topic?",
        )
    return Restored(documents, mark.position if mark else None)


async def last_touched(connection: Connection, wire: Wire, state: TopicPartition) -> frozenset[TopicPartition]:
    """The partitions of the last transaction that wrote here, whatever its outcome; empty if there was none."""
    start = (await wire.offsets([state], "earliest"))[state]
    end = (await wire.offsets([state], "high"))[state]
    window = _TAIL_RECORDS
    while start < end:
        begin = max(start, end - window)
        mark: Mark | None = None
        async for message in _records(connection, state, begin, end, "read_uncommitted"):
            if message.key == POSITION_KEY:
                mark = read_mark(message.value, f"{state.topic}/{state.partition}/{message.offset}")
        if mark is not None:
            return mark.touched
        if begin == start:
            break
        window *= 16
    return frozenset()


async def _records(
    connection: Connection, place: TopicPartition, start: int, end: int, isolation: str
) -> AsyncIterator[Any]:
    """Yields the records of [start, end) as they come from aiokafka."""
    if start >= end:
        return
    limits = connection.limits
    where = Partition(*place)
    message_gone = connection.gone(f"reading {place.topic}/{place.partition}", limits.silence_s)
    consumer = Consumer(
        **connection.options(limits.answer_s),
        isolation_level=isolation,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_bytes=_FETCH_BYTES_MAX,
        max_partition_fetch_bytes=_FETCH_BYTES_MAX,
    )
    consumer.assign([where])
    loop = asyncio.get_running_loop()
    try:
        with translated(message_gone):
            await within(consumer.start(), limits.answer_s)
            consumer.seek(where, start)
            moved_at, position = loop.time(), start
            say_at = moved_at + _SAY_EVERY_S
            while position < end:
                fetched = await consumer.getmany(timeout_ms=100, max_records=_CHUNK_RECORDS)
                for message in fetched.get(where, ()):
                    if message.offset < end:
                        yield message
                # Fetched records come without a wait: heartbeats and other partitions need the event loop.
                await asyncio.sleep(0)
                if loop.time() >= say_at:
                    say_at = loop.time() + _SAY_EVERY_S
                    _log.info("reading", place=f"{place.topic}/{place.partition}", offset=position, end=end)
                reached = await consumer.position(where)
                if reached > position:
                    moved_at, position = loop.time(), reached
                elif _all_read(consumer, where, end, isolation) and loop.time() - moved_at > 1.0:
                    break
                elif loop.time() - moved_at > limits.silence_s:
                    raise LogUnavailable(message_gone)
    finally:
        await stop_consumer(consumer)


def _all_read(consumer: Any, where: Any, end: int, isolation: str) -> bool:
    """The watchdog: fetches are answered, they reach the end, and contain nothing."""
    reached = consumer.last_stable_offset(where) if isolation == "read_committed" else consumer.highwater(where)
    return reached is not None and reached >= end
