"""Steps over a batch that can never be read, where an operator has given it up. Never more than the one that is named.

- ``inputs``: as its owner, with the epoch as the fence. The engine that stands there is fenced, and takes it again.
- A command topic: the offset of the workers' group, which Kafka lets nobody move while a worker is in the group.
"""

from __future__ import annotations

from collections.abc import Callable

import aiokafka.errors as errors

from ...errors import ConfigurationError, UnreadableBatch
from ...ports.clock import Clock
from ...ports.log import Batch, Outgoing, Position, TopicPartition
from .careful import read_carefully
from .driver import Consumer, Partition
from .ending import stop_consumer, translated, within
from .owner import Circumstances, KafkaOwner
from .settings import Connection
from .taking import Topics, take
from .topics import Catalog
from .wire import Wire

__all__ = ["Note", "step_over_commands", "step_over_inputs"]

Note = Callable[[UnreadableBatch], Outgoing]
"""The history record of what was given up."""


async def step_over_inputs(
    connection: Connection, wire: Wire, catalog: Catalog, clock: Clock, at: tuple[Topics, int, int, Note]
) -> UnreadableBatch:
    """Moves the position of a partition of ``inputs`` behind the batch, in one commit with the note.

    Raises:
        ConfigurationError: the partition does not stand still at that offset.
        LogUnavailable: not known whether it was done; look, then try again.
    """
    topics, partition, offset, note = at

    async def ours(_partition: int, _offset: int | None = None) -> bool:
        return True

    taken = await take(connection, wire, topics, partition)
    shared = Circumstances(connection, catalog, clock, ours, topics)
    owner = KafkaOwner(shared, partition, taken, lambda _: None)
    try:
        found: UnreadableBatch | None = None
        try:
            await owner.poll(max_records=1, timeout=2.0)
        except UnreadableBatch as error:
            found = error.again()
        found = _named(found, TopicPartition(topics.inputs, partition), offset)
        await owner.commit(Batch({}, [note(found)], Position(found.following, clock.now_ms())))
    finally:
        await owner.release()
    return found


async def step_over_commands(connection: Connection, place: TopicPartition, offset: int, group: str) -> UnreadableBatch:
    """Moves the offset of a group of workers behind the batch.

    Raises:
        ConfigurationError: the group does not stand still at that offset, or a worker is in it.
        LogUnavailable: not known whether it was done; look, then try again.
    """
    where, limit = Partition(*place), connection.limits.answer_s
    consumer = Consumer(**connection.options(limit), group_id=group, enable_auto_commit=False, auto_offset_reset="none")
    consumer.assign([where])
    try:
        with translated(connection.gone(f"asking for the offsets of the group {group}", limit)):
            await within(consumer.start(), limit)
            committed = await within(consumer.committed(where), limit)
        if committed is not None and committed > offset:
            raise ConfigurationError(f"the group {group} is at offset {committed} of {place.topic}/{place.partition}")
        try:
            found = await read_carefully(connection, place, offset, "read_committed")
        except errors.OffsetOutOfRangeError as error:
            raise ConfigurationError(
                f"{place.topic}/{place.partition} has no offset {offset}: copy the place from the log line"
            ) from error
        unreadable = _named(found.unreadable if not found.records else None, place, offset)
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


def _named(found: UnreadableBatch | None, place: TopicPartition, offset: int) -> UnreadableBatch:
    if found is None:
        raise ConfigurationError(
            f"{place.topic}/{place.partition} does not stand still at offset {offset}: what comes next can be read"
        )
    if found.offset != offset:
        raise ConfigurationError(
            f"{place.topic}/{place.partition} stands still at offset {found.offset}: name that one"
        )
    return found
