"""Puts records into aiokafka's batches: one per partition, and another only when the first is full.

Sizes are checked here, before anything is sent: if the broker rejects a value in a transaction, the producer is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...errors import TopicMismatch, ValueTooLarge
from ...messages.partitioning import partition_of
from ...ports.log import Headers, Outgoing, TopicPartition, size_bytes

__all__ = ["BATCH_BYTES_MAX", "VALUE_BYTES_MAX", "Entry", "Partitions", "Placed", "build", "place"]

BATCH_BYTES_MAX = 900_000
VALUE_BYTES_MAX = 1_000_000
"""A record of this size, as ``size_bytes`` counts it, fits a batch that a broker accepts, with the batch's overhead."""
_SENDABLE_BYTES_MAX = 1_048_588
"""The broker's default ``message.max.bytes``: the limit of one batch, including one with a single large record."""

Entry = tuple[bytes | None, bytes | None, Headers]
Placed = dict[TopicPartition, list[Entry]]
Partitions = Mapping[str, int]


def place(records: Iterable[Outgoing], partitions: Partitions) -> Placed:
    """Groups records by their partition, in order.

    Raises:
        ValueTooLarge: a record is over the limit.
        TopicMismatch: a topic or partition does not exist.
    """
    placed: Placed = {}
    for topic, key, value, headers, partition in records:
        if (size := size_bytes(key, value, headers)) > VALUE_BYTES_MAX:
            raise too_large(topic, key, size, VALUE_BYTES_MAX)
        count = partitions.get(topic, 0)
        if partition is None:
            partition = partition_of(key, count) if key is not None and count else 0
        if not 0 <= partition < count:
            raise TopicMismatch(_missing(topic, partition, count))
        where = TopicPartition(topic, partition)
        entries = placed.get(where)
        if entries is None:
            placed[where] = entries = []
        entries.append((key, value, headers))
    return placed


def build(create: Callable[[], Any], where: TopicPartition, entries: Sequence[Entry], now_ms: int) -> list[Any]:
    """Closed batches with the entries in order.

    Raises:
        ValueTooLarge: a record with its key and headers is over the broker's limit.
    """
    batches: list[Any] = []
    batch = create()
    for key, value, headers in entries:
        if batch.append(timestamp=now_ms, key=key, value=value, headers=list(headers)) is None:
            batches.append(batch)
            batch = create()
            batch.append(timestamp=now_ms, key=key, value=value, headers=list(headers))
    batches.append(batch)
    for batch in batches:
        batch.close()
        if batch.size() > _SENDABLE_BYTES_MAX:
            raise too_large(where.topic, entries[0][0], batch.size(), _SENDABLE_BYTES_MAX)
    return batches


def too_large(topic: str, key: bytes | None, size_bytes: int, limit_bytes: int) -> ValueTooLarge:
    name = key[:80].decode(errors="replace") if key is not None else "without key"
    return ValueTooLarge(f"a record for {topic} ({name})", size_bytes, limit_bytes)


def _missing(topic: str, partition: int, count: int) -> str:
    if not count:
        return f"topic {topic!r} does not exist: create it (saga topics create)"
    return f"topic {topic!r} has no partition {partition}, it has {count}: use an existing one"
