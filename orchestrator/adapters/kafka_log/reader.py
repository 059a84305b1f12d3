"""A groupless read_committed reader over given partitions, from given positions.

- A fetch is drained at once into a buffer, which is refilled only when it is empty: there is one fetch per broker in
  flight, and a partition that is not drained would hold back the others.
- aiokafka reconnects by itself. If a consumer gets no response for one of its partitions for ``silence_s``, the reader
  drops it and creates a new one at the next poll (after broker restarts a consumer can stop silently).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

import aiokafka.errors as errors

from ...errors import LogUnavailable, UnreadableBatch
from ...ports.log import Record, TopicPartition
from .careful import of_the_records, read_carefully
from .driver import Consumer, Partition
from .ending import stop_consumer, translated, within
from .settings import Connection
from .silence import Silence

__all__ = ["Reader", "as_record"]

_FETCH_BYTES_MAX = 8 << 20
_CHUNK_S = 0.5


def as_record(message: Any) -> Record:
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.key,
        message.value,
        tuple([(name, value or b"") for name, value in message.headers]),  # a null value is legal in Kafka
        message.timestamp,
    )


class Reader:
    """Not safe for concurrent use."""

    def __init__(
        self, connection: Connection, positions: Mapping[TopicPartition, int], *, isolation: str = "read_committed"
    ) -> None:
        self._connection = connection
        self._isolation = isolation
        self._positions = dict(positions)
        self._buffer: deque[Record] = deque()
        self._consumer: Any = None
        self._unreadable: UnreadableBatch | None = None
        self._silence = Silence(connection.limits.silence_s)

    async def start(self) -> None:
        """Connects. Raises LogUnavailable."""
        if self._consumer is not None or not self._positions:
            return
        limit = self._connection.limits.answer_s
        consumer = Consumer(
            **self._connection.options(limit),
            isolation_level=self._isolation,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_bytes=_FETCH_BYTES_MAX,
            max_partition_fetch_bytes=2 << 20,
        )
        consumer.assign([Partition(*where) for where in self._positions])
        try:
            with translated(self._connection.gone("opening a reader", limit)):
                await within(consumer.start(), limit)
        except BaseException:
            await stop_consumer(consumer)
            raise
        for where, offset in self._positions.items():
            consumer.seek(Partition(*where), offset)
        self._consumer = consumer
        self._silence.heard()

    async def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        """As the port says.

        Raises:
            LogUnavailable: no response, or an error of the broker; the next poll connects again.
            UnreadableBatch: the next batch can never be read; ``move`` past it. Raised again until then.
            errors.OffsetOutOfRangeError: the broker no longer, or not yet, has the position; ``move`` it.
        """
        if not self._buffer:
            if self._unreadable is not None:
                raise self._unreadable.again()
            await self.start()
            await self._fill(timeout)
        buffer = self._buffer
        if len(buffer) <= max_records:
            taken = list(buffer)
            buffer.clear()
            return taken
        return [buffer.popleft() for _ in range(max_records)]

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset to return, per partition."""
        self._remember()
        positions = dict(self._positions)
        for record in reversed(self._buffer):
            positions[TopicPartition(record.topic, record.partition)] = record.offset
        return positions

    def move(self, where: TopicPartition, offset: int) -> None:
        """Continues at ``offset``."""
        self._positions[where] = offset
        self._unreadable = None
        if self._consumer is not None:
            self._consumer.seek(Partition(*where), offset)

    async def stop(self) -> None:
        """Ends within two seconds. Idempotent."""
        self._remember()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_consumer(consumer)

    async def _fill(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        self._silence.resume()
        while self._positions:
            left = max(0.0, min(deadline - loop.time(), _CHUNK_S))
            self._remember()
            before = dict(self._positions)
            try:
                fetched = await self._consumer.getmany(timeout_ms=int(left * 1000))
            except errors.OffsetOutOfRangeError:
                raise
            except Exception as error:
                await self.stop()
                self._positions = before  # records drained from other partitions were lost with the error
                if not of_the_records(error):
                    raise LogUnavailable(self._connection.gone(f"reading ({error})")) from error
                await self._read_carefully(error)
                break
            for messages in fetched.values():
                self._buffer.extend(map(as_record, messages))
            await self._listen()
            if self._buffer or loop.time() >= deadline:
                break
        if not timeout:
            await asyncio.sleep(0)

    async def _read_carefully(self, error: Exception) -> None:
        """After an error: reads what can be read, and stores the first batch that never can."""
        places = list(self._positions)
        # Concurrently: each waits half a second at the end of its partition.
        readings = [read_carefully(self._connection, at, self._positions[at], self._isolation) for at in places]
        for where, found in zip(places, await asyncio.gather(*readings, return_exceptions=True), strict=True):
            if isinstance(found, BaseException):
                raise found
            self._buffer.extend(map(as_record, found.records))
            if found.records:
                self._positions[where] = found.records[-1].offset + 1
            self._unreadable = self._unreadable or found.unreadable
        if not self._buffer:
            if self._unreadable is not None:
                raise self._unreadable.again() from error
            raise LogUnavailable(self._connection.gone(f"reading ({error})")) from error

    async def _listen(self) -> None:
        consumer = self._consumer
        stamps = (consumer.last_poll_timestamp(Partition(*where)) or 0 for where in self._positions)
        if self._silence.too_long(stamps):
            await self.stop()
            raise LogUnavailable(self._connection.gone("reading", self._connection.limits.silence_s))

    def _remember(self) -> None:
        """Stores the consumer's positions, which are past the buffered records: a new consumer continues there."""
        if self._consumer is None:
            return
        assignment = self._consumer._subscription.subscription.assignment
        for where in self._positions:
            state = assignment.state_value(Partition(*where))
            if state is not None and state.has_valid_position:
                self._positions[where] = state.position
