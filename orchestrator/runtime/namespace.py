"""What the promises of a namespace rest on, recorded in the log itself and checked by everybody before acting.

- The record of how the namespace was made stands in a topic of its own. It is written when the topics are created,
  after they have been checked; two who create at once write the same.
- A namespace that was made has its topics: one that is missing is gone, and is not made anew in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..codec.namespaces import LOG_FORMAT, MADE_KEY, Made, decode_made, encode_made
from ..codec.wire import BadRecord
from ..errors import CorruptRecord, LogUnavailable, TopicMismatch
from ..messages.partitioning import partition_of
from ..ports.log import Log, Record, TopicPartition
from ..ports.topics import Topics, no_more_partitions

__all__ = ["decided_before", "prepare", "read_made"]

_POLL_RECORDS = 1_000
_POLL_SECONDS = 1.0
_POLLS_MAX = 30
_WITNESSES_MAX = 5_000
"""Records of the history that are looked at where nobody has written down how the namespace was made."""


async def prepare(
    log: Log, topics: Topics, queues: Iterable[str], partitions: int, *, create: bool
) -> tuple[Sequence[str], Sequence[str]]:
    """Sees to it that the namespace is as it was made; the names of its topics, and of those created here.

    Args:
        log: where it is.
        topics: its names.
        queues: of the commands that are sent or handled here.
        partitions: what this process was told.
        create: make what is missing; False: only check.

    Raises:
        TopicMismatch: a topic is missing, gone or differs, or the number of partitions does; the message names the
            remedy.
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
                f"topic {topics.made!r} does not say how the namespace was made: run `saga topics create` "
                "with the number of partitions that it was made with"
            )
        await _refuse_other_places(log, topics, partitions)
        await log.append([encode_made(topics, partitions)])
    return [spec.name for spec in specs], created


async def read_made(log: Log, topics: Topics) -> Made | None:
    """How the namespace was made; None: nobody has made it.

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


async def decided_before(log: Log, topics: Topics, partition: int) -> bool:
    """Whether a partition has a history: of one without documents and position it says that they are gone.

    Raises:
        LogUnavailable: no answer in time.
    """
    place = TopicPartition(topics.history, partition)
    ends = await log.end_offsets([topics.history])
    if not ends[place]:
        return False
    tail = await log.tail([topics.history], {**ends, place: 0})
    try:
        for _ in range(_POLLS_MAX):  # what was aborted counts in the end, and is no history
            found = await tail.poll(max_records=_POLL_RECORDS, timeout=_POLL_SECONDS)
            if any(record.partition == partition for record in found):
                return True
            if tail.positions()[place] >= ends[place]:
                return False
    finally:
        await tail.close()
    raise LogUnavailable(f"topic {place.topic}/{partition} was not read in time; it is tried again")


def _check(made: Made, topics: Topics, partitions: int) -> None:
    if made.format > LOG_FORMAT:
        raise TopicMismatch(
            f"the namespace {made.namespace!r} has format {made.format}, this release knows up to {LOG_FORMAT}: "
            "deploy the newer release"
        )
    if made.namespace != topics.namespace:
        raise TopicMismatch(
            f"topic {topics.made!r} holds the record of the namespace {made.namespace!r}: was it copied? "
            "Use that name, or a fresh namespace"
        )
    if made.partitions != partitions:
        raise TopicMismatch(no_more_partitions(f"the namespace {made.namespace!r}", made.partitions, partitions))


async def _refuse_gone(log: Log, topics: Topics, made: bool) -> None:
    """A topic of a namespace that has been at work is not made anew: what it held is decided once more, or lost."""
    gone = [name for name in topics.core if not await log.partitions(name)]
    if not gone or (len(gone) == len(topics.core) and not made):
        return
    if made or await _has_records(log, topics.history):
        raise TopicMismatch(
            f"topic {', '.join(gone)} is gone, though the namespace {topics.namespace!r} was made with it: restore it "
            "from a copy, or use a fresh namespace; to give up all that is in this one, delete its other topics too"
        )


async def _has_records(log: Log, topic: str) -> bool:
    return bool(await log.partitions(topic)) and any((await log.end_offsets([topic])).values())


async def _refuse_other_places(log: Log, topics: Topics, partitions: int) -> None:
    """Where decisions stand already, each must stand where this number of partitions puts its key."""
    for record in await _read(log, topics.history, _WITNESSES_MAX):
        if record.key and partition_of(record.key, partitions) != record.partition:
            raise TopicMismatch(
                f"topic {topics.made!r} is empty and the namespace was not made with {partitions} partitions: "
                f"{record.topic}/{record.partition}/{record.offset} stands where another number puts it. Say the "
                "number that it was made with; if the topics have grown since, use a fresh namespace"
            )


async def _read(log: Log, topic: str, records_max: int = _WITNESSES_MAX) -> list[Record]:
    """The first records of a topic, up to its present end or so many."""
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
