"""Skips a record that can never be read, at an operator's request, through the port: as the only member of the group.

For logs that store no batches, so that only a sealed record that was altered stops a reader. The adapter of Kafka has
its own way for the same promise: nothing that can be read is skipped, and what comes before it is finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from ..errors import ConfigurationError, CorruptRecord, LogUnavailable, MissingKey, UnreadableBatch
from .clock import Clock
from .log import Batch, Log, Outgoing, Position, Record, TopicPartition

__all__ = ["Note", "Opened", "Reader", "as_it_is", "next_of_the_group", "step_over_alone"]

Note = Callable[[UnreadableBatch], Outgoing]
"""Makes the history record of what is skipped."""
Opened = Callable[[Record], Record]
"""Opens a sealed record, or raises ``CorruptRecord``."""

_SECONDS = 10.0


class Reader(NamedTuple):
    """Who reads a topic: a group of subscriptions; with ``state``, the topic of their documents, of owners."""

    group: str
    state: str | None = None


async def step_over_alone(
    log: Log, place: TopicPartition, offset: int, reader: Reader, how: tuple[Clock, Note, Opened]
) -> UnreadableBatch:
    """Moves the position of a group past the record at ``offset``; that of an owner in one commit with the note.

    Raises:
        ConfigurationError: the group is not stopped at that offset, has unfinished records before it, or has members.
        MissingKey: it is stopped for a key that these settings lack.
        LogUnavailable: the outcome is unknown; check, then retry.
    """
    if place.partition >= (count := await log.partitions(place.topic)):
        raise ConfigurationError(f"{place.topic} has no partition {place.partition}: give 0 to {count - 1}")
    if await log.is_read(place.topic, reader.group):
        raise ConfigurationError(
            f"a process is in the group {reader.group}: stop those processes, step over, start them again"
        )
    if reader.state is None:
        return await _of_a_subscription(log, place, offset, reader.group, how)
    clock, note, opened = how
    membership = await log.join(place.topic, reader.state, reader.group)
    try:
        async with _in_time(reader.group):
            while place.partition not in await membership.changed():
                pass
        owner = await membership.take(place.partition)
        try:
            records = await owner.poll(max_records=1, timeout=1.0)
            found = next_of_the_group(records, None, place, offset, opened)
            await owner.commit(Batch({}, [note(found)], Position(found.following, clock.now_ms())))
        finally:
            await owner.release()
    finally:
        await membership.leave()
    return found


async def _of_a_subscription(
    log: Log, place: TopicPartition, offset: int, group: str, how: tuple[Clock, Note, Opened]
) -> UnreadableBatch:
    _, note, opened = how
    tail = await log.tail([place.topic], await log.consumed(place.topic, group), partitions=[place.partition])
    try:
        found = next_of_the_group(await tail.poll(max_records=1, timeout=1.0), None, place, offset, opened)
    finally:
        await tail.close()
    subscription = await log.subscribe([place.topic], group)
    try:
        async with _in_time(group):
            while place not in subscription.assigned():
                await subscription.poll(max_records=1, timeout=0.1)
        await subscription.commit({place: found.following})
    finally:
        await subscription.close()
    await log.append([note(found)])
    return found


@asynccontextmanager
async def _in_time(group: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_SECONDS):
            yield
    except TimeoutError:
        raise LogUnavailable(f"the group {group} did not give the partition within {_SECONDS:g} s; retry") from None


def as_it_is(record: Record) -> Record:
    """Of a log that is not sealed."""
    return record


def next_of_the_group(
    records: Sequence[Record], unreadable: UnreadableBatch | None, place: TopicPartition, offset: int, opened: Opened
) -> UnreadableBatch:
    """What is skipped, if it is what the operator has named, and nothing readable lies before it: that would be lost.

    Args:
        records: from the position of the group on; the first one is enough.
        unreadable: what follows them.

    Raises:
        ConfigurationError: it is not.
        MissingKey: the first record needs a key that these settings lack.
    """
    found = _altered(records[0], opened) if records else unreadable
    at = f"{place.topic}/{place.partition}"
    if found is None and records and records[0].offset < offset:
        raise ConfigurationError(
            f"the records of {at} from offset {records[0].offset} on are unfinished and would be lost: start "
            f"what reads them (a worker, the engine), wait until it has finished those before {offset}, then step over"
        )
    if found is None:
        raise ConfigurationError(f"{at} is not stopped at offset {offset}: the next record can be read")
    if found.offset != offset:
        raise ConfigurationError(f"{at} is stopped at offset {found.offset}: give that offset")
    return found


def _altered(record: Record, opened: Opened) -> UnreadableBatch | None:
    try:
        opened(record)
    except MissingKey:
        raise
    except CorruptRecord as error:
        return UnreadableBatch(record.topic, record.partition, record.offset, record.offset + 1, error.why)
    return None
