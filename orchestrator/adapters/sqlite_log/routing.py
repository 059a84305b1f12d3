"""Converts records to rows; size, topic and partition are checked here, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from ...errors import TopicMismatch, ValueTooLarge
from ...messages.partitioning import partition_of
from ...ports.log import HEADER_BYTES, Outgoing, check_size, size_bytes
from ...ports.topics import erases
from .feed import Feed
from .headers import encode_headers
from .transaction import Row

__all__ = ["Router"]


class Router:
    def __init__(self, feed: Feed, max_value_bytes: int) -> None:
        self._feed, self.max_value_bytes = feed, max_value_bytes
        self._turn = count()

    def rows(self, records: Iterable[Outgoing]) -> list[Row]:
        """Raises: ValueTooLarge, TopicMismatch, LogUnavailable."""
        rows: list[Row] = []
        limit, topic_of, name, first_part, partitions = self.max_value_bytes, self._feed.topic, "", 0, 0
        erasing = False
        for record in records:
            headers = encode_headers(record.headers)
            # What is stored is longer than the texts in it, so only a record near the limit is counted exactly.
            stored = len(headers or b"") + len(record.value or b"") + HEADER_BYTES * len(record.headers)
            if stored + len(record.key or b"") > limit:
                check_size(record, f"a record of key {(record.key or b'')[:80]!r} for {record.topic}", limit)
            if record.topic != name:
                topic = topic_of(record.topic)
                if topic is None:
                    raise TopicMismatch(f"{record.topic} does not exist: create it with `saga topics create`")
                name, partitions, first_part = topic.name, topic.partitions, topic.first_part
                erasing = erases(name)
            partition = record.partition
            if partition is None:
                partition = (
                    partition_of(record.key, partitions) if record.key is not None else next(self._turn) % partitions
                )
            elif not 0 <= partition < partitions:
                raise TopicMismatch(
                    f"{name} has no partition {partition}: it has {partitions}; give a lower number, or none"
                )
            rows.append(Row(first_part + partition, record.key, record.value, headers, erasing))
        return rows

    def check(self, key: bytes, value: bytes | None, topic: str) -> None:
        """Raises: ValueTooLarge."""
        if (size := size_bytes(key, value)) > self.max_value_bytes:
            raise ValueTooLarge(f"the document {key[:80]!r} for {topic}", size, self.max_value_bytes)
