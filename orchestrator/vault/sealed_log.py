"""``SealedLog``: a log whose records are sealed at rest, in front of any other log.

- Everything in the topics of the namespace is sealed as it is written: values, and headers with them. Keys of records,
  tombstones, offsets and times are not. Topics of others are written as they are.
- What is not sealed is read as it is, so sealing may begin at any time.
- Without keys nothing is sealed, but what others have sealed stops here too: it is never taken for something else.
- Topics of others are read as they are, but for what the keys open: anybody may write there what only looks sealed.
- A record whose key is missing stops its reader there, after everything before it; with the key it continues. One that
  was altered stops its partition; a subscription goes on with its others, as it does behind an unreadable batch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Final, Literal

import structlog

from ..errors import CorruptRecord, MissingKey
from ..ports.log import (
    Batch,
    Log,
    Membership,
    Outgoing,
    Owner,
    Position,
    Record,
    Standing,
    Start,
    Subscription,
    Tail,
    TopicPartition,
    TopicSpec,
    check_size,
)
from .envelope import ENVELOPE_BYTES_MAX, is_sealed, open_record, open_value, seal_record, seal_value
from .keys import KeyRing

__all__ = ["SealedLog"]

_STATE: Final = "a document"
_logger = structlog.get_logger(__name__)


class _Opening:
    """Opens polled records in order; what comes after one that cannot be opened stays here, and it is raised again.

    ``goes_on``: a record that was altered is not raised: its partition stands there; records behind it are left out.
    """

    def __init__(self, seals: _Seals, *, goes_on: bool = False) -> None:
        self._seals, self._goes_on = seals, goes_on
        self.waiting: list[Record] = []
        self.standing: dict[TopicPartition, int] = {}
        """By partition, the offset at which it stands."""

    def open(self, polled: Sequence[Record]) -> Sequence[Record]:
        """Raises: MissingKey, CorruptRecord: the first record cannot be opened."""
        if not self.waiting and not self.standing and not any(is_sealed(record.value) for record in polled):
            return polled
        records, opened = [*self.waiting, *polled], list[Record]()
        self.waiting = []
        for number, record in enumerate(records):
            at = TopicPartition(record.topic, record.partition)
            if record.offset > self.standing.get(at, record.offset):
                continue
            try:
                opened.append(self._seals.opened(record))
            except CorruptRecord as error:
                if self._goes_on and not isinstance(error, MissingKey):
                    self.standing[at] = record.offset
                    _logger.critical("partition stopped, an operator must act", reason=str(error))
                    continue
                self.waiting = records[number:]
                if not opened:
                    raise
                break
        return opened


class _SealedOwner:
    def __init__(self, inner: Owner, seals: _Seals, state: str) -> None:
        self._inner, self._seals, self._state = inner, seals, state
        self._opening = _Opening(seals)

    @property
    def partition(self) -> int:
        return self._inner.partition

    @property
    def position(self) -> Position:
        return self._inner.position

    @property
    def backlog_end(self) -> int:
        return self._inner.backlog_end

    def get(self, key: bytes) -> bytes | None:
        return self._opened(key, self._inner.get(key))

    async def documents(self) -> AsyncIterator[tuple[bytes, bytes]]:
        async for key, value in self._inner.documents():
            yield key, self._opened(key, value) or b""

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        if self._opening.waiting:
            return self._opening.open(())
        return self._opening.open(await self._inner.poll(max_records=max_records, timeout=timeout))

    async def commit(self, batch: Batch) -> None:
        if not self._seals.ring:
            await self._inner.commit(batch)
            return
        for key, value in batch.state.items():
            check_size(Outgoing(self._state, key, value), f"the document {key[:80]!r}", self._seals.max_value_bytes)
        if self._seals.seals(self._state):
            ring, topic = self._seals.ring, self._state
            state = {
                key: seal_value(ring, topic, key, value) if value is not None else None
                for key, value in batch.state.items()
            }
            batch = batch._replace(state=state)
        await self._inner.commit(batch._replace(appends=self._seals.sealed(batch.appends)))

    async def release(self) -> None:
        await self._inner.release()

    def _opened(self, key: bytes, value: bytes | None) -> bytes | None:
        if value is None or not is_sealed(value):
            return value
        where = f"{_STATE} in {self._state}/{self.partition}"
        return open_value(self._seals.ring, self._state, key, value, where)[1]


class _SealedMembership:
    def __init__(self, inner: Membership, seals: _Seals, state: str) -> None:
        self._inner, self._seals, self._state = inner, seals, state

    async def changed(self) -> frozenset[int]:
        return await self._inner.changed()

    async def take(self, partition: int) -> Owner:
        return _SealedOwner(await self._inner.take(partition), self._seals, self._state)

    async def leave(self) -> None:
        await self._inner.leave()


class _SealedSubscription:
    def __init__(self, inner: Subscription, seals: _Seals) -> None:
        self._inner, self._opening = inner, _Opening(seals, goes_on=True)

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        if self._opening.waiting:
            return self._opening.open(())
        if self._opening.standing:
            held = self._inner.assigned()  # who gets a partition again reads it from the committed position
            self._opening.standing = {at: offset for at, offset in self._opening.standing.items() if at in held}
        return self._opening.open(await self._inner.poll(max_records=max_records, timeout=timeout))

    def assigned(self) -> frozenset[TopicPartition]:
        return self._inner.assigned()

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        await self._inner.commit(positions)

    async def close(self) -> None:
        await self._inner.close()


class _SealedTail:
    def __init__(self, inner: Tail, seals: _Seals) -> None:
        self._inner, self._opening = inner, _Opening(seals)

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        if self._opening.waiting:
            return self._opening.open(())
        return self._opening.open(await self._inner.poll(max_records=max_records, timeout=timeout))

    def positions(self) -> Mapping[TopicPartition, int]:
        found = dict(self._inner.positions())
        for record in reversed(self._opening.waiting):
            found[TopicPartition(record.topic, record.partition)] = record.offset
        return found

    async def close(self) -> None:
        await self._inner.close()


class _Seals:
    """Which records are sealed, and by what. ``max_value_bytes``: the largest before it is sealed."""

    def __init__(self, ring: KeyRing, namespace: str, max_value_bytes: int) -> None:
        self.ring, self._prefix = ring, f"{namespace}."
        self.max_value_bytes = max_value_bytes

    def seals(self, topic: str) -> bool:
        return bool(self.ring) and topic.startswith(self._prefix)

    def opened(self, record: Record) -> Record:
        """Raises: MissingKey, CorruptRecord: it is of the namespace and cannot be opened."""
        try:
            return open_record(self.ring, record)
        except CorruptRecord:
            if record.topic.startswith(self._prefix):
                raise
            return record

    def sealed(self, records: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """Raises: ValueTooLarge."""
        for record in records:
            what = f"a record of key {(record.key or b'')[:80]!r} for {record.topic}"
            check_size(record, what, self.max_value_bytes)
        return [seal_record(self.ring, each) if self.seals(each.topic) else each for each in records]


class SealedLog:
    """See the module. With an empty ring it only refuses to read what is sealed.

    Args:
        inner: the log; opened by who has made it, closed with this one.
        ring: the keys.
        namespace: whose topics are sealed.
    """

    def __init__(self, inner: Log, ring: KeyRing, namespace: str) -> None:
        self.inner = inner
        self._ring, self._namespace = ring, namespace

    @property
    def _seals(self) -> _Seals:
        return _Seals(self._ring, self._namespace, self.max_value_bytes)

    @property
    def max_value_bytes(self) -> int:
        return self.inner.max_value_bytes - (ENVELOPE_BYTES_MAX if self._ring else 0)

    async def create_topics(self, specs: Sequence[TopicSpec]) -> Sequence[str]:
        return await self.inner.create_topics(specs)

    async def check_topics(self, specs: Sequence[TopicSpec]) -> None:
        await self.inner.check_topics(specs)

    async def topics(self) -> Collection[str]:
        return await self.inner.topics()

    async def partitions(self, topic: str) -> int:
        return await self.inner.partitions(topic)

    async def append(self, records: Sequence[Outgoing]) -> None:
        await self.inner.append(self._seals.sealed(records) if self._ring else records)

    async def join(self, inputs: str, state: str, group: str, *, start: Start = "earliest") -> Membership:
        return _SealedMembership(await self.inner.join(inputs, state, group, start=start), self._seals, state)

    async def standing(self, inputs: str, state: str, group: str) -> Mapping[int, Standing]:
        return await self.inner.standing(inputs, state, group)

    async def is_read(self, topic: str, group: str) -> bool:
        return await self.inner.is_read(topic, group)

    async def consumed(self, topic: str, group: str) -> Mapping[TopicPartition, int]:
        return await self.inner.consumed(topic, group)

    async def subscribe(self, topics: Sequence[str], group: str) -> Subscription:
        return _SealedSubscription(await self.inner.subscribe(topics, group), self._seals)

    async def tail(
        self,
        topics: Sequence[str],
        start: Mapping[TopicPartition, int] | Literal["earliest", "latest"],
        *,
        partitions: Collection[int] | None = None,
    ) -> Tail:
        return _SealedTail(await self.inner.tail(topics, start, partitions=partitions), self._seals)

    def opened(self, record: Record) -> Record:
        """A record of the log behind, as it was given.

        Raises:
            MissingKey, CorruptRecord: it cannot be opened.
        """
        return self._seals.opened(record)

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return await self.inner.end_offsets(topics)

    async def close(self) -> None:
        await self.inner.close()
