"""The first record that waits in a partition: how long something has been waiting there, seen from outside."""

from __future__ import annotations

from collections.abc import Mapping

from .log import Log, Record, TopicPartition

__all__ = ["first_records"]

_POLLS_MAX = 20
_POLL_RECORDS, _POLL_SECONDS = 1_000, 0.1


async def first_records(
    log: Log, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, Record]:
    """The first record at or after each start, for partitions that have one: before the end offset there may be only a
    transaction marker.

    Args:
        log: the log.
        starts: where to look; partitions whose start is at their end are not read.
        ends: of every partition of these topics, as ``Log.end_offsets`` gives them.

    Raises:
        LogUnavailable: no answer in time.
        TopicMismatch: a topic does not exist.
    """
    found = dict[TopicPartition, Record]()
    wanted = {place: offset for place, offset in starts.items() if offset < ends[place]}
    if not wanted:
        return found
    tail = await log.tail(sorted({place.topic for place in wanted}), dict(ends) | wanted)
    try:
        for _ in range(_POLLS_MAX):
            for record in await tail.poll(max_records=_POLL_RECORDS, timeout=_POLL_SECONDS):
                place = TopicPartition(record.topic, record.partition)
                if place in wanted:
                    found.setdefault(place, record)
            positions = tail.positions()
            if all(positions[place] >= ends[place] for place in wanted.keys() - found.keys()):
                break
    finally:
        await tail.close()
    return found
