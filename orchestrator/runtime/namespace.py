"""The format and the number of partitions of a namespace: recorded in the log and checked by every process first.

- The record of the namespace is in a topic of its own. It is written when the topics are created, after they have been
  checked; concurrent writers write the same record.
- A namespace that was created has its topics: a missing one was deleted, and is not silently created again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..codec.feed_cursors import log_identity
from ..codec.namespaces import LOG_FORMAT, MADE_KEY, Made, decode_made, encode_made
from ..codec.wire import BadRecord
from ..errors import CorruptRecord, LogUnavailable, TopicMismatch
from ..messages.partitioning import partition_of
from ..ports.log import Log, Record, TopicPartition
from ..ports.topics import Topics, no_more_partitions

__all__ = ["decided_before", "identity_of", "prepare", "read_made"]

_POLL_RECORDS = 1_000
_POLL_SECONDS = 1.0
_POLLS_MAX = 30
_WITNESSES_MAX = 5_000
"""How many history records are checked if the record of the namespace is missing."""


async def prepare(
    log: Log, topics: Topics, queues: Iterable[str], partitions: int, *, create: bool
) -> tuple[Sequence[str], Sequence[str]]:
    """Checks the namespace, and creates it if asked. Returns the names of its topics, and of those created here.

    Args:
        log: the log.
        topics: the names of its topics.
        queues: of the commands that are sent or handled here.
        partitions: as set for this process.
        create: create what is missing; False: only check.

    Raises:
        TopicMismatch: a topic is missing or differs, or the number of partitions does; the message names the remedy.
        CorruptRecord: the record of the namespace cannot be read.
        LogUnavailable: no answer in time.
    """
    made = await read_made(log, topics)
    if made is not None:
        _check(made, topics, partitions)
    specs = topics.specs(sorted(queues), partitions)
    await _refuse_gone(log, topics, made is not None)
    created = await log.create_topics(specs) if create else ()
    await log.check_topics(specs)
    if made is None:
        if not create:
            raise TopicMismatch(
                f"topic {topics.made!r} has no record of the namespace: run `saga topics create` with the number of "
                "partitions that it was created with"
            )
        await _refuse_other_places(log, topics, partitions)
        await log.append([encode_made(topics, partitions)])
    return [spec.name for spec in specs], created


async def read_made(log: Log, topics: Topics) -> Made | None:
    """The record of the namespace; None: it was not created.

    Raises:
        CorruptRecord, LogUnavailable: as ``prepare``.
    """
    if not await log.partitions(topics.made):
        return None
    found: Made | None = None
    for record in await _read(log, topics.made):
        if record.key == MADE_KEY and record.value is not None:
            try:
                found = decode_made(record)
            except BadRecord as error:
                raise CorruptRecord(f"{record.topic}/{record.partition}/{record.offset}", str(error)) from error
    return found


async def identity_of(log: Log, topics: Topics) -> bytes:
    """Tells this log from others, for cursors; see ``log_identity``.

    Raises:
        CorruptRecord, LogUnavailable: as ``prepare``.
    """
    made = await read_made(log, topics)
    return log_identity(topics.namespace, made.since_ms if made is not None else 0)


async def decided_before(log: Log, topics: Topics, partition: int) -> bool:
    """Whether a partition has a history: then missing documents and position have been deleted.

    Raises:
        LogUnavailable: no answer in time.
    """
    place = TopicPartition(topics.history, partition)
    ends = await log.end_offsets([topics.history])
    if not ends[place]:
        return False
    tail = await log.tail([topics.history], {**ends, place: 0})
    try:
        for _ in range(_POLLS_MAX):  # the end offset includes aborted records, which are not history
            found = await tail.poll(max_records=_POLL_RECORDS, timeout=_POLL_SECONDS)
            if any(record.partition == partition for record in found):
                return True
            if tail.positions()[place] >= ends[place]:
                return False
    finally:
        await tail.close()
    raise LogUnavailable(f"topic {place.topic}/{partition} was not read in time; it is retried")


def _check(made: Made, topics: Topics, partitions: int) -> None:
    if made.format > LOG_FORMAT:
        raise TopicMismatch(
            f"the namespace {made.namespace!r} has format {made.format}, this release knows up to {LOG_FORMAT}: "
            "deploy the newer release"
        )
    if made.namespace != topics.namespace:
        raise TopicMismatch(
            f"topic {topics.made!r} has the record of the namespace {made.namespace!r}: was it copied? "
            "Use that name, or a fresh namespace"
        )
    if made.partitions != partitions:
        raise TopicMismatch(no_more_partitions(f"the namespace {made.namespace!r}", made.partitions, partitions))


async def _refuse_gone(log: Log, topics: Topics, made: bool) -> None:
    """Rejects a namespace with missing topics: if they were created again, records would be decided again, or lost."""
    gone = [name for name in topics.core if not await log.partitions(name)]
    if not gone or (len(gone) == len(topics.core) and not made):
        return
    if made or await _has_records(log, topics.history):
        raise TopicMismatch(
            f"topic {', '.join(gone)} is gone, although the namespace {topics.namespace!r} was created with it: "
            "restore it from a copy, or use a fresh namespace; to lose what is in this one, delete its other topics too"
        )


async def _has_records(log: Log, topic: str) -> bool:
    return bool(await log.partitions(topic)) and any((await log.end_offsets([topic])).values())


async def _refuse_other_places(log: Log, topics: Topics, partitions: int) -> None:
    """Checks existing decisions: each must be in the partition that this number of partitions gives its key."""
    for record in await _read(log, topics.history, _WITNESSES_MAX):
        if record.key and partition_of(record.key, partitions) != record.partition:
            raise TopicMismatch(
                f"topic {topics.made!r} is empty and the namespace was not created with {partitions} partitions: "
                f"{record.topic}/{record.partition}/{record.offset} is in the wrong partition for it. Set the number "
                "that it was created with; if the topics have grown since, use a fresh namespace"
            )


async def _read(log: Log, topic: str, records_max: int = _WITNESSES_MAX) -> list[Record]:
    """The first records of a topic, up to its current end or ``records_max``."""
    ends = await log.end_offsets([topic])
    tail = await log.tail([topic], "earliest")
    records: list[Record] = []
    try:
        for _ in range(_POLLS_MAX):
            positions = tail.positions()
            if len(records) >= records_max or all(positions[place] >= end for place, end in ends.items()):
                return records
            records += await tail.poll(max_records=_POLL_RECORDS, timeout=_POLL_SECONDS)
    finally:
        await tail.close()
    raise LogUnavailable(f"topic {topic} was not read to its end in time; try again")
