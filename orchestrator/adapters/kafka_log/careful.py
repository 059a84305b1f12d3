"""Distinguishes a batch that can never be read from a broker that is away, and finds its exact offset.

aiokafka raises in the middle of a fetch: the records before the bad batch are lost with it, and the error is whatever
the codec raised. So the partition is read again, from a new fetch and one record at a time: the records before the
batch are returned, and an error that comes again and is not from the connection is permanent.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import aiokafka.errors as errors
from aiokafka.protocol.fetch import FetchRequest

from ...errors import LogUnavailable, UnreadableBatch
from ...ports.log import TopicPartition
from .driver import BROKEN, Consumer, Partition
from .ending import stop_consumer, within
from .settings import Connection

__all__ = ["Careful", "of_the_records", "read_carefully"]

_RECORDS_MAX = 50_000
_BYTES_MAX = 8 << 20
_BATCH_BYTES_MAX = 2 << 20
_HEADER = struct.Struct(">qiibIhi")
"""Of a record batch, version 2: base offset, length, leader epoch, magic, CRC, attributes, last offset delta."""
_UNREADABLE = (errors.CorruptRecordException, errors.UnsupportedCodecError)


class Careful(NamedTuple):
    """The readable records from an offset on, as aiokafka's records, and the unreadable batch after them."""

    records: list[Any]
    unreadable: UnreadableBatch | None


def of_the_records(error: BaseException) -> bool:
    """True when an error may come from fetched data; False: from the connection, the broker or a rebalance."""
    away = isinstance(error, (errors.KafkaError, TimeoutError, ConnectionError, AssertionError))
    return isinstance(error, Exception) and (not away or isinstance(error, _UNREADABLE))


async def read_carefully(connection: Connection, place: TopicPartition, offset: int, isolation: str) -> Careful:
    """Reads one record at a time, up to the bad batch, the end, or a limit on the memory used.

    Raises:
        LogUnavailable: the broker is away.
        errors.OffsetOutOfRangeError: the offset does not exist.
    """
    limits, where = connection.limits, Partition(*place)
    consumer = Consumer(
        **connection.options(limits.answer_s),
        isolation_level=isolation,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=_BATCH_BYTES_MAX,
    )
    consumer.assign([where])
    records: list[Any] = []
    size = 0
    try:
        await within(consumer.start(), limits.answer_s)
        consumer.seek(where, offset)
        while len(records) < _RECORDS_MAX and size < _BYTES_MAX:
            fetched = await within(consumer.getmany(timeout_ms=500, max_records=1), limits.answer_s)
            if not fetched:
                break
            records += fetched[where]
            size += len(records[-1].key or b"") + len(records[-1].value or b"")
    except errors.OffsetOutOfRangeError:
        raise
    except Exception as error:
        if not of_the_records(error):
            raise LogUnavailable(connection.gone(f"reading {place.topic}/{place.partition}")) from error
        reached = await consumer.position(where)
        following = await _following(consumer, place, reached, limits.answer_s)
        return Careful(records, UnreadableBatch(place.topic, place.partition, reached, following, _why(error)))
    finally:
        await stop_consumer(consumer)
    return Careful(records, None)


async def _following(consumer: Any, place: TopicPartition, offset: int, limit: float) -> int:
    """The first offset after the batch with this offset, from the batch header, which is never compressed."""
    client = consumer._client
    leader = client.cluster.leader_for_partition(Partition(*place))
    request = FetchRequest(100, 1, _BATCH_BYTES_MAX, 0, [(place.topic, [(place.partition, offset, _BATCH_BYTES_MAX)])])
    try:
        answer = await within(client.send(leader, request), limit)
        data = answer.topics[0][1][0][-1] or b""
        base, _length, _epoch, magic, _crc, _attributes, delta = _HEADER.unpack_from(data)
    except (*BROKEN, IndexError, struct.error):  # for example while the leader changes
        return offset + 1
    following = int(base + delta + 1)
    return following if magic == 2 and base <= offset < following <= base + _BATCH_BYTES_MAX else offset + 1


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
