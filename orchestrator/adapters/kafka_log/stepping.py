"""Skips what can never be read, at an operator's request: a batch, or a sealed record that was altered. Never more.

- ``inputs``: as the owner, fenced by the epoch. The engine that is stopped there is fenced, and takes it again.
- A command topic: moves the offset of the workers' group, which Kafka allows only while the group has no members,
  and only from the place before the batch: unfinished commands before it would be lost.
"""

from __future__ import annotations

import aiokafka.errors as errors

from ...errors import ConfigurationError, LogUnavailable, UnreadableBatch
from ...ports.clock import Clock
from ...ports.log import Batch, Position, Record, TopicPartition
from ...ports.stepping import Note, Opened, next_of_the_group
from .careful import read_carefully
from .driver import Consumer, Partition
from .ending import stop_consumer, translated, within
from .owner import Circumstances, KafkaOwner
from .reader import as_record
from .settings import Connection
from .taking import Topics, take
from .topics import Catalog
from .wire import Wire

__all__ = ["step_over_commands", "step_over_inputs"]


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
        records, unreadable = list[Record](), None
        try:
            records = [*await owner.poll(max_records=1, timeout=2.0)]
        except UnreadableBatch as error:
            unreadable = error.again()
        found = next_of_the_group(records, unreadable, TopicPartition(topics.inputs, partition), offset, opened)
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
        try:
            found = await read_carefully(connection, place, max(first, committed or 0), "read_committed")
        except errors.OffsetOutOfRangeError as error:
            raise LogUnavailable(f"{place.topic}/{place.partition} was cut meanwhile; check, then retry") from error
        records = [as_record(message) for message in found.records[:1]]
        unreadable = next_of_the_group(records, found.unreadable, place, offset, opened)
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
