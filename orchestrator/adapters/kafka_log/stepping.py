"""Skips what can never be read, at an operator's request: a batch, or a sealed record that was altered. Never more.

- ``inputs``: as the owner, fenced by the epoch. The engine that is stopped there is fenced, and takes it again.
- A command topic: moves the offset of the workers' group, which Kafka allows only while the group has no members,
  and only from the place before the batch: unfinished commands before it would be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import aiokafka.errors as errors

from ...errors import ConfigurationError, CorruptRecord, LogUnavailable, MissingKey, UnreadableBatch
from ...ports.clock import Clock
from ...ports.log import Batch, Outgoing, Position, Record, TopicPartition
from .careful import read_carefully
from .driver import Consumer, Partition
from .ending import stop_consumer, translated, within
from .owner import Circumstances, KafkaOwner
from .reader import as_record
from .settings import Connection
from .taking import Topics, take
from .topics import Catalog
from .wire import Wire

__all__ = ["Note", "Opened", "as_it_is", "step_over_commands", "step_over_inputs"]

Note = Callable[[UnreadableBatch], Outgoing]
"""Makes the history record of the skipped batch."""
Opened = Callable[[Record], Record]
"""Opens a sealed record, or raises ``CorruptRecord``."""


async def step_over_inputs(
    connection: Connection, wire: Wire, catalog: Catalog, clock: Clock, at: tuple[Topics, int, int, Note, Opened]
) -> UnreadableBatch:
    """Moves the position of a partition of ``inputs`` past the batch, in one commit with the note.

    Raises:
        ConfigurationError: the partition is not stopped at that offset.
        MissingKey: it is stopped for a key that these settings lack.
        LogUnavailable: the outcome is unknown; check, then retry.
    """
    topics, partition, offset, note, opened = at

    async def ours(_partition: int, _offset: int | None = None) -> bool:
        return True

    taken = await take(connection, wire, topics, partition)
    shared = Circumstances(connection, catalog, clock, ours, topics)
    owner = KafkaOwner(shared, partition, taken, lambda _: None)
    try:
        found: UnreadableBatch | None = None
        try:
            found = _altered(await owner.poll(max_records=1, timeout=2.0), opened)
        except UnreadableBatch as error:
            found = error.again()
        found = _named(found, TopicPartition(topics.inputs, partition), offset)
        await owner.commit(Batch({}, [note(found)], Position(found.following, clock.now_ms())))
    finally:
        await owner.release()
    return found


async def step_over_commands(
    connection: Connection, place: TopicPartition, offset: int, group: str, opened: Opened
) -> UnreadableBatch:
    """Moves the offset of a group of workers past the batch, and past nothing else.

    Raises:
        ConfigurationError: the group is not stopped at that offset, has unfinished commands before it, or has members.
        MissingKey: it is stopped for a key that these settings lack.
        LogUnavailable: the outcome is unknown; check, then retry.
    """
    where, limit = Partition(*place), connection.limits.answer_s
    consumer = Consumer(**connection.options(limit), group_id=group, enable_auto_commit=False, auto_offset_reset="none")
    consumer.assign([where])
    try:
        with translated(connection.gone(f"asking for the offsets of the group {group}", limit)):
            await within(consumer.start(), limit)
            committed = await within(consumer.committed(where), limit)
            first = (await within(consumer.beginning_offsets([where]), limit))[where]
            end = (await within(consumer.end_offsets([where]), limit))[where]
        if not first <= offset < end:
            raise ConfigurationError(
                f"{place.topic}/{place.partition} has no offset {offset}: copy the place from the log line"
            )
        if committed is not None and committed > offset:
            raise ConfigurationError(f"the group {group} is at offset {committed} of {place.topic}/{place.partition}")
        unreadable = await _next_of_the_group(connection, place, offset, max(first, committed or 0), opened)
        with translated(connection.gone(f"moving the group {group}", limit)):
            try:
                await within(consumer.commit({where: unreadable.following}), limit)
            except (errors.CommitFailedError, errors.UnknownMemberIdError, errors.IllegalGenerationError) as error:
                raise ConfigurationError(
                    f"a worker is in the group {group}, and Kafka moves only the offsets of a group without members: "
                    "stop the workers of this queue, then step over, then start them again"
                ) from error
    finally:
        await stop_consumer(consumer)
    return unreadable


async def _next_of_the_group(
    connection: Connection, place: TopicPartition, offset: int, start: int, opened: Opened
) -> UnreadableBatch:
    """The batch at ``offset``, if nothing readable lies before it: that would be lost. Raises MissingKey."""
    try:
        found = await read_carefully(connection, place, start, "read_committed")
    except errors.OffsetOutOfRangeError as error:
        raise LogUnavailable(f"{place.topic}/{place.partition} was cut meanwhile; check, then retry") from error
    records = [as_record(message) for message in found.records]
    unreadable = _altered(records, opened) if records else found.unreadable
    if unreadable is None and records and records[0].offset < offset:
        raise ConfigurationError(
            f"the commands of {place.topic}/{place.partition} from offset {records[0].offset} on are unfinished and "
            f"would be lost: start a worker of this queue, wait until it has finished those before offset {offset}, "
            "stop it, then step over"
        )
    return _named(unreadable, place, offset)


def as_it_is(record: Record) -> Record:
    """Of a log that is not sealed."""
    return record


def _altered(records: Sequence[Record], opened: Opened) -> UnreadableBatch | None:
    """The first record, if it can never be opened. Raises MissingKey."""
    for record in records[:1]:
        try:
            opened(record)
        except MissingKey:
            raise
        except CorruptRecord as error:
            return UnreadableBatch(record.topic, record.partition, record.offset, record.offset + 1, error.why)
    return None


def _named(found: UnreadableBatch | None, place: TopicPartition, offset: int) -> UnreadableBatch:
    if found is None:
        raise ConfigurationError(
            f"{place.topic}/{place.partition} is not stopped at offset {offset}: the next record can be read"
        )
    if found.offset != offset:
        raise ConfigurationError(
            f"{place.topic}/{place.partition} is stopped at offset {found.offset}: give that offset"
        )
    return found
