"""Detects another log by landmarks: the last record that a read model has read of each partition of the history.

Offsets alone are not enough: a log that was recreated, or restored from an older copy, has the same topics and soon the
same offsets. The history is never compacted, so a record missing before its retention ends is a sign too.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping

from ..errors import ForeignLog, TransientError
from ..ports.log import Log, Record, TopicPartition
from ..ports.read_model import Landmark, Standing
from ..ports.topics import Topics

__all__ = ["check_log", "landmark_of"]

_POLL_MAX = 500
_POLL_SECONDS = 0.5
_DEADLINE_SECONDS = 20.0


def landmark_of(record: Record) -> Landmark:
    """The landmark of a record."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (record.key or b"", record.value or b""):
        digest.update(b"%d:" % len(part) + part)
    return Landmark(record.offset, digest.hexdigest(), record.timestamp_ms)


async def check_log(log: Log, topics: Topics, standing: Standing, now_ms: int) -> Mapping[TopicPartition, int]:
    """Checks that the read model was fed from this log; returns the end offset of every partition that it follows.

    Raises:
        ForeignLog: it was fed from another one; the message says how that shows.
        TransientError: the log does not answer.
    """
    ends = await log.end_offsets(topics.shown)
    for at, position in standing.positions.items():
        if at not in ends:
            raise _foreign(topics, at, "does not exist")
        if position > ends[at]:
            raise _foreign(topics, at, f"was read up to offset {position}, but ends at {ends[at]}")
    found = await _first_records(log, topics.history, ends, standing.landmarks)
    kept_ms = next(spec.retention_ms for spec in topics.specs([], 1) if spec.name == topics.history) or 0
    for at, mark in standing.landmarks.items():
        record = found.get(at)
        if record is not None and record.offset == mark.offset:
            if landmark_of(record) != mark:
                raise _foreign(topics, at, f"has another record at offset {mark.offset}")
        elif now_ms - mark.timestamp_ms < kept_ms * 9 // 10:
            raise _foreign(topics, at, f"no longer has a record at offset {mark.offset}")
    return ends


async def _first_records(
    log: Log, topic: str, ends: Mapping[TopicPartition, int], marks: Mapping[TopicPartition, Landmark]
) -> Mapping[TopicPartition, Record]:
    """The first record of each partition at or after its landmark, if there is one."""
    starts = {at: marks[at].offset if at in marks else end for at, end in ends.items() if at.topic == topic}
    wanted = {at for at in starts if at in marks}
    found: dict[TopicPartition, Record] = {}
    if not wanted:
        return found
    tail = await log.tail([topic], starts)
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            while any(at not in found and tail.positions().get(at, 0) < ends[at] for at in wanted):
                for record in await tail.poll(max_records=_POLL_MAX, timeout=_POLL_SECONDS):
                    found.setdefault(TopicPartition(record.topic, record.partition), record)
    except TimeoutError:
        raise TransientError(f"{topic} was not read to its end within {_DEADLINE_SECONDS:g} s; try again") from None
    finally:
        await tail.close()
    return found


def _foreign(topics: Topics, at: TopicPartition, why: str) -> ForeignLog:
    return ForeignLog(topics.namespace, f"{at.topic}/{at.partition} {why}")
